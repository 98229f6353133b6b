//! git-sync's flags whose effect on the running program no other test shows. docs/from-git-sync.md has the table of all.

use std::fs;
use std::time::{Duration, Instant};

use openssl::pkey::PKey;
use openssl::rsa::Rsa;

use super::hooks::{Script, is_alive};
use super::site::{Site, published};
use crate::support::git_http::Mode;
use crate::support::github_app::github;
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually};

fn failures(sidecar: &Sidecar) -> usize {
    sidecar.log().iter().filter(|line| line.contains("sync failed")).count()
}

#[tokio::test]
async fn the_initial_period_and_the_initial_number_of_failures_count_until_the_first_success() {
    let mut site = Site::new();
    site.remote.set(Mode::Status(503));
    site.set("init-max-failures", "3").set("max-failures", "-1").set("init-period", "20ms");
    let mut sidecar = Sidecar::start(site.arguments());
    assert_eq!(sidecar.exited(PATIENCE).await.code(), Some(1));
    assert_eq!(failures(&sidecar), 3, "{}", sidecar.log().join("\n"));

    // By the backoff alone, which begins with a second and doubles, twenty looks would take days.
    let before = site.remote.requests();
    site.set("init-max-failures", "-1").set("max-failures", "2").set("period", "2s");
    site.start().await;
    eventually(PATIENCE, || site.remote.requests() > before + 40).await;
    site.remote.set(Mode::Serve);
    let head = site.repo.head();
    site.wait_published(&head).await;
    site.wait_record(|record| record.new.as_deref() == Some(&head)).await;
    // From here on it is the period, which is longer, and the other number.
    let (looks, started) = (site.remote.requests(), Instant::now());
    eventually(PATIENCE, || site.remote.requests() >= looks + 3).await;
    assert!(started.elapsed() > Duration::from_millis(1500), "three requests in {:?}", started.elapsed());
    site.remote.set(Mode::Status(503));
    assert_eq!(site.post("sync", &serde_json::json!({})).await.0, 202);
    assert_eq!(site.sidecar().exited(PATIENCE).await.code(), Some(1));
    assert_eq!(site.published(), Some(head), "the tree stays");
}

/// Nothing but git-sync's variables, as a container spec may have it.
#[tokio::test]
async fn a_spec_of_variables_only_publishes_under_the_default_link() {
    let site = Site::new();
    site.remote.require(Some(("me", "right-and-long")));
    let (url, root) = (site.remote.url("site.git"), site.root().display().to_string());
    let environment = [
        ("GITSYNC_REPO", url.as_str()),
        ("GITSYNC_ROOT", root.as_str()),
        ("GITSYNC_REF", "main"),
        ("GITSYNC_DEPTH", "1"),
        ("GITSYNC_ONE_TIME", "true"),
        ("GITSYNC_USERNAME", "me"),
        ("GITSYNC_PASSWORD", "right-and-long"),
    ];
    for (environment, code) in [(&environment[..6], 1), (&environment[..], 0)] {
        let mut sidecar = Sidecar::start_with(["--admin-bind=off"], environment);
        assert_eq!(sidecar.exited(PATIENCE).await.code(), Some(code), "{}", sidecar.log().join("\n"));
        assert!(!sidecar.log().join("\n").contains("right-and-long"));
    }
    assert_eq!(published(&site.root().join("site.git")), Some(site.repo.head()));
}

#[tokio::test]
async fn metrics_are_served_where_they_are_asked_for_and_nothing_without_an_address() {
    let mut site = Site::new();
    site.set("http-metrics", "false");
    site.start_in_sync().await;
    let (status, text) = site.probe("/metrics").await;
    assert!(status == 404 && !text.contains("git_sync"), "{text}");
    site.set("http-metrics", "true");
    site.start_in_sync().await;
    assert!(site.probe("/metrics").await.1.contains("git_sync_count_total"));
    site.unset("http-bind").unset("http-metrics");
    site.start_in_sync().await;
    assert!(!site.sidecar().log().iter().any(|line| line.contains("\"listener\":\"http\"")));
}

#[tokio::test]
async fn more_is_logged_with_a_higher_level() {
    for (level, debug, trace) in [("0", false, false), ("1", true, false), ("2", true, true), ("9", true, true)] {
        let mut site = Site::new();
        site.set("verbose", level);
        site.start_in_sync().await;
        let head = site.repo.head();
        let record = site.wait_record(|record| record.new.as_deref() == Some(&head)).await;
        let sidecar = site.sidecar();
        sidecar.wait_for_line(PATIENCE, |line| line.contains("published")).await;
        if debug {
            sidecar.wait_for_line(PATIENCE, |line| line.contains("\"level\":\"debug\"")).await;
        } else {
            // The spare that it makes now is what it would tell of.
            eventually(PATIENCE, || {
                fs::read_dir(site.root().join(".worktrees"))
                    .unwrap()
                    .flatten()
                    .any(|entry| entry.file_name().to_string_lossy().starts_with(".spare-"))
            })
            .await;
            // All of the log is there when it has ended.
            site.sidecar().terminate();
            site.sidecar().exited(PATIENCE).await;
            let log = site.sidecar().log();
            assert!(!log.iter().any(|line| line.contains("\"level\":\"debug\"")), "{log:#?} {record:?}");
        }
        let log = site.sidecar().log();
        let traced =
            |line: &String| line.contains("\"level\":\"trace\"") && line.contains("the remote answered a request");
        assert_eq!(log.iter().any(traced), trace, "{log:#?}");
    }
}

#[tokio::test]
async fn a_program_that_is_told_after_a_publish_ends_at_its_timeout_and_is_tried_again() {
    let mut site = Site::new();
    let hook = Script::new(&site, "hook", "echo $$ >> \"$HERE/pids\"; sleep 1000");
    site.set("exechook-command", &hook.command());
    site.set("exechook-timeout", "300ms").set("exechook-backoff", "700ms");
    site.start_in_sync().await;
    eventually(PATIENCE, || hook.lines("pids").len() == 1).await;
    let begun = Instant::now();
    eventually(PATIENCE, || hook.lines("pids").len() >= 2).await;
    assert!(begun.elapsed() >= Duration::from_millis(900), "the timeout and the backoff: {:?}", begun.elapsed());
    let first = hook.lines("pids")[0].clone();
    eventually(PATIENCE, || !is_alive(&first)).await;
    hook.become_("echo $GITSYNC_HASH >> \"$HERE/told\"");
    eventually(PATIENCE, || hook.lines("told") == [site.repo.head()]).await;
}

/// Both names of the App, its key in a file and in a variable, and an API elsewhere.
#[tokio::test]
async fn a_github_app_lets_in_by_either_of_its_names_and_its_key_from_either_place() {
    let key = Rsa::generate(2048).unwrap();
    let pem = String::from_utf8(key.private_key_to_pem().unwrap()).unwrap();
    let public = PKey::from_rsa(key).unwrap().public_key_to_pem().unwrap();
    for (name, by_file) in [("github-app-application-id", true), ("github-app-client-id", false)] {
        let api = github(public.clone(), 3600).await;
        let mut site = Site::new();
        site.remote.require(Some(("-", "installation-token-0")));
        site.set(name, "12345").set("github-app-installation-id", "77").set("one-time", "true");
        site.set("github-base-url", &format!("http://{}/api/v3/", api.address));
        let file = site.path("key.pem");
        let mut environment = Vec::new();
        if by_file {
            fs::write(&file, &pem).unwrap();
            site.set("github-app-private-key-file", &file.display().to_string());
        } else {
            environment.push(("GITSYNC_GITHUB_APP_PRIVATE_KEY", pem.as_str()));
        }
        let mut sidecar = Sidecar::start_with(site.arguments(), &environment);
        let code = sidecar.exited(PATIENCE).await.code();
        let log = sidecar.log().join("\n");
        assert_eq!(code, Some(0), "{log}");
        assert!(!log.contains("installation-token-0") && !log.contains("PRIVATE KEY"), "{log}");
        site.assert_whole(&site.repo.head());
        assert_eq!(api.asked().len(), 1);
    }
}
