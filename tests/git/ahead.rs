//! The speculative fetch: only a confirmed commit is kept, and a wrong guess costs no more than its request.

use std::future::ready;
use std::time::Duration;

use pushsync::git::{Engine, ExpectedCommit, SpeculativeFetch, Want};

use super::{Volume, assert_whole, at_rest, git, oid, options, shallow_lines, sync};
use crate::support::git_http::{GitHttp, Mode};
use crate::support::repo::Repo;

async fn synced_engine(server: &GitHttp, volume: &Volume) -> Engine {
    let engine = volume.engine(options(&server.url("site.git")));
    sync(&engine).await.unwrap();
    engine
}

fn packs(engine: &Engine) -> usize {
    std::fs::read_dir(engine.store().join("objects/pack")).unwrap().count()
}

fn has(engine: &Engine, commit: &str) -> bool {
    git2::Repository::open_bare(engine.store()).unwrap().find_object(oid(commit), None).is_ok()
}

/// A failed guess does not count against the remote: the next lookup is one request of version 2.
async fn assert_unharmed(server: &GitHttp, engine: &Engine) {
    let before = server.requests();
    engine.ls_remote().await.unwrap();
    let seen = &server.seen()[before..];
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!((seen[0].method.as_str(), seen[0].protocol.as_deref()), ("POST", Some("version=2")));
}

#[tokio::test]
async fn the_announced_commit_comes_with_the_look_over_two_connections_that_are_kept() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = synced_engine(&server, &volume).await;
    at_rest(&server).await;
    let connections = server.wire().0;
    for (round, hint) in [true, false, true, true].into_iter().enumerate() {
        let before = oid(&repo.head());
        let after = repo.push_file("index.html", format!("round {round}\n"), "Next");
        let requests = server.requests();
        let ahead = ExpectedCommit { commit: oid(&after), from: hint.then_some(before) };
        let (look, early) = engine.resolve_and_fetch(ahead, ready(())).await.unwrap();
        assert_eq!(look.commit, oid(&after));
        assert!(
            matches!(early, SpeculativeFetch::Fetched(fetched) if fetched.commit == look.commit && fetched.objects == 3),
            "{early:?}"
        );
        // Nothing is left for the normal fetch.
        assert_eq!(engine.fetch(Want::Seen(look)).await.unwrap().objects, 0);
        assert_eq!(server.requests() - requests, 2);
        assert_whole(engine.store(), &after);
        assert_eq!(git(engine.store(), &["rev-parse", "refs/pushsync/head"]), after);
        assert_eq!(git(engine.store(), &["rev-list", "--count", "refs/pushsync/head"]), "1");
        assert!((1..=2).contains(&shallow_lines(engine.store())));
        assert!(server.wire().0 - connections <= 1, "one more than a look needs, and it is kept");
        // The response ends after the pack. A push before its end is read would get a connection of its own.
        at_rest(&server).await;
    }
}

#[tokio::test]
async fn connections_are_kept_however_late_the_server_ends_its_responses() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    // Later than a look and a fetch wait for it.
    server.set(Mode::LateEnd(Duration::from_millis(1500)));
    let volume = Volume::new();
    let engine = synced_engine(&server, &volume).await;
    at_rest(&server).await;
    // The fetch began before the response to the look ended.
    assert_eq!(server.open_connections(), 2);
    let connections = server.wire().0;
    for round in 0..2 {
        let before = oid(&repo.head());
        let after = repo.push_file("index.html", format!("round {round}\n"), "Next");
        let ahead = ExpectedCommit { commit: oid(&after), from: Some(before) };
        let (look, early) = engine.resolve_and_fetch(ahead, ready(())).await.unwrap();
        assert_eq!(look.commit, oid(&after));
        assert!(matches!(early, SpeculativeFetch::Fetched(_)), "{early:?}");
        at_rest(&server).await;
        assert_eq!((server.open_connections(), server.wire().0), (2, connections));
    }
}

#[tokio::test]
async fn the_fetch_does_not_wait_for_the_look() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = synced_engine(&server, &volume).await;
    let before = oid(&repo.head());
    let after = repo.push_file("index.html", "two\n", "Second");
    // A normal fetch gets no answer at all here.
    server.set(Mode::FetchFirst);
    let (look, early) =
        engine.resolve_and_fetch(ExpectedCommit { commit: oid(&after), from: Some(before) }, ready(())).await.unwrap();
    assert_eq!(look.commit, oid(&after));
    assert!(matches!(early, SpeculativeFetch::Fetched(_)), "{early:?}");
    assert_whole(engine.store(), &after);
}

#[tokio::test]
async fn present_commits_are_not_requested() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = synced_engine(&server, &volume).await;
    let requests = server.requests();
    let (look, early) =
        engine.resolve_and_fetch(ExpectedCommit { commit: oid(&repo.head()), from: None }, ready(())).await.unwrap();
    assert_eq!((look.commit, early, server.requests() - requests), (oid(&repo.head()), SpeculativeFetch::Nothing, 1));
}

#[tokio::test]
async fn a_commit_that_the_server_does_not_give_out_harms_neither_look_nor_remote() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = synced_engine(&server, &volume).await;
    let before = repo.head();
    server.hold();
    let after = repo.push_file("index.html", "two\n", "Second");
    let ahead = ExpectedCommit { commit: oid(&after), from: Some(oid(&before)) };
    let (look, early) = engine.resolve_and_fetch(ahead, ready(())).await.unwrap();
    assert_eq!((look.commit, early), (oid(&before), SpeculativeFetch::Nothing));
    assert_unharmed(&server, &engine).await;
    server.release();
    let fetched = sync(&engine).await.unwrap();
    assert_eq!((fetched.commit, fetched.objects), (oid(&after), 3));
    assert_whole(engine.store(), &after);
}

#[tokio::test]
async fn unconfirmed_commits_never_reach_the_store() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = synced_engine(&server, &volume).await;
    let head = repo.head();
    // The server serves the commit, but the followed ref does not name it.
    repo.branch("elsewhere");
    let elsewhere = repo.push_file("index.html", "elsewhere\n", "On another branch");
    repo.checkout("main");
    let before = packs(&engine);
    for from in [None, Some(oid(&head))] {
        // Nothing is prepared for it either.
        let meanwhile = async { panic!("no push was confirmed") };
        let (look, early) =
            engine.resolve_and_fetch(ExpectedCommit { commit: oid(&elsewhere), from }, meanwhile).await.unwrap();
        assert_eq!((look.commit, early), (oid(&head), SpeculativeFetch::Nothing));
    }
    assert_eq!(packs(&engine), before);
    assert!(!has(&engine, &elsewhere));
    assert_eq!(git(engine.store(), &["rev-parse", "refs/pushsync/head"]), head);
    assert_unharmed(&server, &engine).await;

    // The ref moved on to another commit than was announced: that one is fetched.
    let newer = repo.push_file("index.html", "newer\n", "What the ref is now");
    let (look, early) = engine
        .resolve_and_fetch(ExpectedCommit { commit: oid(&elsewhere), from: Some(oid(&head)) }, ready(()))
        .await
        .unwrap();
    assert_eq!((look.commit, early), (oid(&newer), SpeculativeFetch::Nothing));
    assert_eq!(engine.fetch(Want::Seen(look)).await.unwrap().commit, oid(&newer));
    assert!(!has(&engine, &elsewhere));
    assert_whole(engine.store(), &newer);
}

#[tokio::test]
async fn a_lie_in_answer_to_the_guess_does_not_count_against_the_remote() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = synced_engine(&server, &volume).await;
    let before = repo.head();
    let after = repo.push_file("index.html", "two\n", "Second");
    let ahead = ExpectedCommit { commit: oid(&after), from: Some(oid(&before)) };
    let lies: [&[u8]; 3] = [b"zzzz", b"000dpackfile\n0006\x01x0000", b"0000"];
    for lie in lies {
        server.set(Mode::Lie { command: "command=fetch", answer: lie.to_vec(), endless: Vec::new() });
        let (look, early) = engine.resolve_and_fetch(ahead, ready(())).await.unwrap();
        assert_eq!((look.commit, early), (oid(&after), SpeculativeFetch::Nothing), "{lie:?}");
        server.set(Mode::Serve);
        assert_unharmed(&server, &engine).await;
    }
    assert!(!has(&engine, &after));
    let (_, early) = engine.resolve_and_fetch(ahead, ready(())).await.unwrap();
    assert!(matches!(early, SpeculativeFetch::Fetched(_)), "{early:?}");
    assert_whole(engine.store(), &after);
}

#[tokio::test]
async fn servers_that_are_spoken_to_in_another_way_are_not_guessed_at() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    for mode in [Mode::OldProtocol, Mode::GetFirst] {
        server.set(mode.clone());
        let volume = Volume::new();
        let engine = synced_engine(&server, &volume).await;
        let before = repo.head();
        let after = repo.push_file("index.html", format!("{mode:?}\n"), "Next");
        let ahead = ExpectedCommit { commit: oid(&after), from: Some(oid(&before)) };
        let (look, early) = engine.resolve_and_fetch(ahead, ready(())).await.unwrap();
        assert_eq!((look.commit, early), (oid(&after), SpeculativeFetch::Nothing), "{mode:?}");
        engine.fetch(Want::Seen(look)).await.unwrap();
        assert_whole(engine.store(), &after);
    }
}

#[tokio::test]
async fn large_packs_are_fetched_and_too_large_ones_left_to_the_normal_fetch() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = synced_engine(&server, &volume).await;
    repo.git(&["config", "core.compression", "0"]);
    let mut noise = fastrand::Rng::with_seed(5);
    let mut push = |megabytes: usize| {
        let before = oid(&repo.head());
        let mut bytes = vec![0; megabytes << 20];
        noise.fill(&mut bytes);
        let after = repo.push_file("noise.bin", bytes, "Noise");
        ExpectedCommit { commit: oid(&after), from: Some(before) }
    };
    let ahead = push(5);
    let (_, early) = engine.resolve_and_fetch(ahead, ready(())).await.unwrap();
    assert!(matches!(early, SpeculativeFetch::Fetched(fetched) if fetched.bytes > 5 << 20), "{early:?}");
    assert_whole(engine.store(), &ahead.commit.to_string());
    let ahead = push(33);
    let (look, early) = engine.resolve_and_fetch(ahead, ready(())).await.unwrap();
    assert_eq!(early, SpeculativeFetch::TooLarge);
    assert!(!has(&engine, &ahead.commit.to_string()));
    assert_eq!(engine.fetch(Want::Seen(look)).await.unwrap().commit, ahead.commit);
    assert_whole(engine.store(), &ahead.commit.to_string());
}

#[tokio::test]
async fn a_prepared_request_equals_one_that_is_planned_late() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = synced_engine(&server, &volume).await;
    let mut asked = Vec::new();
    for round in 0..8 {
        let mut before = oid(&repo.head());
        if round % 2 == 0 {
            engine.prepare_for_push().await;
        }
        if round == 6 {
            // When the push arrives, the prepared request is for a commit that the ref no longer names.
            before = oid(&repo.push_file("index.html", "in between\n", "In between"));
            sync(&engine).await.unwrap();
        }
        let after = repo.push_file("index.html", format!("round {round}\n"), "Next");
        let received = server.received();
        let (look, early) = engine
            .resolve_and_fetch(ExpectedCommit { commit: oid(&after), from: Some(before) }, ready(()))
            .await
            .unwrap();
        assert_eq!(look.commit, oid(&after));
        assert!(matches!(early, SpeculativeFetch::Fetched(fetched) if fetched.objects == 3), "{round}: {early:?}");
        asked.push(server.received() - received);
        assert_whole(engine.store(), &after);
        assert_eq!(git(engine.store(), &["rev-list", "--count", "refs/pushsync/head"]), "1");
    }
    // The first rounds have fewer haves.
    assert!(asked[2..].iter().all(|bytes| *bytes == asked[2]), "{asked:?}");
}

#[tokio::test]
async fn preparing_a_push_creates_no_store_in_place_of_a_removed_one() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = synced_engine(&server, &volume).await;
    std::fs::remove_dir_all(engine.store()).unwrap();
    engine.prepare_for_push().await;
    assert!(!engine.store().exists());
    let head = repo.head();
    assert_eq!(sync(&engine).await.unwrap().commit, oid(&head));
    assert_whole(engine.store(), &head);
}
