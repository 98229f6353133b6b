//! Where `--lfs` connects to, and who is shown what: a repository sends us nowhere.

use super::lfs::Kept;
use crate::support::lfs::LfsServer;

/// Asks for a password on the way to git, to LFS and to its objects.
fn locked() -> Kept {
    let mut kept = Kept::new();
    kept.site.remote.require(Some(("me", "hunter22")));
    kept.server.set(|knobs| knobs.login = Some(("me".to_owned(), "hunter22".to_owned())));
    kept.write("film.bin", 4_000);
    kept.commit();
    let password = kept.site.path("password");
    std::fs::write(&password, "hunter22\n").unwrap();
    kept.site.set("username", "me");
    kept.site.set("password-file", &password.display().to_string());
    kept
}

#[tokio::test]
async fn the_server_is_shown_who_we_are_and_other_servers_are_not() {
    let mut kept = locked();
    kept.site.set("git-config", "http.extraHeader:X-Ours: of this server");
    kept.site.start_in_sync().await;
    let gets = kept.server.take_gets();
    assert!(gets.iter().any(|get| get.authorization.is_some()), "its own objects, once it asks");
    assert!(gets.iter().all(|get| get.ours.as_deref() == Some("of this server")), "{gets:?}");
    assert!(kept.server.books().batches[0].0.ends_with(".git/info/lfs/objects/batch"));

    // Objects that are elsewhere: nothing but what the API gave for them.
    let elsewhere = LfsServer::start(None);
    for own_header in [false, true] {
        elsewhere.set(|knobs| knobs.own_header = own_header);
        kept.server.set(|knobs| {
            knobs.own_header = own_header;
            knobs.elsewhere = Some(elsewhere.url("").trim_end_matches('/').to_owned());
        });
        let oid = kept.write("film.bin", if own_header { 5_000 } else { 6_000 });
        let content = kept.server.books().objects[&oid].clone();
        elsewhere.add(content);
        let commit = kept.ring().await;
        kept.site.wait_published(&commit).await;
        assert_eq!(kept.published("film.bin"), oid);
        let gets = elsewhere.take_gets();
        assert!(gets.len() == 1 && gets[0].ours.is_none() && gets[0].cookie.is_none(), "{gets:?}");
        assert_eq!(gets[0].authorization.as_deref(), own_header.then_some("Bearer of-this-object"));
    }

    // A redirect to another server takes nothing along.
    kept.server.set(|knobs| {
        (knobs.elsewhere, knobs.moved) = (None, Some(elsewhere.url("").trim_end_matches('/').to_owned()));
    });
    elsewhere.set(|knobs| knobs.own_header = false);
    let oid = kept.write("film.bin", 7_000);
    let content = kept.server.books().objects[&oid].clone();
    elsewhere.add(content);
    let commit = kept.ring().await;
    kept.site.wait_published(&commit).await;
    assert_eq!(kept.published("film.bin"), oid);
    let gets = elsewhere.take_gets();
    assert!(gets.len() == 1 && gets[0].authorization.is_none() && gets[0].ours.is_none(), "{gets:?}");
    assert!(!kept.site.sidecar().log().iter().any(|line| line.contains("hunter22")));
}

#[tokio::test]
async fn without_or_with_a_wrong_password_it_fails_with_what_to_do() {
    let mut kept = locked();
    kept.site.remote.require(None);
    kept.server.set(|knobs| knobs.login = Some(("me".to_owned(), "another".to_owned())));
    kept.site.start().await;
    let record = kept.site.wait_record(|record| record.error.is_some()).await;
    let error = record.error.unwrap();
    assert_eq!(error.kind, "auth", "{error:?}");
    assert!(error.message.contains("/info/lfs") && !error.message.contains("hunter22"), "{error:?}");
    assert_eq!(kept.site.published(), None);
}

#[tokio::test]
async fn lfsconfig_names_a_path_on_the_repositorys_own_server_and_nothing_else() {
    let mut kept = Kept::new();
    kept.write("film.bin", 4_000);
    let own = kept.server.url("other/path.git/info/lfs");
    kept.site.repo.write(".lfsconfig", format!("[lfs]\n\turl = {own}\n"));
    let first = kept.commit();
    kept.site.start_in_sync().await;
    assert_eq!(kept.server.books().batches[0].0, "/other/path.git/info/lfs/objects/batch");

    let stranger = LfsServer::start(None);
    for url in [
        stranger.url("info/lfs"),
        "file:///etc".to_owned(),
        format!("{own}?x=1"),
        own.replace("http://", "http://me:hunter22@"),
        "ssh://git@127.0.0.1/x".to_owned(),
    ] {
        let before = kept.site.history().await.len();
        kept.site.repo.write(".lfsconfig", format!("[lfs]\n\turl = {url}\n"));
        kept.write("film.bin", 5_000 + before);
        let commit = kept.ring().await;
        let record = kept.site.wait_record(|record| record.new.as_deref() == Some(&commit)).await;
        let error = record.error.unwrap();
        assert_eq!(error.kind, "lfs_server", "{url}: {error:?}");
        assert!(error.message.contains(".lfsconfig") && !error.message.contains("hunter22"), "{error:?}");
        assert!(error.hint.is_some_and(|hint| hint.contains("--lfs-url")));
        assert_eq!(kept.site.published().as_deref(), Some(first.as_str()));
    }
    let books = stranger.books();
    assert_eq!((books.others, books.batches.len(), books.gets.len()), (0, 0, 0), "nobody was asked");
}

#[tokio::test]
async fn the_flag_for_the_server_counts_above_all_and_lets_a_path_be_followed() {
    let mut kept = Kept::new();
    let oid = kept.write("film.bin", 4_000);
    kept.site.repo.write(".lfsconfig", "[lfs]\nurl = https://nowhere.invalid/\n");
    kept.commit();
    let bare = kept.site.repo.bare().display().to_string();
    kept.site.set("repo", &bare);
    let starts = |kept: &Kept| {
        let program =
            std::process::Command::new(env!("CARGO_BIN_EXE_pushsync")).env_clear().args(kept.site.arguments()).output();
        let output = program.unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = starts(&kept);
    assert_eq!(code, Some(1));
    assert!(said.contains("--lfs: needs --lfs-url"), "{said}");
    for bad in ["ssh://git@host/x", "https://", "https://git.test/?x", "not an address"] {
        kept.site.set("lfs-url", bad);
        let (code, said) = starts(&kept);
        assert!(code == Some(1) && said.contains("--lfs-url"), "{said}");
    }
    let server = kept.server.url("an/lfs/server");
    kept.site.set("lfs-url", &server);
    kept.site.start_in_sync().await;
    assert_eq!(kept.published("film.bin"), oid);
    assert_eq!(kept.server.books().batches[0].0, "/an/lfs/server/objects/batch");
}

#[tokio::test]
async fn answers_that_are_none_are_told() {
    for (answer, kind, words) in [
        ((200, "<html>log in</html>".to_owned()), "lfs_server", "not that of an LFS server"),
        ((200, r#"{"objects":[]}"#.to_owned()), "lfs_server", "is missing in it"),
        ((200, r#"{"objects":[],"transfer":"tus"}"#.to_owned()), "lfs_server", "another way of transfer"),
        ((404, r#"{"message":"no such repository"}"#.to_owned()), "lfs_server", "no such repository"),
        ((503, "{}".to_owned()), "server_error", "503"),
        ((200, format!("[{}", " ".repeat(5 << 20))), "lfs_server", "longer than it may be"),
    ] {
        let mut kept = Kept::new();
        kept.write("film.bin", 4_000);
        kept.commit();
        kept.server.set(|knobs| knobs.answer = Some(answer));
        kept.site.start().await;
        let record = kept.site.wait_record(|record| record.error.is_some()).await;
        let error = record.error.unwrap();
        assert_eq!(error.kind, kind, "{error:?}");
        assert!(error.message.contains(words), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_leads_neither_to_files_nor_inside() {
    for (elsewhere, words) in [("file:///etc", "neither http nor https"), ("http://169.254.169.254", "of the link")] {
        let mut kept = Kept::new();
        kept.write("film.bin", 4_000);
        kept.commit();
        kept.server.set(|knobs| knobs.elsewhere = Some(elsewhere.to_owned()));
        kept.site.start().await;
        let record = kept.site.wait_record(|record| record.error.is_some()).await;
        let error = record.error.unwrap();
        assert!(error.kind == "lfs_server" && error.message.contains(words), "{error:?}");
        assert_eq!(kept.site.published(), None);
    }
}

#[tokio::test]
async fn without_the_flag_the_server_is_not_asked() {
    let mut kept = Kept::new();
    kept.site.set("lfs", "false");
    kept.write("film.bin", 4_000);
    kept.commit();
    kept.site.start_in_sync().await;
    let books = kept.server.books();
    assert_eq!((books.batches.len(), books.gets.len()), (0, 0));
}
