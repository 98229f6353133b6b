//! Shared parts of the test modules: real repositories, real servers, the real program, and waiting with a limit.
//!
//! It must not know what is being tested; each part says in its head what it stands in for.
#![allow(dead_code, reason = "each test module uses its own share")]

use std::path::Path;
use std::time::{Duration, Instant};

pub mod control_group;
pub mod delivery;
pub mod forge;
pub mod gateway;
pub mod git_http;
pub mod github_app;
pub mod lfs;
pub mod odd_volume;
pub mod proxy;
pub mod pty;
pub mod pushes;
pub mod repo;
pub mod sidecar;
pub mod specs;
pub mod sshd;
pub mod stub;
pub mod tls;
pub mod tracer;

/// Long enough for a loaded two-core machine; a test that passes never waits it out.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls a condition until it holds. The panic names the caller.
#[track_caller]
pub fn eventually<F: FnMut() -> bool>(deadline: Duration, condition: F) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    let mut condition = condition;
    async move {
        let end = Instant::now() + deadline;
        while !condition() {
            assert!(Instant::now() < end, "the condition at {caller} did not hold within {deadline:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Polls a condition until it holds, for as long as there are fewer and fewer of what `left` counts: work that gives way to
/// everything else takes as long as a busy machine lets it.
#[track_caller]
pub fn eventually_while_fewer<L: FnMut() -> usize, F: FnMut() -> bool>(
    left: L,
    condition: F,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    let (mut left, mut condition) = (left, condition);
    async move {
        let (mut fewest, mut since) = (usize::MAX, Instant::now());
        while !condition() {
            let count = left();
            if count < fewest {
                (fewest, since) = (count, Instant::now());
            }
            let waited = since.elapsed();
            assert!(
                waited < PATIENCE,
                "the condition at {caller} does not hold, and there are {count} left since {waited:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The number of files and folders below a folder.
pub fn entries_below(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let entries = entries.flatten().map(|entry| {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        1 + if is_folder { entries_below(&entry.path()) } else { 0 }
    });
    entries.sum()
}

/// [`eventually`] for tests without a runtime.
#[track_caller]
pub fn eventually_blocking<F: FnMut() -> bool>(deadline: Duration, mut condition: F) {
    let end = Instant::now() + deadline;
    while !condition() {
        assert!(Instant::now() < end, "the condition did not hold within {deadline:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The same for waits that have a name, which a failure prints.
#[track_caller]
pub fn eventually_for(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Copies the program that is tested. By a program of its own: a file that this process has open for writing would be open in
/// whatever another test starts at that moment as well, and could not be run until that has become its program (ETXTBSY).
pub fn copy_program(to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_pushsync")).arg(to).status();
    assert!(copied.expect("there is a cp").success());
}

/// Ends a test that cannot run here. Fails it where the variable `CI` is set: `.ci/run` installs everything that tests need,
/// so a skip there would be a test that is never run.
#[track_caller]
pub fn skip(needs: &str) {
    assert!(!on_ci(), "this test needs {needs}");
    eprintln!("SKIPPED: this test needs {needs}");
}

/// True where a missing tool is a failure instead of a reason to skip.
pub fn on_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}
