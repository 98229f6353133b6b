//! Descriptions of commits, and of those between two others.

use super::{Volume, oid, options, sync};
use crate::support::git_http::GitHttp;
use crate::support::repo::Repo;

#[tokio::test]
async fn a_commit_is_described_without_what_could_move_a_cursor() {
    let repo = Repo::new();
    let message = format!("\u{1b}[31mRed\u{202e} alert\u{7} {}\n\nBody", "x".repeat(400));
    repo.git(&["config", "user.name", "unused"]);
    repo.git(&[
        "commit",
        "--quiet",
        "--allow-empty",
        "--message",
        &message,
        "--author",
        "E\u{2066}ve\u{9b} <eve@example.test>",
    ]);
    repo.push();
    let engine = Volume::new();
    let engine = (engine.engine(options(&repo.file_url())), engine).0;
    let id = sync(&engine).await.unwrap().commit;
    let commit = engine.commit(id).await.unwrap();
    assert_eq!(commit.id, id);
    assert!(commit.subject.starts_with("\u{fffd}[31mRed\u{fffd} alert\u{fffd} xxx"), "{}", commit.subject);
    assert_eq!(commit.subject.chars().count(), 300);
    assert_eq!(commit.author, "E\u{fffd}ve\u{fffd}");
    let written: i64 = repo.git(&["log", "-1", "--format=%ct"]).parse().unwrap();
    assert_eq!(commit.committed_at.unwrap().as_second(), written);

    let unknown = engine.commit(oid(&"1".repeat(40))).await.unwrap_err();
    assert_eq!(unknown.kind().as_str(), "no_such_commit");
    assert!(!unknown.store_is_damaged());
}

#[tokio::test]
async fn complete_histories_yield_counts_and_detect_rewriting() {
    let repo = Repo::new();
    let volume = Volume::new();
    let mut all = options(&repo.file_url());
    all.depth = 0;
    let engine = volume.engine(all);
    let old = sync(&engine).await.unwrap().commit;
    repo.push_file("index.html", "two\n", "Second");
    repo.branch("side");
    repo.push_file("side.html", "side\n", "On the side");
    repo.checkout("main");
    repo.push_file("index.html", "three\n", "Third");
    repo.git(&["merge", "--quiet", "--no-ff", "--message", "Merge the side", "side"]);
    repo.push();
    let new = sync(&engine).await.unwrap().commit;

    let span = engine.span(Some(old), new).await.unwrap();
    assert_eq!((span.count, span.rewritten), (Some(4), false));
    let subjects: Vec<_> = span.commits.iter().map(|commit| commit.subject.as_str()).collect();
    assert_eq!(subjects[0], "Merge the side");
    assert_eq!(subjects.len(), 4);

    let same = engine.span(Some(new), new).await.unwrap();
    assert_eq!((same.count, same.rewritten, same.commits.len()), (Some(0), false, 1));
    let back = engine.span(Some(new), old).await.unwrap();
    assert_eq!((back.count, back.rewritten), (Some(0), true));
    assert_eq!(back.commits[0].id, old);
    // The history is complete, so a commit that is not in it is no ancestor.
    for (unknown, rewritten) in [(None, false), (Some(oid(&"1".repeat(40))), true)] {
        let span = engine.span(unknown, new).await.unwrap();
        assert_eq!((span.count, span.rewritten, span.commits.len()), (None, rewritten, 1));
    }

    repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    for number in 0..60 {
        repo.commit(&format!("Number {number}"));
    }
    repo.force_push();
    let rewritten = sync(&engine).await.unwrap().commit;
    let span = engine.span(Some(new), rewritten).await.unwrap();
    assert_eq!((span.count, span.rewritten, span.commits.len()), (Some(60), true, 50));
    assert_eq!(span.commits[0].subject, "Number 59");

    repo.orphan("fresh");
    repo.commit("Another beginning");
    repo.git(&["push", "--quiet", "--force", "origin", "fresh:main"]);
    let unrelated = sync(&engine).await.unwrap().commit;
    let span = engine.span(Some(rewritten), unrelated).await.unwrap();
    assert_eq!((span.count, span.rewritten), (Some(1), true));
}

#[tokio::test]
async fn shallow_histories_do_not_claim_what_they_cannot_know() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let (one, three) = (Volume::new(), Volume::new());
    let at_one = one.engine(options(&server.url("site.git")));
    let mut deeper = options(&server.url("site.git"));
    deeper.depth = 3;
    let at_three = three.engine(deeper);
    for _ in 0..5 {
        repo.commit("Filler");
    }
    repo.push();
    let old = sync(&at_one).await.unwrap().commit;
    sync(&at_three).await.unwrap();

    repo.push_file("index.html", "two\n", "Next");
    let new = sync(&at_one).await.unwrap().commit;
    sync(&at_three).await.unwrap();
    let span = at_one.span(Some(old), new).await.unwrap();
    assert_eq!((span.count, span.rewritten, span.commits.len()), (None, false, 1));
    assert_eq!(span.commits[0].subject, "Next");
    let span = at_three.span(Some(old), new).await.unwrap();
    assert_eq!((span.count, span.rewritten, span.commits.len()), (Some(1), false, 1));

    // An amended commit: at depth 3 both have the same parent, which proves it.
    let amended = oid(&repo.amend("Next, again"));
    repo.force_push();
    sync(&at_one).await.unwrap();
    sync(&at_three).await.unwrap();
    let span = at_one.span(Some(new), amended).await.unwrap();
    // Both have the same parent, so neither descends from the other; the number of commits between them stays unknown.
    assert_eq!((span.count, span.rewritten), (None, true));
    let span = at_three.span(Some(new), amended).await.unwrap();
    assert_eq!((span.count, span.rewritten), (Some(1), true));

    // Beyond the depth it is unknown again.
    for _ in 0..6 {
        repo.commit("Far");
    }
    repo.push();
    let far = sync(&at_three).await.unwrap().commit;
    let span = at_three.span(Some(amended), far).await.unwrap();
    assert_eq!((span.count, span.rewritten, span.commits.len()), (None, false, 3));
}
