//! Control groups with a limit, as a container has one: the kernel kills a process that exceeds that of memory, and stops
//! one that exceeds that of processor time until the next tenth of a second.

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
    /// With so many bytes of memory. `None`, loudly, where no group can be made.
    pub fn make(limit: u64) -> Option<Self> {
        let limit = limit.to_string();
        let files = [("memory.limit_in_bytes", &*limit), ("memory.max", &limit)];
        let group = Self::with("memory", files)?;
        // No swap, where there is some.
        let _ = fs::write(group.folder.join("memory.swap.max"), "0");
        Some(group)
    }

    /// With so many thousandths of a processor, as `resources.limits.cpu: 100m` gives them: a part of each tenth of a second.
    pub fn of_cpu(thousandths: u32) -> Option<Self> {
        let microseconds = thousandths * 100;
        let files = [("cpu.cfs_quota_us", &*microseconds.to_string()), ("cpu.max", &format!("{microseconds} 100000"))];
        Self::with("cpu", files)
    }

    /// By a file of version 1 and its value, or one of version 2.
    fn with(controller: &str, [first, second]: [(&str, &str); 2]) -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("pushsync-test-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let top = Path::new("/sys/fs/cgroup");
        for (above, unified, (file, value)) in [(top.join(controller), false, first), (top.to_owned(), true, second)] {
            let group = Self { folder: above.join(&name), unified };
            // In version 2 the controller has to be handed down first; without it there is no such file in the group.
            let _ = unified.then(|| fs::write(above.join("cgroup.subtree_control"), format!("+{controller}")));
            if fs::create_dir(&group.folder).is_ok() && fs::write(group.folder.join(file), value).is_ok() {
                return Some(group);
            }
        }
        skip(&format!("a control group of {controller} (root, /sys/fs/cgroup writable)"));
        None
    }

    /// Runs a program in the group; its arguments are to be added.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ > "$1" && shift && exec "$@""#, "sh"]);
        command.arg(self.folder.join("cgroup.procs")).arg(program);
        command
    }

    /// Starts the program in the group.
    pub fn run(&self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Sidecar {
        let mut command = self.command(env!("CARGO_BIN_EXE_pushsync"));
        command.args(arguments);
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
