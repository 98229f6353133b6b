//! After a publish: a program and an address are told, again and again until they have heard of the newest commit.

use std::time::{Duration, Instant};

use super::{Listener, Script, header, metric};
use crate::app::site::{Site, published};
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually};

#[tokio::test]
async fn a_program_runs_in_the_published_tree_after_each_publish_and_at_start() {
    let mut site = Site::new();
    let hook =
        Script::new(&site, "hook", r#"echo "$GITSYNC_HASH $(pwd -P) $(readlink ../../current)" >> "$HERE/runs""#);
    site.set("exechook-command", &hook.command());
    site.start_in_sync().await;
    let first = site.repo.head();
    eventually(PATIENCE, || hook.lines("runs").len() == 1).await;
    let second = site.push_and_ring("a", "2").await;
    eventually(PATIENCE, || hook.lines("runs").len() == 2).await;
    let trees = std::fs::canonicalize(site.root().join(".worktrees")).unwrap();
    let line = |commit: &str| format!("{commit} {} .worktrees/{commit}", trees.join(commit).display());
    assert_eq!(hook.lines("runs"), [line(&first), line(&second)]);
    let success = "git_sync_hook_run_count_total{name=\"exechook\",status=\"success\"}";
    assert_eq!(metric(&site, success).await, Some(2));

    // A new process finds nothing new, and tells all the same.
    site.sidecar().terminate();
    site.sidecar().exited(PATIENCE).await;
    site.start().await;
    eventually(PATIENCE, || hook.lines("runs").len() == 3).await;
    assert_eq!(hook.lines("runs")[2], line(&second));
}

#[tokio::test]
async fn what_fails_is_tried_again_after_the_backoff_and_only_the_newest_commit_counts() {
    // Never satisfied, with the same backoff: its requests show that a backoff has passed in this program.
    let beside = Listener::start(&["500 No"]);
    let mut site = Site::new();
    let hook = Script::new(&site, "hook", r#"echo "$GITSYNC_HASH" >> "$HERE/runs"; exit 1"#);
    site.set("exechook-command", &hook.command()).set("exechook-backoff", "300ms");
    site.set("webhook-url", &format!("http://{}/", beside.address)).set("webhook-backoff", "300ms");
    site.start_in_sync().await;
    let first = site.repo.head();
    let started = Instant::now();
    eventually(PATIENCE, || hook.lines("runs").len() >= 3).await;
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
    assert!(hook.lines("runs").iter().all(|run| *run == first));

    // Slow, so that two pushes come while it runs.
    hook.become_(r#"echo "$GITSYNC_HASH" >> "$HERE/slow"; while [ ! -e "$HERE/go" ]; do sleep 0.02; done"#);
    eventually(PATIENCE, || hook.lines("slow").len() == 1).await;
    let second = site.push_and_ring("a", "2").await;
    site.wait_published(&second).await;
    let third = site.push_and_ring("a", "3").await;
    site.wait_published(&third).await;
    std::fs::write(site.path("hook-leaves/go"), "").unwrap();
    eventually(PATIENCE, || hook.lines("slow").len() == 2).await;
    // Telling the third again would come after one backoff.
    let before = beside.hashes().len();
    eventually(PATIENCE, || beside.hashes().len() >= before + 3).await;
    assert_eq!(hook.lines("slow"), [first, third], "the second was skipped, and what was heard is not told again");
    let log = site.sidecar().log().join("\n");
    assert!(log.contains("the hook failed and will be retried"), "{log}");
}

#[tokio::test]
async fn an_address_is_told_by_one_header_and_no_body_until_it_answers_as_expected() {
    let listener =
        Listener::start(&["500 No", "302 Found\r\nLocation: http://127.0.77.1:1/elsewhere", "silence", "200 OK"]);
    let mut site = Site::new();
    let url = format!("http://me:pass-of-the-hook@{}/services/secret-path?token=secret-token", listener.address);
    site.set("webhook-url", &url).set("webhook-backoff", "50ms").set("webhook-timeout", "1s").set("verbose", "2");
    site.start_in_sync().await;
    let first = site.repo.head();
    eventually(PATIENCE, || listener.hashes().len() == 4).await;
    let second = site.push_and_ring("a", "2").await;
    eventually(PATIENCE, || listener.hashes().len() == 5).await;
    assert_eq!(listener.hashes(), [&first, &first, &first, &first, &second].map(String::clone));
    let requests = listener.requests.lock().unwrap().clone();
    for request in &requests {
        assert!(request.starts_with("POST /services/secret-path?token=secret-token HTTP/1.1\r\n"), "{request}");
        assert!(
            request.ends_with("\r\n\r\n") && header(request, "content-length").as_deref() == Some("0"),
            "{request}"
        );
        assert!(header(request, "authorization").is_some_and(|value| value.starts_with("Basic ")), "{request}");
    }
    let counted = |status: &str| format!("git_sync_hook_run_count_total{{name=\"webhook\",status=\"{status}\"}}");
    eventually(PATIENCE, || {
        site.sidecar.as_ref().unwrap().log().iter().filter(|l| l.contains("the hook succeeded")).count() == 2
    })
    .await;
    assert_eq!(metric(&site, &counted("error")).await, Some(3));
    assert_eq!(metric(&site, &counted("success")).await, Some(2));
    let log = site.sidecar().log().join("\n");
    for told in ["answered 500", "/… answered"] {
        assert!(log.contains(told), "{told}: {log}");
    }
    for secret in ["pass-of-the-hook", "secret-path", "secret-token"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[tokio::test]
async fn any_answer_will_do_if_the_status_is_0_and_the_method_is_as_configured() {
    let listener = Listener::start(&["500 No"]);
    let mut site = Site::new();
    site.set("webhook-url", &format!("http://{}/", listener.address)).set("webhook-success-status", "0");
    site.set("webhook-method", "GET").set("webhook-backoff", "50ms");
    site.start_in_sync().await;
    eventually(PATIENCE, || listener.hashes().len() == 1).await;
    // It counts as told, so there is nothing to tell again.
    let counted = |status: &str| format!("git_sync_hook_run_count_total{{name=\"webhook\",status=\"{status}\"}}");
    let end = Instant::now() + PATIENCE;
    while metric(&site, &counted("success")).await != Some(1) {
        assert!(Instant::now() < end, "{}", site.sidecar().log().join("\n"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let first = site.repo.head();
    let second = site.push_and_ring("a", "2").await;
    eventually(PATIENCE, || listener.hashes().len() >= 2).await;
    assert_eq!(listener.hashes(), [first, second]);
    assert_ne!(metric(&site, &counted("error")).await, Some(1));
    assert!(listener.requests.lock().unwrap()[0].starts_with("GET / HTTP/1.1\r\n"));
}

#[tokio::test]
async fn with_one_time_each_is_told_once_and_a_failure_is_exit_code_1() {
    for (exec, http, code) in [("exit 0", "200 OK", 0), ("exit 1", "200 OK", 1), ("exit 0", "404 No", 1)] {
        let listener = Listener::start(&[http]);
        let mut site = Site::new();
        let hook = Script::new(&site, "hook", &format!("sleep 0.2; echo $GITSYNC_HASH >> \"$HERE/runs\"; {exec}"));
        site.set("one-time", "true").set("exechook-command", &hook.command());
        site.set("exechook-backoff", "10ms").set("webhook-backoff", "10ms");
        site.set("webhook-url", &format!("http://{}/", listener.address));
        let mut sidecar = Sidecar::start(site.arguments());
        let status = sidecar.exited(PATIENCE).await;
        assert_eq!(status.code(), Some(code), "{exec} {http}: {}", sidecar.log().join("\n"));
        let head = site.repo.head();
        assert_eq!(published(&site.link()).as_deref(), Some(head.as_str()));
        assert_eq!((hook.lines("runs"), listener.hashes()), (vec![head.clone()], vec![head]));
    }
}

#[tokio::test]
async fn a_relative_command_is_in_the_tree_and_a_name_is_looked_up() {
    let mut site = Site::new();
    let mark = site.path("mark").display().to_string();
    site.repo.write("bin/hook", format!("#!/bin/sh\npwd > '{mark}'\n"));
    site.repo.make_executable("bin/hook");
    site.repo.commit("a hook");
    site.repo.push();
    site.set("exechook-command", "./bin/hook").set("pre-publish-exechook-command", "true");
    site.start_in_sync().await;
    site.sidecar().wait_for_text(PATIENCE, "everyone who can push decides what runs here").await;
    eventually(PATIENCE, || std::path::Path::new(&mark).exists()).await;
}
