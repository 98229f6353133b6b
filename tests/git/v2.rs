//! Protocol v2 over HTTP: its cost, and servers that support less of it.

use std::fmt::Write as _;

use pushsync::git::{Engine, Reference, Want};

use super::{Volume, assert_whole, at_rest, git, oid, options, shallow_lines, sync, synced};
use crate::support::git_http::{GitHttp, Mode};
use crate::support::repo::Repo;

/// Adds refs without starting a process for each.
fn with_many_refs(repo: &Repo, count: usize) {
    let head = repo.head();
    let mut packed = String::from("# pack-refs with: peeled fully-peeled sorted \n");
    let mut names: Vec<_> = (1..=count).map(|number| format!("refs/pull/{number}/head")).collect();
    names.sort();
    for name in names {
        writeln!(packed, "{head} {name}").unwrap();
    }
    std::fs::write(repo.bare().join("packed-refs"), packed).unwrap();
}

#[tokio::test]
async fn a_look_is_one_small_request_however_many_refs_there_are() {
    let repo = Repo::new();
    with_many_refs(&repo, 5_000);
    assert_eq!(repo.bare_git(&["for-each-ref"]).lines().count(), 5_001);
    let server = GitHttp::start(&repo.root());
    let references = [Reference::Head, Reference::Name("main".into()), Reference::Full("refs/pull/77/head".into())];
    for reference in references {
        let volume = Volume::new();
        let mut remote = options(&server.url("site.git"));
        remote.reference = reference.clone();
        let engine = volume.engine(remote);
        engine.ls_remote().await.unwrap();
        at_rest(&server).await;
        let (before, requests) = (server.wire(), server.requests());
        let look = engine.ls_remote().await.unwrap();
        let after = server.wire();
        let (connections, up, down) = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
        eprintln!("{reference:?}: {} request, {up} bytes up, {down} down", server.requests() - requests);
        assert_eq!((look.commit, connections, server.requests() - requests), (oid(&repo.head()), 0, 1));
        assert!(down <= 600, "{reference:?}: {down} bytes");
        assert!(!engine.store().exists(), "a look needs no store");
    }
    // The error for a missing ref lists existing ones: that costs the branches and tags, but not all refs.
    let mut remote = options(&server.url("site.git"));
    remote.reference = Reference::Name("mian".into());
    let (engine, before) = (Volume::new().engine(remote), server.sent());
    let error = engine.ls_remote().await.unwrap_err().to_string();
    assert_eq!(error, "couldn't find remote ref mian; it has `main`");
    assert!(server.sent() - before < 1000);
}

#[tokio::test]
async fn a_push_is_fetched_in_one_request_on_the_same_connection() {
    let repo = Repo::new();
    repo.write("noise.bin", fastrand::Rng::with_seed(7).u128(..).to_string().repeat(3000));
    repo.push_file("index.html", "two\n", "Second");
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    sync(&engine).await.unwrap();
    for hint in [false, true, false, true, true] {
        let before = oid(&repo.head());
        let page = format!("page {}\n", fastrand::u64(..));
        let commit = repo.push_file("index.html", &page, "Next");
        at_rest(&server).await;
        let (wire, requests) = (server.wire(), server.requests());
        let look = engine.ls_remote().await.unwrap();
        let fetched = engine.fetch_forward(Want::Seen(look), hint.then_some(before)).await.unwrap();
        assert_eq!((fetched.commit, fetched.objects), (oid(&commit), 3));
        let (connections, up, down) = (server.wire().0 - wire.0, server.wire().1 - wire.1, server.wire().2 - wire.2);
        eprintln!("look and fetch, hint {hint}: {} requests, {up} bytes up, {down} down", server.requests() - requests);
        assert_eq!((connections, server.requests() - requests), (0, 2));
        assert!(down < 1500, "thin and small: {down}");
        assert_whole(engine.store(), &commit);
        assert_eq!(git(engine.store(), &["rev-list", "--count", "refs/pushsync/head"]), "1");
        assert!((1..=2).contains(&shallow_lines(engine.store())));
        assert_eq!(git(engine.store(), &["show", &format!("{commit}:index.html")]), page.trim_end());
    }
}

#[tokio::test]
async fn a_hint_that_is_wrong_does_no_harm_at_any_depth() {
    let repo = Repo::new();
    for number in 0..4 {
        repo.push_file("index.html", format!("before {number}\n"), "Before");
    }
    let server = GitHttp::start(&repo.root());
    for depth in [1, 2, 0] {
        let volume = Volume::new();
        let mut remote = options(&server.url("site.git"));
        remote.depth = depth;
        let engine = volume.engine(remote);
        repo.force_push();
        sync(&engine).await.unwrap();
        let hinted = async |commit: &str| {
            let had = oid(&git(engine.store(), &["rev-parse", "refs/pushsync/head"]));
            let look = engine.ls_remote().await.unwrap();
            let fetched = engine.fetch_forward(Want::Seen(look), Some(had)).await.unwrap();
            assert_eq!(fetched.commit, oid(commit));
            assert_whole(engine.store(), commit);
            let count: u32 = git(engine.store(), &["rev-list", "--count", "refs/pushsync/head"]).parse().unwrap();
            let all: u32 = repo.git(&["rev-list", "--count", commit]).parse().unwrap();
            assert_eq!(count, if depth == 0 { all } else { all.min(depth) }, "{commit} at depth {depth}");
            assert!(shallow_lines(engine.store()) <= 2);
        };
        // Two commits at once, an amended one, an unrelated history, and back to the first.
        let start = repo.head();
        repo.commit("Between");
        hinted(&repo.push_file("index.html", format!("two at depth {depth}\n"), "Two")).await;
        repo.write("index.html", format!("amended at depth {depth}\n"));
        let amended = repo.amend("Two, better");
        repo.force_push();
        hinted(&amended).await;
        repo.orphan("alone");
        let unrelated = repo.commit("Another beginning");
        repo.git(&["push", "--quiet", "--force", "origin", "alone:main"]);
        hinted(&unrelated).await;
        repo.git(&["checkout", "--quiet", "--force", "main"]);
        repo.git(&["branch", "--quiet", "-D", "alone"]);
        repo.git(&["reset", "--quiet", "--hard", &start]);
        repo.force_push();
        hinted(&start).await;
        let merged = {
            repo.branch("side");
            repo.write("side.html", "side\n");
            repo.commit("Side");
            repo.checkout("main");
            repo.write("main.html", "main\n");
            repo.commit("Main");
            repo.git(&["merge", "--quiet", "--no-ff", "--message", "Merge", "side"]);
            repo.git(&["branch", "--quiet", "-D", "side"]);
            repo.push();
            repo.head()
        };
        let had = oid(&git(engine.store(), &["rev-parse", "refs/pushsync/head"]));
        let look = engine.ls_remote().await.unwrap();
        engine.fetch_forward(Want::Seen(look), Some(had)).await.unwrap();
        assert_whole(engine.store(), &merged);
        let of_git = tempfile::TempDir::new().unwrap();
        let copy = of_git.path().join("copy");
        let depth_flag = format!("--depth={}", if depth == 0 { 1000 } else { depth });
        let url = server.url("site.git");
        git(of_git.path(), &["clone", "--quiet", "--bare", &depth_flag, &url, copy.to_str().unwrap()]);
        let count = |store: &std::path::Path, what: &str| git(store, &["rev-list", "--count", what]);
        assert_eq!(count(engine.store(), "refs/pushsync/head"), count(&copy, "HEAD"), "as git itself at depth {depth}");
        repo.git(&["reset", "--quiet", "--hard", &start]);
    }
}

#[tokio::test]
async fn a_forced_push_that_claims_to_be_none_costs_a_bounded_detour() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    let had = sync(&engine).await.unwrap().commit;
    repo.orphan("other");
    let mut noise = vec![0; 40 << 20];
    fastrand::Rng::with_seed(9).fill(&mut noise);
    repo.write("noise.bin", noise);
    repo.git(&["config", "core.compression", "0"]);
    repo.commit("What is not there any more");
    repo.remove("noise.bin");
    let small = repo.commit("Small again");
    repo.git(&["push", "--quiet", "--force", "origin", "other:main"]);
    let before = server.requests();
    let look = engine.ls_remote().await.unwrap();
    let fetched = engine.fetch_forward(Want::Seen(look), Some(had)).await.unwrap();
    assert_eq!((fetched.commit, server.requests() - before), (oid(&small), 3));
    assert!(fetched.bytes < 10_000, "{fetched:?}");
    assert_whole(engine.store(), &small);
    assert_eq!(git(engine.store(), &["rev-list", "--count", "refs/pushsync/head"]), "1");
    let left: u64 = std::fs::read_dir(engine.store().join("objects/pack"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(left < 100_000, "nothing of the detour stays: {left} bytes");
}

async fn costs(server: &GitHttp, engine: &Engine) -> Vec<(String, bool)> {
    let before = server.requests();
    engine.ls_remote().await.unwrap();
    let seen = &server.seen()[before..];
    seen.iter().map(|seen| (seen.method.clone(), seen.protocol.is_some())).collect()
}

#[tokio::test]
async fn a_server_without_version_2_is_left_to_libgit2_and_remembered() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    server.set(Mode::OldProtocol);
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    synced(&engine, &repo.head(), "one").await;
    let get = || ("GET".to_owned(), true);
    assert_eq!(costs(&server, &engine).await, [get()], "one request, and no try of version 2");
    let second = repo.push_file("index.html", "two\n", "Second");
    synced(&engine, &second, "two").await;
    assert_eq!(costs(&server, &engine).await, [get()]);

    // After a failure version 2 is tried again.
    server.set(Mode::Status(500));
    assert_eq!(engine.ls_remote().await.unwrap_err().kind().as_str(), "server_error");
    server.set(Mode::Serve);
    let post = || ("POST".to_owned(), true);
    assert_eq!(costs(&server, &engine).await, [post()]);
    // The opposite: the server was downgraded.
    server.set(Mode::OldProtocol);
    let third = repo.push_file("index.html", "three\n", "Third");
    synced(&engine, &third, "three").await;
    assert_eq!(costs(&server, &engine).await, [get()]);
}

#[tokio::test]
async fn a_server_that_wants_to_be_asked_first_is_asked_first() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    server.set(Mode::GetFirst);
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    let (get, post) = (("GET".to_owned(), true), ("POST".to_owned(), true));
    assert_eq!(costs(&server, &engine).await, [post.clone(), get.clone(), post.clone()]);
    assert_eq!(costs(&server, &engine).await, [get, post.clone()], "remembered");
    server.set(Mode::Status(500));
    engine.ls_remote().await.unwrap_err();
    server.set(Mode::Serve);
    assert_eq!(costs(&server, &engine).await, [post]);
    synced(&engine, &repo.head(), "one").await;
}

#[tokio::test]
async fn a_pin_needs_no_look_before() {
    let repo = Repo::new();
    let first = repo.head();
    repo.push_file("index.html", "two\n", "Second");
    let server = GitHttp::start(&repo.root());
    for (mode, requests) in [(Mode::Serve, 1), (Mode::GetFirst, 3)] {
        server.set(mode.clone());
        let (volume, before) = (Volume::new(), server.requests());
        let engine = volume.engine(options(&server.url("site.git")));
        assert_eq!(engine.fetch(Want::Commit(oid(&first))).await.unwrap().commit, oid(&first));
        assert_eq!(server.requests() - before, requests, "{mode:?}");
        assert_whole(engine.store(), &first);
        let nowhere = engine.fetch(Want::Commit(oid(&"7".repeat(40)))).await.unwrap_err();
        assert_eq!(nowhere.kind().as_str(), "no_such_commit", "{mode:?}: {nowhere:?}");
    }
}

#[tokio::test]
async fn credentials_are_shown_once_asked_for_and_the_password_is_read_anew() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    server.require(Some(("ada", "analytical")));
    let volume = Volume::new();
    let url = server.url("site.git").replace("http://", "http://ada:analytical@");
    let engine = volume.engine(options(&url));
    synced(&engine, &repo.head(), "one").await;
    assert!(!server.seen()[0].credentials, "not before they are asked for");
    assert_eq!(costs(&server, &engine).await.len(), 1, "and not asked for each time");
    server.require(Some(("ada", "rotated")));
    let before = server.requests();
    assert_eq!(engine.ls_remote().await.unwrap_err().kind().as_str(), "auth");
    assert_eq!(server.requests() - before, 1);
}

#[tokio::test]
async fn a_redirect_within_the_origin_is_followed_and_remembered() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    server.set(Mode::RedirectFrom("/old.git".into(), "/site.git".into()));
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("old.git")));
    synced(&engine, &repo.head(), "one").await;
    assert_eq!(costs(&server, &engine).await, [("POST".to_owned(), true)]);
    assert!(server.seen().last().unwrap().target.starts_with("/site.git/"));
}
