//! Every manifest: strictly typed, and every name, port and path in it meets what it is about.

use serde_json::Value;

use super::*;

#[test]
fn every_document_is_understood_by_its_type() {
    let mut count = 0;
    for (path, text) in manifests() {
        for document in strict::documents(&text).unwrap_or_else(|error| panic!("{path}: {error}")) {
            strict::check(&document).unwrap_or_else(|error| panic!("{path}: {error}"));
            count += 1;
        }
    }
    assert!(count >= 14, "only {count} documents were found");
}

/// Below these any key may stand: they are the user's.
const FREE: [&str; 8] = ["labels", "annotations", "matchLabels", "data", "target", "limits", "requests", "selector"];

/// The document with each field misspelled in turn, and which one.
fn misspelled(document: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    collect(document, document, "", &mut found);
    found
}

fn collect(whole: &Value, part: &Value, at: &str, found: &mut Vec<(String, Value)>) {
    match part {
        Value::Object(fields) => {
            for (key, value) in fields {
                let mut changed = whole.clone();
                let fields = changed.pointer_mut(at).and_then(Value::as_object_mut).unwrap();
                let taken = fields.remove(key).unwrap();
                fields.insert(format!("{key}x"), taken);
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                found.push((at.clone(), changed));
                // A Service's selector is free, a Deployment's is not.
                let free = FREE.contains(&key.as_str()) && (key != "selector" || value.get("matchLabels").is_none());
                if !free {
                    collect(whole, value, &at, found);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(whole, item, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn a_misspelled_field_fails_wherever_it_stands() {
    let mut tried = 0;
    for document in documents() {
        for (at, wrong) in misspelled(&document) {
            assert!(strict::check(&wrong).is_err(), "{at} of {} may be misspelled", document["kind"]);
            tried += 1;
        }
    }
    assert!(tried > 400, "only {tried} fields were tried");
}

#[test]
fn the_names_of_the_tutorial_are_kept() {
    let site = document("Deployment", "site");
    let pod = &site["spec"]["template"]["spec"];
    assert_eq!((word(&pod["initContainers"][0]["name"]), word(&pod["containers"][0]["name"])), ("poll", "app"));
    assert_eq!(pod["initContainers"][0]["restartPolicy"], "Always", "a native sidecar");
    assert!(list(&pod["volumes"]).iter().any(|volume| volume["name"] == "git" && volume["emptyDir"].is_object()));
    assert!(list(&container(&site, "poll")["env"]).iter().any(|variable| variable["name"] == "GIT_REPO"));
}

#[test]
fn the_app_reads_the_whole_volume_and_only_reads_it() {
    let site = document("Deployment", "site");
    let mounts = |name| list(&container(&site, name)["volumeMounts"]);
    let of = |mounts: &[Value], volume| mounts.iter().find(|mount| mount["name"] == volume).cloned();
    let app = of(&mounts("app"), "git").unwrap();
    assert_eq!(app["readOnly"], true);
    assert!(of(&mounts("app"), "hook-secret").is_none(), "the secret is the sidecar's alone");
    assert_eq!(of(&mounts("poll"), "hook-secret").unwrap()["readOnly"], true);
    for container in ["Deployment site", "Job site-job"].iter().flat_map(|each| {
        let (kind, name) = each.split_once(' ').unwrap();
        containers(&document(kind, name))
    }) {
        let pinned = list(&container["volumeMounts"]).iter().any(|mount| mount.get("subPath").is_some());
        assert!(!pinned, "{}: a subPath pins the first tree and the first secret", container["name"]);
    }
    // Both containers use the same folder of the same volume as the published tree.
    let poll = container(&site, "poll");
    assert_eq!(flag(&poll, "root").as_deref(), of(&mounts("poll"), "git").unwrap()["mountPath"].as_str());
    let served = format!("{}/{}", word(&app["mountPath"]), flag(&poll, "link").unwrap());
    assert!(text("k8s/sidecar/httpd.conf").contains(&format!("Alias \"/\" \"{served}/\"")));
    assert!(text("k8s/overlays/nginx/nginx.conf").contains(&format!("root {served};")));
}

#[test]
fn the_configuration_in_the_deployment_is_the_file_beside_it() {
    let config = document("ConfigMap", "site-httpd");
    assert_eq!(word(&config["data"]["httpd.conf"]), text("k8s/sidecar/httpd.conf"));
}

#[test]
fn the_ports_are_those_that_are_listened_on() {
    let site = document("Deployment", "site");
    let (poll, app) = (container(&site, "poll"), container(&site, "app"));
    let bound = |name| flag(&poll, name).unwrap().rsplit(':').next().unwrap().parse().ok();
    assert_eq!(port(&poll, "hook"), bound("hook-bind"));
    assert_eq!(port(&poll, "health"), bound("http-bind"));
    assert!(flag(&poll, "admin-bind").is_none(), "the dashboard's API stays on loopback");
    let http = port(&app, "http").unwrap();
    assert!(text("k8s/sidecar/httpd.conf").lines().any(|line| line == format!("Listen {http}")));
    assert!(text("k8s/overlays/nginx/nginx.conf").lines().any(|line| line.trim() == format!("listen {http};")));

    let known = |name: &Value| port(&poll, word(name)).or(port(&app, word(name))).is_some();
    let services: Vec<Value> = strict::documents(&text("k8s/sidecar/service.yaml")).unwrap();
    assert_eq!(services.len(), 3);
    for service in &services {
        assert_eq!(service["spec"]["selector"], site["spec"]["template"]["metadata"]["labels"]);
        for port in list(&service["spec"]["ports"]) {
            assert!(known(&port["targetPort"]), "{port}");
        }
    }
    let peers = document("Service", "site-peers");
    assert_eq!(
        (word(&peers["spec"]["clusterIP"]), &peers["spec"]["publishNotReadyAddresses"]),
        ("None", &Value::Bool(true))
    );
    // A headless name leads to the container's port, whatever the Service's port says: both must be the same.
    assert_eq!(peers["spec"]["ports"][0]["port"].as_u64(), port(&poll, "hook"));
    assert_eq!(flag(&poll, "peers"), Some(format!("site-peers:{}", port(&poll, "hook").unwrap())));

    let monitor = document("PodMonitor", "site");
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["port"], "health");
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["path"], "/metrics");
    let policy = document("NetworkPolicy", "site");
    for rule in [list(&policy["spec"]["ingress"]), list(&policy["spec"]["egress"])].concat() {
        for port in list(&rule["ports"]) {
            assert!(port["port"].is_u64() || known(&port["port"]), "{port}");
        }
    }
}

#[test]
fn only_the_webhook_itself_is_routed_to_the_hook() {
    let site = document("Deployment", "site");
    let path = flag(&container(&site, "poll"), "hook-path").unwrap();
    let route = document("HTTPRoute", "site");
    let rules = list(&route["spec"]["rules"]);
    let to_hook: Vec<&Value> = rules.iter().filter(|rule| rule["backendRefs"][0]["name"] == "site-hook").collect();
    assert_eq!(to_hook.len(), 1);
    let matches = list(&to_hook[0]["matches"]);
    assert_eq!(matches.len(), 1, "every match is another way in");
    assert_eq!(matches[0]["path"], serde_json::json!({ "type": "Exact", "value": path }));
    assert_eq!(matches[0]["method"], "POST");

    let ingress = document("Ingress", "site");
    let largest = &ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"];
    assert_eq!(largest, "25m", "the largest delivery that GitHub sends");
    let paths = list(&ingress["spec"]["rules"][0]["http"]["paths"]);
    let to_hook: Vec<&Value> = paths.iter().filter(|path| path["backend"]["service"]["name"] == "site-hook").collect();
    assert_eq!((to_hook.len(), word(&to_hook[0]["pathType"]), word(&to_hook[0]["path"])), (1, "Exact", path.as_str()));

    for (service, port) in [("site", "http"), ("site-hook", "hook")] {
        let found = document("Service", service);
        assert_eq!(
            (word(&found["spec"]["ports"][0]["name"]), found["spec"]["ports"][0]["port"].as_u64()),
            (port, Some(80))
        );
    }
}

#[test]
fn the_dashboards_role_is_no_larger_than_it_must_be() {
    let role = document("Role", "site-dashboard");
    let rules: Vec<(String, String)> = list(&role["rules"])
        .iter()
        .map(|rule| {
            let words = |key: &str| list(&rule[key]).iter().map(word).map(str::to_owned).collect::<Vec<_>>().join(" ");
            (words("resources"), words("verbs"))
        })
        .collect();
    let expected = [
        ("pods", "get list watch"),
        ("pods/portforward", "get create"),
        ("deployments statefulsets daemonsets replicasets", "get"),
        ("services", "get"),
    ];
    assert_eq!(rules, expected.map(|(resources, verbs)| (resources.to_owned(), verbs.to_owned())));
}
