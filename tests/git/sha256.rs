//! Repositories with SHA-256 object names: refused with a clear message over every transport.

use pushsync::git::RemoteOptions;

use super::{Volume, options};
use crate::support::git_http::{GitHttp, Mode};
use crate::support::repo::run_git;
use crate::support::sshd::Sshd;

async fn refused(options: RemoteOptions, what: &str) {
    let error = Volume::new().engine(options).ls_remote().await.expect_err(what);
    assert_eq!(error.kind().as_str(), "object_format", "{what}: {error:?}");
    let text = error.to_string();
    assert!(text.contains("SHA-256") && text.contains("site.git"), "{what}: {text}");
    assert!(error.hint().is_some_and(|hint| hint.contains("SHA-1")));
    assert!(!error.store_is_damaged(), "ours is fine");
}

#[tokio::test]
async fn sha256_repositories_are_refused_in_words() {
    let home = tempfile::TempDir::new().unwrap();
    let served = home.path().join("served");
    let bare = served.join("site.git");
    let git = |args: &[&str]| run_git(home.path(), home.path(), args);
    git(&["init", "--quiet", "--bare", "--object-format=sha256", bare.to_str().unwrap()]);
    git(&["init", "--quiet", "--object-format=sha256", "work"]);
    std::fs::write(home.path().join("work/index.html"), "one\n").unwrap();
    git(&["-C", "work", "add", "index.html"]);
    git(&["-C", "work", "commit", "--quiet", "--message", "One"]);
    git(&["-C", "work", "push", "--quiet", bare.to_str().unwrap(), "HEAD:refs/heads/main"]);

    let server = GitHttp::start(&served);
    refused(options(&server.url("site.git")), "http").await;
    server.set(Mode::OldProtocol);
    refused(options(&server.url("site.git")), "http of version 0").await;
    refused(options(&format!("file://{}", bare.display())), "file").await;
    refused(options(&bare.display().to_string()), "path").await;
    let Some(sshd) = Sshd::start() else { return };
    let mut over_ssh = options(&sshd.url(&bare));
    over_ssh.credentials.ssh_keys = vec![sshd.key()];
    refused(over_ssh, "ssh").await;
}
