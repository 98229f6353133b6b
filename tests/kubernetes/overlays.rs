//! The output of kustomize for the overlays, as `kubectl apply -k` would send it.

use std::process::Command;

use serde_json::Value;

use super::*;

/// The documents that a folder stands for; `None` without kubectl.
pub fn built(folder: &str) -> Option<Vec<Value>> {
    let output = Command::new(kubectl()?).arg("kustomize").arg(file(folder)).output().unwrap();
    assert!(output.status.success(), "{folder}: {}", String::from_utf8_lossy(&output.stderr));
    let documents = strict::documents(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    for document in &documents {
        strict::check(document).unwrap_or_else(|error| panic!("{folder}: {error}"));
    }
    Some(documents)
}

fn deployment(documents: &[Value]) -> &Value {
    documents.iter().find(|document| document["kind"] == "Deployment").expect("there is a Deployment")
}

#[test]
fn the_base_is_the_files_as_they_are() {
    let Some(documents) = built("k8s/sidecar") else { return };
    assert_eq!(deployment(&documents), &document("Deployment", "site"));
    assert_eq!(documents.len(), 6, "the two files and the disruption budget");
}

#[test]
fn before_native_sidecars_the_same_container_stands_beside_the_app() {
    let Some(documents) = built("k8s/overlays/classic") else { return };
    let classic = deployment(&documents);
    let pod = &classic["spec"]["template"]["spec"];
    assert!(pod["initContainers"].is_null());
    let names: Vec<String> = list(&pod["containers"]).iter().map(|each| word(&each["name"]).to_owned()).collect();
    assert_eq!(names, ["app", "poll"]);
    let mut native = container(&document("Deployment", "site"), "poll");
    native.as_object_mut().unwrap().remove("restartPolicy");
    // Told to end together with the app, it goes on taking deliveries until every proxy has heard of that.
    native["args"].as_array_mut().unwrap().push("--drain=5s".into());
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace > 5 + 2, "{grace} s are not enough for the drain and the end");
    assert_eq!(container(classic, "poll"), native);
    assert_eq!(pods::objections(classic), Vec::<String>::new());
}

/// Every string of a document, with where it is.
pub fn strings(value: &Value, at: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => found.push((at.to_owned(), text.clone())),
        Value::Array(items) => items.iter().for_each(|item| strings(item, at, found)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| strings(value, &format!("{at}.{key}"), found)),
        _ => {}
    }
}

/// Two sites in one namespace: no name, selector or mount of the one is about the other.
#[test]
fn with_a_prefix_no_name_label_or_selector_of_the_base_is_left() {
    if kubectl().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("sidecar");
    std::fs::create_dir(&base).unwrap();
    for entry in std::fs::read_dir(file("k8s/sidecar")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, base.join(path.file_name().unwrap())).unwrap();
    }
    let overlay = folder.path().join("overlay");
    std::fs::create_dir(&overlay).unwrap();
    // With every file of the folder that a user may add.
    let all = ["httproute", "ingress", "networkpolicy", "podmonitor", "role"].map(|name| format!("  - {name}.yaml\n"));
    let kustomization = text("k8s/sidecar/kustomization.yaml");
    let kustomization = kustomization.replace("resources:\n", &format!("resources:\n{}", all.concat()));
    std::fs::write(base.join("kustomization.yaml"), kustomization).unwrap();
    std::fs::write(overlay.join("kustomization.yaml"), "resources: [../sidecar]\nnamePrefix: blog-\n").unwrap();
    let documents = built(overlay.to_str().unwrap()).unwrap();
    assert_eq!(documents.len(), 12);
    let mut found = Vec::new();
    for document in &documents {
        strings(document, word(&document["kind"]), &mut found);
    }
    let left: Vec<_> = found.iter().filter(|(_, text)| text == "site" || text.starts_with("site-")).collect();
    // The certificate is of no file; its name is the user's to set, as the host name is.
    assert_eq!(left, [&("Ingress.spec.tls.secretName".to_owned(), "site-tls".to_owned())]);
    let poll = container(deployment(&documents), "poll");
    assert_eq!(flag(&poll, "peers").as_deref(), Some("blog-site-peers:8080"));
}

#[test]
fn nginx_takes_the_place_of_httpd_and_of_nothing_else() {
    let Some(documents) = built("k8s/overlays/nginx") else { return };
    let site = deployment(&documents);
    assert_eq!(pods::objections(site), Vec::<String>::new());
    assert_eq!(container(site, "poll"), container(&document("Deployment", "site"), "poll"));
    let app = container(site, "app");
    assert!(word(&app["image"]).starts_with("nginx:") && list(&app["command"])[0] == "nginx", "{app}");
    let configs: Vec<&Value> = documents.iter().filter(|document| document["kind"] == "ConfigMap").collect();
    assert_eq!(configs.len(), 1);
    assert_eq!(word(&configs[0]["data"]["nginx.conf"]), text("k8s/overlays/nginx/nginx.conf"));
    // kustomize names it by its content, so that a change rolls the pods.
    let mounted = list(&site["spec"]["template"]["spec"]["volumes"]);
    let mounted = mounted.iter().find(|volume| volume["name"] == "httpd").unwrap();
    assert_eq!(mounted["configMap"]["name"], configs[0]["metadata"]["name"]);
}

#[test]
fn a_spec_of_git_sync_needs_only_another_image() {
    let theirs = document("Deployment", "site-from-git-sync");
    let before = container(&theirs, "git-sync");
    assert!(word(&before["image"]).contains("/git-sync:v4"), "{before}");
    pods::assert_understood(&before);
    let Some(documents) = built("k8s/overlays/git-sync") else { return };
    assert_eq!(documents.len(), 1);
    let ours = deployment(&documents);
    let mut after = container(ours, "git-sync");
    assert_eq!(word(&after["image"]), word(&container(&document("Deployment", "site"), "poll")["image"]));
    after["image"] = before["image"].clone();
    assert_eq!(after, before, "nothing but the image differs");
    assert_eq!(container(ours, "app"), container(&theirs, "app"));
    assert_eq!(pods::objections(ours), Vec::<String>::new());
    // docs/from-git-sync.md shows this very container.
    let page = text("docs/from-git-sync.md");
    for argument in list(&before["args"]) {
        assert!(page.contains(word(&argument)), "{argument}");
    }
}
