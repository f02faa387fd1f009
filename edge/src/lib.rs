//! `edge`: a wasmtime host for Spin applications.
//!
//! The order of the modules is that of a request's way: what is read at start, the front
//! door, the dispatch, the instances, and what they may use. A library, so that fuzz targets
//! reach what reads from outside; it promises nothing to anybody else.

mod cli;
mod up;
mod watch;
mod doctor;
mod registry;

mod manifest;
mod runtime_config;

mod build_step;
mod compose;
mod denial;
mod app;
mod versions;
mod reload;
mod engine;

mod front;
mod acme;
mod operator;
mod dispatch;
mod instance;
mod lanes;
mod habits;
mod turns;
mod limits;
mod overload;
mod capability;
mod chain;

mod backend_child;
mod ticks;
mod error;
mod private;
mod log;
mod metrics;
mod trace;
mod thread_time;

#[doc(hidden)]
pub mod fuzzing;

use clap::Parser as _;
use std::process::ExitCode;

/// The program: reads the command line and does what it says.
pub fn run() -> ExitCode {
    cli::run(cli::Cli::parse())
}
