//! The matrix of volumes in docs/reliability.md: each kind of volume, mounted for real, beside the running program.
//!
//! `cargo test --locked --test app app::volume_matrix -- --nocapture` prints the table.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::faults::Tmpfs;
use super::hooks::Script;
use super::odd_volumes::once;
use super::site::Site;
use crate::support::odd_volume::{Lacks, OddVolume};
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, skip};

/// A mounted file system, unmounted when dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn run(program: &str, words: &[&str], paths: &[&Path]) -> bool {
    let mut command = Command::new(program);
    let done = command.args(words).args(paths).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output();
    done.is_ok_and(|done| done.status.success())
}

/// A file system of its own in a file.
fn loop_mounted(site: &Site, kind: &str) -> Option<Mounted> {
    let (root, image) = (site.root(), site.path("image"));
    fs::create_dir_all(&root).unwrap();
    fs::File::create(&image).unwrap().set_len(320 << 20).unwrap();
    let made = run(&format!("mkfs.{kind}"), &["-q"], &[&image]) && run("mount", &["-o", "loop"], &[&image, &root]);
    made.then(|| Mounted(root))
}

/// Upper and lower folders on a tmpfs, as a container's own file system has them.
fn overlay(site: &Site) -> Option<(Mounted, Tmpfs)> {
    let behind = site.path("layers");
    let tmpfs = Tmpfs::mount(&behind, "size=64m")?;
    for folder in ["lower", "upper", "work"] {
        fs::create_dir_all(behind.join(folder)).unwrap();
    }
    fs::create_dir_all(site.root()).unwrap();
    let layers = ["lowerdir", "upperdir", "workdir"].iter().zip(["lower", "upper", "work"]);
    let layers: Vec<_> = layers.map(|(option, folder)| format!("{option}={}", behind.join(folder).display())).collect();
    let mounted = run("mount", &["-t", "overlay", "-o", &layers.join(","), "overlay"], &[&site.root()]);
    mounted.then(|| (Mounted(site.root()), tmpfs))
}

/// Holds whatever the volume is made of.
trait Volume {}
impl<T> Volume for T {}

/// A volume, or `None` where it cannot be made.
fn volume(kind: &str, site: &mut Site) -> Option<Box<dyn Volume>> {
    let odd = |site: &Site, lacks| {
        OddVolume::mount(&site.root(), &site.path("behind"), lacks).map(|volume| Box::new(volume) as Box<dyn Volume>)
    };
    let none = Lacks::default();
    match kind {
        "tmpfs (memory-backed)" => Tmpfs::mount(&site.root(), "size=64m").map(|volume| Box::new(volume) as _),
        "ext4" | "xfs" | "btrfs" => loop_mounted(site, kind).map(|volume| Box::new(volume) as _),
        "overlayfs" => overlay(site).map(|volume| Box::new(volume) as _),
        "without exchange" => odd(site, Lacks { exchange: true, ..none }),
        "without modes" => odd(site, Lacks { fixed_mode: Some(0o777), exchange: true, ..none }),
        "without chmod" => odd(site, Lacks { fixed_mode: Some(0o755), chmod: true, ..none }),
        "without flock" => odd(site, Lacks { flock: true, ..none }),
        "without fsync on folders" => odd(site, Lacks { fsync_on_folders: true, ..none }),
        "full" => Tmpfs::mount(&site.root(), "size=24m").map(|volume| Box::new(volume) as _),
        "without symbolic links" => odd(site, Lacks { symlinks: true, ..none }),
        "limited" => {
            site.set("volume-limit", "64Mi");
            Some(Box::new(()))
        }
        _ => panic!("{kind}"),
    }
}

/// One row: what became of each column. A column that fails ends the test, but for one that is said not to hold.
async fn row(kind: &str) -> Option<String> {
    let mut site = Site::new();
    let _volume = volume(kind, &mut site)?;
    match kind {
        "full" => return Some(full(site).await),
        "without symbolic links" => return Some(without_links(site).await),
        _ => {}
    }
    let hook = Script::new(&site, "hook", r#"printf built > "$PWD/built-by-hook""#);
    site.repo.write("program", "#!/bin/sh\n");
    site.repo.make_executable("program");
    site.repo.push_file("folder/file", "1", "two files");
    let mut cells = Vec::new();

    site.start_in_sync().await;
    site.assert_whole(&site.repo.head());
    cells.push("ok");

    for number in 0..3 {
        let commit = site.push_and_ring("folder/file", &number.to_string()).await;
        site.wait_published(&commit).await;
        site.assert_whole(&commit);
    }
    cells.push("ok");

    // A second process beside the first.
    if kind == "without flock" {
        cells.push("not noticed");
    } else {
        let mut second = Sidecar::start(site.arguments());
        second.wait_for_text(PATIENCE, "standing by").await;
        second.terminate();
        assert_eq!(second.exited(PATIENCE).await.code(), Some(143));
        cells.push("stands by");
    }

    let tree = fs::canonicalize(site.link()).unwrap();
    site.sidecar().terminate();
    site.sidecar().exited(PATIENCE).await;
    site.start_in_sync().await;
    let next = site.push_and_ring("folder/file", "after a restart").await;
    site.wait_published(&next).await;
    site.assert_whole(&next);
    let repaired = site
        .history()
        .await
        .iter()
        .any(|record| record.error.is_some() || record.old == record.new && record.files.is_some());
    assert!(!repaired, "{kind}: {:?}", site.history().await);
    assert!(tree.exists(), "{kind}: the tree before is kept for its readers");
    cells.push("ok");
    site.sidecar().terminate();
    site.sidecar().exited(PATIENCE).await;

    for _ in 0..2 {
        let (code, log) = once(&site).await;
        assert_eq!(code, 0, "{kind}: {log}");
        site.assert_whole(&next);
    }
    cells.push("ok");

    site.set("exechook-command", &hook.command());
    site.start_in_sync().await;
    let built = site.push_and_ring("folder/file", "with a hook").await;
    site.wait_published(&built).await;
    crate::support::eventually(PATIENCE, || site.link().join("built-by-hook").exists()).await;
    site.sidecar().terminate();
    site.sidecar().exited(PATIENCE).await;
    // Without the hook, which would write it again.
    site.unset("exechook-command");
    let (code, log) = once(&site).await;
    assert_eq!(code, 0, "{kind}: {log}");
    cells.push(if site.link().join("built-by-hook").exists() { "kept" } else { "lost by a restart" });
    Some(format!("| {kind} | {} |", cells.join(" | ")))
}

/// The kind of error that a one-time run ends with.
async fn refused_once(site: &Site, kind: &str) {
    let (code, log) = once(site).await;
    assert!(code == 1 && log.contains(kind), "{log}");
}

/// A volume that fills up with the second push: what is published stays, through a restart and one-time runs, and a push
/// that fits heals it.
async fn full(mut site: Site) -> String {
    site.repo.push_file("large", vec![7; 1 << 20], "1 MiB");
    site.start_in_sync().await;
    let live = site.repo.head();
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(20 << 20).collect();
    let before = site.repo.head();
    let large = site.repo.push_file("large", noise, "20 MiB");
    assert_eq!(site.ring(&before, &large).await.status, 202);
    let record = site.wait_record(|record| record.error.is_some()).await;
    assert_eq!(record.error.unwrap().kind, "disk_full");
    site.assert_whole(&live);
    let mut second = Sidecar::start(site.arguments());
    second.wait_for_text(PATIENCE, "standing by").await;
    second.terminate();
    assert_eq!(second.exited(PATIENCE).await.code(), Some(143));
    site.sidecar().terminate();
    site.sidecar().exited(PATIENCE).await;
    site.start().await;
    site.assert_whole(&live);
    assert_eq!(site.probe("/readyz").await.0, 200);
    site.sidecar().terminate();
    site.sidecar().exited(PATIENCE).await;
    for _ in 0..2 {
        refused_once(&site, "disk_full").await;
        site.assert_whole(&live);
    }
    site.start().await;
    let small = site.push_and_ring("large", "it fits").await;
    site.wait_published(&small).await;
    site.assert_whole(&small);
    "| full | ok | `disk_full` | stands by | the old tree is live | exit 1, the old tree stays | - |".to_owned()
}

/// Nothing can be published without a link; each of the ways to start says so.
async fn without_links(mut site: Site) -> String {
    site.start().await;
    let refused =
        |record: &pushsync::api::Record| record.error.as_ref().is_some_and(|error| error.kind == "no_symlinks");
    site.wait_record(refused).await;
    let mut second = Sidecar::start(site.arguments());
    second.wait_for_text(PATIENCE, "standing by").await;
    second.terminate();
    assert_eq!(second.exited(PATIENCE).await.code(), Some(143));
    let before = site.repo.head();
    let next = site.repo.push_file("folder/file", "2", "a push");
    assert_eq!(site.ring(&before, &next).await.status, 202);
    site.wait_record(|record| refused(record) && record.new.as_deref() == Some(&next)).await;
    site.sidecar().terminate();
    site.sidecar().exited(PATIENCE).await;
    site.start().await;
    site.wait_record(refused).await;
    site.sidecar().terminate();
    site.sidecar().exited(PATIENCE).await;
    for _ in 0..2 {
        refused_once(&site, "no_symlinks").await;
    }
    "| without symbolic links | `no_symlinks` | `no_symlinks` | stands by | `no_symlinks` | exit 1 | - |".to_owned()
}

#[tokio::test]
async fn each_kind_of_volume_carries_the_whole_life_of_a_site() {
    let mut rows = Vec::new();
    for kind in [
        "tmpfs (memory-backed)",
        "ext4",
        "xfs",
        "btrfs",
        "overlayfs",
        "without exchange",
        "without modes",
        "without chmod",
        "without flock",
        "without fsync on folders",
        "limited",
        "full",
        "without symbolic links",
    ] {
        match row(kind).await {
            Some(row) => {
                println!("{row}");
                rows.push(row);
            }
            None => skip(&format!("to mount a volume: {kind}")),
        }
    }
    println!("| volume | first publish | push | second process | restart | one-time twice | hook output |");
    for row in &rows {
        println!("{row}");
    }
    let documented = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reliability.md")).unwrap();
    for row in &rows {
        assert!(documented.lines().any(|line| says(line, row)), "docs/reliability.md does not say {row}");
    }
}

fn cells(row: &str) -> Vec<&str> {
    row.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// Returns true if a row of the documentation is about this kind of volume and says the same of it, perhaps with more words.
fn says(documented: &str, row: &str) -> bool {
    let (documented, row) = (cells(documented), cells(row));
    let same = documented.iter().zip(&row).skip(1).all(|(documented, seen)| documented.starts_with(seen));
    documented.len() == row.len() && documented[0].replace('`', "").contains(row[0]) && same
}
