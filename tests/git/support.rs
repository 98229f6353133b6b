//! Tests of the test tools themselves.

use std::path::Path;
use std::process::Command;

use pushsync::secret::Secret;
use pushsync::signature::sign;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::PATIENCE;
use crate::support::delivery::{Delivery, NO_COMMIT};
use crate::support::git_http::{GitHttp, Mode};
use crate::support::repo::{Repo, git_command, run_git};
use crate::support::sidecar::Sidecar;
use crate::support::sshd::Sshd;

#[test]
fn git_itself_clones_and_fetches_from_the_bridge() {
    let repo = Repo::new();
    repo.write("big.bin", vec![7; 300_000]);
    let first = repo.commit("A large file");
    repo.push();
    let server = GitHttp::start(&repo.root());
    let home = tempfile::TempDir::new().unwrap();
    run_git(home.path(), home.path(), &["clone", "--quiet", &server.url("site.git"), "copy"]);
    let copy = home.path().join("copy");
    assert_eq!(run_git(home.path(), &copy, &["rev-parse", "HEAD"]), first);

    // More than 1024 bytes of haves make git compress its request.
    for number in 0..40 {
        run_git(home.path(), &copy, &["commit", "--quiet", "--allow-empty", "-m", &number.to_string()]);
    }
    let second = repo.push_file("index.html", "two\n", "Second page");
    run_git(home.path(), &copy, &["-c", "http.postBuffer=65536", "fetch", "--quiet", "origin"]);
    assert_eq!(run_git(home.path(), &copy, &["rev-parse", "origin/main"]), second);
    assert!(server.seen().iter().any(|seen| seen.protocol.as_deref() == Some("version=2")));
    assert!(server.sent() > 0 && server.received() > 0);

    server.hold();
    let third = repo.push_file("index.html", "three\n", "Third page");
    run_git(home.path(), &copy, &["fetch", "--quiet", "origin"]);
    assert_eq!(run_git(home.path(), &copy, &["rev-parse", "origin/main"]), second);
    server.release();
    run_git(home.path(), &copy, &["fetch", "--quiet", "origin"]);
    assert_eq!(run_git(home.path(), &copy, &["rev-parse", "origin/main"]), third);
}

#[test]
fn the_faults_of_the_bridge_are_faults_to_git() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let url = server.url("site.git");
    let with_password = url.replace("http://", "http://ada:analytical@");
    assert!(list(&url).is_ok());
    for mode in [Mode::Refuse, Mode::Status(500), Mode::Garbage, Mode::CutAfter(20)] {
        server.set(mode.clone());
        assert!(list(&url).is_err(), "{mode:?}");
    }
    server.set(Mode::Serve);
    server.require(Some(("ada", "analytical")));
    assert!(list(&url).is_err());
    assert!(list(&with_password).is_ok());
    server.require(Some(("ada", "rotated")));
    assert!(list(&with_password).is_err());
}

#[test]
fn git_itself_lists_over_the_ssh_server() {
    let Some(sshd) = Sshd::start() else { return };
    let repo = Repo::new();
    let known = sshd.file("known", &sshd.known_hosts());
    let ask = |key: &Path| {
        let ssh = format!(
            "ssh -F none -o IdentitiesOnly=yes -o BatchMode=yes -o UserKnownHostsFile={} -i {}",
            known.display(),
            key.display()
        );
        git_command(&repo.root())
            .env("GIT_SSH_COMMAND", ssh)
            .args(["ls-remote", &sshd.url(&repo.bare())])
            .output()
            .unwrap()
    };
    let answer = ask(&sshd.key());
    assert!(String::from_utf8_lossy(&answer.stdout).contains(&repo.head()), "{answer:?}\n{}", sshd.log());
    assert!(!ask(&sshd.stranger()).status.success());
}

#[tokio::test]
async fn a_child_is_heard_signalled_and_never_left_behind() {
    let shell = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Sidecar::spawn(command)
    };
    let mut child = shell("echo out; echo first >&2; trap 'echo bye >&2; exit 7' TERM; while :; do sleep 0.1; done");
    assert_eq!(child.wait_for_text(PATIENCE, "first").await, "first");
    assert!(child.is_running());
    child.terminate();
    assert_eq!(child.exited(PATIENCE).await.code(), Some(7));
    assert_eq!((child.log(), child.stdout()), (vec!["first".to_owned(), "bye".to_owned()], vec!["out".to_owned()]));
    assert!(!child.is_running());

    let child = shell("exec sleep 1000");
    let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    drop(child);
    assert!(rustix::process::test_kill_process(id).is_err(), "killed and reaped");
}

#[tokio::test]
async fn a_delivery_is_signed_over_the_body_that_is_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhook", listener.local_addr().unwrap());
    let secret = b"It's a Secret to Everybody";
    let delivery = Delivery::push("https://github.com/acme/site.git", "refs/heads/main", NO_COMMIT, &"a".repeat(40));
    let receive = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(&delivery.body) {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        String::from_utf8(request).unwrap()
    };
    let (answer, request) = tokio::join!(delivery.send(&url, secret), receive);
    assert_eq!((answer.status, answer.body.as_str()), (202, "ok"));
    let expected = sign(&Secret::new(secret.as_slice()), &delivery.body);
    assert!(request.starts_with("POST /webhook HTTP/1.1\r\n"));
    for line in [format!("x-hub-signature-256: {expected}\r\n"), "x-github-event: push\r\n".to_owned()] {
        assert!(request.contains(&line), "{request}");
    }
    let payload: serde_json::Value = serde_json::from_slice(&delivery.body).unwrap();
    assert_eq!(payload["repository"]["full_name"], "acme/site");
}

fn list(url: &str) -> Result<String, String> {
    let home = tempfile::TempDir::new().unwrap();
    let mut command: Command = git_command(home.path());
    let output = command.args(["ls-remote", url]).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
