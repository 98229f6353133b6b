//! The whole program over SSH, against a real sshd.

use std::fs;

use pushsync::api::Outcome;

use super::site::Site;
use crate::support::sshd::Sshd;

#[tokio::test]
async fn a_push_is_fetched_over_ssh_and_an_unknown_host_key_is_told_with_its_fingerprint() {
    let Some(sshd) = Sshd::start() else { return };
    let mut site = Site::new();
    let url = sshd.url(&site.repo.bare());
    let (known, stranger) = (sshd.known_hosts(), site.path("known_hosts"));
    fs::write(&stranger, "").unwrap();
    site.set("repo", &url).set("period", "1s");
    site.set("ssh-key-file", &sshd.key().display().to_string());
    site.set("ssh-known-hosts-file", &stranger.display().to_string());
    // The webhook's URL is the forge's, not the one that is fetched from.
    site.set("hook-repo", "acme/site");
    site.start().await;
    let record = site.wait_record(|record| record.outcome == Outcome::Failed).await;
    let error = record.error.expect("why");
    assert_eq!(error.kind, "host_key");
    assert!(error.message.contains("SHA256:") && error.hint.is_some(), "{error:?}");

    // Trusting the key needs no restart.
    fs::write(&stranger, known).unwrap();
    let first = site.repo.head();
    site.wait_published(&first).await;
    let second = site.repo.push_file("by", "ssh", "over ssh");
    site.wait_published(&second).await;
    site.assert_whole(&second);
}
