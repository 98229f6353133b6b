//! Injection by annotation: the expressions of `k8s/inject` run on pods, and what comes out is a pod as it should be.
//!
//! No API server takes part: `cel` says which parts of one are missing.

mod cel;
mod refusals;
pub mod types;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

/// The values of the policy's variables, each computed from those before it.
fn variables(policy: &Value, object: &Value) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    for variable in list(&policy["spec"]["variables"]) {
        let value = cel::evaluate(word(&variable["expression"]), object, &values).unwrap();
        values.insert(word(&variable["name"]).to_owned(), value);
    }
    values
}

/// Whether the policy is about this object.
fn matches(policy: &Value, object: &Value) -> bool {
    let none = BTreeMap::new();
    list(&policy["spec"]["matchConditions"])
        .iter()
        .all(|condition| cel::evaluate(word(&condition["expression"]), object, &none).unwrap() == true)
}

/// Applies one operation of a JSON patch, of which our policy has only `add`.
fn add(object: &mut Value, operation: &Value) {
    assert_eq!(operation["op"], "add");
    let (parent, key) = word(&operation["path"]).rsplit_once('/').unwrap();
    match object.pointer_mut(parent).unwrap_or_else(|| panic!("there is no {parent}")) {
        Value::Array(items) if key == "-" => items.push(operation["value"].clone()),
        Value::Array(items) => items.insert(key.parse().unwrap(), operation["value"].clone()),
        other => other[key] = operation["value"].clone(),
    }
}

/// The type's name of a patched value: `/spec/containers/0/volumeMounts/-` is `Object.spec.containers.volumeMounts`.
fn type_at(path: &str) -> String {
    let names = path.split('/').filter(|name| !name.is_empty() && *name != "-" && name.parse::<usize>().is_err());
    names.fold("Object".to_owned(), |type_name, name| format!("{type_name}.{name}"))
}

/// The pod as an API server with the policy would store it.
fn injected(pod: &Value) -> Value {
    let policy = document("MutatingAdmissionPolicy", "pushsync-inject");
    if !matches(&policy, pod) {
        return pod.clone();
    }
    let variables = variables(&policy, pod);
    let mut result = pod.clone();
    for mutation in list(&policy["spec"]["mutations"]) {
        assert_eq!(mutation["patchType"], "JSONPatch");
        let patch = cel::evaluate(word(&mutation["jsonPatch"]["expression"]), &result, &variables).unwrap();
        for mut operation in list(&patch) {
            assert_eq!(operation.as_object_mut().unwrap().remove("$type"), Some(json!("JSONPatch")));
            let place = type_at(word(&operation["path"]));
            cel::untyped(&mut operation["value"], &place).unwrap();
            add(&mut result, &operation);
        }
    }
    strict::check(&result).unwrap();
    result
}

/// The pod that the example's Deployment makes.
fn pod() -> Value {
    let template = document("Deployment", "reader")["spec"]["template"].clone();
    let mut pod =
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"] });
    pod["metadata"]["generateName"] = json!("reader-");
    pod
}

fn annotated(annotations: &Value) -> Value {
    let mut pod = pod();
    pod["metadata"]["annotations"] = annotations.clone();
    pod
}

/// The pod's spec as a workload, for the checks of containers.
fn workload(pod: &Value) -> Value {
    json!({ "spec": { "template": { "spec": pod["spec"] } } })
}

#[test]
fn a_pod_with_the_annotation_gets_the_sidecar_of_the_base() {
    let result = workload(&injected(&pod()));
    assert_eq!(pods::objections(&result), Vec::<String>::new());
    let mut sidecar = container(&result, "pushsync");
    pods::assert_understood(&sidecar);
    assert_eq!(
        sidecar["env"],
        json!([
            { "name": "GIT_REPO", "value": "https://github.com/octocat/Spoon-Knife.git" },
            { "name": "PUSHSYNC_REF", "value": "main" }
        ])
    );

    // Compared with k8s/sidecar, which has webhooks and another name for the volume.
    let mut base = container(&document("Deployment", "site"), "poll");
    base["args"]
        .as_array_mut()
        .unwrap()
        .retain(|argument| !word(argument).starts_with("--hook-") && !word(argument).starts_with("--peers="));
    base["ports"].as_array_mut().unwrap().retain(|port| port["name"] != "hook");
    base["volumeMounts"] = json!([{ "name": "pushsync", "mountPath": "/git" }]);
    let context = &document("Deployment", "site")["spec"]["template"]["spec"]["securityContext"];
    for field in ["runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile"] {
        base["securityContext"][field] = context[field].clone();
    }
    for field in ["name", "env"] {
        (base[field], sidecar[field]) = (Value::Null, Value::Null);
    }
    assert_eq!(sidecar, base);

    let mount = json!([{ "name": "pushsync", "mountPath": "/site", "readOnly": true }]);
    assert_eq!(container(&result, "app")["volumeMounts"], mount);
    let volumes = &result["spec"]["template"]["spec"]["volumes"];
    assert_eq!(volumes, &json!([{ "name": "pushsync", "emptyDir": { "sizeLimit": "1Gi" } }]));
}

#[test]
fn what_the_pod_has_stays_and_a_second_pass_changes_nothing() {
    let mut before = annotated(&json!({ "pushsync.dev/repo": "https://git.example.com/a.git" }));
    let spec = before["spec"].as_object_mut().unwrap();
    spec.insert("initContainers".into(), json!([{ "name": "migrate", "image": "migrate:1" }]));
    spec.insert("volumes".into(), json!([{ "name": "data", "emptyDir": {} }]));
    spec["containers"].as_array_mut().unwrap().push(json!({
        "name": "second", "image": "second:1", "volumeMounts": [{ "name": "data", "mountPath": "/data" }]
    }));
    let after = injected(&before);
    assert_eq!(after["spec"]["initContainers"][1], before["spec"]["initContainers"][0]);
    assert_eq!(after["spec"]["initContainers"][0]["name"], "pushsync");
    assert_eq!(after["spec"]["volumes"][0], before["spec"]["volumes"][0]);
    // Without pushsync.dev/container every container sees the tree.
    let mount = json!({ "name": "pushsync", "mountPath": "/site", "readOnly": true });
    assert_eq!(after["spec"]["containers"][0]["volumeMounts"], json!([mount]));
    let data = json!({ "name": "data", "mountPath": "/data" });
    assert_eq!(after["spec"]["containers"][1]["volumeMounts"], json!([data, mount]));
    assert_eq!(injected(&after), after);

    before["metadata"]["annotations"]["pushsync.dev/container"] = json!("second");
    before["metadata"]["annotations"]["pushsync.dev/mount-path"] = json!("/srv");
    let only = injected(&before);
    assert!(only["spec"]["containers"][0]["volumeMounts"].is_null());
    assert_eq!(only["spec"]["containers"][1]["volumeMounts"][1]["mountPath"], "/srv");
}

#[test]
fn other_pods_stay_as_they_are() {
    for pod in [annotated(&json!({})), annotated(&Value::Null), annotated(&json!({ "pushsync.dev/ref": "main" }))] {
        assert_eq!(injected(&pod), pod);
    }
    let mut bare = pod();
    bare["metadata"].as_object_mut().unwrap().remove("annotations");
    assert_eq!(injected(&bare), bare);
}

#[test]
fn webhooks_peers_and_credentials_come_with_their_annotations() {
    let pod = annotated(&json!({
        "pushsync.dev/repo": "https://git.example.com/a.git",
        "pushsync.dev/hook-secret": "app-hook",
        "pushsync.dev/peers": "app-peers:8080",
    }));
    let result = workload(&injected(&pod));
    let sidecar = container(&result, "pushsync");
    pods::assert_understood(&sidecar);
    let base = container(&document("Deployment", "site"), "poll");
    let without_peers = |container: &Value| {
        arguments(container).into_iter().filter(|argument| !argument.starts_with("--peers")).collect::<Vec<_>>()
    };
    assert_eq!(without_peers(&sidecar), without_peers(&base));
    assert_eq!(flag(&sidecar, "peers").as_deref(), Some("app-peers:8080"));
    assert_eq!(sidecar["ports"], base["ports"]);
    let volumes = &result["spec"]["template"]["spec"]["volumes"];
    assert_eq!(volumes[1]["secret"], json!({ "secretName": "app-hook", "optional": true, "defaultMode": 292 }));

    let pod = annotated(&json!({
        "pushsync.dev/repo": "https://git.example.com/a.git",
        "pushsync.dev/token-secret": "app-token",
        "pushsync.dev/ssh-secret": "app-ssh",
    }));
    let result = workload(&injected(&pod));
    let sidecar = container(&result, "pushsync");
    assert_eq!(flag(&sidecar, "password-file").as_deref(), Some("/etc/git/token"));
    assert_eq!(flag(&sidecar, "ssh-key-file").as_deref(), Some("/etc/git-secret/ssh"));
    for (place, folder, secret) in [(1, "/etc/git", "app-token"), (2, "/etc/git-secret", "app-ssh")] {
        let volume = &result["spec"]["template"]["spec"]["volumes"][place];
        assert_eq!(volume["secret"], json!({ "secretName": secret, "defaultMode": 292 }));
        let mount = &sidecar["volumeMounts"][place];
        assert_eq!((&mount["name"], word(&mount["mountPath"])), (&volume["name"], folder));
    }
    assert_eq!(container(&result, "app")["volumeMounts"].as_array().unwrap().len(), 1, "secrets are the sidecar's");
}

#[test]
fn the_documentation_lists_every_annotation() {
    let policies = text("k8s/inject/mutate.yaml") + &text("k8s/inject/validate.yaml");
    let named: std::collections::BTreeSet<&str> = policies
        .match_indices("'pushsync.dev/")
        .map(|(at, _)| policies[at + 1..].split('\'').next().unwrap())
        .filter(|name| !name.ends_with('/') && !name.contains(':'))
        .collect();
    assert_eq!(named.len(), 8, "{named:?}");
    let page = text("docs/kubernetes.md");
    for name in named {
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
    }
}
