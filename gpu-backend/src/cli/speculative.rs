//! `gpu-backend bench-speculative`: the same answers with and without speculation, and
//! the time of each. The task is extractive: a chat in which the model is asked again
//! what it has already answered, so that the answer stands in the prompt.
//! Knows nothing of how tokens are supposed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use gpu_backend::backend::Precision;
use gpu_backend::chat_template::Message;
use gpu_backend::local::{KvMemory, LocalModel, Options};
use gpu_backend::speculation::SpeculativeConfig;

use super::{Exit, print_line};

/// What is asked, and asked again.
const QUESTIONS: [&str; 6] = [
    "What is Skerry?",
    "What does the gateway do?",
    "Where are conversations stored?",
    "How do I run the tests?",
    "What is a component?",
    "Which port does the engine listen on?",
];
/// Tokens of one answer.
const ANSWER_TOKENS_MAX: usize = 128;
/// Each time is the best of so many rounds, interleaved.
const ROUNDS: usize = 7;
/// Enough for the chats of this task.
const KV_CACHE_BYTES: usize = 256 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A Hugging Face model directory.
    #[arg(long)]
    model: PathBuf,
    /// How to speculate, as for `serve`.
    #[arg(
        long,
        default_value = r#"{"method": "ngram", "num_speculative_tokens": 8}"#
    )]
    speculative_config: String,
    /// Threads that compute; default: all cores.
    #[arg(long)]
    threads: Option<usize>,
    /// How weights are kept: f32, bf16 or int8.
    #[arg(long, default_value_t = Precision::F32)]
    precision: Precision,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

/// One way of answering, and its best time.
struct Side {
    model: LocalModel,
    best: Duration,
    tokens: usize,
}

pub(super) fn measure(args: &Args) -> Result<(), Exit> {
    let config = SpeculativeConfig::parse(&args.speculative_config);
    let config =
        config.map_err(|error| Exit::Configuration(format!("--speculative-config: {error}")))?;
    let mut plain = Side::open(args, None)?;
    let mut speculative = Side::open(args, Some(config))?;
    let mut chats = Vec::new();
    for question in QUESTIONS {
        let user = || Message::new("user", question);
        let answer = plain.ask(&[user()])?;
        chats.push([user(), Message::new("assistant", answer.0), user()]);
    }
    for _ in 0..ROUNDS {
        let (want, got) = (plain.round(&chats)?, speculative.round(&chats)?);
        if want != got {
            return Err(Exit::Failed("speculation changed a text".to_owned()));
        }
    }
    report(args, &plain, &speculative)
}

impl Side {
    fn open(args: &Args, speculative: Option<SpeculativeConfig>) -> Result<Self, Exit> {
        let defaults = Options::default();
        let options = Options {
            precision: args.precision,
            threads: args.threads.unwrap_or(defaults.threads),
            kv_cache: KvMemory::Bytes(KV_CACHE_BYTES),
            speculative,
            ..defaults
        };
        let model = LocalModel::load_with(&args.model, &options)
            .map_err(|error| Exit::Configuration(format!("--model: {error}")))?;
        Ok(Self {
            model,
            best: Duration::MAX,
            tokens: 0,
        })
    }

    /// An answer and its length in tokens.
    fn ask(&self, messages: &[Message]) -> Result<(String, usize), Exit> {
        let answer = self.model.greedy(messages, &[], ANSWER_TOKENS_MAX);
        let answer = answer.map_err(|error| Exit::Failed(error.to_string()))?;
        Ok((answer.text, answer.usage.completion_tokens))
    }

    /// All answers, one after the other.
    fn round(&mut self, chats: &[[Message; 3]]) -> Result<Vec<String>, Exit> {
        let began = Instant::now();
        let answers: Vec<(String, usize)> = chats
            .iter()
            .map(|chat| self.ask(chat))
            .collect::<Result<_, _>>()?;
        self.best = self.best.min(began.elapsed());
        self.tokens = answers.iter().map(|(_, tokens)| tokens).sum();
        Ok(answers.into_iter().map(|(text, _)| text).collect())
    }

    #[expect(clippy::cast_precision_loss, reason = "a few hundred tokens")]
    fn tokens_per_s(&self) -> f64 {
        self.tokens as f64 / self.best.as_secs_f64()
    }
}

fn report(args: &Args, plain: &Side, speculative: &Side) -> Result<(), Exit> {
    let metrics = speculative.model.chat().handle().metrics();
    let (drafts, held) = (metrics.draft_tokens.get(), metrics.drafts_accepted.get());
    let round = |x: f64| (x * 100.0).round() / 100.0;
    let speed_up = round(speculative.tokens_per_s() / plain.tokens_per_s());
    if args.json {
        let object = serde_json::json!({
            "model": args.model.display().to_string(),
            "precision": args.precision.to_string(),
            "answer_tokens": plain.tokens,
            "plain_tokens_per_s": round(plain.tokens_per_s()),
            "speculative_tokens_per_s": round(speculative.tokens_per_s()),
            "speed_up": speed_up,
            "draft_tokens": drafts,
            "accepted_tokens": held,
        });
        return print_line(&object.to_string());
    }
    print_line(&format!(
        "{} tokens of answers, the same text both ways\n\
         plain:        {:8.1} tokens/s\n\
         speculative:  {:8.1} tokens/s, {speed_up} times as fast\n\
         drafts held:  {held} of {drafts}",
        plain.tokens,
        plain.tokens_per_s(),
        speculative.tokens_per_s(),
    ))
}
