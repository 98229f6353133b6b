//! `pushsync init --inject`: the sidecar comes into a workload of the user's, and everything else there is kept.

use serde_json::{Value, json};

use super::init::{Ran, find, init};
use super::*;

const APP: &str = r#"# The shop. Owned by the web team.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop   # also in dashboards
  namespace: web
spec:
  replicas: 3
  selector:
    matchLabels:
      app: shop
      tier: "1"
  template:
    metadata:
      labels: {app: shop, tier: "1", version: v2}
    spec:
      automountServiceAccountToken: false
      securityContext: &safe
        runAsNonRoot: true
        runAsUser: 1000
        seccompProfile: {type: RuntimeDefault}
      containers:
        # Reads the texts.
        - name: web
          image: registry.example.com/shop:2
          ports:
            - {name: http, containerPort: 8080}
            - {name: health, containerPort: 8082}
          securityContext: &strict
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          resources: {requests: {memory: 16Mi}, limits: {memory: 64Mi}}
          volumeMounts:
            - name: cache
              mountPath: /cache
            # - name: old
        - name: metrics
          image: registry.example.com/exporter:1
          securityContext: *strict
          resources: {requests: {memory: 16Mi}, limits: {memory: 64Mi}}
      volumes:
        - name: cache
          emptyDir: {sizeLimit: 1Gi}   # enough
---
# Not ours to touch.
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: web}
spec: {selector: {app: shop}, ports: [{port: 80, targetPort: http}]}
"#;

const REPO: &str = "--repo=https://git.example/acme/texts.git";

fn inject(text: &str, arguments: &[&str]) -> Ran {
    init(&[&[REPO, "--inject=-"], arguments].concat(), text)
}

/// The lines of the first text are those of the second, in the same order, with others between.
fn assert_kept(before: &str, after: &str) {
    let mut rest = after.lines();
    for line in before.lines() {
        assert!(rest.any(|other| other == line), "`{line}` is missing or elsewhere in {after}");
    }
}

#[test]
fn the_sidecar_is_added_and_every_line_is_kept() {
    let ran = inject(APP, &["--host=shop.example", "--private=token", "--mount=/texts/"]);
    let documents = ran.documents();
    assert_kept(APP, &ran.out);
    let kinds: Vec<&str> = documents.iter().map(|document| word(&document["kind"])).collect();
    assert_eq!(kinds, ["Deployment", "Service", "Service", "Service", "Ingress"]);
    let shop = &documents[0];
    assert_eq!(pods::objections(shop), Vec::<String>::new());
    let poll = container(shop, "poll");
    pods::assert_understood(&poll);
    assert_eq!(poll["restartPolicy"], "Always");
    assert_eq!(poll["securityContext"]["runAsUser"], 65533, "not the user of the app");

    // The app uses 8080 and 8082, and the name of a port.
    assert_eq!(flag(&poll, "hook-bind").as_deref(), Some(":8083"));
    assert_eq!(flag(&poll, "peers").as_deref(), Some("shop-peers:8083"));
    assert_eq!((port(&poll, "hook"), port(&poll, "pushsync-health")), (Some(8083), Some(8081)));
    assert_eq!(poll["readinessProbe"]["httpGet"]["port"], "pushsync-health");
    assert!(ran.told.contains("The webhook port is 8083"), "{}", ran.told);
    let peers = find(&documents, "Service", "shop-peers");
    assert_eq!((&peers["spec"]["ports"][0]["port"], &peers["spec"]["clusterIP"]), (&json!(8083), &json!("None")));
    for name in ["shop-peers", "shop-hook"] {
        let service = find(&documents, "Service", name);
        assert_eq!(service["spec"]["selector"], json!({"app": "shop", "tier": "1"}));
        assert_eq!(service["metadata"]["namespace"], "web");
    }
    let ingress = find(&documents, "Ingress", "shop-hook");
    let paths = list(&ingress["spec"]["rules"][0]["http"]["paths"]);
    assert_eq!((paths.len(), word(&paths[0]["path"])), (1, "/webhook"), "pages are the app's own matter");

    let web = container(shop, "web");
    let mounted = list(&web["volumeMounts"]).pop().unwrap();
    assert_eq!(mounted, json!({"name": "git", "mountPath": "/texts", "readOnly": true}));
    let volumes = list(&shop["spec"]["template"]["spec"]["volumes"]);
    let names: Vec<&str> = volumes.iter().map(|volume| word(&volume["name"])).collect();
    assert_eq!(names, ["cache", "git", "hook-secret", "git-secret"]);
    for secret in &volumes[2..] {
        assert_eq!(secret["secret"]["defaultMode"], 0o444, "the pod has no fsGroup");
    }
    assert!(ran.told.contains("kubectl pushsync deployment/shop -n web") && ran.told.contains("/texts/current"));
}

#[test]
fn nothing_but_the_additions_differs() {
    let before = &strict::documents(APP).unwrap()[0];
    let mut after = inject(APP, &["--container=metrics"]).documents().remove(0);
    let pod = after.pointer_mut("/spec/template/spec").unwrap();
    pod.as_object_mut().unwrap().remove("initContainers");
    pod["volumes"].as_array_mut().unwrap().truncate(1);
    assert_eq!(pod["containers"][1]["volumeMounts"][0]["mountPath"], "/git");
    pod["containers"][1].as_object_mut().unwrap().remove("volumeMounts");
    assert_eq!(&after, before);
}

#[test]
fn other_notations_and_kinds_are_kept_as_they_are() {
    let stateful = "apiVersion: apps/v1\r\nkind: StatefulSet\r\nmetadata:\r\n  name: db\r\nspec:\r\n  serviceName: db\r\n  selector:\r\n    matchLabels: {app: db}\r\n  template:\r\n    metadata:\r\n      labels: {app: db}\r\n    spec:\r\n      containers:\r\n      - name: db\r\n        image: db:1";
    let ran = inject(stateful, &["--name=config"]);
    let documents = ran.documents();
    assert_kept(stateful, &ran.out);
    assert_eq!(flag(&container(&documents[0], "poll"), "peers").as_deref(), Some("config-peers:8080"));
    assert!(ran.told.contains("kubectl pushsync statefulset/db"), "{}", ran.told);

    let value = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "j"}, "spec": {
        "selector": {"matchLabels": {"app": "j"}},
        "template": {"metadata": {"labels": {"app": "j"}}, "spec": {"initContainers": [], "containers": [{"name": "a", "image": "a"}]}}}});
    for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
        let documents = inject(&text, &[]).documents();
        pods::assert_understood(&container(&documents[0], "poll"));
    }
}

#[test]
fn the_workload_is_chosen_by_its_name_and_kind() {
    let two = format!(
        "{APP}---\n{}",
        APP.replace("kind: Deployment", "kind: StatefulSet").replace("  replicas: 3", "  serviceName: x")
    );
    let ran = inject(&two, &[]);
    assert!(ran.code == Some(1) && ran.told.contains("deployment/shop, statefulset/shop"), "{}", ran.told);
    let documents = inject(&two, &["--workload=sts/shop"]).documents();
    assert!(documents[0]["spec"]["template"]["spec"]["initContainers"].is_null());
    assert_eq!(documents[2]["spec"]["template"]["spec"]["initContainers"][0]["name"], "poll");
}

#[test]
fn what_cannot_be_injected_is_refused_with_the_reason() {
    let once = inject(APP, &[]).out;
    let anchored = APP.replace("      volumes:\n", "      volumes: &all\n");
    let no_labels = APP.replace("    matchLabels:\n      app: shop\n      tier: \"1\"\n", "    matchExpressions: []\n");
    // Without the text of the anchor, the selectors of the Services would have no value here.
    let named = APP.replacen("name: shop ", "name: &app shop ", 1);
    let alias = |labels: &str| named.replace("    matchLabels:\n      app: shop\n", labels);
    let cases: Vec<(String, &[&str], &str)> = vec![
        (alias("    matchLabels:\n      app: *app\n"), &[], "matchLabels of deployment/shop uses an alias"),
        (alias("    matchLabels:\n      <<: {app: shop}\n"), &[], "matchLabels of deployment/shop uses an alias"),
        (once, &[], "has the sidecar already: its container `poll`"),
        (anchored, &[], "`spec.template.spec.volumes` is shared"),
        (APP.replace("name: metrics", "name: poll"), &[], "a container named `poll`"),
        (
            APP.replace("- name: cache\n          emptyDir", "- name: git\n          emptyDir"),
            &[],
            "a volume named `git`",
        ),
        (APP.to_owned(), &["--container=none"], "there are web, metrics"),
        (APP.to_owned(), &["--workload=other"], "there are deployment/shop"),
        (APP.to_owned(), &["--mount=/cache"], "choose another path with --mount"),
        (APP.replace("name: shop ", "name: shop.1 "), &[], "give another one with --name"),
        // Both are part of the commands that are printed.
        (APP.replace("name: shop ", "name: a;id "), &["--name=b"], "metadata.name of the Deployment is `a;id`"),
        (APP.replace("namespace: web\n", "namespace: $(id)\n"), &[], "metadata.namespace of the Deployment is `$(id)`"),
        (no_labels, &[], "matchLabels"),
        (APP.replace("kind: Deployment", "kind: CronJob"), &[], "but CronJob, Service"),
        ("kind: List\napiVersion: v1\nitems: []\n".to_owned(), &[], "a List cannot be edited"),
        (String::new(), &[], "the file is empty"),
        ("a: 1\nb: {{ .Values.b }}\n".to_owned(), &[], "line 2"),
        ("a: 1\na: 2\n".to_owned(), &[], "appears twice"),
        ("just text".to_owned(), &[], "an object without a kind"),
    ];
    for (text, arguments, part) in cases {
        let ran = inject(&text, arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{part}");
        assert!(ran.told.contains(part), "{part}: {}", ran.told);
    }
    let ran = init(&[REPO, "--inject=/no/such/file"], "");
    assert!(ran.code == Some(1) && ran.told.contains("cannot read /no/such/file"), "{}", ran.told);
}

/// A file of another's may be made to exhaust its reader. Work that grows with the square of the keys would take minutes.
#[test]
fn a_hostile_file_is_refused_at_once() {
    use std::fmt::Write as _;
    let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    let (mut keys, mut deep) = (String::new(), String::new());
    for depth in 0..1_000 {
        writeln!(deep, "{}a:", " ".repeat(depth)).unwrap();
    }
    for number in 1..30 {
        let before = format!("*a{}, ", number - 1).repeat(9);
        writeln!(aliases, "a{number}: &a{number} [{before}]").unwrap();
    }
    for number in 0..200_000 {
        writeln!(keys, "k{number}:").unwrap();
    }
    let cases = [
        ("[".repeat(100_000), "recursion limit"),
        (deep, "recursion limit"),
        (aliases, "an object without a kind"),
        (keys, "an object without a kind"),
        ("---\nkind: A\n".repeat(50_000), "but A\n"),
        ("x".repeat((8 << 20) + 1), "larger than 8 MiB"),
    ];
    let begin = std::time::Instant::now();
    for (text, part) in cases {
        let ran = inject(&text, &[]);
        assert!(ran.code == Some(1) && ran.told.contains(part), "{part}: {}", ran.told);
        assert!(ran.out.is_empty() && ran.told.len() < 2_000, "{part}: {} bytes", ran.told.len());
    }
    assert!(begin.elapsed() < std::time::Duration::from_secs(60), "{:?}", begin.elapsed());
}

/// The parts that are to be added by hand are whole.
#[test]
fn what_is_added_by_hand_is_told() {
    let ran = inject(&APP.replace("      volumes:\n", "      volumes: &all\n"), &["--private=app"]);
    let by_hand = ran.told.split("by hand").nth(1).unwrap();
    for part in ["- name: poll", "image: pushsync:", "secretName: shop-hook", "secretName: shop-git", "mountPath: /git"]
    {
        assert!(by_hand.contains(part), "{part}: {by_hand}");
    }
}

/// The real kubectl reads the result into its own types, as far as it does that without a cluster.
#[test]
fn kubectl_reads_what_is_printed() {
    let Some(kubectl) = kubectl() else { return };
    let folder = tempfile::tempdir().unwrap();
    let site = init(&[REPO, "--host=a.example", "--with=role,network-policy"], "").out;
    let app = inject(APP, &[]).out;
    for (name, text) in [("site", site), ("app", app)] {
        let file = folder.path().join(format!("{name}.yaml"));
        std::fs::write(&file, &text).unwrap();
        let mut command = std::process::Command::new(&kubectl);
        command
            .args(["annotate", "--local", "--dry-run=client", "--output=json", "checked=yes", "--filename"])
            .arg(&file);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read: Vec<Value> =
            serde_json::Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap).collect();
        assert_eq!(read.len(), strict::documents(&text).unwrap().len());
        for document in read {
            strict::check(&document).unwrap();
        }
    }
}
