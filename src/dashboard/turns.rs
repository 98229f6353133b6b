//! Selects the replicas that are connected, if there are more than links (`--max-links`).
//!
//! Each replica that the user has not selected is visited in turn: connected, read, disconnected, and judged by its last
//! state until the next visit. Pure, as all of `update`.

use jiff::SignedDuration;

use super::ask;
use super::message::Effect;
use super::model::{Found, Link, Model, Pod, PodId, Presence, View};

/// The time in which all replicas are visited once, if the links are quick enough. Less than [`super::verdict::FRESH`].
const ROUND_MS: i64 = 40_000;
/// The approximate time until a port-forward is ready.
const OPENING_MS: i64 = 1_500;
/// A visit without an answer or an error ends after this time.
const LONGEST_VISIT: SignedDuration = SignedDuration::from_secs(20);

/// Connects the next replicas, and disconnects those whose visit is over.
pub(crate) fn take(model: &mut Model) -> Vec<Effect> {
    let most = model.setup.max_links;
    let mut effects = Vec::new();
    let running = model.pods.iter().filter(|pod| pod.presence == Presence::Running).count();
    let crowded = running > most;
    for pod in &mut model.pods {
        pod.visited = crowded && pod.presence == Presence::Running;
    }
    let mut attached = model.pods.iter().filter(|pod| pod.attached()).count();
    let mut waiting = waiting(model);
    // A link is only taken away if another replica waits for it.
    if crowded && attached >= most && !waiting.is_empty() {
        let over = over(model, waiting.len());
        attached -= over.len();
        for id in over {
            if let Some(pod) = model.pod_mut(&id) {
                pod.link = Link::Idle;
                effects.push(Effect::Detach(id));
            }
        }
    }
    waiting.truncate(most.saturating_sub(attached));
    for id in waiting {
        let now = model.now;
        effects.extend(attach(model, &id));
        if let Some(pod) = model.pod_mut(&id) {
            pod.turn_at = Some(now);
        }
    }
    effects
}

/// Starts the link to a replica.
pub(crate) fn attach(model: &mut Model, id: &PodId) -> Option<Effect> {
    let pod = model.pod_mut(id)?;
    pod.link = Link::Connecting;
    Some(Effect::Attach(Found {
        id: pod.id.clone(),
        name: pod.found_name.clone(),
        namespace: pod.namespace.clone(),
        presence: pod.presence.clone(),
        container: None,
        advice: None,
        sidecar: pod.sidecar.clone(),
    }))
}

/// Lists running replicas without a link: those that were never visited first, then those with the oldest visit.
fn waiting(model: &Model) -> Vec<PodId> {
    let mut waiting: Vec<&Pod> =
        model.pods.iter().filter(|pod| pod.presence == Presence::Running && !pod.attached()).collect();
    waiting.sort_by_key(|pod| pod.turn_at);
    waiting.into_iter().map(|pod| pod.id.clone()).collect()
}

/// Connected replicas whose visit is over, the longest visit first; at most `wanted`.
fn over(model: &Model, wanted: usize) -> Vec<PodId> {
    let stay = stay(model);
    let done = |pod: &&Pod| {
        let visit = pod.turn_at.map_or(LONGEST_VISIT, |at| model.now.duration_since(at));
        let answered = pod.live() && visit >= stay && !ask::is_open(model, pod);
        // A link that waits for its next attempt would keep its place without being of use.
        let failed = matches!(pod.link, Link::Retry { .. });
        pod.attached() && !is_looked_at(model, &pod.id) && (answered || failed || visit >= LONGEST_VISIT)
    };
    let mut over: Vec<&Pod> = model.pods.iter().filter(done).collect();
    over.sort_by_key(|pod| pod.turn_at);
    over.into_iter().take(wanted).map(|pod| pod.id.clone()).collect()
}

/// Returns how long a visit lasts: without a screen no longer than the answer takes.
fn stay(model: &Model) -> SignedDuration {
    let links = i64::try_from(model.setup.max_links).unwrap_or(i64::MAX);
    let pods = i64::try_from(model.pods.len()).unwrap_or(i64::MAX).max(1);
    let share = ROUND_MS.saturating_mul(links) / pods;
    let longest = model.setup.longest_visit.as_millis();
    SignedDuration::from_millis((share - OPENING_MS).clamp(0, i64::try_from(longest).unwrap_or(i64::MAX)))
}

/// Returns true if the user reads its screen, or has its row selected.
fn is_looked_at(model: &Model, id: &PodId) -> bool {
    match &model.view {
        View::History(pod) | View::Detail(pod, _) | View::Log(pod) => pod == id,
        View::Commit(_) => model.commit_pod.as_ref() == Some(id),
        View::Fleet => model.fleet_pod.as_ref() == Some(id),
        View::Commits | View::Events => false,
    }
}
