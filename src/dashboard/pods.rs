//! Which pods there are: asked of `kubectl`, for a workload, a service, a selector or one pod.
//!
//! It knows what Kubernetes calls things; what becomes of a pod is the model's business.

use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::kubectl::{Cluster, cannot_start, explain};
use super::model::{Found, PodId, Presence, Problem};

/// Answers longer than this are not read: it is thousands of pods.
const MAX_ANSWER: u64 = 32 << 20;
const ANSWER: Duration = Duration::from_secs(20);

/// What was asked for on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Pod(String),
    /// A kind that selects pods (`deployment`, `service`, …) and a name.
    Owner(&'static str, String),
    Selector(String),
}

/// Lists the pods of a target.
#[derive(Clone, Debug)]
pub struct Lister {
    pub cluster: Cluster,
    pub namespace: Option<String>,
    pub all_namespaces: bool,
    pub target: Target,
    /// Found out once: a workload's selector does not change.
    selector: Option<String>,
}

impl Lister {
    #[must_use]
    pub fn new(cluster: Cluster, namespace: Option<String>, all_namespaces: bool, target: Target) -> Self {
        Self { cluster, namespace, all_namespaces, target, selector: None }
    }

    /// The pods now. With `interactive`, kubectl may use the terminal: a login plugin may have to ask.
    ///
    /// # Errors
    /// What kubectl said, or that it cannot be understood.
    pub async fn list(&mut self, interactive: bool) -> Result<Vec<Found>, Problem> {
        if let Target::Pod(name) = &self.target {
            let answer = self.get(&["pod", name], interactive).await?;
            return Ok(found(parse::<Pod>(&answer)?).into_iter().collect());
        }
        let selector = self.selector(interactive).await?;
        let mut arguments = vec!["pods", "--selector", &selector];
        if self.all_namespaces {
            arguments.push("--all-namespaces");
        }
        let answer = self.get(&arguments, interactive).await?;
        Ok(parse::<List>(&answer)?.items.into_iter().filter_map(found).collect())
    }

    async fn selector(&mut self, interactive: bool) -> Result<String, Problem> {
        if let Some(selector) = &self.selector {
            return Ok(selector.clone());
        }
        let selector = match &self.target {
            Target::Selector(selector) => selector.clone(),
            Target::Pod(name) => name.clone(),
            Target::Owner(kind, name) => {
                let answer = self.get(&[kind, name], interactive).await?;
                let owner: Owner = parse(&answer)?;
                let selector = owner.selector(*kind == "service");
                selector.ok_or_else(|| Problem::new(format!("{kind} {name} selects no pods")))?
            }
        };
        self.selector = Some(selector.clone());
        Ok(selector)
    }

    async fn get(&self, what: &[&str], interactive: bool) -> Result<Vec<u8>, Problem> {
        let mut command = self.cluster.command();
        if let (Some(namespace), false) = (&self.namespace, self.all_namespaces) {
            command.args(["--namespace", namespace]);
        }
        command.arg("get").args(what).args(["--output", "json"]);
        let mut command = Command::from(command);
        command.stdout(Stdio::piped()).kill_on_drop(true);
        if interactive {
            // Same terminal, same process group: it may ask for a password and take Ctrl-C.
            command.stdin(Stdio::inherit()).stderr(Stdio::inherit());
        } else {
            command.stdin(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        }
        let mut child = command.spawn().map_err(|error| cannot_start(&error))?;
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let work = async {
            let (answer, said) = tokio::join!(all(stdout), all(stderr));
            (child.wait().await, answer, said)
        };
        let (status, answer, said) = if interactive {
            work.await
        } else {
            let late = || Problem::new(format!("kubectl did not answer within {} s", ANSWER.as_secs()));
            tokio::time::timeout(ANSWER, work).await.map_err(|_| late())?
        };
        let good = status.is_ok_and(|status| status.success());
        if good {
            return Ok(answer);
        }
        let said: Vec<String> = String::from_utf8_lossy(&said).lines().map(str::to_owned).collect();
        Err(if interactive { Problem::new("kubectl failed (see above)") } else { explain(&said) })
    }
}

/// Reads a pipe to its end, but keeps no more than [`MAX_ANSWER`].
async fn all(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What could be read before an error will not parse, and that is reported.
        let _ = pipe.take(MAX_ANSWER).read_to_end(&mut bytes).await;
    }
    bytes
}

fn parse<T: serde::de::DeserializeOwned>(answer: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(answer)
        .map_err(|error| Problem::new(format!("kubectl's answer cannot be understood: {error}")))
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<Pod>,
}

#[derive(Deserialize)]
struct Pod {
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
    state: ContainerState,
}

#[derive(Default, Deserialize)]
struct ContainerState {
    #[serde(default)]
    waiting: Option<Waiting>,
}

#[derive(Deserialize)]
struct Waiting {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Owner {
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default)]
    selector: serde_json::Value,
}

impl Owner {
    /// The selector in the form that `--selector` takes; `None` if it selects nothing.
    fn selector(&self, service: bool) -> Option<String> {
        let selector = &self.spec.selector;
        let labels =
            if service { selector.as_object() } else { selector.get("matchLabels").and_then(|it| it.as_object()) };
        let mut terms: Vec<String> = labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
            .collect();
        if !service && let Some(expressions) = selector.get("matchExpressions").and_then(|it| it.as_array()) {
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
        "In" => format!("{key} in ({})", values.join(",")),
        "NotIn" => format!("{key} notin ({})", values.join(",")),
        "Exists" => key.to_owned(),
        "DoesNotExist" => format!("!{key}"),
        _ => return None,
    })
}

/// What a pod is to us. Pods that ran to their end (evicted, completed) are nothing to us.
fn found(pod: Pod) -> Option<Found> {
    let presence = if pod.metadata.deletion_timestamp.is_some() {
        // The model notes by its own clock when it heard of this.
        Presence::Gone { since: Timestamp::UNIX_EPOCH }
    } else {
        match pod.status.phase.as_str() {
            "Running" => Presence::Running,
            "Succeeded" | "Failed" => return None,
            phase => {
                let mut waiting = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
                let why = waiting.find_map(|container| container.state.waiting.as_ref()?.reason.clone());
                let phase = if phase.is_empty() { "not ready" } else { phase };
                Presence::NotReady(why.or(pod.status.reason).unwrap_or_else(|| phase.to_owned()))
            }
        }
    };
    let id = if pod.metadata.uid.is_empty() { &pod.metadata.name } else { &pod.metadata.uid };
    Some(Found {
        id: PodId::new(id),
        name: pod.metadata.name,
        namespace: Some(pod.metadata.namespace.unwrap_or_else(|| "default".to_owned())),
        presence,
        container: None,
        advice: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(json: &str, service: bool) -> Option<String> {
        parse::<Owner>(json.as_bytes()).expect("json").selector(service)
    }

    #[test]
    fn selectors_of_workloads_and_services_become_one_argument() {
        let workload = r#"{"spec":{"selector":{"matchLabels":{"app":"web","tier":"front"},"matchExpressions":[
            {"key":"env","operator":"In","values":["a","b"]},{"key":"canary","operator":"DoesNotExist"}]}}}"#;
        assert_eq!(selector(workload, false).as_deref(), Some("app=web,tier=front,env in (a,b),!canary"));
        assert_eq!(selector(r#"{"spec":{"selector":{"app":"web"}}}"#, true).as_deref(), Some("app=web"));
        assert_eq!(selector(r#"{"spec":{}}"#, true), None);
    }

    #[test]
    fn pods_are_running_waiting_leaving_or_none_of_our_business() {
        let pod = |status: &str, metadata: &str| {
            let json = format!(
                r#"{{"metadata":{{"name":"web-1","namespace":"prod","uid":"u1"{metadata}}},"status":{status}}}"#
            );
            found(parse(json.as_bytes()).expect("json")).map(|found| found.presence)
        };
        assert_eq!(pod(r#"{"phase":"Running"}"#, ""), Some(Presence::Running));
        let waiting =
            r#"{"phase":"Pending","containerStatuses":[{"state":{"waiting":{"reason":"ImagePullBackOff"}}}]}"#;
        assert_eq!(pod(waiting, ""), Some(Presence::NotReady("ImagePullBackOff".to_owned())));
        let leaving = r#","deletionTimestamp":"2026-11-22T12:00:00Z""#;
        assert!(matches!(pod(r#"{"phase":"Running"}"#, leaving), Some(Presence::Gone { .. })));
        assert_eq!(pod(r#"{"phase":"Failed","reason":"Evicted"}"#, ""), None);
    }
}
