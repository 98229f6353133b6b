//! Measures the whole cost of a push: processor time, bytes and files written, with all background work until the next push,
//! beside `git pull` and a peer that polls.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::contestants::{Git, Peer};
use crate::figures::{self, Series};
use crate::options::{Options, Pace};
use crate::ours::{Ours, check};
use crate::process::{self, Used};
use crate::remote::Remote;

/// Pushes that are measured.
const ROUNDS: usize = 15;

pub fn run(options: &Options) {
    println!(
        "the whole cost of a push in the steady state, background included: processor time of all threads, bytes written \
         (wchar), files in trees that were made\n"
    );
    figures::head(&[
        "files",
        "changed",
        "seconds apart",
        "grace",
        "processor ms",
        "`git pull`",
        "ratio",
        "PEER",
        "KiB written",
        "files made",
        "trees, most",
        "push -> published",
    ]);
    for files in options.files_or(&[2_000, 20_000, 100_000]) {
        for pace in options.gaps() {
            for changed in options.changed().into_iter().filter(|changed| *changed <= files) {
                one(files, changed, pace, options);
            }
        }
    }
}

fn one(files: usize, changed: usize, pace: Pace, options: &Options) {
    let mut remote = Remote::new(files);
    let grace = format!("--stale-worktree-timeout={}s", pace.grace);
    let mut flags = options.flags();
    flags.push(&grace);
    let ours = Ours::start(&remote, "root", &flags);
    let git = Git::clone(&remote);
    let peer = options.peer.as_ref().map(|program| Peer::start(program, &remote, "1s"));
    let gap = Duration::from_secs(pace.gap);
    let warm_up = usize::try_from(pace.grace / pace.gap).unwrap_or(0) + 3;
    let rounds = options.rounds(ROUNDS);
    let pid = ours.sidecar.id();
    let (mut latency, mut pulls, mut most) = (Series::default(), Series::default(), 0);
    let (mut before, mut made) = (Used::of(pid), HashSet::new());
    let mut of_peer = peer.as_ref().map(|peer| process::cpu_with_children(peer.id()));
    let mut due = Instant::now();
    for round in 0..warm_up + rounds {
        if round == warm_up {
            before = Used::of(pid);
            made = inodes(&ours.root);
            of_peer = peer.as_ref().map(|peer| process::cpu_with_children(peer.id()));
        }
        let (old, file) = remote.push(changed);
        let took = ours.publish(&remote, &old);
        check(&ours.link(), &file);
        if round >= warm_up {
            latency.add(took);
            pulls.add(git.pull_cpu(&remote, &file));
        } else if round + 1 == warm_up {
            git.pull_cpu(&remote, &file);
        }
        due += gap;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        most = most.max(std::fs::read_dir(ours.root.join(".worktrees")).unwrap().count());
    }
    let used = Used::of(pid).since(&before);
    let made = inodes(&ours.root).difference(&made).count();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (pushes, made, written) = (rounds as f64, made as f64, used.written as f64);
    let cpu = used.cpu_ms / pushes;
    let peer = peer.as_ref().zip(of_peer).map(|(peer, before)| process::cpu_with_children(peer.id()) - before);
    figures::row(&[
        files.to_string(),
        changed.to_string(),
        pace.gap.to_string(),
        format!("{} s", pace.grace),
        format!("{cpu:.1}"),
        pulls.to_string(),
        format!("{:.2}", cpu / pulls.median()),
        peer.map_or_else(|| "-".to_owned(), |all| format!("{:.1}", all / pushes)),
        format!("{:.0}", written / 1024.0 / pushes),
        format!("{:.1}", made / pushes),
        most.to_string(),
        latency.to_string(),
    ]);
}

/// Files and links in the trees, by inode and the time of their making: an inode may be used again.
fn inodes(root: &Path) -> HashSet<(u64, i64)> {
    let mut found = HashSet::new();
    let mut pending = vec![root.join(".worktrees")];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(stat) = entry.metadata() else { continue };
            if stat.is_dir() {
                pending.push(entry.path());
                continue;
            }
            // Where the file system does not tell when it was made, a content that is written once tells as much.
            let made = stat.created().ok().and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
            let made = made.map_or(stat.mtime_nsec(), |made| i64::try_from(made.as_nanos()).unwrap_or(i64::MAX));
            found.insert((stat.ino(), made));
        }
    }
    found
}
