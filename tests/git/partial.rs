//! `--filter` against git's own server: which files are downloaded, which are not, and a file that cannot be fetched.

use std::path::Path;
use std::sync::Arc;

use git2::Oid;
use pushsync::git::{Effort, Engine, Error, Fetched, Filter};
use pushsync::sparse::Sparse;

use super::{Volume, assert_whole, git, oid, options, sync};
use crate::support::git_http::{GitHttp, Mode};
use crate::support::repo::Repo;

/// 200 incompressible files of ten kilobytes, in ten folders.
fn large() -> Repo {
    let repo = Repo::empty();
    let mut random = fastrand::Rng::with_seed(17);
    for number in 0..200 {
        let noise: Vec<u8> = (0..10_000).map(|_| random.u8(..)).collect();
        repo.write(&format!("d{}/f{}", number % 10, number / 10), noise);
    }
    repo.commit("First");
    repo.push();
    takes_filters(&repo);
    repo
}

fn takes_filters(repo: &Repo) {
    repo.bare_git(&["config", "uploadpack.allowFilter", "true"]);
}

fn filtering(volume: &Volume, server: &GitHttp, filter: Option<&str>) -> Engine {
    let mut options = options(&server.url("site.git"));
    options.filter = filter.map(|filter| filter.parse().unwrap());
    volume.engine(options)
}

fn five() -> Arc<Sparse> {
    Arc::new(Sparse::parse(b"/d3/f0\n/d3/f1\n/d3/f2\n/d7/f9\n/d9/f19\n"))
}

/// Resolves the ref and fetches, as every sync does, and then the missing files.
async fn bring(engine: &Engine, sparse: Option<&Arc<Sparse>>) -> Result<(Fetched, Fetched), Error> {
    let fetched = sync(engine).await?;
    Ok((fetched, engine.fetch_files(fetched.commit, sparse.cloned()).await?))
}

/// Counts the files in the store.
fn files(store: &Path) -> usize {
    let all = git(store, &["cat-file", "--batch-all-objects", "--batch-check=%(objecttype)"]);
    all.lines().filter(|line| *line == "blob").count()
}

fn fetches(server: &GitHttp) -> usize {
    server.seen().iter().filter(|seen| seen.method == "POST").count()
}

#[tokio::test]
async fn of_two_hundred_files_only_the_five_that_are_wanted_are_downloaded() {
    let repo = large();
    let server = GitHttp::start(&repo.root());
    let whole = Volume::new();
    sync(&filtering(&whole, &server, None)).await.unwrap();
    let all = server.sent();
    let volume = Volume::new();
    let engine = filtering(&volume, &server, Some("blob:none"));
    assert!(engine.may_lack_files(repo.head().parse().unwrap()).await.unwrap());
    let (_, got) = bring(&engine, Some(&five())).await.unwrap();
    let some = server.sent() - all;
    eprintln!("200 files: {all} bytes; 5 of them: {some} bytes");
    assert_eq!((got.objects, files(engine.store())), (5, 5));
    assert!(all > 2_000_000 && some < all / 25, "{some} of {all}");

    // A push: only its wanted files are fetched, in one more request; none if nothing wanted changed.
    repo.write("d3/f1", "wanted\n");
    repo.push_file("d5/f1", vec![7; 1000], "one that is wanted, one that is not");
    let before = fetches(&server);
    let (_, got) = bring(&engine, Some(&five())).await.unwrap();
    assert_eq!((got.objects, files(engine.store()), fetches(&server) - before), (1, 6, 3));
    repo.push_file("d5/f2", vec![8; 1000], "not wanted");
    let (before, sent) = (fetches(&server), server.sent());
    let (_, got) = bring(&engine, Some(&five())).await.unwrap();
    assert_eq!((got.objects, files(engine.store()), fetches(&server) - before), (0, 6, 2));
    eprintln!("a push of an unwanted file: {} bytes", server.sent() - sent);

    // Other patterns fetch the additional files. A new process with the same patterns sends no request.
    let wider = Arc::new(Sparse::parse(b"/d3/\n"));
    let commit = oid(&repo.head());
    assert_eq!(engine.fetch_files(commit, Some(wider.clone())).await.unwrap().objects, 17);
    let again = filtering(&volume, &server, Some("blob:none"));
    let before = server.requests();
    assert_eq!(again.fetch_files(commit, Some(wider)).await.unwrap().objects, 0);
    assert_eq!(server.requests(), before);
}

#[tokio::test]
async fn attributes_and_the_list_of_submodules_come_though_they_are_not_wanted() {
    let repo = Repo::new();
    takes_filters(&repo);
    for (path, text) in [
        (".gitattributes", "*.txt eol=crlf\n"),
        (".gitmodules", ""),
        ("docs/.gitattributes", "*.md eol=crlf\n"),
        ("docs/deep/a.md", "a\n"),
        ("src/.gitattributes", "* text\n"),
        ("src/main.c", "int\n"),
    ] {
        repo.write(path, text);
    }
    repo.commit("More");
    repo.push();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = filtering(&volume, &server, Some("blob:none"));
    let wanted = Arc::new(Sparse::parse(b"*.md\n"));
    let (fetched, got) = bring(&engine, Some(&wanted)).await.unwrap();
    assert_eq!(got.objects, 4, "those two of docs and of the top folder, the list, and the file");
    let there = |path: &str| {
        let id = repo.git(&["rev-parse", &format!("{}:{path}", fetched.commit)]);
        git2::Repository::open_bare(engine.store()).unwrap().find_blob(oid(&id)).is_ok()
    };
    assert!(there("docs/.gitattributes") && there(".gitattributes") && there(".gitmodules"));
    assert!(!there("src/.gitattributes") && !there("src/main.c") && !there("index.html"));
    // The first wanted file of a folder brings the folder's attributes as well.
    repo.push_file("src/read.md", "me\n", "Third");
    let (_, got) = bring(&engine, Some(&wanted)).await.unwrap();
    assert_eq!(got.objects, 2);
}

#[tokio::test]
async fn large_files_are_left_out_unless_they_are_wanted() {
    let repo = large();
    repo.write("d1/huge", vec![1; 200_000]);
    repo.push_file("d3/huge", vec![3; 200_000], "Two large files");
    repo.push_file("d3/small", "small\n", "A small one");
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = filtering(&volume, &server, Some("blob:limit=64k"));
    assert_eq!(engine.options().filter, Some(Filter::Below(65_536)));
    let wanted = Arc::new(Sparse::parse(b"/d3/\n"));
    let (fetched, got) = bring(&engine, Some(&wanted)).await.unwrap();
    assert_eq!((got.objects, files(engine.store())), (1, 202));
    let there = |path: &str| {
        let id = repo.git(&["rev-parse", &format!("{}:{path}", fetched.commit)]);
        git2::Repository::open_bare(engine.store()).unwrap().find_blob(oid(&id)).is_ok()
    };
    assert!(there("d3/huge") && !there("d1/huge") && there("d1/f1"));
    // A change of a missing file is not fetched as a delta, and other files are not fetched again.
    repo.write("d1/huge", vec![1; 60_000]);
    repo.push_file("d3/huge", vec![3; 150_000], "Smaller ones");
    let sent = server.sent();
    let (_, got) = bring(&engine, Some(&wanted)).await.unwrap();
    assert_eq!((got.objects, files(engine.store())), (1, 203));
    assert!(server.sent() - sent < 5_000, "{}", server.sent() - sent);
}

#[tokio::test]
async fn without_the_filter_missing_files_are_fetched_in_bounded_requests() {
    let repo = Repo::new();
    for number in 0..8_200 {
        repo.write(&format!("many/{}/{number}", number % 50), number.to_string());
    }
    let first = repo.commit("Many");
    repo.push();
    takes_filters(&repo);
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let (_, got) = bring(&filtering(&volume, &server, Some("blob:none")), Some(&five())).await.unwrap();
    assert_eq!(got.objects, 0);
    let engine = filtering(&volume, &server, None);
    assert!(engine.may_lack_files(first.parse().unwrap()).await.unwrap());
    // An old file at a new path: the server omits it, since we have the commit that it was in.
    let moved = repo.git(&["mv", "many/7/7", "moved"]) + &repo.commit("Moved");
    repo.push();
    let before = fetches(&server);
    let (fetched, got) = bring(&engine, Some(&five())).await.unwrap();
    assert_eq!((fetched.commit, got.objects), (oid(&moved), 8_201));
    assert_eq!(fetches(&server) - before, 4, "a look, a fetch, and 8,000 files at once");
    assert_whole(engine.store(), &moved);
    assert_eq!(engine.fetch_files(oid(&first), None).await.unwrap().objects, 0);
}

#[tokio::test]
async fn a_server_without_filters_sends_everything_once() {
    let repo = large();
    repo.bare_git(&["config", "uploadpack.allowFilter", "false"]);
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = filtering(&volume, &server, Some("blob:none"));
    let (fetched, got) = bring(&engine, Some(&five())).await.unwrap();
    assert_eq!((fetched.objects, got.objects), (200 + 10 + 2, 0));
    assert_whole(engine.store(), &fetched.commit.to_string());
    // The capabilities are requested once.
    let asked = |server: &GitHttp| server.seen().iter().filter(|seen| seen.method == "GET").count();
    assert_eq!(asked(&server), 1);
    let second = repo.push_file("d1/f1", "two\n", "Second");
    bring(&engine, Some(&five())).await.unwrap();
    assert_whole(engine.store(), &second);
    assert_eq!(asked(&server), 1);
    server.set(Mode::OldProtocol);
    let volume = Volume::new();
    let engine = filtering(&volume, &server, Some("blob:none"));
    let (fetched, _) = bring(&engine, Some(&five())).await.unwrap();
    assert_whole(engine.store(), &fetched.commit.to_string());
}

#[tokio::test]
async fn libgit2_never_builds_upon_a_partial_store() {
    let repo = large();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    bring(&filtering(&volume, &server, Some("blob:none")), Some(&five())).await.unwrap();
    let next = repo.push_file("d1/f1", "two\n", "Second");
    let mut options = options(&repo.file_url());
    options.filter = Some(Filter::NoFiles);
    let engine = volume.engine(options);
    let error = sync(&engine).await.unwrap_err();
    assert!(error.store_is_damaged(), "{error:?}");
    engine.discard_store().await.unwrap();
    bring(&engine, Some(&five())).await.unwrap();
    assert_whole(engine.store(), &next);
}

async fn refused(engine: &Engine, commit: Oid) -> Error {
    engine.fetch_files(commit, Some(five())).await.unwrap_err()
}

#[tokio::test]
async fn a_file_that_the_server_lost_or_keeps_back_is_named_as_the_cause() {
    let repo = large();
    repo.push_file("d7/f9", "lost later\n", "Second");
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = filtering(&volume, &server, Some("blob:none"));
    let commit = sync(&engine).await.unwrap().commit;
    // A response with another file than those requested, and one with none.
    let line = |data: &[u8]| [format!("{:04x}", data.len() + 4).as_bytes(), data].concat();
    for objects in [vec![repo.git(&["rev-parse", "HEAD:d1/f1"])], vec![]] {
        let pack = super::v2_lies::pack(&repo, &objects.iter().map(String::as_str).collect::<Vec<_>>());
        let answer = [line(b"packfile\n"), line(&[&[1], pack.as_slice()].concat()), b"0000".to_vec()].concat();
        server.set(Mode::Lie { command: "command=fetch", answer, endless: Vec::new() });
        let error = refused(&engine, commit).await;
        assert_eq!(error.kind().as_str(), "protocol", "{error:?}");
    }
    for (mode, kind) in
        [(Mode::Status(503), "server_error"), (Mode::Refuse, "network"), (Mode::CutAfter(9_000), "protocol")]
    {
        server.set(mode.clone());
        let error = refused(&engine, commit).await;
        assert_eq!(error.kind().as_str(), kind, "{mode:?}: {error:?}");
        assert!(!error.store_is_damaged(), "{mode:?}");
    }
    server.set(Mode::Serve);
    let lost = repo.git(&["rev-parse", "HEAD:d7/f9"]);
    let object = repo.bare().join("objects").join(&lost[..2]).join(&lost[2..]);
    let aside = object.with_extension("aside");
    std::fs::rename(&object, &aside).unwrap();
    let error = refused(&engine, commit).await;
    assert_eq!(error.kind().as_str(), "no_contents", "{error:?}");
    assert!(error.hint().unwrap().contains("git fsck") && error.to_string().contains(&commit.to_string()));
    // A server that has the file again is asked again.
    std::fs::rename(&aside, &object).unwrap();
    assert_eq!(engine.fetch_files(commit, Some(five())).await.unwrap().objects, 5);
}

#[tokio::test]
async fn a_partial_store_is_compacted_and_fetches_on() {
    let repo = large();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = filtering(&volume, &server, Some("blob:none"));
    bring(&engine, Some(&five())).await.unwrap();
    for number in 0..6 {
        repo.push_file("d3/f1", format!("{number}\n"), "Another");
        let (_, got) = bring(&engine, Some(&five())).await.unwrap();
        assert_eq!(got.objects, 1);
    }
    let done = engine.compact(Effort::Full, Vec::new()).await.unwrap().unwrap();
    assert!(done.full && done.packs_before > 6 && done.packs_after == 1, "{done:?}");
    assert_eq!(files(engine.store()), 6, "those of the commit and what the one before had instead");
    // No present file is fetched again by a process without state, and the next push fetches only itself.
    let engine = filtering(&volume, &server, Some("blob:none"));
    let before = server.requests();
    assert_eq!(engine.fetch_files(oid(&repo.head()), Some(five())).await.unwrap().objects, 0);
    assert_eq!(server.requests(), before);
    repo.push_file("d9/f19", "last\n", "Last");
    let (fetched, got) = bring(&engine, Some(&five())).await.unwrap();
    assert_eq!((fetched.objects, got.objects), (3, 1));
}

#[tokio::test]
async fn filtered_files_of_the_history_are_fetched_before_the_marker_is_removed() {
    let repo = large();
    for number in 0..4 {
        repo.write(&format!("d1/f{number}"), format!("one of {number}\n"));
        repo.push_file("d3/f1", format!("{number}\n"), "Another");
    }
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = |filter: Option<&str>| {
        let mut options = options(&server.url("site.git"));
        (options.filter, options.depth) = (filter.map(|filter| filter.parse().unwrap()), 3);
        volume.engine(options)
    };
    bring(&engine(Some("blob:none")), Some(&five())).await.unwrap();
    assert!(!engine(Some("blob:none")).complete_partial_clone().await.unwrap(), "the filter is still asked for");

    let whole = engine(None);
    bring(&whole, None).await.unwrap();
    let mark = whole.store().join("pushsync-partial");
    server.set(Mode::Status(503));
    assert!(whole.complete_partial_clone().await.is_err() && mark.exists());
    assert!(!whole.complete_partial_clone().await.unwrap(), "not again at once");
    server.set(Mode::Serve);
    let whole = engine(None);
    assert!(whole.complete_partial_clone().await.unwrap() && !mark.exists());
    assert_eq!(files(whole.store()), 200 + 2 * 2, "of three commits");
    assert_whole(whole.store(), &repo.head());
    assert!(
        !whole.may_lack_files(repo.head().parse().unwrap()).await.unwrap()
            && !whole.complete_partial_clone().await.unwrap()
    );
    // Deltas against present files are accepted again.
    let next = repo.push_file("d3/f1", "next\n", "Next");
    let (fetched, got) = bring(&whole, None).await.unwrap();
    assert_eq!((fetched.objects, got.objects), (4, 0));
    assert_whole(whole.store(), &next);
}
