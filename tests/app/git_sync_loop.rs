//! What git-sync's users know of its loop: signals, timeouts, probes, numbers and exit codes.

use std::fs;
use std::time::Duration;

use pushsync::api::{Outcome, TriggerKind};
use rustix::process::Signal;

use super::site::Site;
use crate::support::git_http::Mode;
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually};

/// A sample of `/metrics`.
async fn metric(site: &Site, sample: &str) -> f64 {
    let (status, text) = site.probe("/metrics").await;
    assert_eq!(status, 200);
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {sample} in\n{text}"))
}

/// Waits until a sample satisfies somebody.
async fn wait_metric(site: &Site, sample: &str, fits: impl Fn(f64) -> bool) -> f64 {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let value = metric(site, sample).await;
        if fits(value) {
            return value;
        }
        assert!(std::time::Instant::now() < end, "{sample} is {value}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn exit_code(site: &Site) -> Option<i32> {
    Sidecar::start(site.arguments()).exited(PATIENCE).await.code()
}

#[tokio::test]
async fn signals_during_a_sync_cause_exactly_one_more() {
    let mut site = Site::new();
    site.set("sync-on-signal", "hup").set("sync-timeout", "3s");
    site.start_in_sync().await;
    site.wait_record(|record| record.trigger.kind == TriggerKind::Startup).await;
    let before = site.remote.requests();
    // A look that takes until its timeout.
    site.remote.set(Mode::Silent);
    site.sidecar().signal(Signal::HUP);
    eventually(PATIENCE, || site.remote.requests() == before + 1).await;
    for _ in 0..5 {
        site.sidecar().signal(Signal::HUP);
        // Signals that come at once are one signal.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let after = site.repo.push_file("a", "2", "while it looks");
    site.remote.set(Mode::Serve);
    site.wait_published(&after).await;
    site.wait_record(|record| record.new.as_deref() == Some(&after)).await;
    site.barrier().await;
    let of_signals = site.history().await.iter().filter(|record| record.trigger.kind == TriggerKind::Signal).count();
    assert_eq!(of_signals, 2, "{:#?}", site.history().await);
}

/// git-sync takes a check that takes too long for damage, and wipes the root.
#[tokio::test]
async fn a_sync_that_is_too_slow_for_its_timeout_never_takes_away_what_is_published() {
    let mut site = Site::new();
    site.set("one-time", "true");
    assert_eq!(exit_code(&site).await, Some(0));
    let first = site.repo.head();
    for number in 0..3000 {
        site.repo.write(&format!("folder{}/file{number}", number % 50), format!("{number}\n"));
    }
    let second = site.repo.commit("many files");
    site.repo.push();
    site.set("one-time", "false").set("sync-timeout", "10ms").set("period", "200ms").set("init-period", "50ms");
    site.start().await;
    let record = site.wait_record(|record| record.outcome == Outcome::Failed).await;
    let error = record.error.expect("why");
    assert!(error.kind.contains("timeout") && error.hint.is_some(), "{error:?}");
    for _ in 0..40 {
        assert_eq!(site.published().as_deref(), Some(first.as_str()));
        assert_eq!(fs::read(site.link().join("index.html")).unwrap(), b"one\n");
        // Through several syncs that are cut off.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(site.probe("/readyz").await.0, 200);
    site.sidecar().kill();
    site.set("sync-timeout", "120s");
    site.start().await;
    site.wait_published(&second).await;
    site.assert_whole(&second);
}

#[tokio::test]
async fn while_the_remote_is_unreachable_the_probes_stay_green_and_the_numbers_tell() {
    let mut site = Site::new();
    site.set("period", "200ms");
    site.start_in_sync().await;
    let success = wait_metric(&site, "pushsync_last_success_timestamp_seconds", |at| at > 0.0).await;
    site.remote.set(Mode::Refuse);
    wait_metric(&site, "git_sync_count_total{status=\"error\"}", |count| count >= 2.0).await;
    for path in ["/", "/startupz", "/readyz", "/livez", "/any/path/that/git-sync/answers"] {
        assert_eq!(site.probe(path).await.0, 200, "{path}");
    }
    let stale = metric(&site, "pushsync_last_success_timestamp_seconds").await;
    wait_metric(&site, "pushsync_last_attempt_timestamp_seconds", |at| at > stale + 0.1).await;
    let later = metric(&site, "pushsync_last_success_timestamp_seconds").await;
    assert!((later - stale).abs() < 1e-6 && stale >= success, "no success since {stale}: {later}");
    assert!(site.snapshot().await.failures_in_row >= 2);
    site.remote.set(Mode::Serve);
    wait_metric(&site, "pushsync_last_success_timestamp_seconds", |at| at > stale).await;
}

#[tokio::test]
async fn fetches_are_counted_on_a_change_and_on_the_first_loop_and_on_no_other() {
    let mut site = Site::new();
    site.set("period", "50ms");
    site.start_in_sync().await;
    assert_eq!(site.probe("/").await.0, 200);
    wait_metric(&site, "git_sync_count_total{status=\"noop\"}", |count| count >= 3.0).await;
    assert!((metric(&site, "git_fetch_count_total").await - 1.0).abs() < 0.1, "polls are no fetches");
    assert!((metric(&site, "git_sync_count_total{status=\"success\"}").await - 1.0).abs() < 0.1);
    let second = site.repo.push_file("a", "2", "a change");
    site.wait_published(&second).await;
    wait_metric(&site, "git_fetch_count_total", |count| count > 1.0).await;
    wait_metric(&site, "git_sync_duration_seconds_count{status=\"success\"}", |count| count > 1.0).await;
    // Another process that finds everything published: its first loop counts all the same.
    site.sidecar().kill();
    site.start().await;
    wait_metric(&site, "git_sync_count_total{status=\"noop\"}", |count| count >= 2.0).await;
    assert!((metric(&site, "git_sync_count_total{status=\"success\"}").await - 1.0).abs() < 0.1);
    assert!((metric(&site, "git_fetch_count_total").await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn a_full_hash_is_published_and_looked_after_without_its_remote() {
    let mut site = Site::new();
    let head = site.repo.head();
    site.set("ref", &head).set("period", "200ms");
    site.start().await;
    site.wait_published(&head).await;
    site.sidecar().wait_for_text(PATIENCE, "pushes have no effect").await;
    site.repo.push_file("a", "2", "not followed");
    site.barrier_with_the_rest().await;
    assert_eq!(site.published().as_deref(), Some(head.as_str()));
    site.remote.set(Mode::Refuse);
    fs::remove_dir_all(site.root().join(".worktrees")).unwrap();
    eventually(PATIENCE, || site.link().join("index.html").exists()).await;
    site.assert_whole(&head);
}

#[tokio::test]
async fn one_time_is_an_init_container_and_says_by_its_code_whether_a_tree_is_there() {
    let mut site = Site::new();
    site.set("one-time", "true");
    site.remote.set(Mode::Refuse);
    assert_eq!(exit_code(&site).await, Some(1), "one failure is enough");
    assert_eq!(site.published(), None);
    site.set("init-max-failures", "-1").set("init-period", "100ms");
    let mut patient = Sidecar::start(site.arguments());
    patient.wait_for_text(PATIENCE, "sync failed").await;
    site.remote.set(Mode::Serve);
    assert_eq!(patient.exited(PATIENCE).await.code(), Some(0), "{}", patient.log().join("\n"));
    site.assert_whole(&site.repo.head());
    assert_eq!(exit_code(&site).await, Some(0), "the pod restarts, the volume is as it was left");
    site.assert_whole(&site.repo.head());
}

#[tokio::test]
async fn exit_codes_are_git_syncs() {
    let mut site = Site::new();
    let ended = |more: &'static str, site: &Site| {
        let mut arguments = site.arguments();
        arguments.push(more.to_owned());
        async move { Sidecar::start(arguments).exited(PATIENCE).await.code() }
    };
    assert_eq!(ended("--no-such-flag", &site).await, Some(2));
    assert_eq!(ended("--period=1ms", &site).await, Some(1));
    assert!(!site.root().exists(), "nothing was touched");
    site.remote.set(Mode::Refuse);
    assert_eq!(ended("--max-failures=0", &site).await, Some(1));
    site.remote.set(Mode::Serve);
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        site.start_in_sync().await;
        site.sidecar().signal(signal);
        assert_eq!(site.sidecar().exited(PATIENCE).await.code(), Some(code));
    }
}

#[tokio::test]
async fn a_password_among_the_arguments_lets_in_as_it_does_with_git_sync() {
    let mut site = Site::new();
    site.remote.require(Some(("me", "right-and-long")));
    site.set("one-time", "true").set("username", "me").set("password", "wrong-and-long");
    assert_eq!(exit_code(&site).await, Some(1));
    site.set("password", "right-and-long");
    let mut sidecar = Sidecar::start(site.arguments());
    assert_eq!(sidecar.exited(PATIENCE).await.code(), Some(0), "{}", sidecar.log().join("\n"));
    site.assert_whole(&site.repo.head());
    let log = sidecar.log().join("\n");
    assert!(
        log.contains("every process of the machine can read arguments") && !log.contains("right-and-long"),
        "{log}"
    );
}

#[tokio::test]
async fn fetches_are_counted_when_the_published_commit_goes_back_and_when_a_tree_is_put_back() {
    let mut site = Site::new();
    site.set("period", "100ms").set("stale-worktree-timeout", "0");
    site.start_in_sync().await;
    let first = site.repo.head();
    let second = site.repo.push_file("a", "2", "a change");
    site.wait_published(&second).await;
    wait_metric(&site, "git_fetch_count_total", |count| count > 1.5).await;
    // Backwards, to a commit that is in the store.
    site.repo.git(&["reset", "-q", "--hard", &first]);
    site.repo.force_push();
    site.wait_published(&first).await;
    wait_metric(&site, "git_fetch_count_total", |count| count > 2.5).await;
    fs::remove_dir_all(site.link().canonicalize().unwrap()).unwrap();
    wait_metric(&site, "git_fetch_count_total", |count| count > 3.5).await;
    site.wait_published(&first).await;
    site.assert_whole(&first);
    wait_metric(&site, "git_sync_count_total{status=\"noop\"}", |count| count >= 3.0).await;
    assert!((metric(&site, "git_fetch_count_total").await - 4.0).abs() < 0.1);
}

#[tokio::test]
async fn a_missing_ref_is_told_in_the_words_of_git_wherever_it_is_told() {
    let mut site = Site::new();
    let error_file = site.path("error.json");
    site.set("ref", "gone").set("error-file", &error_file.display().to_string());
    site.start().await;
    let record = site.wait_record(|record| record.error.is_some()).await;
    let words = "couldn't find remote ref gone";
    assert!(record.error.as_ref().is_some_and(|error| error.message.contains(words)), "{record:?}");
    site.sidecar().wait_for_text(PATIENCE, words).await;
    eventually(PATIENCE, || fs::read_to_string(&error_file).is_ok_and(|text| text.contains(words))).await;
}

#[tokio::test]
async fn a_root_on_no_volume_is_told_once_where_there_are_pods() {
    let mut site = Site::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points: Vec<_> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    let on_volume = points.iter().any(|at| *at != "/" && site.folder.path().starts_with(at));
    let sidecar = Sidecar::start_with(site.arguments(), &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]);
    site.started(sidecar).await;
    let head = site.repo.head();
    site.wait_published(&head).await;
    let log = site.sidecar().log();
    let told = log.iter().filter(|line| line.contains("is on no volume")).count();
    assert_eq!(told, usize::from(!on_volume), "{log:?}");
}
