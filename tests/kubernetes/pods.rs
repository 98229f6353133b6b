//! Every pod: the program understands what it is told there, and the restricted pod security standard lets it in.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use super::*;

fn workloads() -> Vec<Value> {
    let is = |document: &Value| matches!(word(&document["kind"]), "Deployment" | "Job");
    let found: Vec<Value> = documents().into_iter().filter(is).collect();
    assert_eq!(found.len(), 5);
    found
}

/// Containers of our image.
fn ours() -> Vec<Value> {
    let is = |container: &Value| word(&container["image"]).starts_with("pushsync:");
    let found: Vec<Value> = workloads().iter().flat_map(containers).filter(is).collect();
    assert_eq!(found.len(), 2);
    found
}

fn pushsync(arguments: &[&str], environment: &[(String, String)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushsync"));
    let output = command.env_clear().envs(environment.iter().cloned()).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// The names of the flags of `pushsync run`, as it tells them itself.
pub fn flags() -> BTreeSet<String> {
    let (code, help) = pushsync(&["run", "--help"], &[]);
    assert_eq!(code, Some(0));
    help.split(|c: char| c.is_whitespace() || matches!(c, ',' | '['))
        .filter_map(|word| word.strip_prefix("--"))
        .map(|word| word.split(['=', '.', ';']).next().unwrap_or(word).to_owned())
        .collect()
}

#[test]
fn every_flag_is_one_that_the_program_has() {
    let flags = flags();
    assert!(flags.contains("repo") && flags.contains("hook-secret-file") && flags.len() > 20, "{flags:?}");
    for container in ours() {
        for argument in list(&container["args"]) {
            let name = word(&argument).strip_prefix("--").and_then(|rest| rest.split('=').next()).unwrap_or_default();
            assert!(flags.contains(name), "{argument} of {}", container["name"]);
        }
    }
}

/// The values, too: with one flag more that does not exist, that one must be the only thing it minds. Nothing starts.
#[test]
fn every_value_is_one_that_the_program_takes() {
    for container in ours() {
        assert_understood(&container);
    }
}

/// Fails if the program minds anything in this container's arguments and variables.
pub fn assert_understood(container: &Value) {
    // The files of mounted Secrets are read at the start.
    let secrets = tempfile::tempdir().unwrap();
    for key in ["token", "private-key"] {
        std::fs::write(secrets.path().join(key), "content").unwrap();
    }
    let mounted = format!("={}/", secrets.path().display());
    let arguments = arguments(container);
    let arguments: Vec<String> = arguments.iter().map(|each| each.replace("=/etc/git/", &mounted)).collect();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.push("--no-such-flag");
    let environment: Vec<_> = list(&container["env"])
        .iter()
        .map(|variable| (word(&variable["name"]).to_owned(), word(&variable["value"]).to_owned()))
        .collect();
    let (code, told) = pushsync(&arguments, &environment);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.starts_with("pushsync: a problem with") && told.contains("--no-such-flag"), "{told}");
}

#[test]
fn the_probes_ask_for_what_is_served() {
    let site = document("Deployment", "site");
    let poll = container(&site, "poll");
    for (probe, path) in [("startupProbe", "/startupz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")] {
        assert_eq!(poll[probe]["httpGet"], json!({ "path": path, "port": "health" }));
    }
    let app = container(&site, "app");
    for probe in ["readinessProbe", "livenessProbe"] {
        assert_eq!(app[probe]["httpGet"], json!({ "path": "/-/alive", "port": "http" }));
    }
    assert!(text("k8s/sidecar/httpd.conf").contains("Redirect 204 \"/-/alive\""));
    assert!(text("k8s/overlays/nginx/nginx.conf").contains("location = /-/alive {"));
}

/// Violations of the restricted pod security standard, and of our additional rules.
pub fn objections(workload: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            found.push(what);
        }
    };
    let pod = &workload["spec"]["template"]["spec"];
    for field in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
        must(pod[field].is_null(), format!("{field} is set"));
    }
    must(pod["automountServiceAccountToken"] == false, "a token is mounted".to_owned());
    let either = |container: &Value, field: &str| {
        let own = &container["securityContext"][field];
        if own.is_null() { pod["securityContext"][field].clone() } else { own.clone() }
    };
    for container in containers(workload) {
        let name = word(&container["name"]);
        let own = &container["securityContext"];
        must(either(&container, "runAsNonRoot") == true, format!("{name} may run as root"));
        must(either(&container, "runAsUser").as_u64().is_some_and(|user| user > 0), format!("{name} has no user"));
        let profile = either(&container, "seccompProfile");
        must(profile["type"] == "RuntimeDefault", format!("{name} has no seccomp profile"));
        must(own["allowPrivilegeEscalation"] == false, format!("{name} may escalate"));
        must(own["privileged"] != true, format!("{name} is privileged"));
        must(own["capabilities"] == json!({ "drop": ["ALL"] }), format!("{name} has capabilities"));
        must(own["readOnlyRootFilesystem"] == true, format!("{name} may write to its root"));
        must(
            list(&container["ports"]).iter().all(|port| port["hostPort"].is_null()),
            format!("{name} has a host port"),
        );
        must(container["resources"]["limits"]["memory"].is_string(), format!("{name} has no limit"));
        must(container["resources"]["requests"]["memory"].is_string(), format!("{name} requests nothing"));
    }
    let kinds =
        ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];
    for volume in list(&pod["volumes"]) {
        let of = volume.as_object().unwrap().keys().filter(|key| *key != "name");
        must(of.clone().count() == 1 && of.clone().all(|kind| kinds.contains(&kind.as_str())), format!("{volume}"));
        let bounded = volume["emptyDir"].is_null() || volume["emptyDir"]["sizeLimit"].is_string();
        must(bounded, format!("{} has no size limit", volume["name"]));
    }
    found
}

#[test]
fn the_restricted_standard_lets_every_pod_in() {
    for workload in workloads() {
        assert_eq!(objections(&workload), Vec::<String>::new(), "{}", workload["metadata"]["name"]);
    }
}

#[test]
fn each_weakening_is_an_objection() {
    let site = document("Deployment", "site");
    let pod = "/spec/template/spec";
    let weaker = [
        ("hostNetwork", pod.to_owned(), json!(true)),
        ("automountServiceAccountToken", pod.to_owned(), json!(true)),
        ("runAsNonRoot", format!("{pod}/securityContext"), json!(false)),
        ("runAsUser", format!("{pod}/securityContext"), json!(0)),
        ("seccompProfile", format!("{pod}/securityContext"), json!({ "type": "Unconfined" })),
        ("allowPrivilegeEscalation", format!("{pod}/containers/0/securityContext"), json!(true)),
        ("privileged", format!("{pod}/initContainers/0/securityContext"), json!(true)),
        (
            "capabilities",
            format!("{pod}/initContainers/0/securityContext"),
            json!({ "drop": ["ALL"], "add": ["CHOWN"] }),
        ),
        ("readOnlyRootFilesystem", format!("{pod}/containers/0/securityContext"), json!(false)),
        ("runAsUser", format!("{pod}/containers/0/securityContext"), json!(0)),
        ("resources", format!("{pod}/containers/0"), json!({})),
        ("emptyDir", format!("{pod}/volumes/0"), json!({})),
        ("hostPath", format!("{pod}/volumes/0"), json!({ "path": "/" })),
        ("hostPort", format!("{pod}/containers/0/ports/0"), json!(80)),
    ];
    for (field, at, value) in weaker {
        let mut changed = site.clone();
        changed.pointer_mut(&at).unwrap()[field] = value;
        assert!(!objections(&changed).is_empty(), "{at}/{field}");
    }
}
