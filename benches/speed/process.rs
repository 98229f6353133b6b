//! The kernel's figures about a process and this machine.

use std::fs;
use std::path::{Path, PathBuf};

/// One line that says where the figures come from.
pub fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, name)| name);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let git = std::process::Command::new("git").arg("--version").output().map(|out| out.stdout).unwrap_or_default();
    format!(
        "{cores} cores of {cpu}, Linux {}, {}, files on {} ({}), load {} at the start; medians (least-most) in ms",
        kernel.trim(),
        String::from_utf8_lossy(&git).trim(),
        file_system(&place()),
        place().display(),
        load.split(' ').next().unwrap_or_default(),
    )
}

/// One line that says what was measured, and how to do it again.
pub fn command() -> String {
    let git = |args: &[&str]| {
        let output = std::process::Command::new("git").current_dir(env!("CARGO_MANIFEST_DIR")).args(args).output();
        output.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default()
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    let changed = if git(&["status", "--porcelain", "--untracked-files=no"]).is_empty() { "" } else { " with changes" };
    let variables =
        ["PUSHSYNC", "PEER", "BENCH_DIR"].map(|name| std::env::var(name).map(|value| format!("{name}={value} ")));
    let variables: String = variables.into_iter().flatten().collect();
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    format!("commit {commit}{changed}: {variables}scripts/bench {}", args.join(" "))
}

/// Where repositories and trees go: `BENCH_DIR`, else memory if there is such a place. A shared disk says more about its other
/// users than about us.
pub fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    match std::env::var_os("BENCH_DIR") {
        Some(told) if !told.is_empty() => told.into(),
        _ if tempfile::tempfile_in(memory).is_ok() => memory.to_owned(),
        _ => std::env::temp_dir(),
    }
}

/// The type of the file system that a path is on.
fn file_system(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mut best = (0, "unknown");
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(place), Some(kind)) = (words.next(), words.next()) else { continue };
        if path.starts_with(place) && place.len() >= best.0 {
            best = (place.len(), kind);
        }
    }
    best.1.to_owned()
}

/// Milliseconds of processor that all its living threads have had.
pub fn cpu_ms(pid: u32) -> f64 {
    let mut nanoseconds = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text.split(' ').next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(0.0);
    }
    nanoseconds / 1e6
}

/// The processor time and the written bytes of a process so far.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Of all threads, those that have ended included.
    pub cpu_ms: f64,
    /// Bytes that it passed to the kernel.
    pub written: u64,
}

impl Used {
    pub fn of(pid: u32) -> Self {
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok()).unwrap();
        Self { cpu_ms: milliseconds(pid, 11, 2), written }
    }

    pub fn since(&self, before: &Self) -> Self {
        Self { cpu_ms: self.cpu_ms - before.cpu_ms, written: self.written - before.written }
    }
}

/// Milliseconds of processor that a process and the programs that it has waited for have had.
pub fn cpu_with_children(pid: u32) -> f64 {
    milliseconds(pid, 11, 4)
}

/// The sum of fields of `/proc/PID/stat` behind the name, each a time.
fn milliseconds(pid: u32, first: usize, count: usize) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let behind_the_name = stat.rsplit_once(") ").unwrap().1;
    let ticks: u32 =
        behind_the_name.split(' ').skip(first).take(count).map(|ticks| ticks.parse::<u32>().unwrap()).sum();
    // USER_HZ, which is the same on all machines of today.
    f64::from(ticks) * 10.0
}

/// Processor time of children that were waited for: a program that runs no programs has none.
pub fn children_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let behind_the_name = stat.rsplit_once(") ").unwrap().1;
    behind_the_name.split(' ').skip(13).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// How often its threads went to sleep by themselves, which is how often they were woken.
pub fn wake_ups(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().map(|task| status(&task.path().join("status"), "voluntary_ctxt_switches")).sum()
}

/// A line of `/proc/PID/status`, in its own unit.
pub fn of(pid: u32, field: &str) -> u64 {
    status(Path::new(&format!("/proc/{pid}/status")), field)
}

fn status(path: &Path, field: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
