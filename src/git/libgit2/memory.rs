//! How much memory libgit2 may hold at once in large blocks, and the count of it.
//!
//! libgit2 puts an object together in memory, whole: the one that a delta is for, the delta, and what comes of it. A pack
//! of a few kilobytes may so ask for gigabytes, and the kernel ends a container that takes more than it may. So the
//! memory of the container is looked up once, and libgit2 gets none beyond a part of it; it takes that for "Out of memory"
//! and gives up one call. `limits` puts this into libgit2. It must not know of packs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Resource;

/// Blocks below this size are not counted: there are many, and a pack cannot make one of them large.
pub(crate) const LARGE: usize = 1024 * 1024;
/// What the rest of the program is left of the memory: a quarter, or this if it is more.
const LEFT_TO_OTHERS: u64 = 48 * 1024 * 1024;

/// Large blocks: how many bytes there may be, and are.
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

    /// Takes so many bytes; false if there are not so many left. Small ones are always given, and not counted.
    #[must_use]
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= most);
        bytes < LARGE || self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Gives back what was taken. The allocator may have given some more bytes than were asked for; that is no matter.
    pub(crate) fn settle(&self, taken: usize, has: usize) {
        let (taken, has) = (counted(taken), counted(has));
        // A block of before there was a budget was never counted.
        let _ = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            Some(held.saturating_sub(taken).saturating_add(has))
        });
    }
}

fn counted(bytes: usize) -> usize {
    if bytes < LARGE { 0 } else { bytes }
}

/// What libgit2 may hold in large blocks, in this process.
pub(crate) fn share() -> usize {
    let machine = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    let machine = (machine.totalram as u64).saturating_mul(u64::from(machine.mem_unit));
    let limit = limit().unwrap_or(u64::MAX).min(machine);
    usize::try_from(share_of(limit)).unwrap_or(usize::MAX)
}

fn share_of(limit: u64) -> u64 {
    let quarter = limit / 4;
    limit.saturating_sub(quarter.max(LEFT_TO_OTHERS)).max(quarter)
}

/// The memory that this process may have: of its container, and of itself (`ulimit -d`, `-v`). `None`: all there is.
pub(crate) fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_groups = files(&groups).into_iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    let of_process = [Resource::Data, Resource::As].map(|what| rustix::process::getrlimit(what).current);
    of_groups.chain(of_process.into_iter().flatten()).min()
}

/// Where the limits of our control groups stand (cgroups(7)): those of the group and of all that it is in. A container
/// sees its own group as the root, or only there.
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
        // A path that leads up is one of a group outside of what is seen here.
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
    fn large_blocks_are_counted_and_small_ones_are_given() {
        let budget = Budget::new();
        budget.allow(3 * LARGE);
        assert!(budget.take(2 * LARGE));
        // The allocator gave a page more.
        budget.settle(2 * LARGE, 2 * LARGE + 4096);
        assert!(!budget.take(LARGE), "a page is missing");
        assert!(budget.take(LARGE - 1), "nobody counts it");
        assert!(!budget.take(usize::MAX));
        budget.settle(2 * LARGE + 4096, 0);
        budget.settle(LARGE, 0);
        assert!(budget.take(3 * LARGE), "a block that was never counted makes no room, and takes none");
        assert!(!budget.take(LARGE));
    }

    #[test]
    fn the_rest_of_the_program_is_left_a_part() {
        let mebibytes = |limit: u64| share_of(limit << 20) >> 20;
        assert_eq!([32, 64, 128, 256, 1024].map(mebibytes), [8, 16, 80, 192, 768]);
        assert!(share() >= LARGE, "a test runs with some memory");
    }

    #[test]
    fn every_group_that_we_are_in_has_a_word() {
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
