//! Hours of pushes, faults and restarts: nothing torn, nothing lost, nothing that grows. `scripts/soak` runs it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::site::{Site, published};
use crate::support::git_http::Mode;

const FILES: usize = 40;
const BESIDE: usize = 400;
/// The poll is every two seconds and the backoff never longer, so what is not there by now is lost.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// What the readers saw.
#[derive(Default)]
struct Seen {
    reads: AtomicU64,
    torn: AtomicU64,
}

/// What one moment costs.
struct Sample {
    minute: f64,
    rss: u64,
    anonymous: u64,
    descriptors: usize,
    threads: u64,
    store: u64,
    packs: usize,
    trees: usize,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a soak of SOAK_MINUTES; scripts/soak runs it"]
async fn pushes_faults_and_restarts() {
    let minutes: f64 = std::env::var("SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let seed = std::env::var("SOAK_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("{minutes} minutes, SOAK_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut site = Site::new();
    site.set("period", "2s").set("hook-rate", "0").set("stale-worktree-timeout", "3s").set("sync-timeout", "5s");
    for file in 0..BESIDE {
        site.repo.write(&format!("beside/{}/file{file}", file % 17), format!("{file}\n").repeat(50));
    }
    let mut head = write_generation(&site, 0);
    site.repo.push();
    site.start_in_sync().await;

    let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (link, stop, seen) = (site.link(), stop.clone(), seen.clone());
            std::thread::spawn(move || read_until(&link, &stop, &seen))
        })
        .collect();

    let begun = Instant::now();
    let whole = Duration::from_secs_f64(minutes * 60.0);
    let mut samples = vec![sample(&mut site, begun)];
    let (mut pushes, mut faults, mut restarts, mut lost, mut generation) = (0_u64, 0_u64, 0_u64, 0_u64, 0);
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < whole {
        generation += 1;
        // Restarts come in the first third, so that what grows has the other two to show it.
        let disturbed = disturb(&mut site, &mut random, begun.elapsed() < whole / 3).await;
        faults += u64::from(disturbed == Some("fault"));
        restarts += u64::from(disturbed == Some("restart"));
        let after = write_generation(&site, generation);
        if random.u8(0..20) == 0 {
            head = site.repo.amend("amended");
            site.repo.force_push();
        } else {
            site.repo.push();
            // A delivery that GitHub loses is what the poll is for.
            if random.u8(0..10) > 0 {
                site.ring(&head, &after).await;
            }
            head = after;
        }
        pushes += 1;
        if disturbed == Some("fault") {
            tokio::time::sleep(Duration::from_millis(random.u64(100..3000))).await;
            site.remote.set(Mode::Serve);
        }
        let pushed = Instant::now();
        while site.published().as_deref() != Some(&head) {
            if pushed.elapsed() > LOST_AFTER {
                lost += 1;
                println!("lost {head} after {disturbed:?}:\n{}", site.sidecar().log().join("\n"));
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        slowest = slowest.max(pushed.elapsed());
        if generation % 50 == 0 {
            site.assert_whole(&head);
        }
        if samples.last().is_none_or(|last| begun.elapsed().as_secs_f64() / 60.0 - last.minute > minutes / 12.0) {
            samples.push(sample(&mut site, begun));
        }
        tokio::time::sleep(Duration::from_millis(random.u64(0..600))).await;
    }
    site.assert_whole(&head);
    samples.push(sample(&mut site, begun));
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.join().expect("the reader counts and does not panic");
    }
    println!("minute |    RSS | anonymous | fds | threads | store KiB | packs | trees");
    for sample in &samples {
        println!(
            "{:6.1} | {:6} | {:9} | {:3} | {:7} | {:9} | {:5} | {:5}",
            sample.minute,
            sample.rss,
            sample.anonymous,
            sample.descriptors,
            sample.threads,
            sample.store,
            sample.packs,
            sample.trees
        );
    }
    let (reads, torn) = (seen.reads.load(Ordering::Relaxed), seen.torn.load(Ordering::Relaxed));
    println!("{pushes} pushes, {faults} faults, {restarts} restarts, {lost} lost, slowest {} ms", slowest.as_millis());
    println!("{reads} file reads, {torn} torn");
    assert_eq!((lost, torn), (0, 0));
    let (half, end) = (&samples[samples.len() / 2], &samples[samples.len() - 1]);
    assert!(end.descriptors <= half.descriptors + 8, "descriptors grow");
    assert!(end.rss <= half.rss + half.rss / 4, "memory grows");
    assert!(end.store <= half.store * 2, "the store grows");
}

/// Does something nasty now and then, and says of what sort.
async fn disturb(site: &mut Site, random: &mut fastrand::Rng, restarts: bool) -> Option<&'static str> {
    match random.u8(0..100) {
        0..12 => {
            let cut = random.usize(0..3000);
            let modes = [
                Mode::Refuse,
                Mode::Silent,
                Mode::Drip,
                Mode::Garbage,
                Mode::Status(500),
                Mode::Status(401),
                Mode::CutAfter(cut),
                Mode::StallAfter(cut),
            ];
            site.remote.set(modes[random.usize(0..modes.len())].clone());
            Some("fault")
        }
        12..15 => {
            // The store goes; what is published must not care.
            let _ = fs::remove_dir_all(site.root().join(".pushsync/repo.git"));
            Some("store")
        }
        15..19 if restarts => {
            if random.bool() {
                site.sidecar().kill();
            } else {
                site.sidecar().terminate();
                site.sidecar().exited(LOST_AFTER).await;
            }
            site.start().await;
            Some("restart")
        }
        _ => None,
    }
}

fn write_generation(site: &Site, generation: usize) -> String {
    for file in 0..FILES {
        site.repo.write(&format!("dir{}/file{file}", file % 5), format!("generation {generation}\n"));
    }
    site.repo.commit(&format!("generation {generation}"))
}

/// Resolves the link, then reads the whole tree behind it, and counts what is missing or of two generations.
fn read_until(link: &Path, stop: &AtomicBool, seen: &Seen) {
    while !stop.load(Ordering::Relaxed) {
        let tree = fs::canonicalize(link);
        let mut first: Option<String> = None;
        for file in 0..FILES {
            let text = tree
                .as_ref()
                .ok()
                .and_then(|tree| fs::read_to_string(tree.join(format!("dir{}/file{file}", file % 5))).ok());
            let whole = text.as_ref().is_some_and(|text| *first.get_or_insert_with(|| text.clone()) == *text);
            if !whole {
                println!("torn: {tree:?} file{file} {text:?}, the link names {:?}", published(link));
                seen.torn.fetch_add(1, Ordering::Relaxed);
            }
            seen.reads.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

fn sample(site: &mut Site, begun: Instant) -> Sample {
    let id = site.sidecar().id();
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let number = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let store = site.root().join(".pushsync/repo.git");
    let packs = fs::read_dir(store.join("objects/pack")).map_or(0, |names| {
        names
            .filter(|name| name.as_ref().is_ok_and(|name| name.path().extension().is_some_and(|end| end == "pack")))
            .count()
    });
    Sample {
        minute: begun.elapsed().as_secs_f64() / 60.0,
        rss: number("VmRSS"),
        anonymous: number("RssAnon"),
        descriptors: fs::read_dir(format!("/proc/{id}/fd")).unwrap().count(),
        threads: number("Threads"),
        store: size(&store) / 1024,
        packs,
        trees: site.trees(),
    }
}

fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => size(&entry.path()),
            _ => entry.metadata().map_or(0, |metadata| metadata.len()),
        })
        .sum()
}
