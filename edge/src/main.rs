//! `edge`: a wasmtime host for Spin applications.
//!
//! The order of the modules is that of a request's way: what is read at start, the front
//! door, the dispatch, the instances, and what they may use.

mod cli;
mod up;
mod watch;
mod doctor;

mod manifest;
mod runtime_config;

mod build_step;
mod compose;
mod denial;
mod app;
mod engine;

mod front;
mod operator;
mod dispatch;
mod instance;
mod capability;
mod chain;

mod backend_child;
mod ticks;
mod error;
mod log;
mod metrics;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse())
}
