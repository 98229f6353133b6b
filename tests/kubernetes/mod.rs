//! The manifests are what Kubernetes has types for, what the program understands, and what the docs promise.
//!
//! Nothing here needs a cluster. What needs Docker is in `scripts/e2e-docker`.

mod chart;
mod component;
mod custom;
mod examples;
mod grafana;
mod grafana_model;
mod grafana_queries;
mod init;
mod init_inject;
mod inject;
mod krew;
mod manifests;
mod monitoring;
mod overlays;
mod pods;
mod secret;
mod steps;
mod strict;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every YAML file below `k8s`, with its path.
fn manifests() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![file("k8s")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Every document below `k8s`.
fn documents() -> Vec<Value> {
    manifests()
        .iter()
        .flat_map(|(path, text)| strict::documents(text).unwrap_or_else(|e| panic!("{path}: {e}")))
        .collect()
}

/// The one document of that kind and name.
fn document(kind: &str, name: &str) -> Value {
    let is = |document: &Value| document["kind"] == kind && document["metadata"]["name"] == name;
    let mut found: Vec<Value> = documents().into_iter().filter(is).collect();
    assert_eq!(found.len(), 1, "{kind} {name}");
    found.remove(0)
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Init containers and containers of a Deployment or Job.
fn containers(workload: &Value) -> Vec<Value> {
    let pod = &workload["spec"]["template"]["spec"];
    [list(&pod["initContainers"]), list(&pod["containers"])].concat()
}

fn container(workload: &Value, name: &str) -> Value {
    containers(workload).into_iter().find(|container| container["name"] == name).expect("there is such a container")
}

/// The numbers of a container's ports by their names.
fn port(container: &Value, name: &str) -> Option<u64> {
    list(&container["ports"]).iter().find(|port| port["name"] == name)?["containerPort"].as_u64()
}

/// A container's arguments as the program gets them: Kubernetes replaces `$(NAME)` by the variable of that name.
fn arguments(container: &Value) -> Vec<String> {
    let expand = |argument: &Value| {
        list(&container["env"]).iter().fold(word(argument).to_owned(), |text, variable| {
            text.replace(&format!("$({})", word(&variable["name"])), word(&variable["value"]))
        })
    };
    list(&container["args"]).iter().map(expand).collect()
}

/// The value of a flag in a container's arguments.
fn flag(container: &Value, name: &str) -> Option<String> {
    let start = format!("--{name}=");
    arguments(container).iter().find_map(|argument| argument.strip_prefix(&start).map(str::to_owned))
}

/// The real kubectl, or a loud skip.
fn kubectl() -> Option<PathBuf> {
    on_the_path("kubectl")
}

fn find_on_the_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A program of that name, or a loud skip.
fn on_the_path(name: &str) -> Option<PathBuf> {
    let found = find_on_the_path(name);
    if found.is_none() {
        super::support::skip(&format!("{name} on the PATH"));
    }
    found
}
