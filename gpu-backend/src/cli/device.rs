//! `check-device` and `bench-device`: what a device computes beside the CPU, and how fast.
//! Knows nothing of either's cases.

use gpu_backend::backend::{DeviceKind, Precision};
use gpu_backend::bench::{
    self,
    device::{Figure, Plan, WARM_STEPS},
};
use gpu_backend::check::{self, Check, CheckError, Group, Verdict};

use super::{Exit, print_line};

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// cuda or vulkan.
    #[arg(long)]
    device: DeviceKind,
    /// Groups of cases, parted by commas: smoke, rows, products, attention, dense or models.
    #[arg(long, value_delimiter = ',', default_values_t = Group::ALL)]
    only: Vec<Group>,
    /// Run every case, so that every kernel is compiled, and judge no number.
    #[arg(long)]
    compile_only: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// cpu, cuda or vulkan.
    #[arg(long)]
    device: DeviceKind,
    /// Models' shapes, parted by commas.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "llama-3.2-1b,llama-3.1-8b"
    )]
    shape: Vec<String>,
    /// How weights are kept, parted by commas: f32, bf16, int8 or int4.
    #[arg(long, value_delimiter = ',', default_value = "bf16,int8")]
    precision: Vec<Precision>,
    /// What to measure, parted by commas, in this order: decode, prefill or saturated.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "decode,prefill,saturated"
    )]
    figures: Vec<Figure>,
    /// Sequences that decode together, parted by commas.
    #[arg(long, value_delimiter = ',', default_value = "1,8,64,256")]
    batch: Vec<usize>,
    /// Tokens of each prompt.
    #[arg(long, default_value_t = 512)]
    prompt: usize,
    /// Tokens of each answer.
    #[arg(long, default_value_t = 64)]
    answer: usize,
    /// Tokens of the prefill that is measured, and the most of any step.
    #[arg(long, default_value_t = 2048)]
    prefill: usize,
    /// Layers, in place of the shape's own number.
    #[arg(long)]
    layers: Option<usize>,
    /// Size of the vocabulary, in place of the shape's own.
    #[arg(long)]
    vocab: Option<usize>,
    /// MiB of each tensor that the memory's bandwidth is measured with.
    #[arg(long, default_value_t = 1024)]
    bandwidth_mib: usize,
    /// Rows, columns and inner values of the product that is measured.
    #[arg(long, default_value_t = 8192)]
    product: usize,
    /// GB/s to take shares of, as another library copies; default: the engine's own addition.
    #[arg(long)]
    bandwidth_gb_s: Option<f64>,
    /// TFLOP/s to take shares of, as another library multiplies; default: the engine's own.
    #[arg(long)]
    product_tflops: Option<f64>,
}

pub(super) fn check(args: &CheckArgs) -> Result<(), Exit> {
    let mut tell = |check: &Check| {
        // A closed stdout must not end the checks: their number says how they went.
        let _ = print_line(&match args.compile_only {
            true => format!("ran {}", check.name),
            false => check.to_string(),
        });
    };
    let checks =
        check::device(args.device, &args.only, &mut tell).map_err(|error| match error {
            CheckError::Device(error) => Exit::Configuration(format!("--device: {error}")),
            error @ CheckError::Failed(..) => Exit::Failed(error.to_string()),
        })?;
    if args.compile_only {
        return print_line(&format!("{} cases ran, none judged", checks.len()));
    }
    let wrong = |check: &&Check| check.verdict() == Verdict::Wrong;
    let failed = checks.iter().filter(wrong).count();
    let passed = checks.len() - failed;
    print_line(&format!("{passed} passed, {failed} failed"))?;
    if failed == 0 {
        Ok(())
    } else {
        Err(Exit::Failed(format!(
            "{failed} results differ from the CPU's"
        )))
    }
}

pub(super) fn measure(args: &BenchArgs) -> Result<(), Exit> {
    let sizes = [
        ("prompt", args.prompt),
        ("answer", args.answer.saturating_sub(1 + WARM_STEPS)),
        ("prefill", args.prefill),
        ("layers", args.layers.unwrap_or(1)),
        ("vocab", args.vocab.unwrap_or(1)),
        ("bandwidth-mib", args.bandwidth_mib),
        ("product", args.product),
        ("batch", args.batch.iter().copied().min().unwrap_or(0)),
    ];
    if let Some((key, _)) = sizes.into_iter().find(|(_, value)| *value == 0) {
        return Err(Exit::Configuration(format!("--{key}: too small")));
    }
    let peaks = [
        ("bandwidth-gb-s", args.bandwidth_gb_s),
        ("product-tflops", args.product_tflops),
    ];
    for (key, peak) in peaks {
        if peak.is_some_and(|peak| !(peak.is_finite() && peak > 0.0)) {
            return Err(Exit::Configuration(format!("--{key}: must be above 0")));
        }
    }
    let plan = plan(args)?;
    let mut say = |line: &str| {
        // A closed stdout ends nothing: what CubeCL logs of the run is still written.
        let _ = print_line(line);
    };
    let measured = bench::device::run(&plan, &mut say);
    measured.map_err(|error| match error {
        bench::BenchError::Device(error) => Exit::Configuration(format!("--device: {error}")),
        error @ bench::BenchError::Failed(_) => Exit::Failed(error.to_string()),
    })
}

fn plan(args: &BenchArgs) -> Result<Plan, Exit> {
    let mut shapes = Vec::new();
    for name in &args.shape {
        let mut config = bench::shape(name).ok_or_else(|| {
            let known = bench::SHAPES;
            Exit::Configuration(format!("--shape: unknown shape {name:?}; known: {known}"))
        })?;
        config.layers = args.layers.unwrap_or(config.layers);
        config.vocab = args.vocab.unwrap_or(config.vocab);
        shapes.push((name.clone(), config));
    }
    Ok(Plan {
        device: args.device,
        figures: args.figures.clone(),
        shapes,
        precisions: args.precision.clone(),
        batches: args.batch.clone(),
        prompt_tokens: args.prompt,
        answer_tokens: args.answer,
        prefill_tokens: args.prefill,
        bandwidth_values: (args.bandwidth_mib << 20) / size_of::<f32>(),
        product_side: args.product,
        bytes_per_s: args.bandwidth_gb_s.map(|gb| gb * 1e9),
        flops_per_s: args.product_tflops.map(|tflops| tflops * 1e12),
    })
}
