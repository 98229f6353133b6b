//! The memory that libgit2 may hold at once in large blocks, and its count.
//!
//! libgit2 applies a delta in memory: it holds the base object, the delta and the result. A pack of a few kilobytes
//! may need gigabytes that way, and the kernel kills a container that exceeds its limit. So the container's limit is
//! read once, and libgit2 gets a part of it; beyond that it reports "Out of memory" and fails one call. `limits`
//! installs this in libgit2. It must not know of packs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Resource;

/// Smaller blocks are not counted: there are many, and a pack cannot make one of them large.
pub(crate) const LARGE: usize = 1024 * 1024;
/// The memory for the rest of the program: a quarter, or this if it is more.
const RESERVED: u64 = 48 * 1024 * 1024;

/// The limit for large blocks, and the bytes that are in use.
#[derive(Debug)]
pub(crate) struct Budget {
    most: AtomicUsize,
    held: AtomicUsize,
}

impl Budget {
    pub(crate) const fn new() -> Self {
        Self { most: AtomicUsize::new(usize::MAX), held: AtomicUsize::new(0) }
    }

    pub(crate) fn allow(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Takes bytes from the budget; false if there are not enough. Small blocks are always granted, and not counted.
    #[must_use]
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= most);
        bytes < LARGE || self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Replaces the bytes that were taken for a block by its actual size. The allocator may have returned some more
    /// bytes than were requested.
    pub(crate) fn replace(&self, taken: usize, has: usize) {
        let (taken, has) = (counted(taken), counted(has));
        // A block from before there was a budget was never counted.
        let _ = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            Some(held.saturating_sub(taken).saturating_add(has))
        });
    }
}

fn counted(bytes: usize) -> usize {
    if bytes < LARGE { 0 } else { bytes }
}

/// Returns the budget of this process for libgit2's large blocks.
pub(crate) fn budget() -> usize {
    let machine = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    let machine = (machine.totalram as u64).saturating_mul(u64::from(machine.mem_unit));
    let limit = limit().unwrap_or(u64::MAX).min(machine);
    usize::try_from(budget_of(limit)).unwrap_or(usize::MAX)
}

fn budget_of(limit: u64) -> u64 {
    let quarter = limit / 4;
    // At least a quarter: in a very small container nothing could be fetched otherwise.
    limit.saturating_sub(quarter.max(RESERVED)).max(quarter)
}

/// Returns the memory limit of this process: of its container, and its own (`ulimit -d`, `-v`). `None`: there is no
/// limit.
pub(crate) fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_groups = files(&groups).into_iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    let of_process = [Resource::Data, Resource::As].map(|what| rustix::process::getrlimit(what).current);
    of_groups.chain(of_process.into_iter().flatten()).min()
}

/// Returns the paths of the memory limits of our control groups (cgroups(7)): the group's and those of all its
/// parents. A container sees its own group as the root, or only there.
fn files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // A path that leads up belongs to a group outside of the visible tree.
        let path = if path.split('/').any(|part| part == "..") { "" } else { path.trim_start_matches('/') };
        let path = Path::new(path);
        files.extend(path.ancestors().map(|group| Path::new(root).join(group).join(name)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_blocks_are_counted_and_small_ones_always_granted() {
        let budget = Budget::new();
        budget.allow(3 * LARGE);
        assert!(budget.take(2 * LARGE));
        // The allocator gave a page more.
        budget.replace(2 * LARGE, 2 * LARGE + 4096);
        assert!(!budget.take(LARGE), "a page is missing");
        assert!(budget.take(LARGE - 1), "small blocks are not counted");
        assert!(!budget.take(usize::MAX));
        budget.replace(2 * LARGE + 4096, 0);
        budget.replace(LARGE, 0);
        assert!(budget.take(3 * LARGE), "a block that was never counted makes no room, and takes none");
        assert!(!budget.take(LARGE));
    }

    #[test]
    fn a_part_of_the_limit_is_reserved_for_the_rest_of_the_program() {
        let mebibytes = |limit: u64| budget_of(limit << 20) >> 20;
        assert_eq!([32, 64, 128, 256, 1024].map(mebibytes), [8, 16, 80, 192, 768]);
        assert!(budget() >= LARGE, "a test runs with some memory");
    }

    #[test]
    fn the_limits_of_all_parent_control_groups_are_read() {
        let second = "0::/kubepods/pod1\n";
        let expected = ["/sys/fs/cgroup/kubepods/pod1/", "/sys/fs/cgroup/kubepods/", "/sys/fs/cgroup/"];
        assert_eq!(files(second), expected.map(|folder| PathBuf::from(format!("{folder}memory.max"))));
        let first = "9:name=systemd:/x\n4:cpu,memory:/a\n0::/\nnonsense\n";
        let expected = ["memory/a/memory.limit_in_bytes", "memory/memory.limit_in_bytes", "memory.max"];
        assert_eq!(files(first), expected.map(|file| Path::new("/sys/fs/cgroup").join(file)));
        assert_eq!(files("0::/../other"), [PathBuf::from("/sys/fs/cgroup/memory.max")]);
        assert!(files("").is_empty());
    }
}
