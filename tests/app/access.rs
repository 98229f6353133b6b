//! The whole program behind TLS, a proxy and an askpass service, and what of it may be read in its log.

use std::fs;

use super::site::Site;
use crate::support::git_http::Mode;
use crate::support::proxy::Proxy;
use crate::support::sidecar::Sidecar;
use crate::support::stub::{Stub, answer};
use crate::support::tls::{Authority, TlsFront, VALID};
use crate::support::{PATIENCE, eventually};

fn start(site: &mut Site, environment: &[(&str, &str)]) {
    site.sidecar = Some(Sidecar::start_with(site.arguments(), environment));
}

#[tokio::test]
async fn tls_through_a_proxy_with_a_mounted_ca_works_by_both_clients() {
    let authority = Authority::new();
    for (mode, folder) in [(Mode::Serve, false), (Mode::OldProtocol, true)] {
        let mut site = Site::new();
        site.remote.set(mode.clone());
        site.remote.require(Some(("ada", "password-in-a-list")));
        let front = TlsFront::start(site.remote.address(), authority.identity("git.test", VALID)).await;
        let proxy = Proxy::start(front.address, Some(("eve", "password-of-proxy"))).await;
        let certificates = site.path("certificates");
        fs::create_dir(&certificates).unwrap();
        let file = certificates.join(authority.hashed_name());
        fs::write(&file, authority.pem()).unwrap();
        let trusted = if folder { ("SSL_CERT_DIR", &certificates) } else { ("SSL_CERT_FILE", &file) };
        let trusted = (trusted.0, trusted.1.to_str().unwrap());
        fs::write(site.path("password"), "password-in-a-list\n").unwrap();
        let list = format!(
            r#"[{{"url":"https://git.test","username":"ada","password-file":"{}"}}]"#,
            site.path("password").display()
        );
        // The address is rewritten before it is connected to.
        site.set("repo", "https://forge.test/site.git");
        site.set("git-config", r#""url.https://git.test/.insteadOf":"https://forge.test/",core.editor:ed"#);
        let proxy_url = format!("http://eve:password-of-proxy@{}", proxy.address);
        let environment = [trusted, ("HTTPS_PROXY", &proxy_url), ("GITSYNC_CREDENTIAL", &list)];
        start(&mut site, &environment);
        let head = site.repo.head();
        site.wait_published(&head).await;
        site.assert_whole(&head);
        let log = site.sidecar().log().join("\n");
        assert!(proxy.log().iter().any(|line| line == "CONNECT git.test:443 HTTP/1.1"), "{:?}", proxy.log());
        assert!(log.contains("no effect: core.editor"), "{log}");
        assert!(!log.contains("password-of-proxy") && !log.contains("password-in-a-list"), "{log}");
    }
}

#[tokio::test]
async fn without_the_ca_nothing_is_published_and_the_record_says_what_to_do() {
    let mut site = Site::new();
    let front = TlsFront::start(site.remote.address(), Authority::new().identity("127.0.0.1", VALID)).await;
    site.set("repo", &format!("https://{}/site.git", front.address));
    site.start().await;
    let record = site.wait_record(|record| record.error.is_some()).await;
    let error = record.error.unwrap();
    assert_eq!(error.kind, "tls");
    assert!(error.hint.unwrap().contains("SSL_CERT_FILE") && site.published().is_none());
    assert_eq!(site.remote.requests(), 0);
}

#[tokio::test]
async fn what_git_is_told_of_certificates_by_its_variables_counts_here_too() {
    let authority = Authority::new();
    for no_verify in [false, true] {
        let mut site = Site::new();
        let front = TlsFront::start(site.remote.address(), authority.identity("127.0.0.1", VALID)).await;
        site.set("repo", &format!("https://{}/site.git", front.address));
        let file = site.path("ca.pem");
        fs::write(&file, authority.pem()).unwrap();
        let file = file.display().to_string();
        let variable = if no_verify { ("GIT_SSL_NO_VERIFY", "1") } else { ("GIT_SSL_CAINFO", file.as_str()) };
        start(&mut site, &[variable, ("GIT_SSH_COMMAND", "ssh -v")]);
        site.wait_published(&site.repo.head()).await;
        let log = site.sidecar().log().join("\n");
        assert!(log.contains("GIT_SSH_COMMAND: has no effect"), "{log}");
        assert_eq!(log.contains("certificates are not checked"), no_verify);
    }
}

#[tokio::test]
async fn certificates_are_not_read_by_who_talks_no_https() {
    let mut site = Site::new();
    // Whoever opened it would wait for somebody to write to it.
    let pipe = site.path("certificates");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    start(&mut site, &[("SSL_CERT_FILE", pipe.to_str().unwrap())]);
    let head = site.repo.head();
    site.wait_published(&head).await;
    site.assert_whole(&head);
}

#[tokio::test]
async fn calls_of_the_askpass_service_are_counted_and_a_failure_keeps_what_is_published() {
    let mut site = Site::new();
    site.remote.require(Some(("ada", "password-by-askpass")));
    let works = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let now = works.clone();
    let service = Stub::start(move |_| {
        let works = now.load(std::sync::atomic::Ordering::Relaxed);
        async move { if works { answer(200, "username=ada\npassword=password-by-askpass\n") } else { answer(503, "") } }
    })
    .await;
    site.set("askpass-url", &format!("http://{}/", service.address)).set("period", "200ms");
    site.start_in_sync().await;
    let head = site.repo.head();
    works.store(false, std::sync::atomic::Ordering::Relaxed);
    let record = site.wait_record(|record| record.error.is_some()).await;
    assert_eq!(record.error.map(|error| error.kind).as_deref(), Some("auth"));
    site.assert_whole(&head);
    let (_, metrics) = site.probe("/metrics").await;
    for status in ["success", "error"] {
        assert!(metrics.contains(&format!("git_sync_askpass_calls{{status=\"{status}\"}}")), "{metrics}");
    }
    works.store(true, std::sync::atomic::Ordering::Relaxed);
    let second = site.repo.push_file("index.html", "two\n", "Second");
    site.wait_published(&second).await;
    let log = site.sidecar().log();
    eventually(PATIENCE, || !log.is_empty()).await;
    assert!(!log.join("\n").contains("password-by-askpass"));
}
