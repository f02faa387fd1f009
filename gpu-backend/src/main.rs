//! The binary `gpu-backend`: reads the command line, then serves or measures.
//! Knows nothing of how either is done.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::main()
}
