//! The program `edge`: what it does is in the library beside this file, where fuzz targets
//! reach it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    edge::run()
}
