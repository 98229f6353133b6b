//! The test tools themselves: what others build on must hold by itself.

use std::path::Path;
use std::process::Command;

use crate::support::git_http::{GitHttp, Mode};
use crate::support::repo::{Repo, git_command, run_git};
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
