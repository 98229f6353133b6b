//! Remotes that are down, slow, hostile or locked: each has an error of its own, and syncing continues.

use std::time::{Duration, Instant};

use pushsync::error::Retry;
use pushsync::git::{Account, Engine, Error, Password, Scope};
use pushsync::secret::Secret;

use super::{Volume, options, short, sync, synced};
use crate::support::git_http::{GitHttp, Mode};
use crate::support::repo::Repo;

const PASSWORD: &str = "analytical-engine-1843";

/// The whole chain, as `sync` prints it, and the debug form, which a log line might contain.
fn words(error: &Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

/// An account for everything on the server.
fn ada(server: &GitHttp, password: Password) -> Vec<Account> {
    vec![Account { scope: Scope::parse(&server.url("")).unwrap(), username: Some("ada".into()), password }]
}

async fn failure(engine: &Engine) -> Error {
    let error = sync(engine).await.unwrap_err();
    assert!(!words(&error).contains(PASSWORD), "{}", words(&error));
    assert!(error.hint().is_some_and(|hint| !hint.contains(PASSWORD)));
    error
}

#[tokio::test]
async fn every_fault_has_its_name_tells_no_secret_and_passes() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    server.require(Some(("ada", PASSWORD)));
    let url = server.url("site.git").replace("http://", &format!("http://ada:{PASSWORD}@"));
    let volume = Volume::new();
    let engine = volume.engine(options(&url));
    let first = repo.head();
    synced(&engine, &first, "one").await;

    for (mode, kind, retry) in [
        (Mode::Refuse, "network", Retry::Soon),
        (Mode::Status(500), "server_error", Retry::Soon),
        (Mode::Status(503), "server_error", Retry::Soon),
        (Mode::Status(404), "not_found", Retry::NextPoll),
        (Mode::Status(403), "auth", Retry::NextPoll),
        (Mode::Garbage, "protocol", Retry::Soon),
    ] {
        server.set(mode.clone());
        let error = failure(&engine).await;
        assert_eq!((error.kind().as_str(), error.retry()), (kind, retry), "{mode:?}: {error:?}");
        assert!(!error.store_is_damaged(), "{mode:?}");
        server.set(Mode::Serve);
        synced(&engine, &first, "one").await;
    }
    let mut commit = first;
    for bytes in [0, 40, 200, 500] {
        repo.write("noise.bin", fastrand::Rng::with_seed(bytes).u128(..).to_string().repeat(900));
        commit = repo.push_file("index.html", format!("cut {bytes}\n"), "Cut short");
        server.set(Mode::CutAfter(usize::try_from(bytes).unwrap()));
        let error = failure(&engine).await;
        assert!(["network", "protocol"].contains(&error.kind().as_str()), "{bytes}: {error:?}");
        server.set(Mode::Serve);
        synced(&engine, &commit, &format!("cut {bytes}\n")).await;
    }

    let wrong =
        volume.engine(options(&server.url("nothing.git").replace("http://", &format!("http://ada:{PASSWORD}@"))));
    assert_eq!(failure(&wrong).await.kind().as_str(), "not_found");
    let https = volume.engine(options(&url.replace("http://", "https://")));
    assert_eq!(failure(&https).await.kind().as_str(), "tls");
    let unknown_host = volume.engine(options(&format!("http://ada:{PASSWORD}@host.invalid/site.git")));
    assert_eq!(failure(&unknown_host).await.kind().as_str(), "dns");
    synced(&engine, &commit, "cut 500").await;
}

#[tokio::test]
async fn a_server_that_drips_or_falls_silent_is_given_up_and_the_next_call_works() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let patient = volume.engine(options(&server.url("site.git")));
    let hasty = volume.engine(short(Duration::from_secs(2), options(&server.url("site.git"))));
    for mode in [Mode::Drip, Mode::Silent, Mode::StallAfter(30)] {
        server.set(mode.clone());
        let started = Instant::now();
        let error = failure(&hasty).await;
        assert_eq!((error.kind().as_str(), error.retry()), ("timeout", Retry::Soon), "{mode:?}: {error:?}");
        assert!(started.elapsed() < Duration::from_secs(20), "{mode:?}");
        server.set(Mode::Serve);
        // The engine uses a new thread by now.
        synced(&patient, &repo.head(), "one").await;
        hasty.ls_remote().await.unwrap();
    }
}

#[tokio::test]
async fn a_rotated_password_file_works_without_a_restart() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    server.require(Some(("ada", PASSWORD)));
    let volume = Volume::new();
    let file = volume.0.path().join("password");
    let mut remote = options(&server.url("site.git"));
    remote.credentials.accounts = ada(&server, Password::File(file.clone()));
    let engine = volume.engine(remote);

    let missing = failure(&engine).await;
    assert_eq!(missing.kind().as_str(), "auth");
    assert!(missing.to_string().contains("password"), "{missing}");

    std::fs::write(&file, "wrong\n").unwrap();
    let requests = server.requests();
    let refused = failure(&engine).await;
    assert_eq!((refused.kind().as_str(), refused.retry()), ("auth", Retry::NextPoll), "{refused:?}");
    assert!(server.requests() - requests <= 3, "it must not try for ever");

    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    synced(&engine, &repo.head(), "one").await;

    let mut value = options(&server.url("site.git"));
    value.credentials.accounts = ada(&server, Password::Value(Secret::new(PASSWORD)));
    synced(&Volume::new().engine(value), &repo.head(), "one").await;

    let anonymous = failure(&Volume::new().engine(options(&server.url("site.git")))).await;
    assert_eq!(anonymous.kind().as_str(), "auth");
    assert!(anonymous.to_string().contains("none are configured"), "{anonymous}");
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let repo = Repo::new();
    let (server, thief) = (GitHttp::start(&repo.root()), GitHttp::start(&repo.root()));
    thief.require(Some(("ada", PASSWORD)));
    let url = server.url("site.git").replace("http://", &format!("http://ada:{PASSWORD}@"));
    let engine = Volume::new().engine(options(&url));

    server.set(Mode::Redirect(format!("http://localhost:{}", thief.address().port())));
    assert_eq!(failure(&engine).await.kind().as_str(), "redirect");
    assert_eq!(thief.requests(), 0);

    // The same host, another port: libgit2 connects there, but the password is not sent.
    server.set(Mode::Redirect(format!("http://{}", thief.address())));
    let error = failure(&engine).await;
    assert_eq!(error.kind().as_str(), "redirect", "{error:?}");
    assert!(thief.seen().iter().all(|seen| !seen.credentials), "{:?}", thief.seen());

    // Not even after the configured server got the credentials.
    server.require(Some(("ada", PASSWORD)));
    server.set(Mode::Redirect(format!("http://localhost:{}", thief.address().port())));
    let before = thief.requests();
    assert_eq!(failure(&engine).await.kind().as_str(), "redirect");
    assert_eq!(thief.requests(), before);
    server.set(Mode::Redirect(format!("http://{}", thief.address())));
    assert_eq!(failure(&engine).await.kind().as_str(), "redirect");
    assert!(thief.seen().iter().all(|seen| !seen.credentials), "{:?}", thief.seen());
}

#[tokio::test]
async fn an_empty_repository_is_reported_until_the_first_push() {
    let repo = Repo::empty();
    let server = GitHttp::start(&repo.root());
    let engine = Volume::new().engine(options(&server.url("site.git")));
    let error = engine.ls_remote().await.unwrap_err();
    assert_eq!((error.kind().as_str(), error.retry()), ("empty_repository", Retry::NextPoll));
    let first = repo.push_file("index.html", "one\n", "First");
    synced(&engine, &first, "one").await;
}
