//! The object store after damage, kills and changes by other programs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pushsync::git::Want;

use super::{Volume, git, oid, options, sync, synced};
use crate::support::git_http::GitHttp;
use crate::support::repo::Repo;

/// The name of the damage, and the function that does it.
type Damage = (&'static str, fn(&Path));

#[tokio::test]
async fn damage_is_recognized_and_a_discarded_store_is_fetched_anew() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    let store = engine.store().to_owned();
    let damages: [Damage; 9] = [
        ("objects gone", |store| each_pack(store, |path| fs::remove_file(path).unwrap())),
        ("packs cut", |store| each_pack(store, |path| fs::write(path, "PACK").unwrap())),
        ("configuration changed", |store| {
            fs::write(store.join("config"), "[url \"http://evil.test\"]\n\tinsteadOf = http://\n").unwrap();
        }),
        ("alternates", |store| {
            fs::create_dir_all(store.join("objects/info")).unwrap();
            fs::write(store.join("objects/info/alternates"), "/tmp\n").unwrap();
        }),
        ("a ref emptied", |store| fs::write(store.join("refs/pushsync/head"), "").unwrap()),
        ("shallow file overwritten", |store| fs::write(store.join("shallow"), [0xff; 99]).unwrap()),
        ("HEAD gone", |store| fs::remove_file(store.join("HEAD")).unwrap()),
        ("a file in its place", |store| {
            fs::remove_dir_all(store).unwrap();
            fs::write(store, "what?").unwrap();
        }),
        ("a strange folder in its place", |store| {
            fs::remove_dir_all(store).unwrap();
            fs::create_dir(store).unwrap();
            fs::write(store.join("holiday.jpg"), "").unwrap();
        }),
    ];
    for (number, (name, damage)) in damages.into_iter().enumerate() {
        let before = sync(&engine).await.unwrap();
        damage(&store);
        let page = format!("page {number}\n");
        let commit = repo.push_file("index.html", &page, "Next");
        let error = sync(&engine).await.expect_err(name);
        assert!(error.store_is_damaged() && error.kind().as_str() == "store_damaged", "{name}: {error:?}");
        assert!(engine.fetch(Want::Commit(before.commit)).await.is_err(), "{name}");
        engine.discard_store().await.unwrap();
        synced(&engine, &commit, &page).await;
        assert!(!store.with_extension("git.damaged").exists(), "{name}: freed after the fetch");
    }
    engine.discard_store().await.unwrap();
    engine.discard_store().await.expect("discarding nothing is fine");
}

#[tokio::test]
async fn a_discarded_store_that_a_kill_left_goes_at_the_next_start_if_its_successor_is_whole() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let options = || options(&server.url("site.git"));
    let store = volume.engine(options()).store().to_owned();
    let discarded = store.with_extension("git.damaged");
    sync(&volume.engine(options())).await.unwrap();
    // A kill after the damaged store was moved aside and before its successor was complete: it is kept.
    volume.engine(options()).discard_store().await.unwrap();
    assert_eq!(volume.engine(options()).resolve_prefix("0000").await.unwrap(), None);
    assert!(store.exists() && discarded.exists());
    // A kill after the successor was complete.
    sync(&volume.engine(options())).await.unwrap();
    fs::create_dir_all(discarded.join("objects")).unwrap();
    assert_eq!(volume.engine(options()).resolve_prefix("0000").await.unwrap(), None);
    assert!(!discarded.exists());
}

fn each_pack(store: &Path, change: impl Fn(&Path)) {
    for entry in fs::read_dir(store.join("objects/pack")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "pack" || ending == "idx") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            change(&path);
        }
    }
}

#[tokio::test]
async fn a_commit_whose_tree_lost_a_file_is_incomplete() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    let first = sync(&engine).await.unwrap().commit;
    repo.push_file("more/page.html", "more\n", "More");
    // The commit and its trees become loose objects, without the file.
    let second = repo.head();
    for object in ["HEAD", "HEAD^{tree}", "HEAD:more"] {
        let id = repo.git(&["rev-parse", object]);
        let path = format!("objects/{}/{}", &id[..2], &id[2..]);
        fs::create_dir_all(engine.store().join(&path[..10])).unwrap();
        fs::copy(repo.bare().join(&path), engine.store().join(&path)).unwrap();
    }
    let fetched = synced(&engine, &second, "one").await;
    assert!(fetched.objects > 0, "the missing file had to be fetched: {fetched:?}");
    assert_ne!(fetched.commit, first);
}

#[tokio::test]
async fn leftovers_of_a_killed_process_are_removed_by_the_next() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let store = {
        let engine = volume.engine(options(&server.url("site.git")));
        sync(&engine).await.unwrap();
        engine.store().to_owned()
    };
    let locks = ["shallow.lock", "packed-refs.lock", "refs/pushsync/head.lock", "refs/pushsync/incoming.lock"];
    for lock in locks {
        fs::write(store.join(lock), "").unwrap();
    }
    fs::write(store.join("objects/pack/pack_git2_1234"), "half").unwrap();
    let next = repo.push_file("index.html", "two\n", "Second");
    let engine = volume.engine(options(&server.url("site.git")));
    synced(&engine, &next, "two").await;
    assert!(!store.join("objects/pack/pack_git2_1234").exists());
}

#[tokio::test]
async fn a_store_that_cannot_be_made_is_no_damaged_one() {
    let repo = Repo::new();
    let volume = Volume::new();
    // Permissions do not stop root, but a file in place of a folder does.
    fs::write(volume.0.path().join("volume"), "").unwrap();
    let engine = volume.engine(options(&repo.file_url()));
    let error = engine.ls_remote().await.unwrap_err();
    assert_eq!(error.kind().as_str(), "store_access", "{error:?}");
    assert!(!error.store_is_damaged());
}

#[tokio::test]
async fn commits_are_found_by_their_prefix() {
    let repo = Repo::new();
    let volume = Volume::new();
    let engine = volume.engine(options(&repo.file_url()));
    let commit = sync(&engine).await.unwrap().commit;
    let text = commit.to_string();
    for length in [4, 7, 40] {
        assert_eq!(engine.resolve_prefix(&text[..length]).await.unwrap(), Some(commit));
    }
    assert_eq!(engine.resolve_prefix(&text[..10].to_uppercase()).await.unwrap(), Some(commit));
    for wrong in ["", "abc", "zzzz", "../..", "0000000"] {
        assert_eq!(engine.resolve_prefix(wrong).await.unwrap(), None, "{wrong}");
    }
    let tree = repo.git(&["rev-parse", "HEAD^{tree}"]);
    assert_eq!(engine.resolve_prefix(&tree).await.unwrap(), None, "a tree is no commit");

    // Enough commits that objects of several kinds share a prefix of four digits.
    let shared = commits_and_blobs_sharing_a_prefix(&repo, engine.store());
    assert_eq!(engine.resolve_prefix(&shared.0[..4]).await.unwrap(), Some(oid(&shared.0)), "{shared:?}");
}

/// Writes blobs into the store until one shares four digits with the commit.
fn commits_and_blobs_sharing_a_prefix(repo: &Repo, store: &Path) -> (String, String) {
    let commit = repo.head();
    for number in 0..4_000_000_u32 {
        let contents = number.to_string();
        let id = git2::Oid::hash_object(git2::ObjectType::Blob, contents.as_bytes()).unwrap().to_string();
        if id[..4] == commit[..4] {
            let file = store.join("shared");
            fs::write(&file, contents).unwrap();
            assert_eq!(git(store, &["hash-object", "-w", "shared"]), id);
            return (commit, id);
        }
    }
    panic!("one in 65,536 shares four digits");
}
