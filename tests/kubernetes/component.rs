//! The kustomize component that adds the sidecar to workloads of one's own.

use std::process::Command;

use serde_json::{Value, json};

use super::*;

/// The objects that kustomize makes of a folder; `None` without kubectl.
fn built(folder: &Path) -> Option<Vec<Value>> {
    let output = Command::new(kubectl()?).arg("kustomize").arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let documents: Vec<Value> = strict::documents(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    for document in &documents {
        strict::check(document).unwrap();
    }
    Some(documents)
}

/// The sidecar of `k8s/sidecar` without the messages between replicas, confined by itself.
fn expected() -> Value {
    let mut poll = container(&document("Deployment", "site"), "poll");
    poll["args"].as_array_mut().unwrap().retain(|argument| !word(argument).starts_with("--peers="));
    poll["env"].as_array_mut().unwrap().retain(|variable| variable["name"] != "PEERS_SERVICE");
    let context = poll["securityContext"].as_object_mut().unwrap();
    let pod = &document("Deployment", "site")["spec"]["template"]["spec"]["securityContext"];
    for field in ["runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile"] {
        context.insert(field.to_owned(), pod[field].clone());
    }
    poll
}

#[test]
fn the_example_is_the_app_with_the_sidecar_of_the_base() {
    let Some(documents) = built(&file("k8s/components/example")) else { return };
    assert_eq!(documents.len(), 3, "the app and two Services; the parameters of the component are not applied");
    let with = documents.iter().find(|document| document["kind"] == "Deployment").unwrap();
    assert_eq!(pods::objections(with), Vec::<String>::new());

    let mut poll = container(with, "poll");
    pods::assert_understood(&poll);
    assert_eq!(flag(&poll, "peers").as_deref(), Some("worker-peers:8080"));
    assert_eq!(list(&poll["args"]).last(), Some(&json!("--peers=worker-peers:8080")));
    poll["args"].as_array_mut().unwrap().pop();
    assert_eq!(poll["env"][0]["value"], "https://github.com/octocat/Hello-World.git");
    assert!(word(&poll["image"]).starts_with("registry.example.com/pushsync:"));
    let mut base = expected();
    for field in ["image", "env"] {
        (poll[field], base[field]) = (Value::Null, Value::Null);
    }
    assert_eq!(poll, base);

    // The app differs by the mount only.
    let mut app = container(with, "app");
    assert_eq!(app["volumeMounts"], json!([{ "name": "git", "mountPath": "/site", "readOnly": true }]));
    app.as_object_mut().unwrap().remove("volumeMounts");
    assert_eq!(app, container(&document("Deployment", "worker"), "app"));
    let command = word(&app["command"][2]).to_owned();
    assert!(command.contains("/site/current"), "{command}");

    for service in documents.iter().filter(|document| document["kind"] == "Service") {
        assert_eq!(service["spec"]["selector"], with["spec"]["template"]["metadata"]["labels"]);
        assert!(port(&container(with, "poll"), word(&service["spec"]["ports"][0]["targetPort"])).is_some());
    }
}

#[test]
fn every_kind_of_workload_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-r").arg(file("k8s/components/sidecar")).arg(folder.path()).output().unwrap();
    assert!(copied.status.success());
    let pod = json!({
        "metadata": { "labels": { "app": "x" } },
        "spec": {
            "initContainers": [{ "name": "migrate", "image": "migrate:1" }],
            "containers": [
                { "name": "first", "image": "first:1", "volumeMounts": [{ "name": "data", "mountPath": "/data" }] },
                { "name": "second", "image": "second:1" }
            ],
            "volumes": [{ "name": "data", "emptyDir": {} }]
        }
    });
    let selector = json!({ "matchLabels": { "app": "x" } });
    let workloads = [
        json!({ "kind": "Deployment", "spec": { "selector": selector, "template": pod } }),
        json!({ "kind": "StatefulSet", "spec": { "selector": selector, "serviceName": "x", "template": pod } }),
        json!({ "kind": "DaemonSet", "spec": { "selector": selector, "template": pod } }),
    ];
    for mut workload in workloads {
        workload["apiVersion"] = json!("apps/v1");
        workload["metadata"] = json!({ "name": "x" });
        std::fs::write(folder.path().join("app.yaml"), workload.to_string()).unwrap();
        let kustomization = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [app.yaml]\ncomponents: [sidecar]\n";
        std::fs::write(folder.path().join("kustomization.yaml"), kustomization).unwrap();
        let Some(documents) = built(folder.path()) else { return };
        assert_eq!(documents.len(), 1);
        let spec = &documents[0]["spec"]["template"]["spec"];
        // First, so that the others find the tree.
        assert_eq!(spec["initContainers"], json!([expected(), pod["spec"]["initContainers"][0]]));
        let git = json!({ "name": "git", "mountPath": "/site", "readOnly": true });
        let mut first = pod["spec"]["containers"][0].clone();
        first["volumeMounts"].as_array_mut().unwrap().push(git);
        assert_eq!(spec["containers"], json!([first, pod["spec"]["containers"][1]]));
        let names: Vec<Value> = list(&spec["volumes"]).iter().map(|volume| volume["name"].clone()).collect();
        assert_eq!(names, ["git", "hook-secret", "data"]);
    }
}
