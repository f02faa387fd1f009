//! `tidy`: the house style, as a check.
//!
//! Reads the repository as git sees it, asks every rule, and prints one line per
//! problem: where it is, what is wrong, and what to do instead. It changes nothing
//! and knows nothing of what the code means; clippy and rustfmt do the rest.
//!
//! `cargo run -p tidy [ROOT]`

mod problem;
mod repository;
mod rules;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::repository::Repository;

fn main() -> anyhow::Result<ExitCode> {
    let root = std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from("."), PathBuf::from);
    let repository = Repository::read(&root)?;
    let problems = rules::check(&repository);
    let mut out = io::stdout().lock();
    for problem in &problems {
        writeln!(out, "{problem}")?;
    }
    writeln!(
        out,
        "tidy: {} files, {} problems",
        repository.files.len(),
        problems.len()
    )?;
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
