//! A control group with a memory limit, as a container has one: the kernel kills a process that exceeds it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::sidecar::Sidecar;
use super::skip;

/// A control group of our own with a limit, in either version (cgroups(7)). Removed with its value.
pub struct Group {
    folder: PathBuf,
    unified: bool,
}

impl Group {
    /// `None`, loudly, where no group can be made.
    pub fn make(limit: u64) -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("pushsync-test-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        for (above, unified) in [("/sys/fs/cgroup/memory", false), ("/sys/fs/cgroup", true)] {
            let file = if unified { "memory.max" } else { "memory.limit_in_bytes" };
            let group = Self { folder: Path::new(above).join(&name), unified };
            // In version 2 the controller has to be handed down first; without it there is no such file in the group.
            let _ = unified.then(|| fs::write(Path::new(above).join("cgroup.subtree_control"), "+memory"));
            if fs::create_dir(&group.folder).is_ok() && fs::write(group.folder.join(file), limit.to_string()).is_ok() {
                // No swap, where there is some.
                let _ = fs::write(group.folder.join("memory.swap.max"), "0");
                return Some(group);
            }
        }
        skip("a memory control group (root, /sys/fs/cgroup writable)");
        None
    }

    /// Starts the program in the group.
    pub fn run(&self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Sidecar {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ > "$1" && shift && exec "$@""#, "sh"]);
        command.arg(self.folder.join("cgroup.procs")).arg(env!("CARGO_BIN_EXE_pushsync")).args(arguments);
        Sidecar::spawn(command)
    }

    /// How many processes of it the kernel has ended.
    pub fn killed(&self) -> u64 {
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
