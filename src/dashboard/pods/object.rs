//! The parts of Kubernetes' JSON about pods, and the reasons why one does not run.
//!
//! It knows the documents of `kubectl get --output json`, not how they are obtained.

use jiff::Timestamp;
use serde::Deserialize;

use crate::dashboard::model::{Found, PodId, Presence};

/// A list of pods.
#[derive(Deserialize)]
pub(crate) struct List {
    #[serde(default)]
    pub items: Vec<Pod>,
}

/// One line of `--watch --output-watch-events`.
#[derive(Deserialize)]
pub(crate) struct WatchEvent {
    #[serde(rename = "type")]
    pub kind: String,
    pub object: serde_json::Value,
}

#[derive(Deserialize)]
pub(crate) struct Pod {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    deletion_timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    phase: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    container_statuses: Vec<Container>,
    #[serde(default)]
    init_container_statuses: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    name: String,
    #[serde(default)]
    image: String,
    #[serde(default)]
    state: ContainerState,
}

#[derive(Default, Deserialize)]
struct ContainerState {
    #[serde(default)]
    waiting: Option<Waiting>,
    #[serde(default)]
    running: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Waiting {
    #[serde(default)]
    reason: Option<String>,
}

impl Container {
    fn waits_for(&self) -> Option<&str> {
        self.state.waiting.as_ref()?.reason.as_deref()
    }

    /// Returns true for the sidecar, which is recognized by its name and image.
    fn is_sidecar(&self) -> bool {
        self.image.contains("pushsync") || matches!(self.name.as_str(), "pushsync" | "poll" | "git-sync")
    }
}

/// A workload or a service.
#[derive(Deserialize)]
pub(crate) struct Owner {
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default)]
    selector: serde_json::Value,
}

impl Owner {
    /// Returns the selector in the form of `--selector`; `None` if it selects nothing. A service and a replication
    /// controller have the labels themselves there, the other kinds have them in `matchLabels`.
    #[must_use]
    pub(crate) fn selector(&self) -> Option<String> {
        let selector = &self.spec.selector;
        // A label of a service may have one of these names, but its value is a text.
        let in_parts = ["matchLabels", "matchExpressions"]
            .iter()
            .any(|part| selector.get(part).is_some_and(|part| part.is_object() || part.is_array()));
        let labels = if in_parts { selector.get("matchLabels") } else { Some(selector) };
        let labels = labels.and_then(|labels| labels.as_object());
        let mut terms: Vec<String> = labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
            .collect();
        if in_parts && let Some(expressions) = selector.get("matchExpressions").and_then(|it| it.as_array()) {
            terms.extend(expressions.iter().filter_map(expression));
        }
        (!terms.is_empty()).then(|| terms.join(","))
    }
}

fn expression(expression: &serde_json::Value) -> Option<String> {
    let key = expression.get("key")?.as_str()?;
    let values = expression.get("values").and_then(|values| values.as_array());
    let values: Vec<&str> = values.into_iter().flatten().filter_map(|value| value.as_str()).collect();
    Some(match expression.get("operator")?.as_str()? {
        // The set-based form of `kubectl --selector`, for the four operators of LabelSelectorRequirement (meta/v1).
        "In" => format!("{key} in ({})", values.join(",")),
        "NotIn" => format!("{key} notin ({})", values.join(",")),
        "Exists" => key.to_owned(),
        "DoesNotExist" => format!("!{key}"),
        _ => return None,
    })
}

/// Returns the id of a pod in any state.
#[must_use]
pub(crate) fn id(pod: &Pod) -> PodId {
    PodId::new(if pod.metadata.uid.is_empty() { &pod.metadata.name } else { &pod.metadata.uid })
}

/// Converts a pod to the model; `None` for pods that have ended (evicted, completed), which publish nothing.
#[must_use]
pub(crate) fn found(pod: Pod) -> Option<Found> {
    // A native sidecar is an init container with `restartPolicy: Always`, so its status is among theirs.
    let containers = || pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    // `PodInitializing` only means that an init container has not ended; another reason is more helpful.
    let waiting = || containers().filter_map(|it| Some((it, it.waits_for()?)));
    let telling = waiting().find(|(_, reason)| *reason != "PodInitializing").or_else(|| waiting().next());
    let sidecar = containers().find(|it| it.is_sidecar()).map(|it| it.name.clone());
    let mut advice = None;
    // The API server sets this time when a deletion is requested. The containers run on until the grace period ends.
    let presence = if pod.metadata.deletion_timestamp.is_some() {
        // The model notes the time when it learned of this, by its own clock.
        Presence::Gone { since: Timestamp::UNIX_EPOCH }
    } else {
        match pod.status.phase.as_str() {
            "Running" => Presence::Running,
            "Succeeded" | "Failed" => return None,
            phase => {
                advice =
                    containers().find(|it| it.is_sidecar() && it.state.running.is_some()).map(|it| instead(&pod, it));
                let phase = if phase.is_empty() { "not ready" } else { phase };
                let reason = telling.map(|(_, reason)| reason.to_owned()).or(pod.status.reason.clone());
                Presence::NotReady(reason.unwrap_or_else(|| phase.to_owned()))
            }
        }
    };
    let container = telling.map(|(container, reason)| format!("{}: {reason}", container.name));
    Some(Found {
        id: id(&pod),
        namespace: Some(pod.metadata.namespace.unwrap_or_else(|| "default".to_owned())),
        name: pod.metadata.name,
        // For a pod that does not run, `presence` contains the reason.
        container: container.filter(|_| presence == Presence::Running),
        presence,
        advice,
        sidecar,
    })
}

/// Returns commands that work for a sidecar that runs in a pod that is not running yet.
fn instead(pod: &Pod, sidecar: &Container) -> String {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let (name, container) = (&pod.metadata.name, &sidecar.name);
    format!(
        "kubectl forwards no port of a pod that is still initializing. These work: `kubectl -n {namespace} logs {name} \
         -c {container}` and `kubectl -n {namespace} exec {name} -c {container} -- /pushsync dashboard --url \
         http://127.0.0.1:9180 --once`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(json: &str) -> Option<String> {
        serde_json::from_str::<Owner>(json).expect("json").selector()
    }

    fn pod(status: &str, metadata: &str) -> Option<Found> {
        let json =
            format!(r#"{{"metadata":{{"name":"web-1","namespace":"prod","uid":"u1"{metadata}}},"status":{status}}}"#);
        found(serde_json::from_str(&json).expect("json"))
    }

    #[test]
    fn selectors_of_workloads_and_services_become_one_argument() {
        let workload = r#"{"spec":{"selector":{"matchLabels":{"app":"web","tier":"front"},"matchExpressions":[
            {"key":"env","operator":"In","values":["a","b"]},{"key":"canary","operator":"DoesNotExist"}]}}}"#;
        assert_eq!(selector(workload).as_deref(), Some("app=web,tier=front,env in (a,b),!canary"));
        assert_eq!(selector(r#"{"spec":{"selector":{"app":"web"}}}"#).as_deref(), Some("app=web"));
        assert_eq!(selector(r#"{"spec":{}}"#), None);
        assert_eq!(selector(r#"{"spec":{"selector":{}}}"#), None);
    }

    #[test]
    fn pods_run_wait_leave_or_have_ended() {
        let presence = |status: &str, metadata: &str| pod(status, metadata).map(|found| found.presence);
        assert_eq!(presence(r#"{"phase":"Running"}"#, ""), Some(Presence::Running));
        let waiting =
            r#"{"phase":"Pending","containerStatuses":[{"state":{"waiting":{"reason":"ImagePullBackOff"}}}]}"#;
        assert_eq!(presence(waiting, ""), Some(Presence::NotReady("ImagePullBackOff".to_owned())));
        let leaving = r#","deletionTimestamp":"2026-11-22T12:00:00Z""#;
        assert!(matches!(presence(r#"{"phase":"Running"}"#, leaving), Some(Presence::Gone { .. })));
        assert_eq!(presence(r#"{"phase":"Failed","reason":"Evicted"}"#, ""), None);
    }

    #[test]
    fn a_waiting_container_gives_a_reason_and_commands_that_work() {
        let crashing = r#"{"phase":"Running","containerStatuses":[
            {"name":"app","image":"httpd","state":{"running":{}}},
            {"name":"poll","image":"pushsync:1","state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}"#;
        let found = pod(crashing, "").expect("it runs");
        assert_eq!((found.presence, found.container.as_deref()), (Presence::Running, Some("poll: CrashLoopBackOff")));
        let initializing = r#"{"phase":"Pending","containerStatuses":[
            {"name":"app","image":"httpd","state":{"waiting":{"reason":"PodInitializing"}}}],
            "initContainerStatuses":[{"name":"poll","image":"pushsync:1","state":{"running":{}}}]}"#;
        let found = pod(initializing, "").expect("it will run");
        assert_eq!(found.presence, Presence::NotReady("PodInitializing".to_owned()));
        let advice = found.advice.expect("the sidecar runs");
        assert!(advice.contains("kubectl -n prod exec web-1 -c poll -- /pushsync dashboard"), "{advice}");
        let pulling = r#"{"phase":"Pending","containerStatuses":[
            {"name":"app","state":{"waiting":{"reason":"PodInitializing"}}}],
            "initContainerStatuses":[{"name":"poll","state":{"waiting":{"reason":"ImagePullBackOff"}}}]}"#;
        let found = pod(pulling, "").expect("it will run");
        assert_eq!(found.presence, Presence::NotReady("ImagePullBackOff".to_owned()));
        assert_eq!(found.advice, None);
    }
}
