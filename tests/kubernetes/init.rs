//! `pushsync init`: the manifests that it prints are those of k8s/sidecar, with the user's values in the right places.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::*;

const EXAMPLE: &str = "https://github.com/octocat/Spoon-Knife.git";

/// The result of one run.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub told: String,
}

impl Ran {
    /// The documents, each of which Kubernetes has a type for.
    pub fn documents(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{}", self.told);
        let documents = strict::documents(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out));
        for document in &documents {
            strict::check(document).unwrap_or_else(|error| panic!("{error}: {document}"));
        }
        documents
    }
}

pub fn init(arguments: &[&str], stdin: &str) -> Ran {
    use std::io::Write as _;
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushsync"));
    command.arg("init").args(arguments).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A run that is refused does not read it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), told: text(output.stderr) }
}

pub fn find<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is = |document: &&Value| document["kind"] == kind && document["metadata"]["name"] == name;
    documents.iter().find(is).unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn with_the_examples_values_it_writes_the_files_of_the_repository() {
    let folder = tempfile::tempdir().unwrap();
    let mut compared = Vec::new();
    let routes: [&[&str]; 2] = [
        &["--gateway=gateway-system/gateway", "--with=network-policy,pod-monitor", "--with=role"],
        &["--ingress-class=nginx"],
    ];
    for (number, route) in routes.iter().enumerate() {
        let output = folder.path().join(number.to_string());
        let mut arguments = vec!["--repo", EXAMPLE, "--name=site", "--host=site.example.com", "--output"];
        arguments.push(output.to_str().unwrap());
        arguments.extend(*route);
        let ran = init(&arguments, "");
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{}", ran.told);
        for entry in std::fs::read_dir(&output).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let made = std::fs::read_to_string(&path).unwrap();
            if name == "kustomization.yaml" {
                strict::check(&strict::documents(&made).unwrap()[0]).unwrap();
                continue;
            }
            let file = text(&format!("k8s/sidecar/{name}"));
            assert_eq!(strict::documents(&made).unwrap(), strict::documents(&file).unwrap(), "{name}");
            // Comments, too; only the one about the folder is left out.
            assert!(file.ends_with(&made) && file.len() - made.len() < 1000, "{name}");
            compared.push(name);
        }
        let again = init(&arguments, "");
        assert_eq!(again.code, Some(1));
        assert!(again.told.contains("deployment.yaml") && again.told.contains("--overwrite"), "{}", again.told);
        arguments.push("--overwrite");
        assert_eq!(init(&arguments, "").code, Some(0));
        if let Some(built) = kubectl().and_then(|_| overlays::built(output.to_str().unwrap())) {
            assert!(built.iter().any(|document| document["kind"] == "Deployment"));
        }
    }
    compared.sort();
    compared.dedup();
    let all =
        ["deployment", "httproute", "ingress", "networkpolicy", "poddisruptionbudget", "podmonitor", "role", "service"];
    assert_eq!(compared, all.map(|name| format!("{name}.yaml")), "every file of a site");
}

#[test]
fn names_labels_selectors_and_references_follow_the_name() {
    for route in ["--ingress-class=public", "--gateway=infra/public", "--gateway=public"] {
        let repo = "https://git.example/acme/Hand_Book.git";
        let ran = init(
            &[
                "--repo",
                repo,
                "-n=web",
                "--host=a.example",
                "--with=role,network-policy,pod-monitor",
                "--private=token",
                route,
            ],
            "",
        );
        let documents = ran.documents();
        assert_eq!(documents.len(), 11);
        let mut found = Vec::new();
        for document in &documents {
            overlays::strings(document, word(&document["kind"]), &mut found);
        }
        let left: Vec<_> = found.iter().filter(|(_, text)| text == "site" || text.starts_with("site-")).collect();
        assert_eq!(left, Vec::<&(String, String)>::new());
        for document in &documents {
            assert_eq!(document["metadata"]["namespace"], "web", "{document}");
            assert!(word(&document["metadata"]["name"]).starts_with("hand-book"), "{document}");
        }
        let deployment = find(&documents, "Deployment", "hand-book");
        assert_eq!(pods::objections(deployment), Vec::<String>::new());
        assert_eq!(flag(&container(deployment, "poll"), "peers").as_deref(), Some("hand-book-peers:8080"));
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        assert_eq!(labels, &json!({"app.kubernetes.io/name": "hand-book"}));
        for service in documents.iter().filter(|document| document["kind"] == "Service") {
            assert_eq!(&service["spec"]["selector"], labels);
        }
        if route == "--gateway=public" {
            let parents = &find(&documents, "HTTPRoute", "hand-book")["spec"]["parentRefs"];
            assert_eq!(parents, &json!([{"name": "public", "namespace": "web"}]));
        }
        for step in [
            "hand-book-hook -n web",
            "hand-book-git -n web",
            "https://a.example/webhook",
            "kubectl pushsync deployment/hand-book -n web",
        ] {
            assert!(ran.told.contains(step) && ran.out.contains(step), "{step}: {}", ran.told);
        }
    }
}

#[test]
fn the_program_understands_every_kind_of_access() {
    let cases = [
        ("https://git.example/a/b.git", "none", "", "git-secret"),
        ("https://git.example/a/b.git", "token", "--password-file=/etc/git/token", "/etc/git"),
        ("git@git.example:a/b.git", "ssh", "", "/etc/git-secret"),
        ("https://github.com/a/b.git", "app", "--github-app-private-key-file=/etc/git/private-key", "/etc/git"),
        ("https://git.example/a/b.git", "app", "--github-base-url=https://git.example/api/v3/", "/etc/git"),
    ];
    for (repo, access, argument, mount) in cases {
        let private = format!("--private={access}");
        let mut arguments = vec!["--repo", repo, "--ref=v1.2.3", "--replicas=1", &private];
        arguments.extend((access != "ssh").then_some("--lfs"));
        let documents = init(&arguments, "").documents();
        assert!(documents.iter().all(|document| document["kind"] != "PodDisruptionBudget"), "it would forbid a drain");
        let deployment = find(&documents, "Deployment", "b");
        assert_eq!(deployment["spec"]["replicas"], 1);
        assert_eq!(pods::objections(deployment), Vec::<String>::new());
        let mut poll = container(deployment, "poll");
        assert!(argument.is_empty() || list(&poll["args"]).contains(&json!(argument)), "{poll}");
        assert_eq!(list(&poll["args"]).contains(&json!("--lfs")), access != "ssh");
        let mounts = list(&poll["volumeMounts"]);
        assert_eq!(mounts.iter().any(|at| at["mountPath"] == mount && at["readOnly"] == true), access != "none");
        for mounted in &mounts {
            let volumes = list(&deployment["spec"]["template"]["spec"]["volumes"]);
            assert!(volumes.iter().any(|volume| volume["name"] == mounted["name"]), "{mounted}");
        }
        let mut variables = list(&poll["env"]);
        for variable in variables.iter_mut().filter(|variable| variable["valueFrom"].is_object()) {
            assert_eq!(variable["valueFrom"]["secretKeyRef"]["name"], "b-git");
            variable["value"] = json!("12345");
        }
        poll["env"] = json!(variables);
        if access == "ssh" {
            // The default places, where this machine has no files.
            assert_eq!(list(&poll["args"]).len(), 12, "no flag names them");
            for flag in ["ssh-key-file", "ssh-known-hosts-file"] {
                poll["args"].as_array_mut().unwrap().push(json!(format!("--{flag}=/etc/git/token")));
            }
        }
        pods::assert_understood(&poll);
    }
}

#[test]
fn values_that_yaml_would_take_for_something_else_stay_text() {
    for (reference, expected) in
        [("1234567", "1234567"), ("12e4567", "12e4567"), ("no", "no"), ("a$(HOME)", "a$$(HOME)")]
    {
        let documents =
            init(&["--repo=https://git.example/a/b.git", "--name=no", "--namespace=123", "--ref", reference], "");
        let documents = documents.documents();
        let poll = container(find(&documents, "Deployment", "no"), "poll");
        let of = |name: &str| list(&poll["env"]).into_iter().find(|variable| variable["name"] == name).unwrap();
        assert_eq!(of("PUSHSYNC_REF")["value"], expected);
        assert_eq!(documents[0]["metadata"]["namespace"], "123");
    }
}

#[test]
fn the_plugin_of_kubectl_has_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-pushsync");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pushsync"), &plugin).unwrap();
    let run = |words: &[&str]| {
        let output = Command::new(&plugin).args(words).env_clear().output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let arguments = ["--repo=https://git.example/a/b.git", "--replicas=3"];
    let printed = run(&[&["init"], &arguments[..]].concat());
    assert_eq!(printed, init(&arguments, "").out);
    assert!(run(&["help", "init"]).contains("pushsync init --repo URL"));
}

#[test]
fn every_problem_is_told_at_once_and_no_password_is_repeated() {
    let told = |arguments: &[&str], code: i32| {
        let ran = init(arguments, "");
        assert_eq!((ran.code, ran.out.as_str()), (Some(code), ""), "{arguments:?}: {}", ran.told);
        assert!(!ran.told.contains("hunter22"), "{}", ran.told);
        ran.told
    };
    assert!(told(&[], 1).contains("--repo is needed"));
    let many = told(
        &["--repo=https://me:hunter22@git.example/a.git", "--name=A", "--host=https://a", "--ref=a..b", "--image=a b"],
        1,
    );
    for part in ["--private token", "--name `A`", "--host `https://a`", "--ref `a..b`", "--image `a b`"] {
        assert!(many.contains(part), "{part}: {many}");
    }
    let repo = "--repo=https://git.example/a/b.git";
    for (arguments, part) in [
        (&["--private=ssh"][..], "--repo git@git.example:a/b.git"),
        (&["--private=hunter22"], "takes none, token, ssh or app"),
        (&["--replicas=0"], "from 1 to 1000"),
        (&["--with=all"], "takes network-policy"),
        (&["--gateway=a"], "needs --host"),
        (&["--mount=/a"], "needs --inject"),
        (&["--overwrite"], "needs --output"),
        (&["--inject=-", "--replicas=3"], "--replicas concerns a whole site"),
        (&["hunter22"], "an argument without a flag"),
        (&["--namespace=a\nb"], "--namespace"),
    ] {
        let told = told(&[&[repo], arguments].concat(), 1);
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(told(&[repo, "--nmae=x"], 2).contains("--nmae is not a flag"));
    assert!(told(&["--repo=git@git.example:a/b", "--lfs"], 1).contains("https"));
    assert!(told(&["--repo=https://git.example/123.git"], 1).contains("--name is needed"));
}
