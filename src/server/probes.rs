//! What the kubelet and Prometheus ask.
//!
//! Readiness never depends on the last sync: a forge that is down must not take the site down with it. Staleness is a
//! metric.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use hyper::{Response, StatusCode};

use crate::sync::Handle;

use super::answer;

/// The sync loop comes round as soon as a probe asks it to; if it has not for longer than this, it hangs.
const LONGEST_TURN: Duration = Duration::from_secs(60);

/// The routes of the http listener.
pub fn router(handle: Handle, with_metrics: bool) -> Router {
    let mut router = Router::new()
        .route("/", get(|State(handle): State<Handle>| async move { probe(handle.health().started) }))
        .route("/startupz", get(|State(handle): State<Handle>| async move { probe(handle.health().started) }))
        .route("/readyz", get(|State(handle): State<Handle>| async move { probe(handle.health().ready) }))
        .route("/livez", get(|State(handle): State<Handle>| async move { probe(handle.turns(LONGEST_TURN)) }));
    if with_metrics {
        router = router.route("/metrics", get(metrics));
    }
    router.fallback(elsewhere).with_state(handle)
}

/// git-sync answers every path as it answers `/`, so probes of its users may ask for any. But who asks for numbers that are
/// not served must be told so.
async fn elsewhere(State(handle): State<Handle>, request: axum::extract::Request) -> Response<Body> {
    let numbers = ["/metrics", "/debug/pprof"].iter().any(|path| request.uri().path().starts_with(path));
    let asks = matches!(*request.method(), hyper::Method::GET | hyper::Method::HEAD);
    if numbers || !asks { answer::text(StatusCode::NOT_FOUND, "not found\n") } else { probe(handle.health().started) }
}

fn probe(good: bool) -> Response<Body> {
    if good { answer::text(StatusCode::OK, "ok\n") } else { answer::text(StatusCode::SERVICE_UNAVAILABLE, "not yet\n") }
}

async fn metrics(State(handle): State<Handle>) -> Response<Body> {
    let text = handle.metrics().render();
    answer::with_type(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text)
}
