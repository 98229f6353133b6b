//! How much memory this process may have, by what its control groups say (cgroups(7)).
//!
//! A container mostly sees its own group as if there were no other; a service, or a container that shares the machine's
//! view, has a path below. Whoever stands above may allow less.

use std::fs;
use std::path::{Path, PathBuf};

/// The least that any group allows; `None` if none says anything.
pub(super) fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = |file: &PathBuf| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    files(&groups).iter().filter_map(limit).min()
}

/// Where limits may be written for a process with these groups, as `/proc/PID/cgroup` lists them.
fn files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (mount, name) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        // A path that leads up is one of a group outside of what is seen here.
        if path.split('/').any(|part| part == "..") {
            files.push(Path::new(mount).join(name));
            continue;
        }
        let path = Path::new(path.trim_start_matches('/'));
        files.extend(path.ancestors().map(|group| Path::new(mount).join(group).join(name)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(groups: &str) -> Vec<String> {
        files(groups).iter().map(|file| file.display().to_string()).collect()
    }

    #[test]
    fn every_group_above_counts_in_both_versions() {
        assert_eq!(
            found("0::/system.slice/site.service\n"),
            [
                "/sys/fs/cgroup/system.slice/site.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(found("0::/"), ["/sys/fs/cgroup/memory.max"]);
        assert_eq!(found("0::/../other"), ["/sys/fs/cgroup/memory.max"]);
        assert_eq!(
            found("9:name=systemd:/x\n5:cpu,memory:/pod\n4:cpuset:/pod\n"),
            ["/sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        );
        assert!(found("nonsense\n\n1:memory").is_empty());
    }

    #[test]
    fn the_limit_of_this_process_can_be_read() {
        // Whatever it is, a process that runs has more than a page.
        assert!(limit().is_none_or(|limit| limit > 4096));
    }
}
