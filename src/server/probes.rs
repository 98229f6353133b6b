//! The http listener: probes for the kubelet, metrics for Prometheus.
//!
//! Readiness never depends on the last sync, because an outage of the forge must not take the site down. Staleness is
//! a metric.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use hyper::{Response, StatusCode};

use crate::sync::Handle;

use super::answer;

/// A probe wakes the sync loop. A loop that completes no turn for longer than this is considered hung.
const LONGEST_TURN: Duration = Duration::from_secs(60);

/// The routes of the http listener.
pub(crate) fn router(handle: Handle, with_metrics: bool) -> Router {
    let mut router = Router::new()
        .route("/", get(|State(handle): State<Handle>| async move { probe(handle.health().started) }))
        .route("/startupz", get(|State(handle): State<Handle>| async move { probe(handle.health().started) }))
        .route("/readyz", get(|State(handle): State<Handle>| async move { probe(handle.health().ready) }))
        .route("/livez", get(|State(handle): State<Handle>| async move { probe(handle.is_responsive(LONGEST_TURN)) }));
    if with_metrics {
        router = router.route("/metrics", get(metrics));
    }
    router.fallback(elsewhere).with_state(handle)
}

/// Answers every other path like `/`, because git-sync does and its users may have configured any path for their
/// probes. Paths of metrics and profiles that are not served get 404, so that a scraper reports the error.
async fn elsewhere(State(handle): State<Handle>, request: axum::extract::Request) -> Response<Body> {
    let for_numbers = ["/metrics", "/debug/pprof"].iter().any(|path| request.uri().path().starts_with(path));
    let is_read = matches!(*request.method(), hyper::Method::GET | hyper::Method::HEAD);
    if for_numbers || !is_read {
        answer::text(StatusCode::NOT_FOUND, "not found\n")
    } else {
        probe(handle.health().started)
    }
}

fn probe(good: bool) -> Response<Body> {
    if good { answer::text(StatusCode::OK, "ok\n") } else { answer::text(StatusCode::SERVICE_UNAVAILABLE, "not yet\n") }
}

async fn metrics(State(handle): State<Handle>) -> Response<Body> {
    handle.metrics().state(&handle.snapshot());
    let text = handle.metrics().render();
    answer::with_type(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text)
}
