//! The workload in a stream of documents that is to get the sidecar, and what in it would get in the sidecar's way.
//!
//! It must not know the sidecar's manifest.

use std::fmt;

use serde_json::Value;

use super::checks;
use super::options::Inject;
use super::ports::Ports;
use super::yaml::Node;

const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];
/// The names that the sidecar brings into a pod.
const CONTAINER: &str = "poll";
const VOLUMES: [&str; 3] = ["git", "hook-secret", "git-secret"];

/// A file of another kind may contain any number of objects.
const MOST_LISTED: usize = 20;

/// Why there is no workload that can get the sidecar.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoTarget {
    #[error("the file is not YAML that can be edited: {0}")]
    Unreadable(String),
    #[error("the file is empty")]
    Empty,
    #[error("there is no Deployment, StatefulSet or DaemonSet in the file, but {0}")]
    OtherKinds(String),
    #[error("a List cannot be edited; give the objects as documents of their own, separated by `---`")]
    List,
    #[error("no workload in the file is `{wanted}`; there are {there}")]
    NotThere { wanted: String, there: String },
    #[error("the file has several workloads: {0}. Choose one with --workload")]
    Several(String),
    #[error("{0} has no name")]
    Nameless(String),
    #[error("{0} has no containers at spec.template.spec.containers")]
    NoContainers(String),
    #[error("{target} has no container `{wanted}`; there are {there}")]
    NoContainer { target: String, wanted: String, there: String },
    #[error("{0} has the sidecar already: its container `{1}`")]
    Already(String, String),
    #[error("{target} has a {what} named `{name}` already, which is a name of the sidecar's; rename it first")]
    Taken { target: String, what: &'static str, name: String },
    #[error("the container `{container}` mounts something at {path} already; choose another path with --mount")]
    Mounted { container: String, path: String },
    #[error("{0} has no spec.selector.matchLabels, by which a Service could select its pods")]
    NoLabels(String),
    #[error("spec.selector.matchLabels of {0} uses an alias or a merge key; write the labels out")]
    SharedLabels(String),
    #[error("the name `{0}` {1}; give another one with --name")]
    Name(String, String),
    #[error("metadata.{key} of the {kind} is `{value}`, which {wrong}")]
    Metadata { kind: String, key: &'static str, value: String, wrong: String },
}

/// The workload, and the container that reads the repository.
#[derive(Debug)]
pub(super) struct InjectTarget {
    pub document: usize,
    pub kind: String,
    pub name: String,
    pub namespace: Option<String>,
    pub container: usize,
    pub container_name: String,
    pub labels: Value,
    pub ports: Ports,
}

impl fmt::Display for InjectTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.to_lowercase(), self.name)
    }
}

/// Chooses the workload and checks that nothing in it is in the way.
pub(super) fn choose(documents: &[Node], inject: &Inject) -> Result<InjectTarget, NoTarget> {
    let word = |node: &Node, path: &[&str]| node.at(path).and_then(Node::text).unwrap_or_default().to_owned();
    let kind = |node: &Node| word(node, &["kind"]);
    if documents.iter().all(Node::is_null) {
        return Err(NoTarget::Empty);
    }
    let is_workload =
        // Custom resources may have one of these kinds, and another form.
        |node: &Node| KINDS.contains(&kind(node).as_str()) && word(node, &["apiVersion"]).starts_with("apps/");
    let name = |node: &Node| word(node, &["metadata", "name"]);
    let title = |node: &Node| format!("{}/{}", kind(node).to_lowercase(), name(node));
    let workloads: Vec<(usize, &Node)> = documents.iter().enumerate().filter(|(_, node)| is_workload(node)).collect();
    if workloads.is_empty() {
        // `kubectl get -o yaml` prints several objects as one List.
        if documents.iter().any(|node| kind(node) == "List") {
            return Err(NoTarget::List);
        }
        let kinds = documents.iter().filter(|node| !node.is_null()).map(|node| match kind(node) {
            kind if kind.is_empty() => "an object without a kind".to_owned(),
            kind => kind,
        });
        return Err(NoTarget::OtherKinds(list(kinds)));
    }
    let all = || list(workloads.iter().map(|(_, node)| title(node)));
    let fits = |node: &Node| match &inject.workload {
        None => true,
        Some(wanted) => match wanted.split_once('/') {
            Some((short, wanted)) => is_kind(&kind(node), short) && name(node) == wanted,
            None => name(node) == *wanted,
        },
    };
    let mut fitting = workloads.iter().filter(|(_, node)| fits(node));
    let (document, node) = match (fitting.next(), fitting.next()) {
        (Some(one), None) => *one,
        (Some(_), Some(_)) => return Err(NoTarget::Several(all())),
        (None, _) => {
            return Err(NoTarget::NotThere { wanted: inject.workload.clone().unwrap_or_default(), there: all() });
        }
    };
    let title = title(node);
    if name(node).is_empty() {
        return Err(NoTarget::Nameless(title));
    }
    // Before the names are used in messages and in commands.
    check_metadata(node, &kind(node))?;
    let pod = node.at(&["spec", "template", "spec"]).ok_or_else(|| NoTarget::NoContainers(title.clone()))?;
    let containers = pod.get("containers").map(Node::items).unwrap_or_default();
    // Native sidecars are init containers, and have names and ports that count as well.
    let all: Vec<&Node> =
        pod.get("initContainers").map(Node::items).unwrap_or_default().iter().chain(containers).collect();
    let (container, container_name) = reader(containers, &title, inject)?;
    check_free(pod, &all, &title)?;
    let mounts = containers[container].get("volumeMounts").map(Node::items).unwrap_or_default();
    if mounts.iter().any(|mount| word(mount, &["mountPath"]).trim_end_matches('/') == inject.mount) {
        return Err(NoTarget::Mounted { container: container_name, path: inject.mount.clone() });
    }
    // The API demands that the pods have these labels, so a Service with them finds its pods.
    let labels = node.at(&["spec", "selector", "matchLabels"]);
    // The text of an anchor is not at hand here. Without its value, the Services would select no pod, or the wrong ones.
    if labels.is_some_and(|labels| {
        labels.is_alias() || labels.entries().iter().any(|(key, value)| key.text() == Some("<<") || value.is_alias())
    }) {
        return Err(NoTarget::SharedLabels(title));
    }
    let labels = labels.filter(|labels| !labels.entries().is_empty());
    Ok(InjectTarget {
        document,
        kind: kind(node),
        name: name(node),
        namespace: node.at(&["metadata", "namespace"]).and_then(Node::text).map(str::to_owned),
        container,
        container_name,
        labels: labels.map(Node::json).ok_or(NoTarget::NoLabels(title))?,
        ports: Ports::beside(&all),
    })
}

/// The container that is to read the repository: the chosen one or the first.
fn reader(containers: &[Node], title: &str, inject: &Inject) -> Result<(usize, String), NoTarget> {
    let name = |node: &Node| node.get("name").and_then(Node::text).unwrap_or_default().to_owned();
    if containers.is_empty() {
        return Err(NoTarget::NoContainers(title.to_owned()));
    }
    let at = match &inject.container {
        None => Some(0),
        Some(wanted) => containers.iter().position(|container| name(container) == *wanted),
    };
    let at = at.ok_or_else(|| NoTarget::NoContainer {
        target: title.to_owned(),
        wanted: inject.container.clone().unwrap_or_default(),
        there: list(containers.iter().map(name)),
    })?;
    Ok((at, name(&containers[at])))
}

/// Fails if the pod has the sidecar, or something with one of its names.
fn check_free(pod: &Node, containers: &[&Node], title: &str) -> Result<(), NoTarget> {
    let word = |node: &Node, key: &str| node.get(key).and_then(Node::text).unwrap_or_default().to_owned();
    let taken = |what, name: String| NoTarget::Taken { target: title.to_owned(), what, name };
    for container in containers {
        let (name, image) = (word(container, "name"), word(container, "image"));
        // The last part only: before it, a colon belongs to the port of a registry.
        let image = image.rsplit('/').next().unwrap_or_default();
        if image.split([':', '@']).next() == Some("pushsync") {
            return Err(NoTarget::Already(title.to_owned(), name));
        }
        if name == CONTAINER {
            return Err(taken("container", name));
        }
    }
    let volumes = pod.get("volumes").map(Node::items).unwrap_or_default();
    match volumes.iter().map(|volume| word(volume, "name")).find(|name| VOLUMES.contains(&name.as_str())) {
        Some(name) => Err(taken("volume", name)),
        None => Ok(()),
    }
}

/// Fails for a name or namespace that Kubernetes would refuse. Both are printed in commands for a shell.
fn check_metadata(node: &Node, kind: &str) -> Result<(), NoTarget> {
    let check = |key: &'static str, is_good: fn(&str) -> Result<(), String>| {
        let Some(value) = node.at(&["metadata", key]).and_then(Node::text) else { return Ok(()) };
        let refused = |wrong| NoTarget::Metadata { kind: kind.to_owned(), key, value: value.to_owned(), wrong };
        is_good(value).map_err(refused)
    };
    check("name", checks::object_name)?;
    check("namespace", checks::label)
}

/// The names of the Services must be such that Kubernetes takes.
pub(super) fn check_names(name: &str) -> Result<(), NoTarget> {
    checks::site_name(name).map_err(|wrong| NoTarget::Name(name.to_owned(), wrong))
}

/// Kinds as kubectl takes them: `deploy`, `sts`, `ds`, in full, and in the plural.
fn is_kind(kind: &str, word: &str) -> bool {
    let full = kind.to_lowercase();
    let word = word.to_lowercase();
    let short = match kind {
        "Deployment" => "deploy",
        "StatefulSet" => "sts",
        _ => "ds",
    };
    word == full || word == short || word == format!("{full}s")
}

/// A list for a message: the first ones, each once.
fn list(words: impl Iterator<Item = String>) -> String {
    let mut shown: Vec<String> = Vec::new();
    for word in words {
        if shown.len() == MOST_LISTED {
            shown.push("others".to_owned());
            break;
        }
        if !shown.contains(&word) {
            shown.push(word);
        }
    }
    shown.join(", ")
}
