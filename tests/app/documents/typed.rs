//! Each command of each block, whether it is run or not: known programs, flags that exist, files that are there.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;

use super::shell::{Call, calls};
use super::{blocks, top};
use crate::support::skip;

/// Programs and shell words that readers have, or install first, and whose arguments are not checked.
const OTHERS: &[&str] = &[
    "[",
    "basename",
    "cargo",
    "cat",
    "cd",
    "chmod",
    "command",
    "cosign",
    "docker",
    "echo",
    "export",
    "gh",
    "git",
    "head",
    "helm",
    "install",
    "jq",
    "k3s",
    "kill",
    "kind",
    "ln",
    "minikube",
    "mkdir",
    "mktemp",
    "od",
    "printf",
    "read",
    "readlink",
    "rm",
    "sha256sum",
    "sleep",
    "source",
    "ssh-keygen",
    "ssh-keyscan",
    "tar",
    "test",
    "tr",
    "umask",
];
const KUBECTL: &[&str] = &[
    "apply",
    "auth",
    "completion",
    "create",
    "delete",
    "describe",
    "exec",
    "get",
    "krew",
    "logs",
    "patch",
    "port-forward",
    "replace",
    "rollout",
    "set",
    "wait",
];

/// Returns the reason if a command is wrong.
fn objection(call: &Call, functions: &BTreeSet<String>) -> Result<(), String> {
    let words: Vec<&str> = call.words.iter().map(String::as_str).collect();
    match words[0] {
        "pushsync" | "/pushsync" => parses(false, &words[1..]),
        "kubectl" if words.get(1) == Some(&"pushsync") => parses(true, &words[2..]),
        "kubectl" => kubectl(call, &words),
        script if script.starts_with("scripts/") => {
            let found = std::fs::metadata(top().join(script));
            let runs = found.is_ok_and(|found| found.permissions().mode() & 0o111 != 0);
            if runs { Ok(()) } else { Err(format!("{script} is no program of this repository")) }
        }
        name if OTHERS.contains(&name) || functions.contains(name) => files(&words),
        name => Err(format!("`{name}` is a program that no test knows")),
    }
}

/// The real parser takes the arguments.
fn parses(plugin: bool, words: &[&str]) -> Result<(), String> {
    let tree = pushsync::cli::tree(plugin).no_binary_name(true);
    match tree.try_get_matches_from(words) {
        Err(error) if error.use_stderr() => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Files that flags name are in the repository, if they look like ours.
fn files(words: &[&str]) -> Result<(), String> {
    let ours = ["k8s/", "charts/", "examples/", "docs/", "scripts/"];
    for word in words.iter().filter(|word| ours.iter().any(|start| word.starts_with(start))) {
        if !top().join(word).exists() {
            return Err(format!("{word} does not exist"));
        }
    }
    Ok(())
}

fn kubectl(call: &Call, words: &[&str]) -> Result<(), String> {
    let mut rest = &words[1..];
    while let [flag, _, more @ ..] = rest
        && flag.starts_with('-')
    {
        rest = more;
    }
    let verb = rest.first().copied().unwrap_or_default();
    if !KUBECTL.contains(&verb) {
        return Err(format!("kubectl {verb} is not known here"));
    }
    files(words)?;
    for (flag, value) in words.iter().zip(words.iter().skip(1)).filter(|(flag, _)| ["-f", "-k"].contains(*flag)) {
        if *value != "-" && !top().join(value).exists() {
            return Err(format!("{flag} {value} does not exist"));
        }
    }
    if let Some(split) = words.iter().position(|word| *word == "--")
        && words.get(split + 1) == Some(&"/pushsync")
    {
        parses(false, &words[split + 2..])?;
    }
    match &call.input {
        Some(patch) if verb == "patch" => patches(patch),
        _ => Ok(()),
    }
}

/// A name in `source` that is not in `back`.
pub fn lost(source: &Value, back: &Value) -> Option<String> {
    match source {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match back.get(name) {
            None => Some(name.clone()),
            Some(back) => lost(value, back),
        }),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| lost(item, &back[index])),
        _ => None,
    }
}

/// kubectl can apply the patch to our Deployment, and every name in it is one that the type has.
fn patches(patch: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(top().join("k8s/sidecar/deployment.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let site = documents.into_iter().find(|document| document["kind"] == "Deployment").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deployment.json");
    std::fs::write(&file, site.to_string()).unwrap();
    let mut command = Command::new("kubectl");
    command.args(["patch", "--local", "--patch-file=/dev/stdin", "--output=json", "--filename"]).arg(&file);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        skip("kubectl on the PATH");
        return Ok(());
    };
    child.stdin.take().unwrap().write_all(patch.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let patched: Value = serde_json::from_slice(&output.stdout).unwrap();
    let pod = &patched["spec"]["template"]["spec"];
    let ours: Vec<Value> = serde_saphyr::from_multiple(patch).map_err(|error| error.to_string())?;
    let typed: PodSpec =
        serde_json::from_value(ours[0]["spec"]["template"]["spec"].clone()).map_err(|error| error.to_string())?;
    let back = serde_json::to_value(typed).unwrap();
    if let Some(name) = lost(&ours[0]["spec"]["template"]["spec"], &back) {
        return Err(format!("`{name}` is no field"));
    }
    let poll = &pod["initContainers"][0];
    // With one flag more, that one and files that are not mounted here are the only things that the program minds.
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushsync"));
    command.env_clear().arg("--no-such-flag");
    let variables = poll["env"].as_array().unwrap().iter();
    // The kubelet reads these from the Secret. A number is valid for each id that the pages keep there.
    let value = |each: &'_ Value| match each["valueFrom"]["secretKeyRef"]["key"].as_str() {
        Some(_) => "12345".to_owned(),
        None => each["value"].as_str().unwrap_or_default().to_owned(),
    };
    let variables: Vec<(String, String)> =
        variables.map(|each| (each["name"].as_str().unwrap().to_owned(), value(each))).collect();
    command.envs(variables.iter().cloned());
    for argument in poll["args"].as_array().unwrap() {
        // As the kubelet does it.
        let expand = |text: String, (name, value): &(String, String)| text.replace(&format!("$({name})"), value);
        command.arg(variables.iter().fold(argument.as_str().unwrap().to_owned(), expand));
    }
    let told = String::from_utf8(command.output().unwrap().stderr).unwrap();
    let problems = told.lines().filter(|line| line.starts_with("  "));
    let others: Vec<&str> =
        problems.filter(|line| !line.contains("--no-such-flag") && !line.contains("/etc/")).collect();
    if others.is_empty() && told.contains("--no-such-flag") { Ok(()) } else { Err(told) }
}

#[test]
fn every_command_is_one_that_its_program_takes() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for block in blocks() {
        let calls = calls(&block.text);
        // `name() {` defines a function.
        let defined = block.text.lines().filter_map(|line| line.trim_start().split_once("() {"));
        let functions: BTreeSet<String> = defined.map(|(name, _)| name.to_owned()).collect();
        for call in &calls {
            seen += 1;
            if let Err(problem) = objection(call, &functions) {
                wrong.push(format!("{}: {:?}: {problem}", block.place, call.words));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 100, "{seen}");
}

#[test]
fn what_is_wrong_in_a_command_is_found() {
    let judged = |text: &str| objection(&calls(text).remove(0), &BTreeSet::new());
    for text in [
        "pushsync dashboard deploy/x --once",
        "kubectl pushsync pause deploy/x --for 2h",
        "kubectl exec deploy/x -- /pushsync dashboard --url :9180",
        "kubectl -n prod apply -f k8s/sidecar/job.yaml",
        "scripts/make-secret",
        "kubectl patch deployment site --patch-file=/dev/stdin <<'END'\nspec: {template: {spec: {initContainers: [{name: poll, env: [{name: PUSHSYNC_SYNC_TIMEOUT, value: 9s}]}]}}}\nEND",
    ] {
        assert_eq!(judged(text), Ok(()), "{text}");
    }
    for text in [
        "pushsync dashboard deploy/x --no-such-flag",
        "kubectl pushsync pause deploy/x --for soon",
        "kubectl exec deploy/x -- /pushsync dashboard --url",
        "kubectl apply -f k8s/sidecar/missing.yaml",
        "kubectl aply -f k8s/sidecar/job.yaml",
        "scripts/missing",
        "nosuchprogram",
        "kubectl patch deployment site --patch-file=/dev/stdin <<'END'\nspec: {replicas: [}\nEND",
        "kubectl patch deployment site --patch-file=/dev/stdin <<'END'\nspec: {template: {spec: {initContainers: [{name: poll, env: [{name: PUSHSYNC_SYNC_TIMEOUT, value: soon}]}]}}}\nEND",
        "kubectl patch deployment site --patch-file=/dev/stdin <<'END'\nspec: {template: {spec: {initContainers: [{name: poll, volumeMount: []}]}}}\nEND",
    ] {
        assert!(judged(text).is_err() || !kubectl_is_there(), "{text}");
    }
}

fn kubectl_is_there() -> bool {
    Command::new("kubectl").arg("version").arg("--client").output().is_ok()
}
