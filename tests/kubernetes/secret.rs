//! The webhook's secret as Kubernetes mounts it: made late, rotated, withdrawn, and none of it restarts anything.
//!
//! The program runs with the Deployment's own arguments; only addresses and folders are this test's.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::support::delivery::{Delivery, NO_COMMIT};
use crate::support::repo::Repo;
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually, eventually_blocking};

const FIRST: &str = "the first secret of this test";
const SECOND: &str = "the second secret of this test";

/// Changes a mounted Secret as the kubelet does: a new folder, then one rename of the link that all keys go through.
fn mount(folder: &Path, keys: &[(&str, &str)]) {
    let version = format!("..{}", fastrand::u64(..));
    fs::create_dir(folder.join(&version)).unwrap();
    for (key, value) in keys {
        fs::write(folder.join(&version).join(key), value).unwrap();
    }
    symlink(&version, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    for key in ["current", "previous"] {
        let link = folder.join(key);
        let is_there = fs::symlink_metadata(&link).is_ok();
        match (keys.iter().any(|(name, _)| *name == key), is_there) {
            (true, false) => symlink(format!("..data/{key}"), link).unwrap(),
            (false, true) => fs::remove_file(link).unwrap(),
            _ => {}
        }
    }
}

struct Pod {
    repo: Repo,
    folder: TempDir,
}

impl Pod {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("hook")).unwrap();
        Self { repo: Repo::new(), folder }
    }

    fn hook_folder(&self) -> std::path::PathBuf {
        self.folder.path().join("hook")
    }

    async fn start(&self) -> (Sidecar, String) {
        let inside = |path: &str| self.folder.path().join(path).display().to_string();
        let poll = container(&document("Deployment", "site"), "poll");
        let arguments = list(&poll["args"]);
        let arguments = arguments.iter().map(word).filter(|argument| !argument.starts_with("--peers="));
        let mut arguments: Vec<String> = arguments
            .map(|argument| match argument.split_once('=') {
                Some((flag @ "--root", _)) => format!("{flag}={}", inside("git")),
                Some((flag @ ("--hook-bind" | "--http-bind"), _)) => format!("{flag}=127.0.0.1:0"),
                Some((flag, value)) => format!("{flag}={}", value.replace("/etc/hook", &inside("hook"))),
                None => argument.to_owned(),
            })
            .collect();
        arguments.extend(["--admin-bind=127.0.0.1:0".to_owned(), "--log-format=json".to_owned()]);
        let mut sidecar = Sidecar::start_with(&arguments, &[("GIT_REPO", &self.repo.file_url())]);
        let line = sidecar.wait_for_text(PATIENCE, "\"listener\":\"hook\"").await;
        let address = serde_json::from_str::<Value>(&line).unwrap()["address"].as_str().unwrap().to_owned();
        let current = self.folder.path().join("git/current/.");
        eventually(PATIENCE, || current.exists()).await;
        (sidecar, format!("http://{address}/webhook"))
    }

    async fn ring(&self, url: &str, secret: &str) -> u16 {
        let push = Delivery::push("http://git.test/acme/site.git", "refs/heads/main", NO_COMMIT, &self.repo.head());
        push.send(url, secret.as_bytes()).await.status
    }

    /// Rings until the answer is this one: a file is looked at once a second.
    async fn rings(&self, url: &str, secret: &str, status: u16) {
        let end = std::time::Instant::now() + PATIENCE;
        while self.ring(url, secret).await != status {
            assert!(std::time::Instant::now() < end, "still not {status}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn without_a_secret_the_pod_starts_and_with_one_it_rings() {
    let pod = Pod::new();
    let (mut sidecar, url) = pod.start().await;
    assert!(sidecar.log()[0].contains("webhooks are rejected until it does"), "{:?}", sidecar.log());
    assert_eq!(pod.ring(&url, FIRST).await, 401);
    assert_eq!(pod.ring(&url, "").await, 401, "no secret is not an empty secret");

    mount(&pod.hook_folder(), &[("current", FIRST)]);
    pod.rings(&url, FIRST, 202).await;
    assert_eq!(pod.ring(&url, SECOND).await, 401);

    mount(&pod.hook_folder(), &[]);
    pod.rings(&url, FIRST, 401).await;
    assert!(sidecar.is_running());
}

#[tokio::test]
async fn a_rotation_misses_nothing_and_survives_a_restart_at_any_point() {
    let pod = Pod::new();
    mount(&pod.hook_folder(), &[("current", FIRST)]);
    let (sidecar, url) = pod.start().await;
    assert_eq!(pod.ring(&url, FIRST).await, 202, "there is no previous secret, and that is no mistake");

    mount(&pod.hook_folder(), &[("current", SECOND), ("previous", FIRST)]);
    pod.rings(&url, SECOND, 202).await;
    assert_eq!(pod.ring(&url, FIRST).await, 202, "GitHub still has the old one");
    drop(sidecar);
    let (mut sidecar, url) = pod.start().await;
    assert_eq!((pod.ring(&url, FIRST).await, pod.ring(&url, SECOND).await), (202, 202));

    mount(&pod.hook_folder(), &[("current", SECOND)]);
    pod.rings(&url, FIRST, 401).await;
    assert_eq!(pod.ring(&url, SECOND).await, 202);
    assert!(sidecar.is_running());
}

/// A `kubectl` with one Secret in a file instead of a cluster; the real one makes and reads the objects.
const CLUSTER: &str = r#"#!/bin/sh
set -eu
case "$1 $2" in
  "create secret") exec REAL "$@" ;;
  "get secret") exec REAL patch --local --filename=STORE --type=merge --patch='{}' "$4" "$5" ;;
  create\ --filename=*) test ! -e STORE && cp "${2#--filename=}" STORE ;;
  replace\ --filename=*) test -e STORE && cp "${2#--filename=}" STORE ;;
  *) echo "unexpected: $*" >&2; exit 1 ;;
esac
"#;

#[test]
fn make_secret_makes_rotates_and_withdraws() {
    let Some(real) = kubectl() else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.json");
    let fake = folder.path().join("kubectl");
    let script = CLUSTER.replace("REAL", &real.display().to_string()).replace("STORE", &store.display().to_string());
    fs::write(&fake, script).unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    // A file that was just written may be busy for as long as another test is between fork and exec.
    eventually_blocking(PATIENCE, || Command::new(&fake).args(["x", "y"]).output().is_ok());
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let run = |arguments: &[&str]| {
        let mut command = Command::new(file("scripts/make-secret"));
        let output = command.args(arguments).env("PATH", &path).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let key = |name: &str| {
        let secret: Value = serde_json::from_slice(&fs::read(&store).unwrap()).unwrap();
        strict_secret(&secret);
        secret["data"][name].as_str().map(|text| {
            use base64::Engine as _;
            String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text).unwrap()).unwrap()
        })
    };

    let (good, told, wrong) = run(&["--url", "https://site.example.com/webhook"]);
    assert!(good, "{wrong}");
    let first = key("current").unwrap();
    assert!(first.len() == 64 && first.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
    assert!(key("previous").is_none());
    for line in ["https://site.example.com/webhook", "application/json", first.as_str()] {
        assert!(told.contains(line), "{told}");
    }
    assert!(!run(&[]).0, "one that exists is not replaced by mistake");
    assert_eq!(key("current").unwrap(), first);

    let (good, told, wrong) = run(&["--rotate"]);
    assert!(good, "{wrong}");
    let second = key("current").unwrap();
    assert!(second != first && told.contains(&second));
    assert_eq!(key("previous").as_deref(), Some(first.as_str()));
    assert!(!run(&["--rotate"]).0, "a second rotation would lose the secret that GitHub has");
    assert_eq!(key("current").unwrap(), second);

    assert!(run(&["--finish"]).0);
    assert_eq!((key("current").as_deref(), key("previous")), (Some(second.as_str()), None));
    assert!(run(&["--show"]).1.contains(&second));
}

/// Its name and keys are those that the Deployment mounts and the program reads.
fn strict_secret(secret: &Value) {
    let site = document("Deployment", "site");
    let volumes = list(&site["spec"]["template"]["spec"]["volumes"]);
    let volume = volumes.iter().find(|volume| volume["name"] == "hook-secret").unwrap();
    assert_eq!(secret["metadata"]["name"], volume["secret"]["secretName"]);
    assert_eq!(volume["secret"]["optional"], true);
    let arguments = list(&container(&site, "poll")["args"]);
    for key in secret["data"].as_object().unwrap().keys() {
        assert!(arguments.iter().any(|argument| argument == &format!("--hook-secret-file=/etc/hook/{key}")), "{key}");
    }
}
