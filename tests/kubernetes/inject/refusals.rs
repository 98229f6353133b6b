//! The validating policy beside the mutating one: annotations without effect are refused when a workload is applied.

use serde_json::json;

use super::*;

/// The messages of the validations that this Deployment does not pass.
fn refused(deployment: &Value) -> Vec<String> {
    let policy = document("ValidatingAdmissionPolicy", "pushsync-inject");
    if !matches(&policy, deployment) {
        return Vec::new();
    }
    let variables = variables(&policy, deployment);
    let run = |expression: &Value| cel::evaluate(word(expression), deployment, &variables).unwrap();
    list(&policy["spec"]["validations"])
        .iter()
        .filter(|validation| run(&validation["expression"]) != true)
        .map(|validation| {
            let computed = &validation["messageExpression"];
            if computed.is_null() { word(&validation["message"]).to_owned() } else { word(&run(computed)).to_owned() }
        })
        .collect()
}

#[test]
fn the_example_is_accepted_and_so_is_every_workload_without_annotations() {
    let example = document("Deployment", "reader");
    assert!(matches(&document("ValidatingAdmissionPolicy", "pushsync-inject"), &example));
    assert_eq!(refused(&example), Vec::<String>::new());
    let mut other = document("Deployment", "worker");
    assert_eq!(refused(&other), Vec::<String>::new());
    other["metadata"]["annotations"] = json!({ "note": "x" });
    assert_eq!(refused(&other), Vec::<String>::new());
}

#[test]
fn each_mistake_gets_its_message() {
    let repo = ("pushsync.dev/repo", "https://git.example.com/a.git");
    for (annotations, message) in [
        (vec![("pushsync.dev/ref", "main")], "pushsync.dev/repo must be the address of a repository"),
        (vec![("pushsync.dev/repo", "a b")], "pushsync.dev/repo must be the address of a repository"),
        (
            vec![repo, ("pushsync.dev/branch", "x")],
            "there is no annotation pushsync.dev/branch; see docs/kubernetes.md of pushsync",
        ),
        (vec![repo, ("pushsync.dev/ref", "")], "pushsync.dev/ref must be a branch, a tag or a hash"),
        (
            vec![repo, ("pushsync.dev/mount-path", "site")],
            "pushsync.dev/mount-path must be an absolute path, and not the root",
        ),
        (vec![repo, ("pushsync.dev/container", "web")], "pushsync.dev/container: there is no container web"),
        (
            vec![repo, ("pushsync.dev/hook-secret", "h"), ("pushsync.dev/peers", "app")],
            "pushsync.dev/peers must be the name of a headless Service and its port, like app-peers:8080",
        ),
        (
            vec![repo, ("pushsync.dev/peers", "app:8080")],
            "pushsync.dev/peers needs pushsync.dev/hook-secret, with which the replicas sign their messages",
        ),
    ] {
        let mut example = document("Deployment", "reader");
        let given: serde_json::Map<String, Value> =
            annotations.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        example["spec"]["template"]["metadata"]["annotations"] = Value::Object(given);
        assert_eq!(refused(&example), [message], "{annotations:?}");
    }
}

#[test]
fn annotations_of_the_workload_itself_and_taken_ports_are_refused() {
    let mut misplaced = document("Deployment", "reader");
    misplaced["metadata"]["annotations"] = misplaced["spec"]["template"]["metadata"]["annotations"].clone();
    misplaced["spec"]["template"]["metadata"].as_object_mut().unwrap().remove("annotations");
    assert!(refused(&misplaced)[0].contains("belong to the pods"), "{:?}", refused(&misplaced));

    let port = |number: u16, hook: bool| {
        let mut example = document("Deployment", "reader");
        example["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{ "containerPort": number }]);
        if hook {
            example["spec"]["template"]["metadata"]["annotations"]["pushsync.dev/hook-secret"] = json!("h");
        }
        refused(&example).len()
    };
    assert_eq!((port(8081, false), port(8080, false), port(8080, true), port(8000, true)), (1, 0, 1, 0));
}
