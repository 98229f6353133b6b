//! Runs the blocks that need nothing but this machine, as a reader would: in an empty folder, with the program on the PATH, with
//! the address of a repository in `REPO`, and with a Deployment in `app.yaml`. Ports are replaced by free ones.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Block, blocks};
use crate::support::copy_program;
use crate::support::git_http::GitHttp;
use crate::support::repo::Repo;

/// The reader's own workload, for blocks that add the sidecar to one.
const APP: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata:
      labels: {app: app}
    spec:
      containers:
        - name: web
          image: httpd:2.4-alpine
";
/// Longer than any block should make a reader wait.
const LIMIT: Duration = Duration::from_secs(60);

/// Replaces ports by free ones, all at once so that they differ.
fn with_free_ports(text: &str) -> String {
    let ports = ["8080", "8090", "9180", "9190"];
    let listeners = ports.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let mut text = text.to_owned();
    for (port, listener) in ports.iter().zip(&listeners) {
        text = text.replace(&format!(":{port}"), &format!(":{}", listener.local_addr().unwrap().port()));
    }
    text
}

/// Returns everything that the block printed, if its last exit code was 0.
fn run(block: &Block, repo: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let (bin, here) = (folder.path().join("bin"), folder.path().join("here"));
    fs::create_dir(&bin).unwrap();
    fs::create_dir(&here).unwrap();
    copy_program(&bin.join("pushsync"));
    fs::write(here.join("app.yaml"), APP).unwrap();
    let path =
        std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())));
    let (script, output) = (folder.path().join("script"), folder.path().join("output"));
    fs::write(&script, format!("set -eu -o pipefail\n{}\n", with_free_ports(&block.text))).unwrap();
    let printed = fs::File::create(&output).unwrap();
    let mut command = Command::new("bash");
    command.arg(&script).current_dir(&here).env_clear().env("PATH", path.unwrap()).env("HOME", folder.path());
    command.env("REPO", repo).env("TMPDIR", folder.path()).env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.test");
    }
    command.stdin(Stdio::null()).stdout(printed.try_clone().unwrap()).stderr(printed).process_group(0);
    let mut child = command.spawn().unwrap();
    let end = Instant::now() + LIMIT;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > end => break None,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    // Anything that the block left running, too. There may be nothing.
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    let _ = child.wait();
    let printed = fs::read_to_string(&output).unwrap();
    match status {
        Some(status) if status.success() => Ok(printed),
        Some(status) => Err(format!("{}: {status}\n{printed}", block.place)),
        None => Err(format!("{}: not done after {LIMIT:?}\n{printed}", block.place)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_block_without_a_reason_runs() {
    let repo = Repo::new();
    let remote = GitHttp::start(&repo.root());
    let url = remote.url(&repo.bare().file_name().unwrap().to_string_lossy());
    let blocks: Vec<Block> = blocks().into_iter().filter(|block| block.reason.is_none()).collect();
    let ran = tokio::task::spawn_blocking(move || {
        blocks.iter().map(|block| (block.place.clone(), run(block, &url))).collect::<Vec<_>>()
    });
    let ran = ran.await.unwrap();
    let failed: Vec<&str> = ran.iter().filter_map(|(_, result)| result.as_ref().err().map(String::as_str)).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    let of_readme = ran.iter().find(|(place, _)| place.starts_with("README.md")).unwrap();
    let printed = of_readme.1.as_ref().unwrap();
    for expected in ["first page", "202 Accepted", "second page", "in sync"] {
        assert!(printed.contains(expected), "no `{expected}` in:\n{printed}");
    }
    let of_replicas = ran.iter().find(|(place, _)| place.starts_with("docs/replicas.md")).unwrap();
    let printed = of_replicas.1.as_ref().unwrap();
    assert!(printed.contains("  peer     published") && printed.contains("2 of 2"), "{printed}");
}
