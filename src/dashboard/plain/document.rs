//! One JSON document with everything that is known of a view, for programs.
//!
//! Times are RFC 3339 UTC, words are the API's. The caller has judged the verdict in it.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::SCHEMA;
use crate::dashboard::fleet;
use crate::dashboard::model::{Link, Model, Pod, Presence};
use crate::dashboard::verdict::words;
use crate::dashboard::verdict::{Group, Kind, Lack, Target, Verdict, Why};
use crate::dashboard::webhooks;

/// Syncs in the document.
const SYNCS: usize = 50;

/// The document (docs/dashboard.md, "JSON").
#[must_use]
pub fn document(model: &Model, verdict: &Verdict, now: Timestamp) -> Value {
    let kind = verdict.kind();
    let head = match verdict.groups.as_slice() {
        // Several groups have no common head. Each has its own `target` and `newest`.
        [_] => fleet::head(model),
        _ => None,
    };
    json!({
        "schema": SCHEMA,
        "now": now,
        "in_sync": kind == Kind::Live,
        "verdict": kind.word(),
        "words": words::line(verdict),
        "asked": verdict.asked,
        "problem": model.listing_problem.as_ref().map(|it| json!({"reason": it.reason, "hint": it.hint})),
        "head": head.map(|head| json!({
            "commit": head.commit,
            "seen_at": head.seen_at,
            "subject": head.subject,
            "announced": head.announced,
        })),
        "groups": verdict.groups.iter().map(group).collect::<Vec<_>>(),
        "unplaced": verdict.unplaced.iter().map(lack).collect::<Vec<_>>(),
        // The texts of replicas are passed on unchanged. Control characters are escaped when the document is printed.
        "replicas": fleet::worst_first(model).into_iter().map(|pod| replica(model, verdict, pod)).collect::<Vec<_>>(),
        "webhook": webhook(model),
        "history": history(model),
    })
}

fn group(group: &Group) -> Value {
    json!({
        "repo": group.source.as_ref().map(|source| &source.repo),
        "ref": group.source.as_ref().map(|source| &source.reference),
        "in_sync": group.kind() == Kind::Live,
        "verdict": group.kind().word(),
        "target": group.target.as_ref().map(target),
        "newest": group.newest.as_ref().or(group.target.as_ref()).map(target),
        "live": group.live,
        "total": group.total,
        "took_ms": group.took_ms,
        "lacking": group.lacking.iter().map(lack).collect::<Vec<_>>(),
    })
}

fn target(target: &Target) -> Value {
    json!({"commit": target.commit, "subject": target.subject, "announced": target.announced})
}

fn lack(lack: &Lack) -> Value {
    json!({
        "replica": lack.name,
        "why": lack.why.word(),
        "has_it": lack.has_it,
        "reason": words::sentence(&lack.why),
    })
}

fn replica(model: &Model, verdict: &Verdict, pod: &Pod) -> Value {
    let snapshot = pod.snapshot.as_deref();
    let (link, reason, hint) = match (&pod.link, &pod.presence) {
        (Link::Live, _) => ("live", None, None),
        (Link::Connecting, _) => ("connecting", None, None),
        (Link::Retry { problem, .. }, _) => ("lost", Some(problem.reason.clone()), problem.hint.clone()),
        (Link::Idle, Presence::NotReady(reason)) => ("none", Some(reason.clone()), pod.advice.clone()),
        (Link::Idle, _) => ("none", None, None),
    };
    let why = verdict.why(&pod.id);
    let lag = fleet::lag(model, pod);
    json!({
        "name": pod.name,
        "namespace": pod.namespace,
        "link": link,
        "reason": reason.or_else(|| pod.container.clone()),
        "hint": hint,
        "gone": pod.gone(),
        // From the verdict and not from `state`, so that a row never contradicts the verdict of the document.
        "in_sync": !pod.gone() && why.is_none(),
        "why": why.map(Why::word),
        "why_words": why.map(words::sentence),
        "seen_at": pod.heard_at,
        "state": fleet::state(model, pod).word().replace(' ', "_"),
        "behind_commits": lag.as_ref().and_then(|lag| lag.commits),
        "behind_since": lag.as_ref().map(|lag| lag.since),
        "repo": snapshot.map(|it| it.repo.clone()),
        "ref": snapshot.map(|it| it.reference.clone()),
        "published": snapshot.and_then(|it| it.published.clone()),
        "head": snapshot.and_then(|it| it.head.clone()),
        "announced": snapshot.and_then(|it| it.announced.clone()),
        "paused_by": snapshot.and_then(|it| it.paused_by.clone()),
        "pinned_by": snapshot.and_then(|it| it.pinned_by.clone()),
        "failures_in_row": snapshot.map(|it| it.failures_in_row),
        "last_error": snapshot.and_then(|it| it.last_error.clone()),
        "webhook": snapshot.map(|it| it.webhook.clone()),
        "poll": snapshot.map(|it| it.poll.clone()),
        "paused_until": snapshot.and_then(|it| it.paused_until),
        "pinned": snapshot.and_then(|it| it.pinned.clone()),
        "version": snapshot.map(|it| it.replica.version.clone()),
    })
}

fn webhook(model: &Model) -> Value {
    let health = webhooks::health(model);
    json!({
        "enabled": health.enabled,
        "received": health.received,
        "bad_signature": health.bad_signature,
        "missed": health.missed,
        "last": health.last.map(|last| json!({"at": last.at, "event": last.event, "ignored": last.ignored})),
        "alert": webhooks::alert(model),
    })
}

fn history(model: &Model) -> Vec<Value> {
    let rows = model.fleet_rows.iter().take(SYNCS);
    rows.filter_map(|row| {
        let mut value = serde_json::to_value(row.record.as_ref()).ok()?;
        let name = model.pod(&row.pod)?.name.clone();
        value.as_object_mut()?.insert("replica".to_owned(), Value::String(name));
        Some(value)
    })
    .collect()
}
