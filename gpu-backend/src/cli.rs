//! The command line: options parsed and checked whole before a port is bound, and the
//! life of the process: load, announce, serve, drain.
//! Knows nothing of requests.

mod device;
mod serve;
mod speculative;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use gpu_backend::backend::{DeviceKind, KvCacheDtype, Precision};
use gpu_backend::bench;
use gpu_backend::local::{KvMemory, MEMORY_UTILIZATION, Options};
use gpu_backend::quality;
use gpu_backend::reasoning::ReasoningFormat;
use gpu_backend::speculation::SpeculativeConfig;
use gpu_backend::tool_parser::ToolFormat;
use tracing_subscriber::EnvFilter;

/// `EX_USAGE` of sysexits.h: the configuration is wrong and a restart does not help.
const EXIT_CONFIGURATION: u8 = 64;
/// `EX_SOFTWARE`: the engine failed; a supervisor may start it again.
const EXIT_FAILED: u8 = 70;

/// Skerry's LLM engine.
#[derive(Debug, Parser)]
#[command(name = "gpu-backend", version)]
struct Cli {
    /// How log lines on stderr are written.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Json)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a model over an OpenAI-compatible API.
    Serve(ServeArgs),
    /// Measure prefill and decode speed on random weights of a known shape.
    Bench(BenchArgs),
    /// Compare what a device computes with what the CPU does.
    CheckDevice(device::CheckArgs),
    /// Measure a device: decoding, prefill and many requests, as shares of its peaks.
    BenchDevice(device::BenchArgs),
    /// Measure what speculation gains where an answer copies from its prompt.
    BenchSpeculative(speculative::Args),
    /// Print what rounding costs a model: perplexity, and logits beside float32's.
    Quality(QualityArgs),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// A Hugging Face model directory, or a hub name such as OWNER/NAME.
    #[arg(long, env = "SKERRY_MODEL")]
    model: String,
    /// Address to serve on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8000", env = "SKERRY_LISTEN")]
    listen: SocketAddr,
    /// The model's public name; default: the directory's name.
    #[arg(long)]
    served_model_name: Option<String>,
    /// Key that requests must carry, as `Authorization: Bearer KEY`; better given in the
    /// environment, for a command line is visible to all users. Default: none is asked for.
    #[arg(long, env = "SKERRY_ENGINE_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// cpu, cuda or vulkan.
    #[arg(long, default_value_t = DeviceKind::Cpu)]
    device: DeviceKind,
    /// How weights are kept: float32 or bfloat16.
    #[arg(long, value_enum, default_value_t = WeightDtype::Float32)]
    dtype: WeightDtype,
    /// Round the weights when they are loaded, in place of a dtype.
    #[arg(long, value_enum, conflicts_with = "dtype")]
    quantize: Option<Quantization>,
    /// Threads that compute; default: all cores.
    #[arg(long)]
    threads: Option<usize>,
    /// Longest prompt and answer together, in tokens; default: the model's own,
    /// or as much of it as the KV cache affords.
    #[arg(long)]
    max_model_len: Option<usize>,
    /// Sequences that run at the same time.
    #[arg(long, default_value_t = 256)]
    max_num_seqs: usize,
    /// Tokens of one step; longer prompts are cut into chunks.
    #[arg(long, default_value_t = 512)]
    max_num_batched_tokens: usize,
    /// Requests that wait beyond those that run; more are answered with 429.
    #[arg(long, default_value_t = 1024)]
    max_queue: usize,
    /// Share of the memory available after loading that the KV cache may take.
    #[arg(long, default_value_t = MEMORY_UTILIZATION, conflicts_with = "kv_cache_mib")]
    memory_utilization: f64,
    /// MiB of the KV cache, in place of a share.
    #[arg(long)]
    kv_cache_mib: Option<usize>,
    /// How the KV cache keeps its numbers: auto (as computed, f32) or int8.
    #[arg(long, default_value_t = KvCacheDtype::Auto)]
    kv_cache_dtype: KvCacheDtype,
    /// Compute every prompt whole, also where its beginning was met before.
    #[arg(long)]
    no_enable_prefix_caching: bool,
    /// How to speculate, as JSON: {"method": "ngram", "num_speculative_tokens": 5}, or
    /// {"method": "draft_model", "model": DIR, "num_speculative_tokens": 3}.
    #[arg(long)]
    speculative_config: Option<String>,
    /// How the model writes tool calls: hermes, llama3_json, pythonic, mistral or gemma;
    /// default: as its chat template says.
    #[arg(long)]
    tool_call_parser: Option<ToolFormat>,
    /// How the model marks its reasoning: qwen3, deepseek_r1 or mistral; default: as its
    /// chat template says.
    #[arg(long)]
    reasoning_parser: Option<ReasoningFormat>,
    /// Seconds that open streams may go on after SIGTERM.
    #[arg(long, default_value_t = 30)]
    drain_s: u64,
}

/// vLLM's names.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum WeightDtype {
    Float32,
    Bfloat16,
}

/// Weights in few bits, activations rounded to int8 as they come.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Quantization {
    /// A scale per column and 64 values.
    Int8,
    /// A scale per column and 32 values.
    Int4,
}

#[derive(Debug, Args)]
struct BenchArgs {
    /// The model's shape: smollm2-135m, qwen2.5-0.5b, llama-3.2-1b or llama-3.1-8b.
    #[arg(long, default_value = "smollm2-135m")]
    shape: String,
    /// Threads that compute; default: all cores.
    #[arg(long)]
    threads: Option<usize>,
    /// f32, bf16, int8 or int4.
    #[arg(long, default_value_t = Precision::F32)]
    precision: Precision,
    /// Each figure is the median of this many rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct QualityArgs {
    /// A Hugging Face model directory.
    #[arg(long)]
    model: PathBuf,
    /// A text file, its sequences parted by empty lines; default: dialogues of the
    /// bundled model's kind.
    #[arg(long)]
    text: Option<PathBuf>,
    /// Threads that compute; default: all cores.
    #[arg(long)]
    threads: Option<usize>,
}

/// Why the process ends unsuccessfully.
#[derive(Debug)]
enum Exit {
    /// An option, named, is wrong.
    Configuration(String),
    Failed(String),
}

/// Parses and runs; the exit code says whose fault a failure is.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Help and version are not failures.
            return if error.use_stderr() {
                EXIT_CONFIGURATION.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    log_to_stderr(cli.log_format);
    let done = match cli.command {
        Command::Serve(args) => serve::serve(&args),
        Command::Bench(args) => measure(&args),
        Command::CheckDevice(args) => device::check(&args),
        Command::BenchDevice(args) => device::measure(&args),
        Command::BenchSpeculative(args) => speculative::measure(&args),
        Command::Quality(args) => judge(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Exit::Configuration(message)) => {
            tracing::error!("{message}");
            EXIT_CONFIGURATION.into()
        }
        Err(Exit::Failed(message)) => {
            tracing::error!("{message}");
            EXIT_FAILED.into()
        }
    }
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_env("SKERRY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}

impl ServeArgs {
    /// Checks what can be checked without the model.
    fn options(&self) -> Result<Options, Exit> {
        let least_one = [
            ("threads", self.threads.unwrap_or(1)),
            ("max-model-len", self.max_model_len.unwrap_or(1)),
            ("max-num-seqs", self.max_num_seqs),
            ("max-num-batched-tokens", self.max_num_batched_tokens),
            ("kv-cache-mib", self.kv_cache_mib.unwrap_or(1)),
        ];
        if let Some((key, _)) = least_one.into_iter().find(|(_, value)| *value == 0) {
            return Err(Exit::Configuration(format!("--{key}: must be at least 1")));
        }
        if !(self.memory_utilization > 0.0 && self.memory_utilization <= 1.0) {
            let message = "--memory-utilization: must be above 0 and at most 1".to_owned();
            return Err(Exit::Configuration(message));
        }
        let speculative = self.speculative_config.as_deref();
        let speculative = speculative.map(SpeculativeConfig::parse).transpose();
        let wrong = |error| Exit::Configuration(format!("--speculative-config: {error}"));
        let defaults = Options::default();
        let kv_cache = match self.kv_cache_mib {
            Some(mib) => KvMemory::Bytes(mib.saturating_mul(1 << 20)),
            None => KvMemory::Share(self.memory_utilization),
        };
        Ok(Options {
            device: self.device,
            precision: self.precision(),
            threads: self.threads.unwrap_or(defaults.threads),
            sequences_max: self.max_num_seqs,
            queue_max: self.max_queue,
            step_tokens_max: self.max_num_batched_tokens,
            context: self.max_model_len,
            kv_cache,
            kv_cache_dtype: self.kv_cache_dtype,
            prefix_caching: !self.no_enable_prefix_caching,
            speculative: speculative.map_err(wrong)?,
            tool_format: self.tool_call_parser,
            reasoning_format: self.reasoning_parser,
        })
    }

    fn precision(&self) -> Precision {
        match (self.quantize, self.dtype) {
            (Some(Quantization::Int8), _) => Precision::Int8,
            (Some(Quantization::Int4), _) => Precision::Int4,
            (None, WeightDtype::Bfloat16) => Precision::Bf16,
            (None, WeightDtype::Float32) => Precision::F32,
        }
    }

    fn drain_max(&self) -> Duration {
        Duration::from_secs(self.drain_s)
    }

    fn model_path(&self) -> PathBuf {
        PathBuf::from(&self.model)
    }
}

fn measure(args: &BenchArgs) -> Result<(), Exit> {
    let threads = args.threads.unwrap_or(Options::default().threads);
    if threads == 0 {
        return Err(Exit::Configuration(
            "--threads: must be at least 1".to_owned(),
        ));
    }
    let shape = bench::shape(&args.shape).ok_or_else(|| {
        Exit::Configuration(format!(
            "--shape: unknown shape {:?}; known: {}",
            args.shape,
            bench::SHAPES
        ))
    })?;
    let figures = bench::run(shape, threads, args.precision, args.rounds)
        .map_err(|error| Exit::Failed(error.to_string()))?;
    let out = if args.json {
        figures.json(&args.shape)
    } else {
        figures.to_string()
    };
    print_line(&out)
}

fn judge(args: &QualityArgs) -> Result<(), Exit> {
    let text = match &args.text {
        None => None,
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
            Exit::Configuration(format!("--text: {}: {error}", path.display()))
        })?),
    };
    let threads = args.threads.unwrap_or(Options::default().threads);
    let figures = quality::run(&args.model, text.as_deref(), threads)
        .map_err(|error| Exit::Configuration(format!("--model: {error}")))?;
    print_line(quality::Figures::HEAD)?;
    figures
        .iter()
        .try_for_each(|line| print_line(&line.to_string()))
}

/// The only way to stdout.
fn print_line(line: &str) -> Result<(), Exit> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| Exit::Failed(format!("stdout: {error}")))
}
