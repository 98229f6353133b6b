//! Compaction of the store: the objects that go, those that stay, and fetches meanwhile.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use git2::Oid;
use pushsync::git::{Compacted, Effort, Engine, Want};

use super::{Volume, assert_whole, git, oid, options, shallow_lines, sync, synced};
use crate::support::PATIENCE;
use crate::support::git_http::GitHttp;
use crate::support::repo::{Repo, git_command};

pub fn packs(store: &Path) -> usize {
    names(&store.join("objects/pack"))
        .iter()
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "pack"))
        .count()
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// Asserts that a compaction left no folder, hidden index or unfinished pack.
pub fn assert_tidy(store: &Path) {
    let top = names(store);
    assert!(!top.iter().any(|name| name.starts_with("pushsync-compact-")), "{top:?}");
    let packs = names(&store.join("objects/pack"));
    let mut stems: Vec<_> = packs.iter().map(|name| name.split('.').next().unwrap()).collect();
    stems.sort_unstable();
    stems.dedup();
    assert_eq!(packs.len(), 2 * stems.len(), "{packs:?}");
}

pub fn has(store: &Path, object: &str) -> bool {
    git_command(store).current_dir(store).args(["cat-file", "-e", object]).output().unwrap().status.success()
}

async fn full(engine: &Engine, keep: &[&str]) -> Compacted {
    let keep = keep.iter().map(|commit| oid(commit)).collect();
    let done = engine.compact(Effort::Full, keep).await.unwrap().expect("there is something to do");
    assert_tidy(engine.store());
    done
}

#[tokio::test]
async fn a_shallow_store_keeps_what_may_be_needed_and_nothing_else() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    let store = engine.store().to_owned();
    let mut commits = Vec::new();
    for number in 0..8 {
        let page = format!("page {number}\n");
        repo.write("large.bin", (0..40_000).map(|_| fastrand::u8(..)).collect::<Vec<_>>());
        commits.push(repo.push_file("index.html", &page, "Another"));
        synced(&engine, &commits[number], &page).await;
    }
    // Like a submodule's commit: it is unrelated, and its tree has a submodule of its own.
    repo.orphan("module");
    let gitlink = format!("160000,{},inner", "5".repeat(40));
    repo.git(&["update-index", "--add", "--cacheinfo", &gitlink]);
    repo.git(&["commit", "--quiet", "--message", "A module"]);
    let module = repo.head();
    git(&store, &["fetch", "--quiet", "--depth=1", repo.work().to_str().unwrap(), "+module:refs/pushsync/modules/a/b"]);

    let done = full(&engine, &[&commits[2]]).await;
    assert!(done.full && done.packs_after == 1 && done.packs_before >= 8, "{done:?}");
    assert!(done.bytes_after * 3 / 2 < done.bytes_before, "{done:?}");
    // The published commit and the one before (refs), a replaced tree (`keep`), the submodule.
    for commit in [&commits[7], &commits[6], &commits[2], &module] {
        git(&store, &["archive", "--output=/dev/null", commit]);
    }
    for commit in [&commits[0], &commits[1], &commits[3], &commits[5]] {
        assert!(!has(&store, commit), "{commit} is still there");
    }
    git(&store, &["fsck", "--no-dangling"]);

    // Fetches continue: a push, a return to a kept commit, and one to a dropped commit.
    let next = repo.head();
    repo.git(&["push", "--quiet", "--force", "origin", "HEAD:main"]);
    assert_eq!(sync(&engine).await.unwrap().commit, oid(&next));
    assert_eq!(engine.fetch(Want::Commit(oid(&commits[2]))).await.unwrap().objects, 0);
    assert!(engine.fetch(Want::Commit(oid(&commits[3]))).await.unwrap().objects > 0);
    git(&store, &["archive", "--output=/dev/null", &commits[3]]);
    full(&engine, &[]).await;
    assert!(has(&store, &commits[3]) && has(&store, &next), "pinned, and what our ref is");
    assert!(has(&store, &commits[7]), "what it was before");
    assert!(!has(&store, &commits[6]), "the ref moved on from it twice");
    git(&store, &["fsck", "--no-dangling"]);
}

#[tokio::test]
async fn whole_histories_stay_whole_and_what_a_force_push_left_goes() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let (all, five) = (Volume::new(), Volume::new());
    let with_depth = |depth| {
        let mut options = options(&server.url("site.git"));
        options.depth = depth;
        options
    };
    let (all, five) = ((all.engine(with_depth(0)), all).0, (five.engine(with_depth(5)), five).0);
    for number in 0..12 {
        let page = format!("page {number}\n");
        let commit = repo.push_file("index.html", &page, "Another");
        synced(&all, &commit, &page).await;
        synced(&five, &commit, &page).await;
    }
    let lost = repo.head();
    for number in 0..3 {
        repo.write("index.html", format!("amended {number}\n"));
        repo.amend("Amended");
        repo.force_push();
        sync(&all).await.unwrap();
        sync(&five).await.unwrap();
    }
    for (engine, count) in [(&all, "13"), (&five, "5")] {
        assert!(has(engine.store(), &lost));
        let done = full(engine, &[]).await;
        assert!(done.full && done.packs_after == 1, "{done:?}");
        assert_whole(engine.store(), &repo.head());
        assert_eq!(git(engine.store(), &["rev-list", "--count", "refs/pushsync/head"]), count);
        assert!(!has(engine.store(), &lost), "nothing names it");
    }
    assert_eq!((shallow_lines(all.store()), shallow_lines(five.store())), (0, 1));
    // A second compaction changes nothing.
    let done = full(&all, &[]).await;
    assert_eq!((done.packs_before, done.bytes_before), (done.packs_after, done.bytes_after));
    let next = repo.push_file("index.html", "next\n", "Next");
    synced(&all, &next, "next").await;
    synced(&five, &next, "next").await;
}

#[tokio::test]
async fn by_itself_it_keeps_the_packs_few() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    let (mut done, mut most) = (0, 0);
    for number in 0..60 {
        let page = format!("page {number}\n");
        let commit = repo.push_file("index.html", &page, "Another");
        synced(&engine, &commit, &page).await;
        done += usize::from(engine.compact(Effort::Worthwhile, vec![]).await.unwrap().is_some());
        most = most.max(packs(engine.store()));
        assert!(shallow_lines(engine.store()) <= 2);
    }
    assert!(most <= 24 && (1..=4).contains(&done), "{most} packs, {done} compactions");
    assert_tidy(engine.store());
}

#[tokio::test]
async fn pushes_and_ways_back_meanwhile_lose_nothing() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    for file in 0..300 {
        repo.write(&format!("d{}/f{file}", file % 9), format!("{file} ").repeat(200));
    }
    let mut commits: Vec<Oid> = Vec::new();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let compacting = tokio::spawn({
        let (engine, stop, done) = (engine.clone(), stop.clone(), done.clone());
        async move {
            let mut given_up = 0;
            while !stop.load(Ordering::Relaxed) {
                match engine.compact(Effort::Full, vec![]).await {
                    Ok(Some(_)) => _ = done.fetch_add(1, Ordering::Relaxed),
                    Ok(None) => {}
                    // A fetch returned to a commit that was about to be dropped.
                    Err(error) => {
                        assert_eq!(error.kind().as_str(), "compaction", "{error:?}");
                        given_up += 1;
                    }
                }
                tokio::task::yield_now().await;
            }
            given_up
        }
    });
    let patience = Instant::now() + PATIENCE * 3;
    let mut number = 0;
    // The thread that writes has the lowest priority: on a busy machine it takes more pushes.
    while number < 40 || (done.load(Ordering::Relaxed) == 0 && Instant::now() < patience) {
        number += 1;
        let page = format!("page {number}\n");
        let commit = repo.push_file("index.html", &page, "Another");
        // git's fsck does not expect packs to go meanwhile, so it is not used here.
        assert_eq!(sync(&engine).await.unwrap().commit, oid(&commit));
        git(engine.store(), &["archive", "--output=/dev/null", &commit]);
        commits.push(oid(&commit));
        // A dropped commit has to be fetched again; one that is reported as present must be complete.
        let back = commits[fastrand::usize(..commits.len())];
        assert_eq!(engine.fetch(Want::Commit(back)).await.unwrap().commit, back);
        git(engine.store(), &["archive", "--output=/dev/null", &back.to_string()]);
    }
    stop.store(true, Ordering::Relaxed);
    let (given_up, done) = (compacting.await.unwrap(), done.load(Ordering::Relaxed));
    println!("{number} pushes, {done} compactions, {given_up} given up");
    assert!(done > 0);
    full(&engine, &[]).await;
    assert_whole(engine.store(), &repo.head());
}

#[tokio::test]
async fn readers_of_the_old_packs_are_not_disturbed() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    for number in 0..5 {
        repo.write(&format!("file {number}"), format!("{number}").repeat(5000));
        synced(&engine, &repo.push_file("index.html", "x\n", "Another"), "x").await;
    }
    // One reader has opened some of the packs, another has only listed them.
    let (warm, cold) =
        (git2::Repository::open_bare(engine.store()).unwrap(), git2::Repository::open_bare(engine.store()).unwrap());
    let head = oid(&repo.head());
    assert!(cold.odb().unwrap().exists(oid(&repo.git(&["rev-parse", "HEAD:file 0"]))));
    warm.find_commit(head).unwrap();
    full(&engine, &[]).await;
    for repository in [&warm, &cold] {
        let tree = repository.find_commit(head).unwrap().tree().unwrap();
        assert_eq!(tree.len(), 6);
        for entry in &tree {
            assert!(repository.find_blob(entry.id()).is_ok(), "{:?}", entry.name());
        }
    }
}

#[tokio::test]
async fn leftovers_of_a_killed_compaction_are_cleaned_up() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    synced(&engine, &repo.head(), "one").await;
    let store = engine.store().to_owned();
    let folder = store.join("objects/pack");
    let stem = names(&folder).into_iter().find_map(|name| name.strip_suffix(".idx").map(str::to_owned)).unwrap();
    // Kills while the old packs are hidden, in the middle of writing, and in the middle of removing.
    fs::rename(folder.join(format!("{stem}.idx")), folder.join(format!("{stem}.idx.aside"))).unwrap();
    fs::create_dir_all(store.join("pushsync-compact-1-2/objects/pack")).unwrap();
    fs::write(folder.join("pack-11.pack"), "half").unwrap();
    fs::write(folder.join("pack-22.idx.aside"), "its pack is gone").unwrap();
    fs::write(folder.join("pack-33.idx"), "its pack is gone").unwrap();
    for name in ["tmp_pack_x1", "tmp_idx_x1", "pack_git2_x1"] {
        fs::write(folder.join(name), "half").unwrap();
    }
    let next = volume.engine(options(&server.url("site.git")));
    let requests = server.requests();
    assert_eq!(next.fetch(Want::Commit(oid(&repo.head()))).await.unwrap().objects, 0);
    assert_eq!(server.requests(), requests, "nothing was lost");
    assert_tidy(&store);
    assert_whole(&store, &repo.head());
}

#[tokio::test]
async fn a_missing_or_small_store_is_left_alone() {
    let repo = Repo::new();
    let volume = Volume::new();
    let engine = volume.engine(options(&repo.file_url()));
    assert_eq!(engine.compact(Effort::Full, vec![]).await.unwrap(), None, "there is no store yet");
    sync(&engine).await.unwrap();
    let done = full(&engine, &[&"7".repeat(40)]).await;
    assert_eq!((done.packs_before, done.packs_after), (1, 1));
    assert_eq!(engine.compact(Effort::Worthwhile, vec![]).await.unwrap(), None);
}
