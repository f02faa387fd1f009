//! The program `edge`: what it does is in the library beside this file, where fuzz targets
//! reach it too.

use std::process::ExitCode;

/// Memory that an attack or a crowd has used is given back to the system within seconds;
/// glibc's allocator keeps it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// jemalloc's settings, which it finds by this name: a thread of its own gives back what has
/// not been used for a second.
#[expect(
    unsafe_code,
    reason = "a name that a library of another language reads"
)]
// SAFETY: jemalloc reads a pointer to a C string here, which is what a reference to an array is.
#[unsafe(export_name = "_rjem_malloc_conf")]
static MALLOC_CONF: &[u8; 60] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    edge::run()
}
