//! `--lfs` over the whole program: the objects of Git LFS in the place of their pointers, and what that costs.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::site::{Site, resting_trees};
use crate::support::lfs::{LfsServer, hash, pointer};
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually};

/// A repository whose `*.bin` are kept by LFS, and a server that is both: git's and LFS's.
pub struct Kept {
    pub site: Site,
    pub server: LfsServer,
    random: fastrand::Rng,
}

impl Kept {
    pub fn new() -> Self {
        let mut site = Site::new();
        let base = site.remote.url("");
        let server = LfsServer::start(Some(base.trim_end_matches('/').to_owned()));
        let bare = site.repo.bare().file_name().unwrap().to_string_lossy().into_owned();
        site.set("repo", &server.url(&bare));
        site.set("lfs", "true");
        site.set("stale-worktree-timeout", "0s");
        site.repo.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
        site.repo.commit("attributes");
        Self { site, server, random: fastrand::Rng::with_seed(7) }
    }

    /// Bytes that do not compress.
    pub fn noise(&mut self, length: usize) -> Vec<u8> {
        let mut noise = vec![0; length];
        self.random.fill(&mut noise);
        noise
    }

    /// A file that LFS keeps, its object on the server, not committed yet. Answers the object's name.
    pub fn write(&mut self, path: &str, length: usize) -> String {
        let content = self.noise(length);
        let oid = hash(&content);
        let pointer = self.server.add(content);
        self.site.repo.write(path, pointer);
        oid
    }

    pub fn commit(&self) -> String {
        let commit = self.site.repo.commit("objects");
        self.site.repo.push();
        commit
    }

    /// Pushes one file that LFS keeps, and rings.
    pub async fn push(&mut self, path: &str, length: usize) -> (String, String) {
        let oid = self.write(path, length);
        (self.ring().await, oid)
    }

    /// Commits what was written, and rings.
    pub async fn ring(&self) -> String {
        let before = self.site.repo.git(&["rev-parse", "origin/main"]);
        let commit = self.commit();
        assert_eq!(self.site.ring(&before, &commit).await.status, 202);
        commit
    }

    /// The hash of a published file.
    pub fn published(&self, path: &str) -> String {
        hash(&fs::read(self.site.link().join(path)).unwrap_or_default())
    }

    pub fn folder(&self) -> PathBuf {
        self.site.root().join(".pushsync/lfs")
    }

    /// Names of files in the folder of objects.
    pub fn objects(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.folder()) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn objects_take_the_place_of_pointers_and_only_what_changed_is_asked_for() {
    let mut kept = Kept::new();
    let mut expected = Vec::new();
    for number in 0..130 {
        let (path, length) = (format!("d{}/f{number}.bin", number % 7), 100 + number);
        expected.push((path.clone(), kept.write(&path, length)));
    }
    for path in ["film.bin", "d3/film.bin"] {
        expected.push((path.to_owned(), kept.write(path, 21 << 20)));
    }
    let elsewhere = pointer(&"ab".repeat(32), 5);
    kept.site.repo.write("d1/text.txt", &elsewhere);
    kept.site.repo.write("empty.bin", pointer(&hash(b""), 0));
    kept.site.repo.write("plain.bin", "no pointer\n");
    kept.server.set(|knobs| knobs.pause = Duration::from_millis(1));
    let first = kept.commit();
    kept.site.start_in_sync().await;
    for (path, oid) in &expected {
        assert_eq!(kept.published(path), *oid, "{path}");
    }
    let read = |path: &str| fs::read(kept.site.link().join(path)).unwrap();
    assert_eq!(read("d1/text.txt"), elsewhere.as_bytes(), "no attribute, no object");
    assert_eq!((read("empty.bin").len(), read("plain.bin")), (0, b"no pointer\n".to_vec()));
    let batches = kept.server.take_batches();
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [100, 32], "in pages");
    assert_eq!(kept.server.books().refs, [Some("refs/heads/main".to_owned()), Some("refs/heads/main".to_owned())]);
    let most = kept.server.books().most_in_flight;
    assert!((2..=8).contains(&most), "{most} at once");
    assert_eq!(kept.server.take_gets().len(), 132);
    let record = kept.site.wait_record(|record| record.new.as_deref() == Some(&first)).await;
    assert!(record.bytes.unwrap() > 42 << 20 && record.objects.unwrap() > 132, "{record:?}");
    let log = kept.site.detail(&record.id).await.detail.log;
    assert!(log.iter().any(|line| line.message.starts_with("fetched 132 LFS objects, ")), "{log:?}");
    let told = "1 of the files written are pointers of Git LFS, not the files themselves (the first is d1/text.txt)";
    assert!(log.iter().any(|line| line.level == "warn" && line.message.starts_with(told)), "{log:?}");

    // A push asks for what it changes. The same object under another name is not asked for.
    let (second, oid) = kept.push("d3/film.bin", 5_000).await;
    kept.site.wait_published(&second).await;
    assert_eq!((kept.published("d3/film.bin"), kept.server.take_batches()), (oid.clone(), vec![vec![oid.clone()]]));
    kept.site.repo.git(&["mv", "d3/film.bin", "d4/moved.bin"]);
    let third = kept.ring().await;
    kept.site.wait_published(&third).await;
    assert_eq!((kept.published("d4/moved.bin"), kept.server.take_batches().len()), (oid, 0));
    let (modes, _) = kept.site.incremental_and_fresh().await;
    assert!(modes >= 1, "a spare was brought along");

    // Another process looks at what is there, and asks for nothing.
    kept.site.sidecar = None;
    kept.site.start_in_sync().await;
    let (fourth, oid) = kept.push("new.bin", 300).await;
    kept.site.wait_published(&fourth).await;
    assert_eq!(kept.server.take_batches(), [[oid]]);
    for (path, oid) in &expected[..130] {
        assert_eq!(kept.published(path), *oid, "{path}");
    }

    // Back to a commit whose objects went: what is missing is asked for.
    assert_eq!(kept.site.post("pin", &json!({"commit": second})).await.0, 202);
    kept.site.wait_published(&second).await;
    assert_eq!(fs::metadata(kept.site.link().join("d3/film.bin")).unwrap().len(), 5_000);
}

#[tokio::test]
async fn turned_off_pointers_are_published_as_ever_and_turned_on_again_the_objects_are() {
    let mut kept = Kept::new();
    kept.site.set("lfs", "false");
    let oid = kept.write("film.bin", 3_000);
    kept.commit();
    kept.site.start_in_sync().await;
    let pointer = pointer(&oid, 3_000);
    let shows = |kept: &Kept, wanted: &str| kept.published("film.bin") == wanted;
    assert!(shows(&kept, &hash(pointer.as_bytes())));
    assert!(kept.server.take_batches().is_empty() && !kept.folder().exists());
    let told = |line: &String| line.contains("1 of the files written are pointers of Git LFS");
    // The log has a thread of its own, which may write the line later than the API shows the publish.
    eventually(PATIENCE, || kept.site.sidecar().log().iter().any(told)).await;

    for (on, wanted) in [("true", oid.clone()), ("false", hash(pointer.as_bytes())), ("true", oid)] {
        kept.site.sidecar = None;
        kept.site.set("lfs", on);
        kept.site.start().await;
        eventually(PATIENCE, || shows(&kept, &wanted)).await;
        let (metrics, there) = (kept.site.probe("/metrics").await.1, usize::from(on == "true"));
        assert!(on == "true" || !metrics.contains(r#"kind="lfs""#), "{metrics}");
        // What nobody needs any more goes.
        eventually(PATIENCE, || kept.objects().len() == there).await;
    }
    assert!(!kept.site.sidecar().log().iter().any(told), "nothing to tell");
}

#[tokio::test]
async fn the_folder_of_objects_stays_as_large_as_what_is_published() {
    let mut kept = Kept::new();
    kept.write("same.bin", 2_000);
    kept.write("film.bin", 100_000);
    kept.commit();
    kept.site.start_in_sync().await;
    let mut most = 0;
    for _ in 0..30 {
        let (commit, oid) = kept.push("film.bin", 100_000).await;
        kept.site.wait_published(&commit).await;
        assert_eq!(kept.published("film.bin"), oid);
        most = most.max(kept.objects().len());
    }
    // The tree before, and one that a spare is of, have theirs.
    assert!(most <= 8, "{most} objects at once");
    let current = [hash(&fs::read(kept.site.link().join("film.bin")).unwrap()), kept.published("same.bin")];
    eventually(PATIENCE, || kept.objects().len() <= 3).await;
    assert!(current.iter().all(|oid| kept.objects().contains(oid)), "{:?}", kept.objects());
    let metrics = kept.site.probe("/metrics").await.1;
    let line = metrics.lines().find(|line| line.starts_with(r#"pushsync_volume_bytes{kind="lfs"}"#)).unwrap();
    let bytes: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(bytes <= 900_000.0, "{line}");
}

#[tokio::test]
async fn patterns_and_a_store_without_all_files_ask_for_the_objects_that_are_written() {
    let mut kept = Kept::new();
    kept.site.repo.bare_git(&["config", "uploadpack.allowFilter", "true"]);
    let patterns = kept.site.path("patterns");
    fs::write(&patterns, "/wanted/\n").unwrap();
    kept.site.set("sparse-checkout-file", &patterns.display().to_string());
    kept.site.set("filter", "blob:none");
    let wanted = [kept.write("wanted/a.bin", 400), kept.write("wanted/b.bin", 500)];
    kept.write("left/c.bin", 600);
    kept.commit();
    kept.site.start_in_sync().await;
    assert_eq!([kept.published("wanted/a.bin"), kept.published("wanted/b.bin")], wanted);
    let mut batches = kept.server.take_batches().concat();
    batches.sort();
    let mut expected = wanted.to_vec();
    expected.sort();
    assert_eq!(batches, expected);

    // Attributes that change make other files of what stays the same in the store.
    kept.site.repo.write(".gitattributes", "wanted/a.bin filter=lfs\n");
    let second = kept.ring().await;
    kept.site.wait_published(&second).await;
    assert_eq!(
        (kept.published("wanted/a.bin"), kept.published("wanted/b.bin")),
        (wanted[0].clone(), hash(pointer(&wanted[1], 500).as_bytes()))
    );
}

/// The most memory that a process ever had.
fn peak(sidecar: &Sidecar) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", sidecar.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn an_object_of_200_megabytes_takes_no_memory() {
    let mut kept = Kept::new();
    let content = vec![kept.noise(1 << 20); 200].concat();
    let oid = hash(&content);
    let pointer = kept.server.add(content);
    kept.site.repo.write("large.bin", pointer);
    for number in 0..12 {
        kept.write(&format!("f{number}.bin"), 8 << 20);
    }
    let commit = kept.commit();
    kept.site.start().await;
    eventually(4 * PATIENCE, || kept.site.published().as_ref() == Some(&commit)).await;
    assert_eq!(kept.published("large.bin"), oid);
    kept.site.repo.write("page.html", "changed\n");
    let second = kept.ring().await;
    eventually(4 * PATIENCE, || kept.site.published().as_ref() == Some(&second)).await;
    assert_eq!(kept.published("large.bin"), oid);
    let megabytes = peak(kept.site.sidecar());
    assert!(megabytes < 100, "{megabytes} MB");
}

#[tokio::test]
async fn trees_with_objects_take_turns_and_none_is_written_as_a_whole() {
    let mut kept = Kept::new();
    kept.site.set("standby-trees", "1");
    let first = kept.write("film.bin", 1 << 20);
    for number in 0..5 {
        kept.write(&format!("d/{number}.bin"), 100);
    }
    kept.commit();
    kept.site.start_in_sync().await;
    let root = kept.site.root();
    let trees = resting_trees(&root).await;
    for round in 0..5 {
        let path = format!("d/{round}.bin");
        let (commit, oid) = kept.push(&path, 200).await;
        kept.site.wait_published(&commit).await;
        assert_eq!((kept.published(&path), kept.published("film.bin")), (oid, first.clone()), "round {round}");
        assert_eq!(resting_trees(&root).await, trees, "round {round}");
    }
}
