//! Servers and gateways with unusual behavior that git accepts.

use super::{Volume, assert_whole, options, sync, synced};
use crate::support::gateway::{Gateway, Habit};
use crate::support::git_http::{GitHttp, Mode};
use crate::support::repo::Repo;

#[tokio::test]
async fn responses_of_old_servers_and_gateways_that_git_accepts_are_accepted_in_both_versions() {
    for habit in [Habit::EndsWithConnection, Habit::OtherType, Habit::NoType] {
        for mode in [Mode::Serve, Mode::OldProtocol] {
            let repo = Repo::new();
            let server = GitHttp::start(&repo.root());
            server.set(mode.clone());
            let gateway = Gateway::start(server.address(), habit).await;
            let volume = Volume::new();
            let engine = volume.engine(options(&gateway.url("site.git")));
            synced(&engine, &repo.head(), "one").await;
            let second = repo.push_file("index.html", "two\n", "Second");
            synced(&engine, &second, "two").await;
            assert!(gateway.methods().len() >= 4, "{habit:?} {mode:?}: {:?}", gateway.methods());
        }
    }
}

#[tokio::test]
async fn a_post_that_is_forbidden_before_a_get_is_sent_once_more_behind_one() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let gateway = Gateway::start(server.address(), Habit::GetFirst).await;
    let volume = Volume::new();
    let engine = volume.engine(options(&gateway.url("site.git")));
    engine.ls_remote().await.unwrap();
    assert_eq!(gateway.methods(), ["POST", "GET", "POST"]);
    synced(&engine, &repo.head(), "one").await;
    // A refusal that a GET does not change is final after one attempt.
    let refused = GitHttp::start(&repo.root());
    refused.set(Mode::Status(403));
    let error = Volume::new().engine(options(&refused.url("site.git"))).ls_remote().await.unwrap_err();
    assert_eq!((error.kind().as_str(), refused.requests()), ("auth", 2), "{error:?}");
}

#[tokio::test]
async fn version_0_follows_pushes_amended_commits_and_tags_at_any_depth() {
    for depth in [1, 3, 0] {
        let repo = Repo::new();
        let server = GitHttp::start(&repo.root());
        server.set(Mode::OldProtocol);
        let volume = Volume::new();
        let mut remote = options(&server.url("site.git"));
        remote.depth = depth;
        let engine = volume.engine(remote);
        synced(&engine, &repo.head(), "one").await;
        for number in 0..3 {
            let commit = repo.push_file("index.html", format!("page {number}\n"), "Next");
            synced(&engine, &commit, &format!("page {number}")).await;
        }
        repo.write("index.html", "amended\n");
        let amended = repo.amend("Again");
        repo.force_push();
        synced(&engine, &amended, "amended").await;
        let count = super::git(engine.store(), &["rev-list", "--count", "refs/pushsync/head"]);
        let all: u32 = repo.git(&["rev-list", "--count", "HEAD"]).parse().unwrap();
        assert_eq!(count.parse::<u32>().unwrap(), if depth == 0 { all } else { all.min(depth) }, "depth {depth}");
        let lists = |seen: &crate::support::git_http::Seen| seen.method == "GET" && seen.protocol.is_some();
        assert!(server.seen().iter().any(lists), "our own client asks");
    }
}

#[tokio::test]
async fn a_shallow_repository_is_a_remote_like_any_other() {
    let repo = Repo::new();
    for number in 0..4 {
        repo.push_file("index.html", format!("page {number}\n"), "Next");
    }
    let head = repo.head();
    let copy = repo.shallow_copy(2);
    let name = copy.file_name().unwrap().to_str().unwrap();
    for depth in [1, 2, 0] {
        for transport in ["http", "version 0", "path"] {
            let server = GitHttp::start(&repo.root());
            if transport == "version 0" {
                server.set(Mode::OldProtocol);
            }
            let address = if transport == "path" { copy.display().to_string() } else { server.url(name) };
            let mut remote = options(&address);
            remote.depth = depth;
            let volume = Volume::new();
            let engine = volume.engine(remote);
            let fetched = sync(&engine).await.unwrap_or_else(|error| panic!("{transport} at depth {depth}: {error:?}"));
            assert_eq!(fetched.commit.to_string(), head, "{transport} at depth {depth}");
            assert_whole(engine.store(), &head);
        }
    }
}

#[tokio::test]
async fn formats_that_libgit2_cannot_open_from_a_path_say_that_http_works() {
    let repo = Repo::new();
    for (key, value) in [("extensions.refStorage", "reftable"), ("extensions.partialClone", "origin")] {
        repo.bare_git(&["config", "core.repositoryFormatVersion", "1"]);
        repo.bare_git(&["config", key, value]);
        let error = sync(&Volume::new().engine(options(&repo.file_url()))).await.unwrap_err();
        assert_eq!(error.kind().as_str(), "repository_format", "{key}: {error:?}");
        assert!(error.hint().unwrap().contains("http(s)"), "{error:?}");
        std::fs::write(repo.bare().join("config"), "[core]\n\trepositoryformatversion = 0\n\tbare = true\n").unwrap();
    }
    sync(&Volume::new().engine(options(&repo.file_url()))).await.unwrap();
}

#[tokio::test]
async fn a_path_in_a_file_address_is_decoded() {
    let repo = Repo::new();
    let blank = repo.root().join("my site.git");
    std::fs::rename(repo.bare(), &blank).unwrap();
    let address = format!("file://{}", blank.display()).replace(' ', "%20");
    let fetched = sync(&Volume::new().engine(options(&address))).await.unwrap();
    assert_eq!(fetched.commit.to_string(), repo.head());
}
