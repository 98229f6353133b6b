//! The whole program over SSH, against a real sshd.

use std::fs;

use pushsync::api::Outcome;

use super::site::Site;
use crate::support::PATIENCE;
use crate::support::repo::run_git;
use crate::support::sidecar::Sidecar;
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

#[tokio::test]
async fn a_hash_is_found_behind_the_refs_of_a_server_that_serves_no_hashes() {
    let Some(sshd) = Sshd::start() else { return };
    let mut site = Site::new();
    let repo = &site.repo;
    let old = repo.push_file("page", "old", "Old");
    // Deeper than the first part of the search.
    for number in 0..110 {
        repo.write("number", number.to_string());
        repo.commit("One more");
    }
    repo.push();
    let recent = repo.push_file("page", "recent", "Recent");
    repo.push_file("page", "newest", "Newest");
    repo.branch("other");
    let tip = repo.push_file("page", "tip", "The tip of another branch");
    repo.checkout("main");
    let tagged = repo.push_file("page", "tagged", "In a tag only");
    repo.push_file("page", "tagged", "Behind it");
    repo.annotated_tag("v1");
    repo.git(&["reset", "--quiet", "--hard", &recent]);
    let reviewed = repo.commit("In a review only");
    repo.write("page", "review");
    let review = repo.commit("The review");
    repo.git(&["push", "--quiet", "origin", &format!("{review}:refs/pull/7/head")]);
    repo.git(&["reset", "--quiet", "--hard", &recent]);
    repo.force_push();

    let (url, known) = (sshd.url(&site.repo.bare()), sshd.known_hosts());
    let known = sshd.file("known", &known);
    site.set("repo", &url).set("one-time", "true");
    site.set("ssh-key-file", &sshd.key().display().to_string());
    site.set("ssh-known-hosts-file", &known.display().to_string());
    for (depth, commits) in [("1", &[&tip, &recent, &old, &tagged, &reviewed][..]), ("3", &[&old]), ("0", &[&recent])] {
        site.set("depth", depth);
        for commit in commits {
            site.set("ref", commit);
            let _ = fs::remove_dir_all(site.root());
            let mut run = Sidecar::start(site.arguments());
            let code = run.exited(PATIENCE).await.code();
            assert_eq!(code, Some(0), "--depth {depth}, {commit}: {}", run.log().join("\n"));
            site.assert_whole(commit);
            let store = site.root().join(".pushsync/repo.git");
            let git = |args: &[&str]| run_git(&site.root(), &store, args);
            git(&["fsck", "--no-dangling"]);
            let there: usize = git(&["rev-list", "--count", commit]).parse().unwrap();
            let whole: usize = site.repo.bare_git(&["rev-list", "--count", commit]).parse().unwrap();
            let asked = if depth == "0" { whole } else { whole.min(depth.parse().unwrap()) };
            assert_eq!(there, asked, "--depth {depth}, {commit}");
        }
    }

    // A commit that no ref leads to: told, and nothing of the search stays.
    let loose = site.repo.bare_git(&["commit-tree", "-m", "No ref leads here", &format!("{recent}^{{tree}}")]);
    for commit in [&loose, &"7".repeat(40)] {
        site.set("ref", commit);
        let _ = fs::remove_dir_all(site.root());
        let mut run = Sidecar::start(site.arguments());
        assert_eq!(run.exited(PATIENCE).await.code(), Some(1));
        let log = run.log().join("\n");
        assert!(log.contains("no_such_commit") && log.contains(commit.as_str()), "{log}");
        let packs = fs::read_dir(site.root().join(".pushsync/repo.git/objects/pack")).unwrap().count();
        let left = fs::read_dir(site.root().join(".pushsync/repo.git")).unwrap().flatten();
        let left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("pushsync-compact-")).count();
        assert_eq!((packs, left), (0, 0));
    }
}
