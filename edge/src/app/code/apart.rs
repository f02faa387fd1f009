//! Compiling in a process of its own: a component that makes the compiler run for ever or
//! take all memory ends that process, and this one says so.
//!
//! The parent writes the component to a file and starts this program again; the child
//! compiles it under its limits, and writes the machine code where it is kept. It does NOT
//! know what a component does.

use super::store;
use crate::backend_child::end_with_parent;
use crate::{engine, overload};
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The command of the child.
pub(crate) const COMMAND: &str = "compile-apart";
/// CPU that one component may take: our largest, of 12 MB, takes some 20 s on a slow core.
const CPU_S_MAX: u64 = 300;
/// The same by the clock, for one that waits.
const TIME_MAX: Duration = Duration::from_secs(600);
/// Memory that the compiler may take. What the engine reserves and never touches does not
/// count, so the parent looks at what is in use: the kernel's limits are of what is mapped.
const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// What is read of the child's complaint.
const COMPLAINT_BYTES_MAX: u64 = 8 << 10;
/// How often the child is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Compiles `wasm` and keeps the machine code at `path`.
///
/// # Errors
/// The component is wrong or takes too much, or the process could not be had.
pub(super) fn compile(wasm: &[u8], path: &Path) -> Result<(), String> {
    let folder = path.parent().ok_or("the cache has no folder")?;
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let source = tempfile::NamedTempFile::new_in(folder).map_err(|error| error.to_string())?;
    std::fs::write(source.path(), wasm).map_err(|error| error.to_string())?;
    // This program, also where its file was replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(COMMAND)
        .args([source.path(), path])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    limit(&mut command);
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let ended = wait(&mut child, MEMORY_BYTES_MAX)?;
    if ended.success() {
        return Ok(());
    }
    let mut complaint = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr
            .take(COMPLAINT_BYTES_MAX)
            .read_to_string(&mut complaint);
    }
    Err(match ended.code() {
        Some(_) => complaint.trim().trim_start_matches("error: ").to_owned(),
        None => format!("compiling it takes more than {CPU_S_MAX} s ({ended})"),
    })
}

/// What the child does: compiles the file `source` and keeps the machine code at `target`.
///
/// # Errors
/// The component is wrong, or a file is.
pub(crate) fn child(source: &PathBuf, target: &Path) -> Result<(), String> {
    let wasm = std::fs::read(source).map_err(|error| error.to_string())?;
    let engine = engine::engine().map_err(|error| format!("{error:#}"))?;
    let code = engine
        .precompile_component(&wasm)
        .map_err(|error| format!("{error:#}"))?;
    store(&code, target)
}

fn wait(child: &mut Child, memory_max: u64) -> Result<ExitStatus, String> {
    let end = Instant::now() + TIME_MAX;
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(status);
        }
        let used = overload::resident_bytes(child.id()).unwrap_or(0);
        let spent = if Instant::now() > end {
            format!("{} s", TIME_MAX.as_secs())
        } else if used > memory_max {
            format!("{} MiB", memory_max >> 20)
        } else {
            std::thread::sleep(LOOK);
            continue;
        };
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("compiling it takes more than {spent}"));
    }
}

/// Gives the child its limits, and the end of its parent.
#[expect(unsafe_code, reason = "limits are set by system calls in the child")]
fn limit(command: &mut Command) {
    let set = || {
        for (what, most) in [(libc::RLIMIT_CPU, CPU_S_MAX), (libc::RLIMIT_CORE, 0)] {
            let limit = libc::rlimit {
                rlim_cur: most,
                rlim_max: most,
            };
            // SAFETY: it only reads the structure; it is safe between fork and exec.
            if unsafe { libc::setrlimit(what, &raw const limit) } != 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only and takes no lock.
    unsafe { command.pre_exec(set) };
    end_with_parent(command);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        limit(&mut command);
        command
    }

    #[test]
    fn the_child_has_its_limits() {
        let said = shell("ulimit -t; ulimit -c").output().unwrap().stdout;
        assert_eq!(
            String::from_utf8(said).unwrap(),
            format!("{CPU_S_MAX}\n0\n")
        );
    }

    #[test]
    fn one_that_takes_too_much_memory_is_ended() {
        let script = "exec python3 -c 'a = bytearray(64 << 20); import time; time.sleep(60)'";
        let mut child = shell(script).spawn().unwrap();
        let error = wait(&mut child, 32 << 20).unwrap_err();
        assert_eq!(error, "compiling it takes more than 32 MiB");
        let mut child = shell("exit 3").spawn().unwrap();
        assert_eq!(wait(&mut child, 32 << 20).unwrap().code(), Some(3));
    }
}
