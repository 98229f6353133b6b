//! Following a ref through all its changes, over HTTP and from a path.

use pushsync::git::{Reference, Want};

use super::{Volume, assert_whole, at_rest, git, oid, options, shallow_lines, sync, synced};
use crate::support::git_http::{GitHttp, Mode};
use crate::support::repo::Repo;

#[tokio::test]
async fn pushes_force_pushes_and_a_repository_replaced_over_http() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));

    let look = engine.ls_remote().await.unwrap();
    assert_eq!(look.full_ref.as_deref(), Some("refs/heads/main"));
    assert_eq!(look.default_branch.as_deref(), Some("refs/heads/main"));
    let first = synced(&engine, &repo.head(), "one").await;
    assert!(first.objects == 3 && first.bytes > 0, "{first:?}");

    let requests = server.requests();
    let again = engine.fetch(Want::Seen(look)).await.unwrap();
    assert_eq!((again.bytes, again.objects, server.requests()), (0, 0, requests));

    let second = repo.push_file("index.html", "two\n", "Second");
    synced(&engine, &second, "two").await;

    repo.write("index.html", "amended\n");
    let amended = repo.amend("Second, better");
    repo.force_push();
    synced(&engine, &amended, "amended").await;

    repo.orphan("fresh");
    repo.write("index.html", "unrelated\n");
    let unrelated = repo.commit("Another beginning");
    repo.git(&["push", "--quiet", "--force", "origin", "fresh:main"]);
    synced(&engine, &unrelated, "unrelated").await;

    let other = Repo::new();
    let replaced = other.push_file("index.html", "replaced\n", "From another repository");
    std::fs::remove_dir_all(repo.bare()).unwrap();
    std::fs::rename(other.bare(), repo.bare()).unwrap();
    synced(&engine, &replaced, "replaced").await;
    assert_eq!(
        git(engine.store(), &["for-each-ref", "--format=%(refname)"]),
        "refs/pushsync/head\nrefs/pushsync/previous"
    );
}

#[tokio::test]
async fn the_store_stays_small_at_every_depth() {
    let repo = Repo::new();
    for number in 0..4 {
        repo.push_file("index.html", format!("before {number}\n"), "Before");
    }
    let server = GitHttp::start(&repo.root());
    let mut engines = Vec::new();
    for depth in [1, 2, 0] {
        let volume = Volume::new();
        let mut options = options(&server.url("site.git"));
        options.depth = depth;
        let engine = volume.engine(options);
        sync(&engine).await.unwrap();
        engines.push((depth, engine, volume));
    }
    for number in 0..20 {
        let page = format!("page {number}\n");
        let commit = repo.push_file("index.html", &page, "Another");
        for (_, engine, _) in &engines {
            synced(engine, &commit, &page).await;
        }
    }
    for (depth, engine, _) in &engines {
        let reachable = git(engine.store(), &["rev-list", "--count", "refs/pushsync/head"]);
        if *depth == 0 {
            assert_eq!((reachable.as_str(), shallow_lines(engine.store())), ("25", 0));
        } else {
            assert_eq!(reachable, depth.to_string());
            assert!((1..=2).contains(&shallow_lines(engine.store())), "{depth}");
        }
    }
    // A shallow store gets the whole history when the depth becomes 0.
    let (_, _, volume) = &engines[0];
    let mut all = options(&server.url("site.git"));
    all.depth = 0;
    let engine = volume.engine(all);
    let commit = repo.push_file("index.html", "deep\n", "Deep");
    synced(&engine, &commit, "deep").await;
    assert_eq!(git(engine.store(), &["rev-list", "--count", "refs/pushsync/head"]), "26");
    assert_eq!(shallow_lines(engine.store()), 0);
}

#[tokio::test]
async fn a_ref_that_goes_back_needs_no_network_and_leaves_a_sound_store() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let engine = Volume::new();
    let engine = (engine.engine(options(&server.url("site.git"))), engine).0;
    let mut commits = Vec::new();
    for number in 0..4 {
        let page = format!("page {number}\n");
        let commit = repo.push_file("index.html", &page, "Forth");
        synced(&engine, &commit, &page).await;
        commits.push(commit);
    }
    // The boundary of that commit left the shallow file two syncs ago.
    repo.git(&["reset", "--quiet", "--hard", &commits[0]]);
    repo.force_push();
    let back = synced(&engine, &commits[0], "page 0").await;
    assert_eq!((back.bytes, back.objects), (0, 0));
    let on = repo.push_file("index.html", "on from there\n", "On");
    synced(&engine, &on, "on from there").await;

    // A pin far back, and then the next push.
    assert_eq!(engine.fetch(Want::Commit(oid(&commits[1]))).await.unwrap().objects, 0);
    let further = repo.push_file("index.html", "further\n", "Further");
    synced(&engine, &further, "further").await;
    assert!(shallow_lines(engine.store()) <= 3);
    assert_eq!(git(engine.store(), &["rev-parse", "refs/pushsync/pin"]), commits[1]);
}

#[tokio::test]
async fn names_that_are_not_text_or_contain_control_characters_are_skipped() {
    let repo = Repo::new();
    // Written like git's; a packed file can have names that a command line cannot contain.
    let mut packed = b"# pack-refs with: peeled fully-peeled sorted \n".to_vec();
    for name in [b"refs/heads/a\xe2\x80\xaeb".as_slice(), b"refs/heads/caf\xe9"] {
        packed.extend([repo.head().as_bytes(), b" ", name, b"\n"].concat());
    }
    std::fs::write(repo.bare().join("packed-refs"), packed).unwrap();
    assert_eq!(repo.bare_git(&["for-each-ref"]).lines().count(), 3);
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    synced(&volume.engine(options(&server.url("site.git"))), &repo.head(), "one").await;
    let mut other = options(&server.url("site.git"));
    other.reference = Reference::Name("caf".into());
    let error = volume.engine(other).ls_remote().await.unwrap_err().to_string();
    assert_eq!(error, "couldn't find remote ref caf; it has `main`");
}

#[tokio::test]
async fn branches_and_tags_are_followed_by_name() {
    let repo = Repo::new();
    let main = repo.head();
    repo.branch("release");
    let release = repo.push_file("index.html", "release\n", "For release");
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let follow = |reference: Reference| {
        let mut options = options(&server.url("site.git"));
        options.reference = reference;
        volume.engine(options)
    };
    synced(&follow(Reference::Name("main".into())), &main, "one").await;
    synced(&follow(Reference::Name("release".into())), &release, "release").await;

    repo.tag("light");
    let tag_object = repo.annotated_tag("v1");
    assert_ne!(tag_object, release);
    synced(&follow(Reference::Name("light".into())), &release, "release").await;
    let annotated = follow(Reference::Full("refs/tags/v1".into()));
    let look = annotated.ls_remote().await.unwrap();
    assert_eq!((look.commit, look.full_ref.as_deref()), (oid(&release), Some("refs/tags/v1")));
    synced(&annotated, &release, "release").await;

    let moved = repo.push_file("index.html", "moved\n", "Tags move");
    repo.tag("light");
    repo.annotated_tag("v1");
    synced(&follow(Reference::Name("light".into())), &moved, "moved").await;
    synced(&annotated, &moved, "moved").await;

    // A branch hides a tag with the same name.
    repo.checkout("main");
    repo.branch("v1");
    repo.git(&["push", "--quiet", "origin", "refs/heads/v1"]);
    synced(&follow(Reference::Name("v1".into())), &main, "one").await;

    repo.delete_remote("refs/heads/release");
    let gone = follow(Reference::Name("release".into())).ls_remote().await.unwrap_err();
    assert_eq!(gone.kind().as_str(), "ref_missing");
    assert!(
        gone.to_string().contains("couldn't find remote ref release;") && gone.to_string().contains("`main`"),
        "{gone}"
    );

    repo.git(&["tag", "blob", "HEAD:index.html"]);
    repo.git(&["push", "--quiet", "origin", "refs/tags/blob"]);
    let no_commit = sync(&follow(Reference::Full("refs/tags/blob".into()))).await.unwrap_err();
    assert_eq!(no_commit.kind().as_str(), "ref_missing");
}

#[tokio::test]
async fn a_ref_that_vanishes_before_the_fetch_is_reported() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let mut remote = options(&server.url("site.git"));
    remote.reference = Reference::Name("other".into());
    let engine = volume.engine(remote);
    repo.branch("other");
    repo.push_file("index.html", "two\n", "Second");
    let look = engine.ls_remote().await.unwrap();
    repo.delete_remote("refs/heads/other");
    repo.bare_git(&["prune", "--expire=now"]);
    let error = engine.fetch(Want::Seen(look)).await.unwrap_err();
    assert_eq!(error.kind().as_str(), "ref_missing");

    // The ref moves in between: over protocol v2 the resolved commit is requested, and served as long as the remote
    // has it …
    repo.git(&["push", "--quiet", "origin", "other"]);
    let look = engine.ls_remote().await.unwrap();
    let seen = look.commit;
    repo.write("index.html", "three\n");
    let newer = repo.amend("Second, better");
    repo.force_push();
    assert_eq!(
        Volume::new().engine(engine.options().clone()).fetch(Want::Seen(look.clone())).await.unwrap().commit,
        seen
    );
    // … and the ref's current value is requested once it has not.
    repo.bare_git(&["prune", "--expire=now"]);
    assert_eq!(engine.fetch(Want::Seen(look)).await.unwrap().commit, oid(&newer));
    assert_whole(engine.store(), &newer);
}

/// Makes the remote drop all unreachable objects.
fn let_go(repo: &Repo) {
    repo.bare_git(&["reflog", "expire", "--expire=now", "--all"]);
    repo.bare_git(&["prune", "--expire=now"]);
}

#[tokio::test]
async fn a_ref_that_moved_on_is_asked_for_by_its_name_where_the_server_takes_names() {
    for (filter, depth) in [(None, 1), (None, 0), (Some("blob:none"), 1)] {
        let repo = Repo::new();
        for setting in ["uploadpack.allowRefInWant", "uploadpack.allowFilter"] {
            repo.bare_git(&["config", setting, "true"]);
        }
        let server = GitHttp::start(&repo.root());
        let volume = Volume::new();
        let mut remote = options(&server.url("site.git"));
        remote.filter = filter.map(|filter| filter.parse().unwrap());
        remote.depth = depth;
        let engine = volume.engine(remote);
        sync(&engine).await.unwrap();

        repo.push_file("index.html", "two\n", "Second");
        let look = engine.ls_remote().await.unwrap();
        repo.write("index.html", "three\n");
        let newer = repo.amend("Second, better");
        repo.force_push();
        let_go(&repo);
        at_rest(&server).await;
        let (asked, connections) = (server.requests(), server.wire().0);
        assert_eq!(engine.fetch(Want::Seen(look)).await.unwrap().commit, oid(&newer), "{filter:?}");
        let methods: Vec<String> = server.seen()[asked..].iter().map(|seen| seen.method.clone()).collect();
        // The capabilities were requested for the filter before.
        let expected = if filter.is_some() { "POST POST" } else { "POST GET POST" };
        assert_eq!((methods.join(" ").as_str(), server.wire().0 - connections), (expected, 0));
        assert_eq!(git(engine.store(), &["rev-parse", "refs/pushsync/head"]), newer);
        let count = git(engine.store(), &["rev-list", "--count", "refs/pushsync/head"]);
        assert_eq!(count, if depth == 0 { "2" } else { "1" });
        if filter.is_none() {
            assert_whole(engine.store(), &newer);
        }

        // A ref that was deleted is reported as such.
        repo.push_file("index.html", "four\n", "Third");
        let look = engine.ls_remote().await.unwrap();
        repo.git(&["push", "--quiet", "origin", "HEAD~1:refs/heads/elsewhere"]);
        repo.set_remote_head("refs/heads/elsewhere");
        repo.delete_remote("refs/heads/main");
        repo.bare_git(&["prune", "--expire=now"]);
        let error = engine.fetch(Want::Seen(look)).await.unwrap_err();
        let gone = if filter.is_some() { "no_such_commit" } else { "ref_missing" };
        assert_eq!(error.kind().as_str(), gone, "{error}");
        assert_eq!(git(engine.store(), &["rev-parse", "refs/pushsync/head"]), newer);
    }
}

#[tokio::test]
async fn a_failed_request_by_ref_name_does_not_count_against_the_server() {
    let mut lies: Vec<(&str, Option<&[u8]>)> = vec![
        ("nothing", Some(b"")),
        ("a pack without a list", Some(b"000dpackfile\n0000")),
        ("no", Some(b"000aERR no")),
    ];
    lies.push(("a tag", None));
    for (name, lie) in lies {
        let repo = Repo::new();
        repo.bare_git(&["config", "uploadpack.allowRefInWant", "true"]);
        let server = GitHttp::start(&repo.root());
        let volume = Volume::new();
        let mut remote = options(&server.url("site.git"));
        remote.reference = Reference::Full("refs/releases/current".into());
        let engine = volume.engine(remote);
        let release = |commit: &str| {
            repo.git(&["tag", "--force", "--annotate", "--message", "it", "release", commit]);
            repo.git(&["push", "--quiet", "--force", "origin", "release:refs/releases/current", "HEAD:main"]);
        };
        release("HEAD");
        sync(&engine).await.unwrap();

        repo.write("index.html", "two\n");
        repo.commit("Second");
        release("HEAD");
        let look = engine.ls_remote().await.unwrap();
        repo.write("index.html", "three\n");
        let newer = repo.amend("Second, better");
        if lie.is_some() {
            repo.git(&["push", "--quiet", "--force", "origin", "HEAD:refs/releases/current", "HEAD:main"]);
        } else {
            release("HEAD");
        }
        let_go(&repo);
        if let Some(answer) = lie {
            server.set(Mode::Lie { command: "want-ref ", answer: answer.to_vec(), endless: Vec::new() });
        }
        assert_eq!(engine.fetch(Want::Seen(look)).await.unwrap().commit, oid(&newer), "{name}");
        assert_whole(engine.store(), &newer);
        // Version 2 is still used.
        let asked = server.requests();
        assert_eq!(engine.ls_remote().await.unwrap().commit, oid(&newer), "{name}");
        assert_eq!(
            server.seen()[asked..].iter().map(|seen| seen.method.as_str()).collect::<Vec<_>>(),
            ["POST"],
            "{name}"
        );
    }
}

#[tokio::test]
async fn more_history_of_a_commit_that_is_gone_is_not_that_of_another() {
    let repo = Repo::new();
    for number in 0..3 {
        repo.push_file("index.html", format!("{number}\n"), "Before");
    }
    repo.bare_git(&["config", "uploadpack.allowRefInWant", "true"]);
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let mut remote = options(&server.url("site.git"));
    let seen = sync(&volume.engine(remote.clone())).await.unwrap().commit;

    // A new process with a larger depth.
    remote.depth = 3;
    let engine = volume.engine(remote);
    let look = engine.ls_remote().await.unwrap();
    repo.write("index.html", "other\n");
    repo.amend("Before, better");
    repo.force_push();
    let_go(&repo);
    let deadline = tokio::time::Instant::now() + engine.options().timeout;
    assert_eq!(engine.adjust_depth(Want::Seen(look), deadline).await, None);
    assert_eq!(git(engine.store(), &["rev-parse", "refs/pushsync/head"]), seen.to_string());
}

#[tokio::test]
async fn a_head_that_is_detached_or_points_elsewhere_is_followed() {
    let repo = Repo::new();
    let first = repo.head();
    repo.branch("trunk");
    let second = repo.push_file("index.html", "two\n", "Second");
    repo.set_remote_head("refs/heads/trunk");
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    assert_eq!(engine.ls_remote().await.unwrap().full_ref.as_deref(), Some("refs/heads/trunk"));
    synced(&engine, &second, "two").await;

    repo.bare_git(&["update-ref", "--no-deref", "HEAD", &first]);
    let look = engine.ls_remote().await.unwrap();
    assert_eq!((look.full_ref.as_deref(), look.default_branch), (Some("HEAD"), None));
    synced(&engine, &first, "one").await;

    repo.set_remote_head("refs/heads/nowhere");
    assert_eq!(engine.ls_remote().await.unwrap_err().kind().as_str(), "ref_missing");
}

#[tokio::test]
async fn a_hash_needs_a_server_that_gives_it_out() {
    let repo = Repo::new();
    let first = repo.head();
    let second = repo.push_file("index.html", "two\n", "Second");
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let mut pinned = options(&server.url("site.git"));
    pinned.reference = Reference::Hash(oid(&first));
    let engine = volume.engine(pinned);

    let requests = server.requests();
    let look = engine.ls_remote().await.unwrap();
    assert_eq!((look.commit, look.full_ref.clone(), server.requests()), (oid(&first), None, requests));

    // In version 0 a server by default serves only reachable commits; in version 2 all that it has.
    server.set(Mode::OldProtocol);
    let loose = repo.bare_git(&["commit-tree", "-m", "No ref leads here", &format!("{first}^{{tree}}")]);
    let error = engine.fetch(Want::Commit(oid(&loose))).await.unwrap_err();
    assert_eq!(error.kind().as_str(), "no_such_commit", "{error:?}");
    assert_eq!(
        Volume::new().engine(engine.options().clone()).fetch(Want::Commit(oid(&first))).await.unwrap().objects,
        3
    );
    repo.bare_git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    assert_eq!(
        Volume::new().engine(engine.options().clone()).fetch(Want::Commit(oid(&loose))).await.unwrap().objects,
        3
    );
    repo.bare_git(&["config", "uploadpack.allowAnySHA1InWant", "false"]);
    server.set(Mode::Serve);
    assert_eq!(engine.fetch(Want::Commit(oid(&first))).await.unwrap().commit, oid(&first));
    synced(&engine, &first, "one").await;

    let nowhere = engine.fetch(Want::Commit(oid(&"7".repeat(40)))).await.unwrap_err();
    assert_eq!(nowhere.kind().as_str(), "no_such_commit", "{nowhere:?}");

    let head = volume.engine(options(&server.url("site.git")));
    synced(&head, &second, "two").await;
    let requests = server.requests();
    assert_eq!(head.fetch(Want::Commit(oid(&first))).await.unwrap().objects, 0);
    assert_eq!(server.requests(), requests);
}

#[tokio::test]
async fn paths_and_file_urls_are_remotes_too() {
    let repo = Repo::new();
    let first = repo.head();
    for url in [repo.file_url(), repo.bare().display().to_string()] {
        let volume = Volume::new();
        let engine = volume.engine(options(&url));
        let look = engine.ls_remote().await.unwrap();
        assert_eq!(look.default_branch.as_deref(), Some("refs/heads/main"));
        synced(&engine, &repo.head(), &repo.show(&repo.head(), "index.html")).await;
        let next = repo.push_file("index.html", format!("next {url}\n"), "Next");
        synced(&engine, &next, &format!("next {url}\n")).await;
        let mut pinned = options(&url);
        pinned.reference = Reference::Hash(oid(&first));
        synced(&Volume::new().engine(pinned), &first, "one").await;
        let mut missing = options(&url);
        missing.reference = Reference::Name("nothing".into());
        assert_eq!(Volume::new().engine(missing).ls_remote().await.unwrap_err().kind().as_str(), "ref_missing");
    }
    let empty = Repo::empty();
    let error = Volume::new().engine(options(&empty.file_url())).ls_remote().await.unwrap_err();
    assert_eq!(error.kind().as_str(), "empty_repository", "{error:?}");
    for nothing in ["/nowhere/at/all.git".to_owned(), repo.root().display().to_string()] {
        let error = Volume::new().engine(options(&nothing)).ls_remote().await.unwrap_err();
        assert_eq!(error.kind().as_str(), "not_found", "{nothing}: {error:?}");
    }
}
