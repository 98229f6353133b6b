//! Checks whether `--root` is on a volume. A container that writes into its own file system publishes nothing to others.
//!
//! The source is the list of mounts (proc(5), `mountinfo`). It must not know what is published.

use std::path::{Path, PathBuf};

use crate::publish::path::shown;

/// Folders whose mounts belong to the container itself.
const NOT_VOLUMES: [&str; 8] =
    ["/proc", "/sys", "/dev", "/etc", "/run/secrets", "/var/run/secrets", "/run/.containerenv", "/boot"];

/// Returns a warning for the operator if the root of a container is on no volume. `None` if it is on one, or if this is no
/// container.
#[must_use]
pub fn warn_of_no_volume(root: &Path) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let is_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    // The root may not exist yet, so the nearest existing folder above it counts.
    let real = root.ancestors().find_map(|folder| folder.canonicalize().ok())?;
    no_volume(&mounts, is_pod, root, &real)
}

fn no_volume(mounts: &str, is_pod: bool, root: &Path, real: &Path) -> Option<String> {
    let mounts: Vec<(PathBuf, &str)> = mounts.lines().filter_map(mount).collect();
    let holds = |(at, _): &&(PathBuf, &str)| real.starts_with(at);
    let (at, kind) = mounts.iter().filter(holds).max_by_key(|(at, _)| at.components().count())?;
    if at != Path::new("/") || !(is_pod || *kind == "overlay") {
        return None;
    }
    let is_volume = |at: &Path| at != Path::new("/") && !NOT_VOLUMES.iter().any(|other| at.starts_with(other));
    let mut volumes: Vec<String> = mounts.iter().filter(|(at, _)| is_volume(at)).map(|(at, _)| shown(at)).collect();
    volumes.sort();
    volumes.dedup();
    volumes.truncate(8);
    let volumes = if volumes.is_empty() { "none".to_owned() } else { volumes.join(", ") };
    Some(format!(
        "--root {} is on no volume but in the container's own file system, which no other container sees; mounted here: {volumes}",
        shown(root)
    ))
}

/// Parses a line of `mountinfo`: the mount point and the type of the file system.
fn mount(line: &str) -> Option<(PathBuf, &str)> {
    let at = line.split(' ').nth(4)?;
    let kind = line.split_once(" - ")?.1.split(' ').next()?;
    // Blanks, tabs and backslashes are written as octal numbers.
    let at = at.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
    Some((at.into(), kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "\
1 0 0:50 / / rw,relatime - overlay overlay rw
2 1 0:51 / /proc rw - proc proc rw
3 1 0:52 / /dev rw - tmpfs tmpfs rw
4 1 8:1 /pods/x/volumes/empty/git /git rw - ext4 /dev/sda1 rw
5 1 8:1 /pods/x/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw
6 1 0:60 / /var/run/secrets/kubernetes.io/serviceaccount ro - tmpfs tmpfs rw
7 1 8:2 / /my\\040data rw - xfs /dev/sdb rw
";

    fn told(mounts: &str, is_pod: bool, root: &str) -> Option<String> {
        no_volume(mounts, is_pod, Path::new(root), Path::new(root))
    }

    #[test]
    fn a_root_in_the_containers_own_file_system_is_told_with_the_volumes_that_there_are() {
        let told = told(POD, false, "/tmp/git").expect("it is on no volume");
        assert!(told.contains("--root /tmp/git") && told.ends_with("mounted here: /git, /my data"), "{told}");
    }

    #[test]
    fn a_root_on_a_volume_and_one_outside_of_containers_are_not_told() {
        for root in ["/git", "/git/inner", "/my data"] {
            assert_eq!(told(POD, true, root), None, "{root}");
        }
        let machine = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n";
        assert_eq!(told(machine, false, "/srv/git"), None);
        assert!(told(machine, true, "/srv/git").is_some_and(|told| told.ends_with("mounted here: none")));
        assert_eq!(told("", true, "/git"), None);
    }
}
