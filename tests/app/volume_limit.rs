//! `--volume-limit`: a push never takes the volume beyond it, so that no pod is evicted.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::faults::Tmpfs;
use super::lfs::Kept;
use super::site::Site;
use crate::support::{PATIENCE, eventually};

const MIB: usize = 1 << 20;

fn noise(length: usize) -> Vec<u8> {
    std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect()
}

/// The used bytes of a file system, by its own count.
fn taken(volume: &Path) -> u64 {
    let state = rustix::fs::statvfs(volume).unwrap();
    (state.f_blocks - state.f_bfree) * state.f_frsize
}

/// The bytes of the files below a folder, as the kubelet counts them on a disk. Nothing may change meanwhile: a file that is
/// removed would be counted together with the one that takes its place.
fn walked(folder: &Path) -> u64 {
    let mut all = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(stat) = std::fs::symlink_metadata(entry.path()) else { continue };
        all += stat.blocks() * 512 + if stat.is_dir() { walked(&entry.path()) } else { 0 };
    }
    all
}

/// Measures while no thread of a program runs. `None`: it has ended.
fn while_stopped<T>(program: Pid, measure: impl FnOnce() -> T) -> Option<T> {
    kill_process(program, Signal::STOP).ok()?;
    let has_stopped = |stat: &str| stat.rsplit(") ").next().is_some_and(|state| state.starts_with('T'));
    let tasks = format!("/proc/{}/task", program.as_raw_pid());
    // A thread inside a call of the kernel stops at its end.
    while !std::fs::read_dir(&tasks)
        .ok()?
        .flatten()
        .all(|task| std::fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| has_stopped(&stat)))
    {
        std::thread::sleep(Duration::from_micros(100));
    }
    let measured = measure();
    kill_process(program, Signal::CONT).ok()?;
    Some(measured)
}

/// Measures a volume until it is dropped.
struct Watch {
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
    _volume: Option<Tmpfs>,
}

impl Watch {
    /// Makes the volume a file system of its own, before the program starts. `None` where mounting is not allowed.
    fn begin(site: &Site) -> Option<Self> {
        let (volume, root) = (Tmpfs::mount(&site.root(), "size=100m,mode=0775")?, site.root());
        Some(Self::with(Some(volume), Duration::from_millis(1), move || Some(taken(&root))))
    }

    /// For a program that runs on the disk, where folders take space as well.
    fn of_running(site: &mut Site) -> Self {
        let program = Pid::from_raw(site.sidecar().id().try_into().unwrap()).unwrap();
        let root = site.root();
        Self::with(None, Duration::from_millis(3), move || while_stopped(program, || walked(&root)))
    }

    fn with(volume: Option<Tmpfs>, every: Duration, measure: impl Fn() -> Option<u64> + Send + 'static) -> Self {
        let (peak, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (highest, stopped) = (peak.clone(), stop.clone());
        let watcher = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Some(measured) = measure() else { return };
                highest.fetch_max(measured, Ordering::Relaxed);
                std::thread::sleep(every);
            }
        });
        Self { peak, stop, watcher: Some(watcher), _volume: volume }
    }

    fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The volume is not unmounted below it.
        let _ = self.watcher.take().map(JoinHandle::join);
    }
}

#[tokio::test]
async fn what_would_cross_the_limit_is_told_and_the_old_tree_stays_live() {
    for scheme in ["http", "file"] {
        let mut site = Site::new();
        site.set("volume-limit", "30Mi").set("period", "1s").set("stale-worktree-timeout", "200ms");
        if scheme == "file" {
            let url = site.repo.file_url();
            site.set("repo", &url);
        }
        site.repo.write("first", noise(4 * MIB));
        site.repo.push_file("small", "1", "4 MiB");
        let Some(watch) = Watch::begin(&site) else { return };
        site.start_in_sync().await;
        let live = site.push_and_ring("small", "2").await;
        site.wait_published(&live).await;
        // The tree does not fit, or the pack does not.
        for size in [9, 20, 40] {
            site.repo.write("large", noise(size * MIB));
            let large = site.push_and_ring("small", &format!("with {size} MiB")).await;
            let record =
                site.wait_record(|record| record.new.as_deref() == Some(&large) && record.error.is_some()).await;
            let error = record.error.unwrap();
            println!("{scheme}, {size} MiB: {error:?}, peak {} KiB", watch.peak() >> 10);
            assert_eq!(error.kind, "disk_full", "{error:?}");
            assert!(error.message.contains("limit of 30 MiB"), "{error:?}");
            assert!(error.hint.is_some_and(|hint| hint.contains("--volume-limit")));
            site.assert_whole(&live);
            assert_eq!(site.probe("/readyz").await.0, 200);
        }
        assert!(watch.peak() <= 30 << 20, "{} bytes", watch.peak());
        site.repo.remove("large");
        let after = site.push_and_ring("small", "without").await;
        site.wait_published(&after).await;
        site.assert_whole(&after);
        assert!(watch.peak() <= 30 << 20, "{} bytes", watch.peak());
    }
}

#[tokio::test]
async fn a_push_that_fits_without_the_standby_tree_is_published() {
    let mut site = Site::new();
    site.set("volume-limit", "52Mi").set("stale-worktree-timeout", "1h");
    let many = |site: &Site, length: usize| {
        (0..1000).for_each(|file| site.repo.write(&format!("d{}/{file}", file % 9), noise(length)));
    };
    many(&site, 8 << 10);
    site.repo.push_file("small", "1", "8 MiB");
    let Some(watch) = Watch::begin(&site) else { return };
    site.start_in_sync().await;
    let standby = || {
        let entries = std::fs::read_dir(site.root().join(".worktrees")).unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".s")).count()
    };
    eventually(PATIENCE, || standby() == 1).await;
    // Packs 24, the live tree 8, the new one 16: with the standby tree's 8 it is too much, and that is of no use to a push
    // that changes every file.
    many(&site, 16 << 10);
    let large = site.push_and_ring("small", "2").await;
    site.wait_published(&large).await;
    site.assert_whole(&large);
    println!("peak {} KiB", watch.peak() >> 10);
    assert!(watch.peak() <= 52 << 20, "{} bytes", watch.peak());
}

#[tokio::test]
async fn pushes_without_end_fit_where_one_does_and_one_that_does_not_heals() {
    // Nothing goes by its age, and everything that pushes leave has to go for the next one.
    for (compaction, files, limit, is_on_disk) in
        [("always", 1, 12, false), ("auto", 8, 17, false), ("auto", 8, 17, true)]
    {
        let mut site = Site::new();
        site.set("volume-limit", &format!("{limit}Mi")).set("git-gc", compaction);
        site.set("stale-worktree-timeout", "1h").set("period", "1s");
        let size = if files == 1 { 3 * MIB / 2 } else { MIB / 2 };
        (0..files).for_each(|file| site.repo.write(&format!("file{file}"), noise(size)));
        site.repo.push_file("number", "0", "first");
        let watch = if is_on_disk {
            site.start_in_sync().await;
            Watch::of_running(&mut site)
        } else {
            let Some(watch) = Watch::begin(&site) else { return };
            site.start_in_sync().await;
            watch
        };
        for number in 1..=12 {
            site.repo.write(&format!("file{}", number % files), noise(size));
            let commit = site.push_and_ring("number", &number.to_string()).await;
            site.wait_published(&commit).await;
            if number % 4 == 0 {
                site.assert_whole(&commit);
            }
        }
        println!("{compaction}, {files} files, on disk: {is_on_disk}: peak {} KiB", watch.peak() >> 10);
        assert!(watch.peak() <= limit << 20, "{} bytes", watch.peak());

        let live = site.published().unwrap();
        site.repo.write("large", noise(10 * MIB));
        let large = site.push_and_ring("number", "with 10 MiB").await;
        let record = site.wait_record(|record| record.new.as_deref() == Some(&large) && record.error.is_some()).await;
        assert_eq!(record.error.unwrap().kind, "disk_full");
        site.assert_whole(&live);
        assert_eq!(site.probe("/readyz").await.0, 200);
        // Without a webhook: the next poll finds that it fits.
        site.repo.remove("large");
        let after = site.repo.push_file("number", "without", "without");
        site.wait_published(&after).await;
        site.assert_whole(&after);
        assert!(watch.peak() <= limit << 20, "{} bytes", watch.peak());
    }
}

#[tokio::test]
async fn an_object_of_lfs_that_does_not_fit_is_given_up_before_the_limit() {
    let mut kept = Kept::new();
    kept.site.set("volume-limit", "30Mi").set("stale-worktree-timeout", "200ms");
    kept.write("a.bin", 4 * MIB);
    kept.commit();
    let Some(watch) = Watch::begin(&kept.site) else { return };
    kept.site.start_in_sync().await;
    let live = kept.site.repo.head();
    for size in [14, 40] {
        let (large, _) = kept.push("b.bin", size * MIB).await;
        let record =
            kept.site.wait_record(|record| record.new.as_deref() == Some(&large) && record.error.is_some()).await;
        let error = record.error.unwrap();
        println!("{size} MiB: {error:?}, peak {} KiB", watch.peak() >> 10);
        assert_eq!(error.kind, "disk_full", "{error:?}");
        assert_eq!(kept.site.published().as_deref(), Some(&*live));
    }
    kept.site.repo.remove("b.bin");
    let after = kept.ring().await;
    kept.site.wait_published(&after).await;
    assert!(watch.peak() <= 30 << 20, "{} bytes", watch.peak());
}
