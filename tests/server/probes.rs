//! Probes and metrics.

use pushsync::server::{AdminBind, ServerOptions, start};
use pushsync::sync::Health;
use tokio::time::Instant;

use super::admin::record;
use super::harness::*;

async fn probe(sidecar: &Sidecar) -> [u16; 4] {
    let mut statuses = [0; 4];
    for (status, path) in statuses.iter_mut().zip(["/", "/startupz", "/readyz", "/livez"]) {
        *status = get(sidecar.http(), path).await.status;
    }
    statuses
}

#[tokio::test]
async fn each_probe_says_what_it_means() {
    let sidecar = Sidecar::new();
    assert_eq!(probe(&sidecar).await, [503, 503, 503, 200], "nothing published yet");
    sidecar.status.set_health(|health| health.started = true);
    assert_eq!(probe(&sidecar).await, [200, 200, 503, 200]);
    sidecar.status.set_health(|health| health.ready = true);
    assert_eq!(probe(&sidecar).await, [200, 200, 200, 200]);
    // A remote that is down for an hour changes nothing here.
    for _ in 0..60 {
        let mut failure = record("1");
        failure.outcome = pushsync::api::Outcome::Failed;
        sidecar.status.finished(failure, |_| {});
    }
    assert_eq!(probe(&sidecar).await, [200, 200, 200, 200]);
    if let Some(long_ago) = Instant::now().checked_sub(std::time::Duration::from_secs(90)) {
        sidecar.status.set_health(|health: &mut Health| health.asked = Some(long_ago));
        assert_eq!(probe(&sidecar).await, [200, 200, 200, 503], "the loop hangs");
    }
    for path in ["/metrics/", "/debug/pprof/", "/debug/pprof/heap"] {
        assert_eq!(get(sidecar.http(), path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn every_other_path_is_answered_like_the_root_as_git_sync_does_it() {
    let sidecar = Sidecar::new();
    let paths = ["/healthz", "/webhook", "/api/v1/snapshot", "/any/where?x=1"];
    for path in paths {
        assert_eq!(get(sidecar.http(), path).await.status, 503, "{path}");
    }
    sidecar.status.set_health(|health| health.started = true);
    for path in paths {
        let answer = get(sidecar.http(), path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"), "{path}: the word and nothing else");
    }
}

#[tokio::test]
async fn metrics_have_the_names_that_dashboards_know() {
    let sidecar = Sidecar::new();
    let metrics = &sidecar.metrics;
    metrics.record(&record("1"));
    let mut failure = record("2");
    failure.outcome = pushsync::api::Outcome::Failed;
    failure.bytes = None;
    failure.missed_webhook = true;
    metrics.record(&failure);
    metrics.unchanged(std::time::Duration::from_millis(7));
    metrics.published("aaaa");
    metrics.published("bbbb");
    metrics.paused(true);
    metrics.volume_bytes("store", 1234);
    metrics.hook_run("exechook", "success");
    metrics.askpass_call("success");
    metrics.github_app_token("error");
    metrics.peer_message("ok");
    metrics.delivery("queued");

    let answer = get(sidecar.http(), "/metrics").await;
    assert_eq!(answer.status, 200);
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(answer.head.to_lowercase().contains(kind), "{}", answer.head);
    assert!(answer.body.contains("# EOF"));
    for (sample, value) in [
        ("git_sync_count_total{status=\"success\"}", 1.0),
        ("git_sync_count_total{status=\"error\"}", 1.0),
        ("git_sync_count_total{status=\"noop\"}", 1.0),
        ("git_fetch_count_total", 1.0),
        ("git_sync_duration_seconds_count{status=\"success\"}", 1.0),
        ("git_sync_duration_seconds_sum{status=\"success\"}", 0.042),
        ("git_sync_duration_seconds_sum{status=\"noop\"}", 0.007),
        ("git_sync_hook_run_count_total{name=\"exechook\",status=\"success\"}", 1.0),
        ("git_sync_askpass_calls{status=\"success\"}", 1.0),
        ("git_sync_refresh_github_app_token_count{status=\"error\"}", 1.0),
        ("pushsync_info{version=\"0.1.0\",repo=\"https://github.com/acme/site.git\",ref=\"main\"}", 1.0),
        ("pushsync_published_info{commit=\"bbbb\"}", 1.0),
        ("pushsync_webhook_deliveries_total{result=\"queued\"}", 1.0),
        ("pushsync_webhook_deliveries_total{result=\"bad_signature\"}", 0.0),
        ("pushsync_missed_webhooks_total", 1.0),
        ("pushsync_received_to_published_seconds_count", 2.0),
        ("pushsync_phase_duration_seconds_count{phase=\"fetch\"}", 2.0),
        ("pushsync_fetch_bytes_total", 4096.0),
        ("pushsync_peer_messages_total{result=\"ok\"}", 1.0),
        ("pushsync_volume_bytes{kind=\"store\"}", 1234.0),
        ("pushsync_paused", 1.0),
        ("pushsync_pinned", 0.0),
    ] {
        assert_eq!(sidecar.metric(sample), Some(value), "{sample} in\n{}", answer.body);
    }
    assert!(!answer.body.contains("aaaa"), "a commit that is published no more");
    for stamp in ["pushsync_last_success_timestamp_seconds", "pushsync_last_attempt_timestamp_seconds"] {
        assert!(sidecar.metric(stamp).unwrap() > 1.7e9, "{stamp}");
    }
    assert!(!answer.body.contains("_total_total"));
}

#[tokio::test]
async fn metrics_are_served_only_if_wanted() {
    let sidecar = Sidecar::new();
    let (handle, _commands) = pushsync::sync::Handle::new(
        sidecar.status.clone(),
        sidecar.queue.clone(),
        sidecar.history.clone(),
        sidecar.metrics.clone(),
        pushsync::clock::Clock::real(),
    );
    let options = ServerOptions {
        hook: None,
        http: Some(([127, 0, 0, 1], 0).into()),
        http_metrics: false,
        admin: AdminBind::Off,
        admin_token_file: None,
    };
    let servers = start(&options, &handle).unwrap();
    assert_eq!((servers.hook_addr, servers.admin_addr), (None, None));
    assert_eq!(get(servers.http_addr.unwrap(), "/metrics").await.status, 404);
    assert_eq!(get(servers.http_addr.unwrap(), "/livez").await.status, 200);
}
