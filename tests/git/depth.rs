//! `--depth`, `--repo` and `--ref` that change between two processes on the same volume.

use pushsync::git::{Effort, Engine, Reference, RemoteOptions};

use super::compact::has;
use super::{Volume, assert_whole, git, oid, options, shallow_lines, sync, synced};
use crate::support::git_http::{GitHttp, Mode};
use crate::support::repo::Repo;
use crate::support::sshd::Sshd;

/// A new process with another depth.
async fn at_depth(volume: &Volume, remote: &RemoteOptions, depth: u32) -> Engine {
    let mut options = remote.clone();
    options.depth = depth;
    let engine = volume.engine(options);
    sync(&engine).await.unwrap();
    engine
}

fn count(engine: &Engine) -> String {
    git(engine.store(), &["rev-list", "--count", "refs/pushsync/head"])
}

/// Changes the depth to a larger one, to all history and back, with and without a push in between.
async fn changes(repo: &Repo, remote: RemoteOptions) {
    let volume = Volume::new();
    let all = repo.git(&["rev-list", "--count", "HEAD"]);
    let mut number = 0;
    for push in [false, true] {
        for depth in [1, 3, 0, 2, 5, 1, 0] {
            let mut total: u32 = all.parse().unwrap();
            if push {
                number += 1;
                repo.push_file("index.html", format!("depth {depth}\n"), "Another");
            }
            total += number;
            let expected = if depth == 0 { total } else { depth };
            let engine = at_depth(&volume, &remote, depth).await;
            let head = repo.head();
            assert_eq!(count(&engine), expected.to_string(), "depth {depth}, push {push}");
            assert_whole(engine.store(), &head);
            assert_eq!(depth == 0, shallow_lines(engine.store()) == 0, "depth {depth}, push {push}");
            // Neither the next push nor a compaction may change that.
            engine.compact(Effort::Full, vec![]).await.unwrap().expect("there is something to do");
            assert_eq!(count(&engine), expected.to_string(), "depth {depth}, push {push}, compacted");
            assert_whole(engine.store(), &head);
        }
    }
}

fn history() -> Repo {
    let repo = Repo::new();
    for number in 0..7 {
        repo.push_file("index.html", format!("before {number}\n"), "Before");
    }
    repo
}

#[tokio::test]
async fn a_changed_depth_holds_from_the_first_sync_over_http() {
    let repo = history();
    let server = GitHttp::start(&repo.root());
    changes(&repo, options(&server.url("site.git"))).await;
}

#[tokio::test]
async fn and_over_http_of_version_0() {
    let repo = history();
    let server = GitHttp::start(&repo.root());
    server.set(Mode::OldProtocol);
    changes(&repo, options(&server.url("site.git"))).await;
}

#[tokio::test]
async fn and_from_a_folder() {
    let repo = history();
    changes(&repo, options(&repo.file_url())).await;
    changes(&repo, options(&repo.bare().display().to_string())).await;
}

#[tokio::test]
async fn and_over_ssh() {
    let Some(sshd) = Sshd::start() else { return };
    let repo = history();
    let mut remote = options(&sshd.url(&repo.bare()));
    remote.credentials.ssh_keys = vec![sshd.key()];
    changes(&repo, remote).await;
}

#[tokio::test]
async fn a_folder_is_followed_as_deep_as_asked_and_the_rest_is_dropped() {
    let repo = history();
    let first = repo.git(&["rev-list", "--max-parents=0", "HEAD"]);
    // A branch from before the shallow boundary, with files that only the older history has: libgit2 leaves them out.
    repo.write("only-then.html", "only then\n");
    repo.commit("With a file");
    repo.branch("side");
    repo.push_file("side.html", "side\n", "On the side");
    repo.checkout("main");
    repo.remove("only-then.html");
    repo.push_file("index.html", "without\n", "Without the file");
    for number in 0..3 {
        repo.push_file("index.html", format!("after {number}\n"), "After");
    }
    let volume = Volume::new();
    let mut remote = options(&repo.file_url());
    remote.depth = 2;
    remote.reference = Reference::Name("main".into());
    let engine = volume.engine(remote.clone());
    synced(&engine, &repo.head(), "after 2").await;
    assert_eq!((count(&engine).as_str(), shallow_lines(engine.store())), ("2", 1));
    assert!(has(engine.store(), &first), "all of it came");
    let done = engine.compact(Effort::Worthwhile, vec![]).await.unwrap().expect("it is due");
    assert!(done.full);
    assert!(!has(engine.store(), &first), "what is deeper than asked for went");
    for number in 0..3 {
        let page = format!("on {number}\n");
        let commit = repo.push_file("index.html", &page, "On");
        synced(&engine, &commit, &page).await;
        assert_eq!(count(&engine), "2");
    }
    // A merge of the old branch brings the dropped file back.
    repo.git(&["merge", "--quiet", "--no-ff", "--message", "Merge the side", "-X", "theirs", "side"]);
    repo.push_file("only-then.html", "only then\n", "Again");
    let merged = repo.head();
    assert_eq!(sync(&engine).await.unwrap().commit, oid(&merged));
    assert_whole(engine.store(), &merged);
    remote.reference = Reference::Name("side".into());
    let side = sync(&volume.engine(remote)).await.unwrap().commit;
    git(engine.store(), &["archive", "--output=/dev/null", &side.to_string()]);
    git(engine.store(), &["fsck", "--no-dangling"]);
}

#[tokio::test]
async fn another_repository_and_another_branch_on_the_same_volume() {
    let (one, two) = (history(), Repo::new());
    two.write("index.html", "two\n");
    let second = two.push_file("other.html", "other\n", "Of the second");
    one.branch("release");
    let release = one.push_file("index.html", "release\n", "For release");
    one.checkout("main");
    let (first_server, second_server) = (GitHttp::start(&one.root()), GitHttp::start(&two.root()));
    for depth in [1, 0] {
        let volume = Volume::new();
        let with = |url: &str, reference: &str| {
            let mut options = options(url);
            (options.reference, options.depth) = (Reference::Name(reference.into()), depth);
            volume.engine(options)
        };
        let remotes = [
            (first_server.url("site.git"), "main", one.head(), "before 6"),
            (second_server.url("site.git"), "main", second.clone(), "two"),
            (one.file_url(), "release", release.clone(), "release"),
            (two.file_url(), "main", second.clone(), "two"),
            (first_server.url("site.git"), "release", release.clone(), "release"),
        ];
        for (url, reference, commit, page) in remotes {
            let engine = with(&url, reference);
            synced(&engine, &commit, page).await;
            engine.compact(Effort::Full, vec![]).await.unwrap().expect("there is something to do");
            assert_whole(engine.store(), &commit);
        }
    }
}
