//! The command line: show samples of the data, train the demonstration model, judge it. It
//! knows no arithmetic of the network.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use demo_model::chat::{Chat, TEMPLATE};
use demo_model::config::Config;
use demo_model::data::Generator;
use demo_model::eval::{self, Score, development};
use demo_model::export;
use demo_model::infer::Reader;
use demo_model::tokenizer;
use demo_model::train::{self, BATCH_TOKENS, Budget, FLAT_PART, RATE, Recipe, WARM_UP_STEPS};

/// Where the bundled model lies, from the repository's root.
const BUNDLED: &str = "gpu-backend/models/skerry-demo";

/// Makes and judges Skerry's bundled demonstration model.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print sample dialogues as the model sees them.
    Data {
        /// How many.
        #[arg(long, default_value_t = 10)]
        count: usize,
        /// Seed of the generator.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Train the tokenizer and the model, and write a Hugging Face folder.
    Train {
        /// Stop after this many minutes.
        #[arg(long, default_value_t = 60.0)]
        minutes: f32,
        /// Stop after this many steps instead, which makes the result repeatable.
        #[arg(long)]
        steps: Option<usize>,
        /// Seed of weights and data.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Highest learning rate.
        #[arg(long, default_value_t = RATE)]
        rate: f32,
        /// Steps over which the rate rises.
        #[arg(long, default_value_t = WARM_UP_STEPS)]
        warm_up_steps: usize,
        /// Part of the budget after which the rate falls.
        #[arg(long, default_value_t = FLAT_PART)]
        flat_part: f32,
        /// Tokens of each of the two batches in a step.
        #[arg(long, default_value_t = BATCH_TOKENS)]
        batch_tokens: usize,
        /// Go on from this folder's weights and tokenizer instead of fresh ones.
        #[arg(long)]
        init: Option<PathBuf>,
        /// Folder to write.
        #[arg(long, default_value = BUNDLED)]
        out: PathBuf,
    },
    /// Print the score of each group on the held-out phrasings.
    Eval {
        /// Folder of the model.
        #[arg(long, default_value = BUNDLED)]
        model: PathBuf,
        /// Ask the development set instead, towards which the generator was widened.
        #[arg(long)]
        development: bool,
        /// Print every wrong answer of the development set, too. Those of the held-out set
        /// are not shown: who has seen them tunes on them.
        #[arg(long, requires = "development")]
        failures: bool,
    },
    /// Answer one question at temperature zero.
    Ask {
        /// Folder of the model.
        #[arg(long, default_value = BUNDLED)]
        model: PathBuf,
        /// What to ask; further ones follow in the same conversation.
        #[arg(required = true)]
        questions: Vec<String>,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Data { count, seed } => data(count, seed),
        Command::Train {
            minutes,
            steps,
            seed,
            rate,
            warm_up_steps,
            flat_part,
            batch_tokens,
            init,
            out,
        } => {
            let time = Budget::Time(Duration::from_secs_f32(minutes * 60.0));
            let budget = steps.map_or(time, Budget::Steps);
            let recipe = |config| Recipe {
                config,
                seed,
                budget,
                rate,
                warm_up_steps,
                flat_part,
                batch_tokens,
                out: Some(out),
            };
            train(init, seed, recipe)
        }
        Command::Eval {
            model,
            development: false,
            ..
        } => held_out(&model),
        Command::Eval {
            model, failures, ..
        } => developed(&model, failures),
        Command::Ask { model, questions } => ask(&model, questions),
    }
}

fn data(count: usize, seed: u64) -> Result<()> {
    let chat = Chat::new(TEMPLATE)?;
    let mut generator = Generator::new(seed);
    for _ in 0..count {
        writeln!(
            stdout(),
            "{}\n",
            chat.render_dialogue(&generator.dialogue())?
        )?;
    }
    Ok(())
}

fn train(init: Option<PathBuf>, seed: u64, recipe: impl FnOnce(Config) -> Recipe) -> Result<()> {
    let start = Instant::now();
    let trained = if let Some(folder) = init {
        let (config, parameters, tokenizer) = export::import(&folder)?;
        train::train_further(&recipe(config), parameters, tokenizer, &mut stdout())?
    } else {
        let tokenizer = tokenizer::train_demo(seed)?;
        writeln!(
            stdout(),
            "tokenizer trained in {:.0} s",
            start.elapsed().as_secs_f32()
        )?;
        let config = Config::demo(tokenizer.get_vocab_size(true));
        train::train(&recipe(config), tokenizer, &mut stdout())?
    };
    writeln!(
        stdout(),
        "trained {} steps on {:.2} M tokens in {:.1} min",
        trained.losses.len(),
        trained.tokens as f32 / 1e6,
        start.elapsed().as_secs_f32() / 60.0
    )?;
    Ok(())
}

fn load(model: &Path) -> Result<Reader> {
    Reader::load(model).with_context(|| model.display().to_string())
}

fn held_out(model: &Path) -> Result<()> {
    for score in eval::evaluate(&load(model)?)? {
        let left_out = match score.left_out {
            0 => String::new(),
            n => format!("  ({n} left out: trained, or a word away from it)"),
        };
        writeln!(stdout(), "{}{left_out}", line(&score))?;
    }
    Ok(())
}

fn developed(model: &Path, failures: bool) -> Result<()> {
    for score in development::evaluate(&load(model)?)? {
        writeln!(stdout(), "{}", line(&score))?;
        for failure in score.failures.iter().filter(|_| failures) {
            writeln!(stdout(), "    {}", failure.replace('\n', "\\n"))?;
        }
    }
    let near = development::near();
    writeln!(
        stdout(),
        "of {} phrasings the generator makes {}, and {} are one word away from that",
        near.phrasings,
        near.generable,
        near.one_word
    )?;
    Ok(())
}

fn line(score: &Score) -> String {
    let (right, asked) = (score.right, score.asked);
    let percent = 100.0 * score.share();
    format!("{:32} {right:4} of {asked:4}  {percent:5.1} %", score.group)
}

fn ask(model: &Path, questions: Vec<String>) -> Result<()> {
    use demo_model::data::Turn;
    let reader = load(model)?;
    let tools = ["calculator", "clock"].map(str::to_owned);
    let mut turns = Vec::new();
    for question in questions {
        turns.push(Turn::User(question));
        let answer = reader.answer(&tools, &turns)?;
        writeln!(stdout(), "{answer}")?;
        turns.push(Turn::Assistant(answer));
    }
    Ok(())
}
