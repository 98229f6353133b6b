//! The chart gives the objects of `k8s/`, so that the two ways to install cannot differ.

use serde_json::Value;

use super::*;

/// The labels that only helm's objects have, by which helm and its users find the objects of a release. They select nothing.
const LABELS_OF_HELM: [&str; 2] = ["app.kubernetes.io/managed-by", "helm.sh/chart"];

/// The rendered documents without helm's labels and without the pod of `helm test`.
fn comparable(documents: Vec<Value>) -> Vec<Value> {
    let mut documents: Vec<Value> = documents.into_iter().filter(|document| document["kind"] != "Pod").collect();
    for document in &mut documents {
        let labels = document["metadata"]["labels"].as_object_mut().expect("every object has labels");
        for label in LABELS_OF_HELM {
            assert!(labels.remove(label).is_some(), "{label}");
        }
    }
    documents
}

fn of_files(names: &[&str]) -> Vec<Value> {
    names.iter().flat_map(|name| strict::documents(&text(&format!("k8s/{name}"))).unwrap()).collect()
}

/// Fails if the documents are not the same, apart from their order.
fn assert_same(ours: &[Value], theirs: &[Value]) {
    assert_eq!(kinds(ours), kinds(theirs));
    for document in theirs {
        let name = word(&document["metadata"]["name"]);
        assert_eq!(find(ours, word(&document["kind"]), name), document, "{} {name}", document["kind"]);
    }
}

#[test]
fn the_defaults_give_the_objects_of_the_base() {
    let Some(documents) = template(&[]) else { return };
    let base = strict::documents(&text("k8s/sidecar/kustomization.yaml")).unwrap().remove(0);
    let resources: Vec<String> =
        list(&base["resources"]).iter().map(|name| format!("sidecar/{}", word(name))).collect();
    let resources: Vec<&str> = resources.iter().map(String::as_str).collect();
    assert_same(&comparable(documents), &of_files(&resources));
}

#[test]
fn everything_optional_gives_the_files_beside_the_base() {
    let options = [
        "ingress.enabled=true,ingress.className=nginx,ingress.host=site.example.com,ingress.tlsSecretName=site-tls",
        "httpRoute.enabled=true,httpRoute.host=site.example.com",
        "networkPolicy.enabled=true,podMonitor.enabled=true,prometheusRule.enabled=true,role.enabled=true",
    ];
    let arguments: Vec<&str> = options.iter().flat_map(|option| ["--set", option]).collect();
    let Some(documents) = template(&arguments) else { return };
    let mut ours = comparable(documents);
    for document in &mut ours {
        match word(&document["kind"]) {
            // The pod of `helm test` is let in as well.
            "NetworkPolicy" => {
                let rules = document["spec"]["ingress"].as_array_mut().unwrap();
                let tests = rules.pop().unwrap();
                let labels = &tests["from"][0]["podSelector"]["matchLabels"];
                assert_eq!(labels, &serde_json::json!({ "app.kubernetes.io/name": "site-test" }));
            }
            // The alerts are about every site of a cluster; in the chart they have the release's name, as all objects do.
            "PrometheusRule" => {
                document["metadata"] = serde_json::json!({
                    "name": "pushsync", "labels": { "app.kubernetes.io/name": "pushsync" }
                });
            }
            // In k8s/ they have no labels, since nothing selects them.
            "Role" | "RoleBinding" => {
                document["metadata"].as_object_mut().unwrap().remove("labels");
            }
            _ => {}
        }
    }
    let every = std::fs::read_dir(file("k8s/sidecar")).unwrap().map(|entry| entry.unwrap().file_name());
    let every: Vec<String> = every.map(|name| format!("sidecar/{}", name.to_str().unwrap())).collect();
    // Not objects; and the Job, which is another use.
    let other = ["kustomization.yaml", "names.yaml", "job.yaml", "httpd.conf"];
    let mut names: Vec<&str> =
        every.iter().map(String::as_str).filter(|name| !other.iter().any(|other| name.ends_with(other))).collect();
    names.push("monitoring/prometheusrule.yaml");
    assert_same(&ours, &of_files(&names));
}

/// The other way to get manifests of one's own: `pushsync init` with the same wishes.
#[test]
fn the_chart_and_the_command_init_give_the_same_objects() {
    for (private, repo) in [
        ("none", "https://git.example.com/acme/blog.git"),
        ("token", "https://git.example.com/acme/blog.git"),
        ("ssh", "git@git.example.com:acme/blog.git"),
        ("app", "https://github.com/acme/blog.git"),
        ("app", "https://git.example.com:8443/acme/blog.git"),
    ] {
        let private_value = format!("private.kind={private},repo={repo}");
        let values = [
            "ref=v1,replicas=3,image.repository=registry.example.com/pushsync",
            "image.tag=1.0.0,httpRoute.enabled=true,httpRoute.host=blog.example.com,role.enabled=true,name=blog",
            &private_value,
        ];
        let arguments: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
        let Some(documents) = template(&arguments) else { return };
        let wishes = [
            "--repo",
            repo,
            "--ref=v1",
            "--replicas=3",
            "--image=registry.example.com/pushsync:1.0.0",
            "--name=blog",
            "--host=blog.example.com",
            "--gateway=gateway-system/gateway",
            "--with=role",
            "--private",
            private,
        ];
        let mut theirs = init::init(&wishes, "").documents();
        let mut ours = comparable(documents);
        for document in ours.iter_mut().chain(&mut theirs) {
            if document["kind"].as_str().is_some_and(|kind| kind.starts_with("Role")) {
                document["metadata"].as_object_mut().unwrap().remove("labels");
            }
            // Their order is of no meaning, and differs.
            if let Some(volumes) = document.pointer_mut("/spec/template/spec/volumes") {
                volumes.as_array_mut().unwrap().sort_by_key(|volume| word(&volume["name"]).to_owned());
            }
        }
        assert_same(&ours, &theirs);
    }
}

/// A chart cannot read files outside its folder, so it has copies.
#[test]
fn the_files_of_the_chart_are_copies() {
    for (copy, original) in [
        ("charts/pushsync/files/httpd.conf", "k8s/sidecar/httpd.conf"),
        ("charts/pushsync/files/prometheusrule.yaml", "k8s/monitoring/prometheusrule.yaml"),
    ] {
        assert_eq!(text(copy), text(original), "run: cp {original} {copy}");
    }
}

#[test]
fn the_test_pod_is_the_program_and_as_confined_as_the_site() {
    let Some(documents) = template(&[]) else { return };
    let pod = find(&documents, "Pod", "site-test");
    assert_eq!(pod["metadata"]["annotations"]["helm.sh/hook"], "test");
    // The Services select by this label, and must not select the test.
    assert_ne!(pod["metadata"]["labels"]["app.kubernetes.io/name"], "site");
    let workload = serde_json::json!({ "spec": { "template": { "spec": pod["spec"] } } });
    assert_eq!(pods::objections(&workload), Vec::<String>::new());
    let ping = container(&workload, "ping");
    let poll = container(find(&documents, "Deployment", "site"), "poll");
    assert_eq!(ping["image"], poll["image"]);
    let service = find(&documents, "Service", "site-hook");
    let url = flag(&ping, "url").unwrap();
    assert_eq!(url, format!("http://{}{}", word(&service["metadata"]["name"]), flag(&poll, "hook-path").unwrap()));
    assert_eq!(service["spec"]["ports"][0]["port"], 80);
}
