//! A month of pushes to the real program, all defaults: what grows on its volume and in its memory. Not run by default;
//! `scripts/measure-store` prints the table.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::site::Site;
use crate::support::git_http::GitHttp;
use crate::support::pushes::{inodes, made, show, size};
use crate::support::repo::{Repo, git_command};
use crate::support::{PATIENCE, eventually};

/// What there is after a push.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    push: usize,
    store_kib: u64,
    packs: usize,
    shallow: usize,
    refs: usize,
    state_kib: u64,
    history_kib: u64,
    trees: usize,
    inodes: u64,
    rss_kib: u64,
    anonymous_kib: u64,
    descriptors: usize,
}

impl Sample {
    fn take(site: &mut Site, push: usize) -> Self {
        let id = site.sidecar().id();
        let state = site.root().join(".pushsync");
        let store = state.join("repo.git");
        let names = |path: &Path| fs::read_dir(path).map_or(0, Iterator::count);
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let number = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        Self {
            push,
            store_kib: size(&store) / 1024,
            packs: packs(&store),
            shallow: fs::read_to_string(store.join("shallow")).map_or(0, |text| text.lines().count()),
            refs: refs(&store),
            state_kib: size(&state) / 1024,
            history_kib: fs::metadata(state.join("history.jsonl")).map_or(0, |meta| meta.len()) / 1024,
            trees: names(&site.root().join(".worktrees")),
            inodes: 0,
            rss_kib: number("VmRSS"),
            anonymous_kib: number("RssAnon"),
            descriptors: names(format!("/proc/{id}/fd").as_ref()),
        }
    }

    /// The larger of each figure.
    fn peak(self, other: Self) -> Self {
        Self {
            push: other.push,
            store_kib: self.store_kib.max(other.store_kib),
            packs: self.packs.max(other.packs),
            shallow: self.shallow.max(other.shallow),
            refs: self.refs.max(other.refs),
            state_kib: self.state_kib.max(other.state_kib),
            history_kib: self.history_kib.max(other.history_kib),
            trees: self.trees.max(other.trees),
            inodes: self.inodes.max(other.inodes),
            rss_kib: self.rss_kib.max(other.rss_kib),
            anonymous_kib: self.anonymous_kib.max(other.anonymous_kib),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }

    fn print(&self, what: &str) {
        println!(
            "{what:>8} {:9} {:5} {:7} {:4} {:9} {:11} {:5} {:6} {:7} {:8} {:3}",
            self.store_kib,
            self.packs,
            self.shallow,
            self.refs,
            self.state_kib,
            self.history_kib,
            self.trees,
            self.inodes,
            self.rss_kib,
            self.anonymous_kib,
            self.descriptors
        );
    }
}

#[tokio::test]
#[ignore = "takes most of an hour, at one push a second; run by scripts/measure-store"]
async fn the_volume_over_2000_pushes_to_the_program_with_its_defaults() {
    let pushes: u32 = std::env::var("PUSHES").map_or(2000, |text| text.parse().unwrap());
    let mut site = Site::new();
    site.repo = Repo::empty();
    site.remote = GitHttp::start(&site.repo.root());
    let url = site.remote.url("site.git");
    site.set("repo", &url).unset("period");
    let commits = made(&site.repo, pushes);
    show(&site.repo, &commits[0]);
    site.start().await;
    eventually(4 * PATIENCE, || site.published().as_ref() == Some(&commits[0])).await;

    println!("    push store KiB packs shallow refs state KiB history KiB trees inodes RSS KiB anon KiB fds");
    let (mut peak, mut kept) = (Sample::default(), Vec::new());
    let started = Instant::now();
    for (number, pair) in commits.windows(2).enumerate() {
        show(&site.repo, &pair[1]);
        assert_eq!(site.ring(&pair[0], &pair[1]).await.status, 202);
        let pushed = Instant::now();
        while site.published().as_deref() != Some(&pair[1]) {
            let log = || site.sidecar.as_ref().unwrap().log().join("\n");
            assert!(pushed.elapsed() < 4 * PATIENCE, "push {number} is lost:\n{}", log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut sample = Sample::take(&mut site, number + 1);
        if (number + 1) % 50 == 0 || number == 0 {
            sample.inodes = inodes(&site.root());
        }
        peak = peak.peak(sample);
        if number == 0 || (number + 1) % (pushes as usize / 8).max(1) == 0 {
            sample.print(&sample.push.to_string());
            kept.push(sample);
        }
    }
    // The grace of the last trees, the sweep after it, and the compaction after that.
    tokio::time::sleep(Duration::from_secs(75)).await;
    let mut end = Sample::take(&mut site, pushes as usize);
    end.inodes = inodes(&site.root());
    end.print("at rest");
    peak.print("peak");
    println!("{pushes} pushes in {:.0?}", started.elapsed());
    let last = commits.last().unwrap();
    let store = site.root().join(".pushsync/repo.git");
    for arguments in [&["fsck", "--no-dangling"][..], &["archive", "--output=/dev/null", last]] {
        let mut git = git_command(&site.root());
        assert!(git.args(["-c", "safe.directory=*"]).args(arguments).current_dir(&store).status().unwrap().success());
    }
    site.repo.git(&["fetch", "--quiet", "origin", "main"]);
    site.assert_whole(last);

    let (first, middle, last) = (kept[0], kept[kept.len() / 2], kept[kept.len() - 1]);
    // 25, and those that come while a thread of the lowest priority makes one of them: 62 were seen at a load of 20 on two
    // cores, with a push each second.
    assert!(peak.packs <= 100 && peak.refs <= 4, "{peak:?}");
    assert!(end.packs <= 25 && peak.history_kib <= 2048, "{end:?} {peak:?}");
    // One for each tree that is in its grace, and no more.
    assert!(peak.shallow <= peak.trees + 2, "{peak:?}");
    assert!(end.shallow <= 3 && end.trees <= 3, "{end:?}");
    assert!(peak.store_kib < 4 * first.store_kib + 16 * 1024, "{peak:?}");
    assert!(last.rss_kib <= middle.rss_kib + middle.rss_kib / 4, "{kept:?}");
    assert!(last.inodes <= middle.inodes + middle.inodes / 4, "{kept:?}");
}

fn packs(store: &Path) -> usize {
    let names = fs::read_dir(store.join("objects/pack")).into_iter().flatten().flatten();
    names.filter(|entry| entry.path().extension().is_some_and(|end| end == "pack")).count()
}

/// Loose and packed ones.
fn refs(store: &Path) -> usize {
    fn files(folder: &Path) -> usize {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
    }
    let packed = fs::read_to_string(store.join("packed-refs")).unwrap_or_default();
    files(&store.join("refs")) + packed.lines().filter(|line| !line.starts_with(['#', '^'])).count()
}
