//! The next steps that `pushsync init` prints: their commands run as they are printed, make what the manifests mount, and make
//! the same Secrets as the task page.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use super::init::{find, init};
use super::*;

/// The lines of the steps that begin with a word, without their indentation.
fn commands<'a>(told: &'a str, start: &str) -> Vec<&'a str> {
    told.lines().map(str::trim).filter(|line| line.starts_with(start)).collect()
}

/// Keys of a Secret that the Deployment needs: files of its volume that a flag names, and variables.
fn needed(deployment: &Value, secret: &str) -> Vec<String> {
    let poll = container(deployment, "poll");
    let volumes = list(&deployment["spec"]["template"]["spec"]["volumes"]);
    let volume = volumes.iter().find(|volume| volume["secret"]["secretName"] == secret).unwrap();
    let mounts = list(&poll["volumeMounts"]);
    let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]).unwrap();
    let folder = format!("{}/", word(&mount["mountPath"]));
    let flags = arguments(&poll);
    let files = flags.iter().filter_map(|flag| flag.split_once('=')?.1.strip_prefix(&folder)).map(str::to_owned);
    let variables = list(&poll["env"]);
    let variables = variables.iter().map(|variable| &variable["valueFrom"]["secretKeyRef"]);
    let variables = variables.filter(|key| key["name"] == secret).map(|key| word(&key["key"]).to_owned());
    let usual =
        if folder == "/etc/git-secret/" { vec!["ssh".to_owned(), "known_hosts".to_owned()] } else { Vec::new() };
    files.filter(|key| key != "previous").chain(variables).chain(usual).collect()
}

#[test]
fn the_commands_make_the_secrets_that_are_mounted() {
    if kubectl().is_none() {
        return;
    }
    let cases = [
        ("https://git.example/a/b.git", "token"),
        ("git@git.example:a/b.git", "ssh"),
        ("https://github.com/a/b.git", "app"),
    ];
    for (repo, access) in cases {
        let ran = init(&["--repo", repo, "--private", access, "--namespace=web"], "");
        let documents = ran.documents();
        let deployment = find(&documents, "Deployment", "b");
        let folder = tempfile::tempdir().unwrap();
        let shell = |command: &str| {
            let output = Command::new("sh").args(["-euc", command]).current_dir(folder.path()).output().unwrap();
            assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        // Files that the user has, or that a command makes for which a network or time is needed.
        for name in ["token", "key.pem", "deploy-key", "known_hosts"] {
            fs::write(folder.path().join(name), "content").unwrap();
        }
        let secret = commands(&ran.told, "(umask");
        assert_eq!(secret.len(), 1, "{}", ran.told);
        shell(secret[0]);
        let file = folder.path().join("hook-secret");
        let made = fs::read_to_string(&file).unwrap();
        assert!(made.len() == 64 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0, "others may read the secret");

        let creations = commands(&ran.told, "kubectl create secret");
        assert_eq!(creations.len(), 2, "{}", ran.told);
        for (creation, name) in creations.iter().zip(["b-hook", "b-git"]) {
            let made = shell(&format!("{creation} --dry-run=client --output=json"));
            let made: Value = serde_json::from_slice(&made).unwrap();
            assert_eq!((word(&made["metadata"]["name"]), word(&made["metadata"]["namespace"])), (name, "web"));
            let mut keys: Vec<String> = made["data"].as_object().unwrap().keys().cloned().collect();
            let mut needed = needed(deployment, name);
            keys.sort();
            needed.sort();
            assert_eq!(keys, needed, "{access} {name}");
        }
    }
}

/// The name of the Secret that a command makes, and its keys.
fn made_by(command: &str) -> (String, Vec<String>) {
    let words = command.split_once("secret generic ").unwrap().1.split_whitespace().collect::<Vec<_>>();
    let keys = words.iter().filter_map(|word| word.strip_prefix("--from-")?.split('=').nth(1)).map(str::to_owned);
    (words[0].to_owned(), keys.collect())
}

#[test]
fn the_task_page_makes_the_same_secrets() {
    let page = fs::read_to_string("docs/tasks/private-repositories.md").unwrap();
    for (section, repo, access) in [
        ("Token", "https://git.example/a/b.git", "token"),
        ("Deploy key", "git@git.example:a/b.git", "ssh"),
        ("GitHub App", "https://github.com/a/b.git", "app"),
    ] {
        let told = init(&["--repo", repo, "--private", access, "--name=site"], "").told;
        let expected = made_by(commands(&told, "kubectl create secret generic site-git")[0]);
        let section = page.split("\n## ").find(|part| part.starts_with(section)).unwrap();
        for command in commands(section, "kubectl create secret") {
            assert_eq!(made_by(command), expected, "{access}");
        }
        assert!(section.contains("{secretName: site-git, defaultMode: 288}"), "{access}");
        // The files are where the manifests of `init` have them.
        for line in section.lines().filter(|line| line.contains("_FILE, value: ")) {
            let file = line.rsplit('/').next().unwrap().trim_end_matches('}');
            assert!(expected.1.contains(&file.to_owned()), "{access}: {line}");
        }
    }
}

#[test]
fn the_ping_is_one_that_the_program_takes() {
    let ran = init(&["--repo=https://git.example/a/b.git"], "");
    let pings = commands(&ran.told, "pushsync ping");
    assert_eq!(pings.len(), 1, "{}", ran.told);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("hook-secret"), "0123456789abcdef0123456789abcdef").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushsync"));
    // Port 9, discard: nothing listens there.
    let words = pings[0].replace(":8080", ":9");
    command.args(words.split(' ').skip(1)).current_dir(folder.path()).env_clear();
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("Sending a signed push") && told.contains("/webhook"), "{told}");
}
