//! The next steps that `pushsync init` prints: their commands run as they are printed, make what the manifests mount, and make
//! the same Secrets as the task page.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::init::{find, init};
use super::*;
use crate::support::repo::Repo;

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
        let secret = commands(&ran.told, "(umask 077; head");
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

/// Stands for kubectl: has the Secret, and forwards until it is stopped.
const KUBECTL: &str = "#!/bin/sh\ncase \"$*\" in\n\
    'get secret b-hook -n web '*) printf 0123456789abcdef0123456789abcdef | base64 ;;\n\
    'port-forward service/b-hook -n web 8080:80') echo $$ > forward; exec sleep 60 ;;\n\
    *) echo \"not expected: $*\" >&2; exit 1 ;;\nesac\n";

/// Answers one request with 202 and returns it.
fn receive(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (mut received, mut part) = (Vec::new(), [0; 4096]);
    while !received.ends_with(b"}") {
        let length = stream.read(&mut part).unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&part[..length]);
    }
    let answer = r#"{"queued":true,"reason":"the followed ref was pushed to"}"#;
    write!(stream, "HTTP/1.1 202 Accepted\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}", answer.len())
        .unwrap();
    String::from_utf8(received).unwrap()
}

#[test]
fn the_job_announces_its_own_commit_and_leaves_nothing_behind() {
    let told = init(&["--repo=https://git.example/a/b.git", "--ref=main", "--namespace=web"], "").told;
    let step = told.split_once("a CI job can announce a push.\n").unwrap().1;
    let script: String =
        step.lines().map_while(|line| line.strip_prefix("     ")).flat_map(|line| [line, "\n"]).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = script.replace(":8080/", &format!(":{}/", listener.local_addr().unwrap().port()));
    let repo = Repo::new();
    let folder = tempfile::tempdir().unwrap();
    let kubectl = folder.path().join("kubectl");
    fs::write(&kubectl, KUBECTL).unwrap();
    fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pushsync"), folder.path().join("pushsync")).unwrap();
    let mut path = folder.path().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-euc", &script]).current_dir(repo.work()).env_clear().env("PATH", path);
    let received = std::thread::spawn(move || receive(&listener));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("202"), "{script}\n{said}");
    let received = received.join().unwrap();
    let body: Value = serde_json::from_str(received.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((word(&body["ref"]), word(&body["after"])), ("refs/heads/main", repo.head().as_str()));
    assert!(!repo.work().join("hook-secret").exists(), "the secret stays");
    let forward = fs::read_to_string(repo.work().join("forward")).unwrap();
    // Killed, it may still wait for whichever process adopted it to notice: `Z` behind the name in parentheses.
    let is_running = || match fs::read_to_string(Path::new("/proc").join(forward.trim()).join("stat")) {
        Ok(stat) => !stat.rsplit(')').next().unwrap().starts_with(" Z"),
        Err(_) => false,
    };
    let end = Instant::now() + Duration::from_secs(5);
    while is_running() {
        assert!(Instant::now() < end, "the port-forward runs on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_tag_is_announced_by_its_own_name_and_a_commit_not_at_all() {
    let told = |reference: &str| init(&["--repo=https://git.example/a/b.git", "--ref", reference], "").told;
    assert!(told("v1.2").contains("If v1.2 is a tag, its name below is refs/tags/v1.2."));
    for tag in ["refs/tags/v1.2", "tags/v1.2"] {
        let told = told(tag);
        assert!(told.contains(" --ref refs/tags/v1.2 ") && !told.contains("is a tag"), "{told}");
    }
    assert!(told("heads/next").contains(" --ref refs/heads/next "));
    assert!(!told("main").contains("tag"));
    let commit = told(&"1".repeat(40));
    assert!(commit.contains("--ref is a commit, which never changes"), "{commit}");
    assert!(!commit.contains("hook-secret") && !commit.contains("ping"), "{commit}");
}

#[test]
fn each_file_of_a_secret_is_removed_after_its_use() {
    for (arguments, files) in [
        (&["--private=token"][..], &["hook-secret", "token"][..]),
        (&["--private=app"], &["hook-secret", "key.pem"]),
        (&["--host=a.example"], &["hook-secret"]),
    ] {
        let told = init(&[&["--repo=https://github.com/a/b.git"], arguments].concat(), "").told;
        for file in files {
            let uses = told.rfind(&format!("={file}\n")).unwrap();
            assert!(told[uses..].contains(&format!(" rm {file}\n")), "{file}: {told}");
        }
    }
    let told = init(&["--repo=git@git.example:a/b.git"], "").told;
    let order =
        ["ssh-keygen -lf known_hosts", "cat deploy-key.pub", "kubectl create secret generic b-git", "rm deploy-key"];
    let places = order.map(|part| told.find(part).unwrap_or_else(|| panic!("no `{part}`: {told}")));
    assert!(places.is_sorted(), "{told}");
}

/// zsh takes a `#` in a pasted line as an argument, and a name that the user did not choose is no file of the user's.
#[test]
fn the_manifests_are_applied_by_the_name_that_they_have() {
    let told = init(&["--repo=https://git.example/a/b.git"], "").told;
    assert_eq!(commands(&told, "kubectl apply"), ["kubectl apply -f FILE"], "{told}");
    assert!(told.contains("FILE is the file with these manifests."), "{told}");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("site").display().to_string();
    let told = init(&["--repo=https://git.example/a/b.git", "--output", &folder], "").told;
    assert_eq!(commands(&told, "kubectl apply"), [format!("kubectl apply -k {folder}")], "{told}");
    assert!(!told.contains("FILE") && !told.contains('#'), "{told}");
}
