//! Other values than the defaults: each result is typed, confined, and understood by the program.

use serde_json::{Value, json};

use super::*;

/// The Deployment that these values give.
fn deployment(arguments: &[&str]) -> Option<Value> {
    let documents = template(arguments)?;
    let site = find(&documents, "Deployment", "site").clone();
    assert_eq!(pods::objections(&site), Vec::<String>::new(), "{arguments:?}");
    assert_understood(&container(&site, "poll"));
    Some(site)
}

/// Fails if the program minds anything but the secret files, which only a pod has: they are files of this test instead.
fn assert_understood(container: &Value) {
    let folder = tempfile::tempdir().unwrap();
    let mut here = container.clone();
    // Their usual places, which are not here either.
    if list(&here["volumeMounts"]).iter().any(|mount| mount["mountPath"] == "/etc/git-secret") {
        let flags = ["--ssh-key-file=/etc/git-secret/ssh", "--ssh-known-hosts-file=/etc/git-secret/known_hosts"];
        here["args"].as_array_mut().unwrap().extend(flags.map(Value::from));
    }
    for argument in here["args"].as_array_mut().unwrap() {
        let Some((flag, path)) = word(argument).split_once("=/etc/").filter(|(flag, _)| !flag.contains("hook")) else {
            continue;
        };
        let file = folder.path().join(path.replace('/', "-"));
        let content = if flag.contains("key") { openssl_key() } else { "host ssh-ed25519 AAAA\n".to_owned() };
        std::fs::write(&file, content).unwrap();
        *argument = format!("{flag}={}", file.display()).into();
    }
    // Secrets are not text in the manifest.
    for variable in here["env"].as_array_mut().unwrap() {
        if variable.get("valueFrom").is_some() {
            variable["value"] = json!("12345");
        }
    }
    pods::assert_understood(&here);
}

fn openssl_key() -> String {
    let key = openssl::rsa::Rsa::generate(2048).unwrap().private_key_to_pem().unwrap();
    String::from_utf8(key).unwrap()
}

fn volume(workload: &Value, name: &str) -> Value {
    let volumes = list(&workload["spec"]["template"]["spec"]["volumes"]);
    volumes.into_iter().find(|volume| volume["name"] == name).unwrap_or_default()
}

fn address(private: &str) -> &'static str {
    if private == "ssh" { "git@git.example.com:acme/blog.git" } else { "https://git.example.com/acme/blog.git" }
}

#[test]
fn a_private_repository_gets_flags_and_a_secret() {
    for (kind, folder) in [("token", "/etc/git"), ("ssh", "/etc/git-secret"), ("app", "/etc/git")] {
        let Some(site) = deployment(&["--set", &format!("private.kind={kind},repo={}", address(kind))]) else { return };
        let mounts = list(&container(&site, "poll")["volumeMounts"]);
        assert!(mounts.contains(&json!({ "name": "git-secret", "mountPath": folder, "readOnly": true })), "{mounts:?}");
        assert_eq!(volume(&site, "git-secret")["secret"], json!({ "secretName": "site-git", "defaultMode": 288 }));
        assert!(!list(&container(&site, "app")["volumeMounts"]).iter().any(|mount| mount["name"] == "git-secret"));
    }
    let enterprise = "private.kind=app,private.secretName=forge,private.baseUrl=https://ghe.example.com/api/v3/";
    let Some(site) = deployment(&["--set", enterprise]) else { return };
    let poll = container(&site, "poll");
    assert_eq!(flag(&poll, "github-base-url").as_deref(), Some("https://ghe.example.com/api/v3/"));
    assert_eq!(poll["env"][3]["valueFrom"]["secretKeyRef"], json!({ "name": "forge", "key": "client-id" }));
}

/// Kubernetes permits names of digits alone, and YAML reads them as numbers where they are not quoted.
#[test]
fn names_of_digits_or_words_of_yaml_stay_text() {
    let on = "private.kind=app,networkPolicy.enabled=true,ingress.enabled=true,httpRoute.enabled=true";
    let names = "private.secretName=123,webhook.secretName=0123,serviceAccountName=1e3,priorityClassName=0x10,name=true,\
                 networkPolicy.gatewayNamespace=1,networkPolicy.monitoringNamespace=2,networkPolicy.dnsNamespace=3,\
                 ingress.host=a.test,ingress.className=4,ingress.tlsSecretName=5,httpRoute.host=a.test,\
                 httpRoute.gateway.name=6,httpRoute.gateway.namespace=7";
    // Each document is strictly typed there: a number in the place of a name fails.
    let Some(documents) = template(&["--set", on, "--set-string", names]) else { return };
    let site = find(&documents, "Deployment", "true");
    assert_eq!(volume(site, "git-secret")["secret"]["secretName"], "123");
    assert_eq!(volume(site, "hook-secret")["secret"]["secretName"], "0123");
    let pod = &site["spec"]["template"]["spec"];
    assert_eq!((word(&pod["serviceAccountName"]), word(&pod["priorityClassName"])), ("1e3", "0x10"));
}

#[test]
fn without_webhooks_nothing_of_them_is_left() {
    let Some(documents) = template(&["--set", "webhook.enabled=false,networkPolicy.enabled=true"]) else { return };
    let text = serde_json::to_string(&documents).unwrap();
    assert!(!text.contains("hook"), "{text}");
    assert!(!text.contains("peers"), "{text}");
    assert!(deployment(&["--set", "peers.enabled=false"]).is_some_and(|site| {
        let poll = container(&site, "poll");
        flag(&poll, "peers").is_none() && flag(&poll, "hook-bind").is_some()
    }));
}

#[test]
fn an_app_of_ones_own_gets_the_sidecar_and_the_mount() {
    let own = "app.kind=own,app.image=registry.example.com/app:1,app.mountPath=/data,app.port=3000,app.args={serve}";
    let Some(documents) = template(&["--set", own]) else { return };
    assert!(!documents.iter().any(|document| document["kind"] == "ConfigMap"), "httpd's configuration");
    let site = deployment(&["--set", own]).unwrap();
    let app = container(&site, "app");
    assert_eq!((word(&app["image"]), &app["args"]), ("registry.example.com/app:1", &json!(["serve"])));
    assert_eq!(app["volumeMounts"], json!([{ "name": "git", "mountPath": "/data", "readOnly": true }]));
    assert_eq!(port(&app, "http"), Some(3000));
    assert!(app["readinessProbe"].is_null() && app["command"].is_null());
    assert_eq!(container(&site, "poll"), container(&document("Deployment", "site"), "poll"));

    // An app without a port has no Service of its own.
    let Some(worker) = template(&["--set", own, "--set", "app.port=null"]) else { return };
    let services = kinds(&worker).into_iter().filter(|(kind, _)| kind == "Service").map(|(_, name)| name);
    assert_eq!(services.collect::<Vec<_>>(), ["site-hook", "site-peers"]);
}

#[test]
fn what_an_operator_sets_arrives() {
    let values = json!({
        "repo": "https://git.example.com/acme/site.git", "ref": "v1.0", "replicas": 1, "name": "blog",
        "image": { "repository": "registry.example.com:5000/pushsync", "digest": format!("sha256:{}", "a".repeat(64)),
            "pullPolicy": "Always" },
        "imagePullSecrets": [{ "name": "registry" }],
        "extraArgs": ["--depth=0"], "extraEnv": [{ "name": "https_proxy", "value": "http://proxy.test:3128" }],
        "extraVolumes": [{ "name": "ca", "configMap": { "name": "ca" } }],
        "extraVolumeMounts": [{ "name": "ca", "mountPath": "/etc/ssl/certs" }],
        "nodeSelector": { "disk": "ssd" }, "tolerations": [{ "key": "web", "operator": "Exists" }],
        "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [] } },
        "podLabels": { "team": "web" }, "podAnnotations": { "note": "x" }, "priorityClassName": "high",
        "serviceAccountName": "site", "podSecurityContext": { "runAsUser": 1_000_680_000, "fsGroup": 1_000_680_000 },
        "role": { "enabled": true, "group": "corp: web" }, "spreadOverNodes": false, "terminationGracePeriodSeconds": 60, "resources": { "limits": { "memory": "1Gi" } },
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("values.yaml");
    std::fs::write(&path, values.to_string()).unwrap();
    let Some(documents) = template(&["--values", path.to_str().unwrap()]) else { return };
    assert!(!documents.iter().any(|document| document["kind"] == "PodDisruptionBudget"), "of a single replica");
    let site = find(&documents, "Deployment", "blog");
    assert_eq!(pods::objections(site), Vec::<String>::new());
    let binding = find(&documents, "RoleBinding", "blog-dashboard");
    assert_eq!(binding["subjects"][0]["name"], "corp: web", "any text is a name of a group");
    let poll = container(site, "poll");
    assert_understood(&poll);
    assert_eq!(word(&poll["image"]), format!("registry.example.com:5000/pushsync@sha256:{}", "a".repeat(64)));
    assert_eq!(poll["env"][0]["value"], values["repo"]);
    assert_eq!(poll["env"][1]["value"], values["ref"]);
    assert_eq!(poll["resources"]["limits"]["memory"], "1Gi");
    assert_eq!(flag(&poll, "peers").as_deref(), Some("blog-peers:8080"));
    let pod = &site["spec"]["template"]["spec"];
    for field in
        ["nodeSelector", "tolerations", "affinity", "priorityClassName", "serviceAccountName", "imagePullSecrets"]
    {
        assert_eq!(pod[field], values[field], "{field}");
    }
    assert_eq!(pod["securityContext"]["runAsUser"], 1_000_680_000);
    assert!(pod["topologySpreadConstraints"].is_null());
    assert_eq!(
        site["spec"]["template"]["metadata"]["labels"],
        json!({ "app.kubernetes.io/name": "blog", "team": "web" })
    );
    assert_eq!(find(&documents, "Service", "blog-peers")["spec"]["selector"], site["spec"]["selector"]["matchLabels"]);
}

/// The chart inside a chart of one's own, as its README shows it.
#[test]
fn a_chart_of_ones_own_includes_the_sidecar() {
    let folder = tempfile::tempdir().unwrap();
    let readme = text("charts/pushsync/README.md");
    let block = |name: &str| {
        let (_, rest) =
            readme.split_once(&format!("# {name}\n")).unwrap_or_else(|| panic!("README.md shows no {name}"));
        rest.split_once("```").unwrap().0.to_owned()
    };
    std::fs::create_dir_all(folder.path().join("templates")).unwrap();
    for name in ["Chart.yaml", "values.yaml", "templates/deployment.yaml"] {
        std::fs::write(folder.path().join(name), block(name)).unwrap();
    }
    // As `helm dependency update` does it.
    let copied = Command::new("cp").arg("-r").arg(file(CHART)).arg(folder.path().join("charts")).output().unwrap();
    assert!(copied.status.success(), "{copied:?}");
    std::fs::rename(folder.path().join("charts"), folder.path().join("copy")).unwrap();
    std::fs::create_dir(folder.path().join("charts")).unwrap();
    std::fs::rename(folder.path().join("copy"), folder.path().join("charts/pushsync")).unwrap();
    let Some(documents) = rendered(folder.path(), &[]) else { return };
    let app = documents.iter().find(|document| document["kind"] == "Deployment").unwrap();
    assert_eq!(kinds(&documents).len(), 4, "the Deployment, two Services, and the pod of the test: {documents:?}");
    let sidecar = container(app, "poll");
    pods::assert_understood(&sidecar);
    assert_eq!(sidecar["restartPolicy"], "Always");
    let labels = &app["spec"]["template"]["metadata"]["labels"];
    for service in documents.iter().filter(|document| document["kind"] == "Service") {
        assert_eq!(&service["spec"]["selector"], labels);
    }
    let mounted = |name: &str| list(&container(app, name)["volumeMounts"]).iter().any(|mount| mount["name"] == "git");
    assert!(mounted("app") && mounted("poll") && volume(app, "git")["emptyDir"].is_object());
}

#[test]
fn the_notes_name_what_is_to_be_done() {
    let Some(version) = helm(&["version", "--short"]) else { return };
    if printed(&version).starts_with("v3") {
        return skip_helm("helm 4, which shows the notes without a cluster");
    }
    let folder = file(CHART);
    let notes = |values: &str| {
        let arguments =
            ["install", "site", folder.to_str().unwrap(), "--dry-run=client", "--namespace", "web", "--set", values];
        helm(&arguments).map(|output| printed(&output).split_once("NOTES:\n").unwrap().1.to_owned())
    };
    let Some(plain) = notes("replicas=2") else { return };
    for part in [
        "rollout status deploy/site",
        "make-secret --name site-hook",
        "kubectl --namespace web create secret generic site-hook --from-file=current=hook-secret",
        "helm test site",
    ] {
        assert!(plain.contains(part), "{part}: {plain}");
    }
    assert!(plain.contains("No route from the internet is configured"), "{plain}");
    // zsh takes it as an argument of a pasted command.
    assert!(!plain.contains('#'), "{plain}");
    let private = notes("private.kind=token,ingress.enabled=true,ingress.host=a.test,ingress.tlsSecretName=t").unwrap();
    for part in ["create secret generic site-git --from-file=token=FILE", "--url https://a.test/webhook"] {
        assert!(private.contains(part), "{part}: {private}");
    }
    assert!(!private.contains("No route"), "{private}");
}
