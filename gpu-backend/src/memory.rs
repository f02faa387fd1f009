//! How much memory this machine has to give, asked once at start: what the kernel says is
//! available, and what the control groups round this process leave of their limits.
//! Knows nothing of what it is wanted for.

use std::path::{Path, PathBuf};

/// Bytes that a process may still take, or `None` where neither the kernel nor a control
/// group tells (it is not Linux).
pub(crate) fn available_bytes() -> Option<u64> {
    available_under(Path::new("/"))
}

fn available_under(root: &Path) -> Option<u64> {
    let machine = std::fs::read_to_string(root.join("proc/meminfo")).ok();
    let machine = machine.and_then(|text| {
        let kib = field(&text, "MemAvailable:")?;
        kib.checked_mul(1024)
    });
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let groups = groups.lines().filter_map(|line| group_leaves(root, line));
    machine.into_iter().chain(groups).min()
}

/// The number after a key, in a text of such pairs.
fn field(text: &str, key: &str) -> Option<u64> {
    let mut words = text.split_whitespace();
    words.find(|word| *word == key)?;
    words.next()?.parse().ok()
}

/// What the tightest group leaves, of one line of `/proc/self/cgroup` (cgroups(7)):
/// `0::PATH` is the second version's, `N:memory:PATH` the first's.
fn group_leaves(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let files = if number == "0" && controllers.is_empty() {
        &UNIFIED
    } else if controllers.split(',').any(|c| c == "memory") {
        &FIRST
    } else {
        return None;
    };
    let mount = root.join(files.mount);
    let group = mount.join(path.trim_start_matches('/'));
    // In a container the path may be one that only the host sees: its ancestors remain.
    let folders = group.ancestors().take_while(|a| a.starts_with(&mount));
    folders.filter_map(|folder| files.leaves(folder)).min()
}

/// The files of one version of control groups.
struct GroupFiles {
    mount: &'static str,
    limit: &'static str,
    used: &'static str,
    /// In `memory.stat`: file pages that are given up first.
    reclaimable: &'static str,
}

const UNIFIED: GroupFiles = GroupFiles {
    mount: "sys/fs/cgroup",
    limit: "memory.max",
    used: "memory.current",
    reclaimable: "inactive_file",
};
const FIRST: GroupFiles = GroupFiles {
    mount: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};

impl GroupFiles {
    /// What one group leaves of its limit; `None` where it has none.
    fn leaves(&self, folder: &Path) -> Option<u64> {
        let read = |name: &str| std::fs::read_to_string(PathBuf::from(folder).join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        let limit = number(self.limit)?;
        let used = number(self.used)?;
        let stat = read("memory.stat").unwrap_or_default();
        let reclaimable = field(&stat, self.reclaimable).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(reclaimable)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], want: Option<u64>) {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        assert_eq!(available_under(root.path()), want);
    }

    const MACHINE: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:       2000 kB\nMemFree:  5 kB\nMemAvailable:   1000 kB\n",
    );

    #[test]
    fn without_a_group_it_is_what_the_kernel_says() {
        check(&[], None);
        check(&[MACHINE], Some(1_024_000));
        check(
            &[
                MACHINE,
                ("proc/self/cgroup", "0::/\n"),
                ("sys/fs/cgroup/memory.max", "max\n"),
                ("sys/fs/cgroup/memory.current", "17\n"),
            ],
            Some(1_024_000),
        );
    }

    #[test]
    fn the_tightest_group_counts_and_old_file_pages_do_not() {
        let files = [
            MACHINE,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/memory.max", "5000\n"),
            ("sys/fs/cgroup/a/memory.current", "4000\n"),
            (
                "sys/fs/cgroup/a/memory.stat",
                "anon 1\ninactive_file 1500\nactive_file 9\n",
            ),
            ("sys/fs/cgroup/a/b/memory.max", "9000\n"),
            ("sys/fs/cgroup/a/b/memory.current", "100\n"),
        ];
        check(&files, Some(2_500));
    }

    #[test]
    fn the_first_version_is_read_too_also_where_the_path_is_the_hosts() {
        let files = [
            MACHINE,
            (
                "proc/self/cgroup",
                "5:cpu,cpuacct:/x\n4:memory:/host/only\n0::/\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "7000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "8000\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "total_inactive_file 3000\n",
            ),
        ];
        check(&files, Some(2_000));
    }

    #[test]
    fn this_machine_tells() {
        if cfg!(target_os = "linux") {
            assert!(available_bytes().is_some_and(|bytes| bytes > 1 << 20));
        }
    }
}
