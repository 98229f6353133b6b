//! The rows of the fault matrix about a container's memory limit: the kernel ends whoever goes past it, and asks nobody.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::site::Site;
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually, on_ci};

const LIMIT: u64 = 64 << 20;
/// More than the limit, so that nobody can hold it in memory whole, let alone two versions of it.
const FILE: usize = 80 << 20;

/// A control group of our own with a limit, in either version (cgroups(7)). Removed with its value.
struct Group {
    folder: PathBuf,
    unified: bool,
}

impl Group {
    /// `None`, loudly, where no group can be made.
    fn make(limit: u64) -> Option<Self> {
        let name = format!("pushsync-test-{}", std::process::id());
        for (above, unified) in [("/sys/fs/cgroup/memory", false), ("/sys/fs/cgroup", true)] {
            let file = if unified { "memory.max" } else { "memory.limit_in_bytes" };
            let group = Self { folder: Path::new(above).join(&name), unified };
            // In version 2 the controller has to be handed down first; without it there is no such file in the group.
            let _ = unified.then(|| fs::write(Path::new(above).join("cgroup.subtree_control"), "+memory"));
            if fs::create_dir(&group.folder).is_ok() && fs::write(group.folder.join(file), limit.to_string()).is_ok() {
                return Some(group);
            }
        }
        eprintln!("SKIPPED: no memory control group can be made here (CI: {})", on_ci());
        None
    }

    /// Starts the program in the group.
    fn run(&self, site: &Site) -> Sidecar {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ > "$1" && shift && exec "$@""#, "sh"]);
        command.arg(self.folder.join("cgroup.procs")).arg(env!("CARGO_BIN_EXE_pushsync")).args(site.arguments());
        Sidecar::spawn(command)
    }

    fn killed(&self) -> u64 {
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.folder.join(file)).unwrap();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")).expect("a count of the killed");
        count.parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its last process was reaped a moment ago, and the kernel takes its time to notice.
        let end = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.folder).is_err() && self.folder.exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What is in memory only is charged to whoever wrote it, and cannot be taken back.
fn is_in_memory(path: &Path) -> bool {
    const TMPFS: rustix::fs::FsWord = 0x0102_1994;
    rustix::fs::statfs(path).unwrap().f_type == TMPFS
}

#[tokio::test]
async fn a_file_that_is_larger_than_the_containers_memory_is_cloned_changed_and_changed_again() {
    let mut site = Site::new();
    if is_in_memory(site.folder.path()) {
        eprintln!("SKIPPED: temporary files are in memory here (CI: {})", on_ci());
        return;
    }
    let Some(group) = Group::make(LIMIT) else { return };
    // Noise does not get shorter, however long git tries.
    site.repo.git(&["config", "core.compression", "0"]);
    site.repo.bare_git(&["config", "core.compression", "0"]);
    let mut content = vec![0; FILE];
    fastrand::Rng::with_seed(7).fill(&mut content);
    let mut head = site.repo.push_file("large", &content, "a large file");
    let sidecar = group.run(&site);
    site.started(sidecar).await;
    // After the second change all packs but one weigh more than that one, which is when a store is compacted.
    for change in 0..=3 {
        if change > 0 {
            // A few bytes of it: a server would like to send the difference, which takes both versions to understand.
            content[change * FILE / 4..][..8].copy_from_slice(b"changed!");
            let before = head;
            head = site.repo.push_file("large", &content, &format!("change {change}"));
            assert_eq!(site.ring(&before, &head).await.status, 202);
        }
        let (wanted, group) = (head.clone(), &group);
        eventually(PATIENCE * 4, || {
            assert_eq!(group.killed(), 0, "killed at change {change}");
            site.published().as_ref() == Some(&wanted)
        })
        .await;
        assert!(fs::read(site.link().join("large")).unwrap() == content, "change {change}");
        // What goes on behind a publish (a spare tree, a compaction) has the same limit.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(group.killed(), 0);
    assert!(site.sidecar().is_running());
    site.sidecar().kill();
}
