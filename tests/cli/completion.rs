//! The completion scripts in real shells, and the protocol by which kubectl completes its plugins.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use portable_pty::CommandBuilder;
use tempfile::TempDir;

use super::{pushsync, stdout};
use crate::support::pty::Pty;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_pushsync"))
}

/// A folder with the program under all its names, and a kubectl that knows two deployments.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["pushsync", "kubectl-pushsync", "kubectl_complete-pushsync"] {
        symlink(program(), folder.path().join(name)).unwrap();
    }
    let kubectl = folder.path().join("kubectl");
    let script = "#!/bin/sh\necho \"$*\" >> \"$(dirname \"$0\")/calls\"\ncase \"$*\" in\n\
                  *'get deploy '*) printf 'deployment.apps/web\\ndeployment.apps/worker\\n' ;;\n\
                  *get-contexts*) echo arn:aws:eks:eu-1:1:cluster/prod ;;\n*) exit 1 ;;\nesac\n";
    fs::write(&kubectl, script).unwrap();
    fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn path(folder: &TempDir) -> String {
    format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap())
}

/// True if the shell is installed. The tests of a missing one say so, and prove nothing.
fn has(shell: &str) -> bool {
    let there = Command::new(shell).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        eprintln!("SKIPPED: {shell} is not installed, so its completion is not tested here");
    }
    there
}

fn script(shell: &str) -> String {
    let output = pushsync(&["completion", shell], &[]);
    assert!(output.status.success() && output.stderr.is_empty());
    stdout(&output)
}

fn complete(folder: &TempDir, name: &str, words: &[&str]) -> Output {
    Command::new(folder.path().join(name)).args(words).env("PATH", path(folder)).output().unwrap()
}

#[test]
fn the_scripts_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let file = folder.path().join(shell);
        fs::write(&file, script(shell)).unwrap();
        if has(shell) {
            let checked = Command::new(shell).arg("-n").arg(&file).output().unwrap();
            assert!(checked.status.success(), "{shell}: {}", String::from_utf8_lossy(&checked.stderr));
        }
    }
}

/// Types a line into an interactive shell, tabs included, until the screen shows what it is completed to.
fn types(shell: &str, arguments: &[&str], setup: &str, line: &str, expected: &str) {
    let folder = folder();
    let mut command = CommandBuilder::new(shell);
    command.args(arguments);
    command.cwd(folder.path());
    for (name, value) in [("PATH", path(&folder).as_str()), ("TERM", "dumb"), ("HOME", "/nowhere")] {
        command.env(name, value);
    }
    // Its end takes the shell along.
    let mut pty = Pty::run(120, 40, command);
    pty.keys(&format!("{setup}; source <(pushsync completion {shell}); PS1='ready'$((1 + 1))'> '\r"));
    pty.shows("ready2>");
    pty.keys(line);
    pty.shows(expected);
}

/// Lines with tabs, and what they become.
const LINES: [(&str, &str); 4] = [
    ("pushsync sta\t#", "> pushsync status #"),
    ("pushsync status dep\tweb -n prod --out\tj\t#", "> pushsync status deploy/web -n prod --output json #"),
    ("pushsync wait deploy/wo\t--output=j\t#", "> pushsync wait deploy/worker --output=json #"),
    ("kubectl-pushsync un\tdeploy wo\t--url :9180 --ti\t#", "unpin deploy worker --url :9180 --timeout #"),
];

#[test]
fn bash_completes_commands_targets_and_values() {
    if has("bash") {
        for (line, expected) in LINES {
            types("bash", &["--norc", "--noprofile", "-i"], ":", line, expected);
        }
    }
}

#[test]
fn zsh_completes_commands_targets_and_values() {
    if has("zsh") {
        for (line, expected) in LINES {
            types("zsh", &["-f", "-i"], "autoload -Uz compinit; compinit -u -D", line, expected);
        }
    }
}

#[test]
fn fish_completes_commands_targets_and_values() {
    if !has("fish") {
        return;
    }
    let folder = folder();
    let file = folder.path().join("pushsync.fish");
    fs::write(&file, script("fish")).unwrap();
    let asked = |line: &str| {
        let command = format!("source {}; complete -C '{line}'", file.display());
        let output = Command::new("fish")
            .args(["--no-config", "-c", &command])
            .env("PATH", path(&folder))
            .env("HOME", folder.path())
            .current_dir(folder.path())
            .output()
            .unwrap();
        stdout(&output)
    };
    assert!(asked("pushsync sta").starts_with("status\tPrints the replicas"), "{}", asked("pushsync sta"));
    assert_eq!(asked("pushsync status deploy/w"), "deploy/web\ndeploy/worker\n");
    assert_eq!(asked("pushsync status --output=j"), "--output=json\n");
    fs::create_dir(folder.path().join("folder")).unwrap();
    assert!(asked("pushsync man fo").starts_with("folder/"), "{}", asked("pushsync man fo"));
    assert_eq!(
        asked("pushsync status --token-file=kube"),
        "--token-file=kubectl\n--token-file=kubectl-pushsync\n--token-file=kubectl_complete-pushsync\n"
    );
}

#[test]
fn kubectl_is_answered_under_the_name_that_it_calls() {
    let folder = folder();
    let answer = |words: &[&str]| stdout(&complete(&folder, "kubectl_complete-pushsync", words));
    assert!(answer(&["sta"]).starts_with("status\tPrints the replicas"));
    assert!(answer(&["sta"]).ends_with("\n:4\n"));
    assert_eq!(answer(&["unpin", "deploy/w",]), "deploy/web\ndeploy/worker\n:4\n");
    assert_eq!(answer(&["status", "-n", "prod", "deploy", "wo"]), "worker\n:4\n");
    let calls = fs::read_to_string(folder.path().join("calls")).unwrap();
    assert_eq!(calls.lines().last(), Some("get deploy --output=name --request-timeout=2s --namespace=prod"));
    assert_eq!(answer(&["status", "--context", ""]), "arn:aws:eks:eu-1:1:cluster/prod\n:4\n");
    assert_eq!(answer(&["status", "sts/"]), ":4\n", "kubectl failed");
    // The same through the plugin, as scripts for plugins made with cobra call it.
    assert_eq!(stdout(&complete(&folder, "kubectl-pushsync", &["__complete", "completion", "z"])), "zsh\n:4\n");
}

#[test]
fn a_kubectl_that_hangs_is_not_waited_for() {
    let folder = folder();
    fs::write(folder.path().join("kubectl"), "#!/bin/sh\necho $$ > \"$(dirname \"$0\")/pid\"\nexec sleep 600\n")
        .unwrap();
    assert_eq!(stdout(&complete(&folder, "kubectl_complete-pushsync", &["status", "deploy/"])), ":4\n");
    let pid: i32 = fs::read_to_string(folder.path().join("pid")).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    assert!(rustix::process::test_kill_process(pid).is_err(), "it is left behind");
}
