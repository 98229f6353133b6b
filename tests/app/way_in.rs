//! Passwords, tokens, certificates and slow servers as people have them, with the real program.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::site::Site;
use crate::support::git_http::Mode;
use crate::support::sidecar::Sidecar;
use crate::support::sshd::Sshd;
use crate::support::stub::{Stub, answer};
use crate::support::tls::{Authority, TlsFront, VALID};
use crate::support::{PATIENCE, eventually};

const TOKEN: &str = "ghp_a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8";

async fn publishes(mut site: Site, environment: &[(&str, &str)]) {
    site.sidecar = Some(Sidecar::start_with(site.arguments(), environment));
    let head = site.repo.head();
    site.wait_published(&head).await;
    site.assert_whole(&head);
    let log = site.sidecar().log().join("\n");
    assert!(!log.contains(TOKEN), "{log}");
}

async fn is_refused(site: Site, environment: &[(&str, &str)], expected: &str) {
    let mut sidecar = Sidecar::start_with(site.arguments(), environment);
    assert_eq!(sidecar.exited(PATIENCE).await.code(), Some(1));
    let log = sidecar.log().join("\n");
    assert!(log.contains(expected) && !log.contains("4711"), "{expected}: {log}");
    assert_eq!(site.remote.requests(), 0);
}

/// A Secret made by `echo TOKEN | base64` has a newline, and one that went through two hands has two.
#[tokio::test]
async fn line_breaks_at_the_end_of_a_password_are_dropped_from_any_source_and_refused_elsewhere() {
    let site = || {
        let mut site = Site::new();
        site.remote.require(Some(("ada", TOKEN)));
        site.set("username", "ada");
        site
    };
    for variable in ["PUSHSYNC_PASSWORD", "GITSYNC_PASSWORD"] {
        publishes(site(), &[(variable, &format!("{TOKEN}\n\n"))]).await;
    }
    let mut file = site();
    fs::write(file.path("password"), format!("{TOKEN}\r\n\n")).unwrap();
    let path = file.path("password").display().to_string();
    file.set("password-file", &path);
    publishes(file, &[]).await;
    let mut json = site();
    json.unset("username");
    let list = format!(r#"{{"url":"{}","username":"ada","password":"{TOKEN}\n"}}"#, json.remote.url(""));
    publishes(json, &[("GITSYNC_CREDENTIAL", &list)]).await;

    is_refused(
        site(),
        &[("PUSHSYNC_PASSWORD", "tok\n4711")],
        "PUSHSYNC_PASSWORD: is not a valid password: it contains a line break",
    )
    .await;
    let mut file = site();
    fs::write(file.path("password"), "4711\n4711\n").unwrap();
    let path = file.path("password").display().to_string();
    file.set("password-file", &path);
    is_refused(file, &[], "contains no valid password: it contains a line break").await;
    let mut user = site();
    user.unset("username");
    is_refused(
        user,
        &[("GITSYNC_USERNAME", "ada\n"), ("GITSYNC_PASSWORD", "x4711")],
        "is not a valid user name: it contains a line break",
    )
    .await;
}

#[tokio::test]
async fn a_token_in_the_place_of_the_user_is_one_with_an_empty_password() {
    for mode in [Mode::Serve, Mode::OldProtocol] {
        for colon in ["", ":"] {
            let mut site = Site::new();
            site.remote.set(mode.clone());
            site.remote.require(Some((TOKEN, "")));
            let address = site.remote.url("site.git").replace("http://", &format!("http://{TOKEN}{colon}@"));
            site.set("repo", &address);
            publishes(site, &[]).await;
        }
    }
}

#[tokio::test]
async fn signs_that_end_an_address_are_named_where_a_password_has_them() {
    let mut site = Site::new();
    site.set("repo", "https://ada:pass#4711@git.test/acme/site.git");
    is_refused(site, &[], "is written as %2F, %3F or %23").await;
}

#[tokio::test]
async fn a_file_of_trusted_certificates_may_hold_an_anchor_of_any_kind_and_must_hold_one() {
    let root = Authority::new();
    let intermediate = root.intermediate();
    let (_, stranger) = root.identity_and_pem("127.0.0.1", VALID);
    let mark = b"\xef\xbb\xbf".as_slice();
    let https = async |pem: Option<Vec<u8>>| {
        let mut site = Site::new();
        let (identity, own) = intermediate.identity_and_pem("127.0.0.1", VALID);
        let front = TlsFront::start(site.remote.address(), identity).await;
        site.set("repo", &format!("https://{}/site.git", front.address));
        let file = site.path("ca.pem");
        fs::write(&file, pem.unwrap_or(own)).unwrap();
        (site, front, file.display().to_string())
    };
    for variable in ["SSL_CERT_FILE", "GIT_SSL_CAINFO"] {
        for pem in [Some(intermediate.pem()), None, Some([mark, &intermediate.pem()].concat())] {
            let (site, _front, file) = https(pem).await;
            publishes(site, &[(variable, &file)]).await;
        }
        for (content, expected) in [
            (intermediate.der(), "holds a certificate in DER form"),
            (Vec::new(), "is empty"),
            (mark.to_vec(), "is empty"),
            (b"no certificate".to_vec(), "holds no certificate in PEM form"),
        ] {
            let (site, _front, file) = https(Some(content)).await;
            is_refused(site, &[(variable, &file)], expected).await;
        }
    }
    let (mut site, _front, file) = https(Some(stranger)).await;
    site.set("git-config", &format!("http.sslCAInfo:{file}"));
    site.start().await;
    let record = site.wait_record(|record| record.error.is_some()).await;
    assert_eq!(record.error.unwrap().kind, "tls", "another's certificate is no anchor for this one");
}

/// A server that needs long to put a pack together says nothing meanwhile.
#[tokio::test]
async fn silence_is_waited_out_as_long_as_the_sync_may_take() {
    const SILENT: Duration = Duration::from_secs(33);
    for mode in [Mode::Serve] {
        let mut site = Site::new();
        site.remote.set(mode);
        let front = crate::support::gateway::Gateway::slow(site.remote.address(), SILENT).await;
        site.set("repo", &front.url("site.git")).set("sync-timeout", "100s");
        site.start().await;
        let head = site.repo.head();
        eventually(PATIENCE * 3, || site.published().as_deref() == Some(head.as_str())).await;
        assert!(site.history().await.iter().all(|record| record.error.is_none()));
    }
}

/// The same over SSH, where libgit2 waits: both ways, the limit is that of the sync.
#[tokio::test]
async fn silence_over_ssh_is_waited_out_as_long_as_the_sync_may_take_and_no_longer() {
    let Some(sshd) = Sshd::start() else { return };
    let mut site = Site::new();
    let (url, key) = (sshd.url(&site.repo.bare()), sshd.key().display().to_string());
    site.set("repo", &url).set("ssh-key-file", &key).set("ssh-known-hosts", "false").set("hook-repo", "acme/site");
    let once = site.path("silent-once");
    let silent_once = format!("[ -e {0} ] || {{ touch {0}; sleep 33; }}; eval $SSH_ORIGINAL_COMMAND", once.display());
    sshd.force(Some(&silent_once));
    site.set("sync-timeout", "100s");
    site.start().await;
    let head = site.repo.head();
    eventually(PATIENCE * 3, || site.published().as_deref() == Some(head.as_str())).await;
    assert!(site.history().await.iter().all(|record| record.error.is_none()), "{:?}", site.history().await);
    site.sidecar().kill();

    sshd.force(Some("sleep 60"));
    site.set("sync-timeout", "3s").set("period", "1s");
    let began = Instant::now();
    site.start().await;
    let record = site.wait_record(|record| record.error.is_some()).await;
    let error = record.error.unwrap();
    assert!(error.kind == "timeout" && began.elapsed() >= Duration::from_secs(3), "{error:?}");
    assert!(error.hint.is_some_and(|hint| hint.contains("--sync-timeout")));
    assert_eq!(site.published().as_deref(), Some(head.as_str()));
}

/// A server that says when to come again is not asked before, however short the period is.
#[tokio::test]
async fn the_poll_waits_as_long_as_a_server_says() {
    const WAIT: Duration = Duration::from_secs(4);
    let mut site = Site::new();
    let asked_at = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked_at);
    let server = Stub::start(move |asked| {
        // Each lookup begins with one POST; the GET of version 0 follows it at once, however long that takes here.
        if asked.method == "POST" {
            log.lock().unwrap().push(Instant::now());
        }
        async {
            let mut response = answer(503, "come again later\n");
            response.headers_mut().insert("retry-after", WAIT.as_secs().to_string().parse().unwrap());
            response
        }
    })
    .await;
    site.set("repo", &format!("http://{}/site.git", server.address)).set("period", "100ms");
    site.start().await;
    let pauses = || {
        let times = asked_at.lock().unwrap().clone();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
    };
    eventually(PATIENCE, || pauses().len() >= 2).await;
    assert!(pauses().iter().all(|pause| *pause >= WAIT), "{:?}", pauses());
    let error = site.wait_record(|record| record.error.is_some()).await.error.unwrap();
    assert_eq!(error.kind, "server_error", "{error:?}");
}
