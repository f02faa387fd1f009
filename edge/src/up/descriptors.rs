//! File descriptors: a connection takes one, and its call to the backend another, so the
//! process asks for as many as it may have.
//!
//! It does NOT know what they are used for.

/// Raises the soft limit of open files to the hard one.
#[expect(unsafe_code, reason = "limits are read and set by system calls")]
pub(super) fn raise() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls only read or write the structure that they are given.
    let raised = unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            false
        } else {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0
        }
    };
    if !raised {
        tracing::warn!("the limit of open files stays as it is");
    }
}
