//! `--filter` over the whole program: what is published is what git checks out, whatever was not downloaded.

use std::fs;
use std::path::Path;

use pushsync::api::Record;
use serde_json::json;

use super::site::Site;
use crate::support::git_http::Mode;
use crate::support::repo::run_git;
use crate::support::{PATIENCE, eventually};

const NARROW: &str = "/d3/f*\n/d7/f1\n";
const WIDE: &str = "/d3/f*\n/d4/\n*.md\n";

/// A repository of 200 files, of which the patterns want 21.
fn site(filter: &str) -> Site {
    let mut site = Site::new();
    let mut random = fastrand::Rng::with_seed(23);
    for number in 0..200 {
        let noise: Vec<u8> = (0..4_000).map(|_| random.u8(..)).collect();
        site.repo.write(&format!("d{}/f{}", number % 10, number / 10), noise);
    }
    site.repo.write(".gitattributes", "*.md eol=crlf\n");
    site.repo.write("d4/read.md", "read\nme\n");
    site.repo.commit("200 files");
    site.repo.push();
    site.repo.bare_git(&["config", "uploadpack.allowFilter", "true"]);
    let patterns = site.path("patterns");
    fs::write(&patterns, NARROW).unwrap();
    site.set("sparse-checkout-file", &patterns.display().to_string());
    site.set("filter", filter);
    site
}

/// True if the published tree is what git itself makes of the commit and the patterns.
fn same_as_git(site: &Site, commit: &str, patterns: &str) -> bool {
    let home = tempfile::TempDir::new().unwrap();
    let copy = home.path().join("copy");
    let bare = site.repo.bare().display().to_string();
    run_git(home.path(), home.path(), &["clone", "--quiet", "--no-checkout", &bare, "copy"]);
    run_git(home.path(), &copy, &["sparse-checkout", "init", "--no-cone"]);
    fs::write(copy.join(".git/info/sparse-checkout"), patterns).unwrap();
    run_git(home.path(), &copy, &["checkout", "--quiet", "--detach", commit]);
    let link = format!("{}/", site.link().display());
    let same = std::process::Command::new("diff").args(["-r", "--exclude=.git", &link]).arg(&copy).output().unwrap();
    same.status.success()
}

fn files(store: &Path) -> usize {
    let all = ["-c", "safe.directory=*", "cat-file", "--batch-all-objects", "--batch-check=%(objecttype)"];
    run_git(store, store, &all).lines().filter(|line| *line == "blob").count()
}

#[tokio::test]
async fn what_is_published_is_what_git_checks_out_over_pushes_pins_and_restarts() {
    let mut site = site("blob:none");
    site.set("stale-worktree-timeout", "0s");
    site.start_in_sync().await;
    let store = site.root().join(".pushsync/repo.git");
    let first = site.published().unwrap();
    assert!(same_as_git(&site, &first, NARROW));
    assert_eq!(files(&store), 22, "those that are published, and the attributes");
    assert!(site.remote.sent() < 200 * 4_000 / 5, "{}", site.remote.sent());

    let second = site.push_and_ring("d3/f1", "wanted\n").await;
    site.wait_published(&second).await;
    assert!(same_as_git(&site, &second, NARROW));
    let third = site.push_and_ring("d5/f1", "not wanted\n").await;
    site.wait_published(&third).await;
    assert!(same_as_git(&site, &third, NARROW));
    assert_eq!(files(&store), 23);
    let record = site.wait_record(|record| record.new.as_ref() == Some(&second)).await;
    let log = site.detail(&record.id).await.detail.log;
    assert!(log.iter().any(|line| line.message.starts_with("fetched 1 file by its hash")), "{log:?}");

    // Other patterns in a new process: the tree is rebuilt, and what it lacks is fetched for that.
    site.sidecar = None;
    fs::write(site.path("patterns"), WIDE).unwrap();
    site.start().await;
    eventually(PATIENCE, || same_as_git(&site, &third, WIDE)).await;
    // A commit that was published with other patterns, and whose files are only partly here.
    assert_eq!(site.post("pin", &json!({ "commit": second })).await.0, 202);
    site.wait_published(&second).await;
    assert!(same_as_git(&site, &second, WIDE));
    assert_eq!(site.post("unpin", &json!({})).await.0, 202);
    site.wait_published(&third).await;

    // Neither filter nor patterns any more.
    site.sidecar = None;
    fs::write(site.path("patterns"), "/*\n").unwrap();
    site.set("filter", "blob:limit=1k");
    site.start().await;
    eventually(PATIENCE, || same_as_git(&site, &third, "/*\n")).await;
    let fourth = site.push_and_ring("d6/f6", "all\n").await;
    site.wait_published(&fourth).await;
    assert!(same_as_git(&site, &fourth, "/*\n"));
}

#[tokio::test]
async fn a_file_that_cannot_be_had_leaves_the_old_tree_and_says_what_to_do() {
    let mut site = site("blob:none");
    site.start_in_sync().await;
    let first = site.published().unwrap();
    site.repo.push_file("d3/f2", "lost\n", "lost");
    let (second, lost) = (site.repo.head(), site.repo.git(&["rev-parse", "HEAD:d3/f2"]));
    let object = site.repo.bare().join("objects").join(&lost[..2]).join(&lost[2..]);
    let aside = site.path("aside");
    fs::rename(&object, &aside).unwrap();
    site.ring(&first, &second).await;
    let record = site.wait_record(|record| record.error.is_some()).await;
    let error = record.error.unwrap();
    assert_eq!(error.kind, "no_contents", "{error:?}");
    assert!(error.hint.unwrap().contains("--filter"));
    assert_eq!(site.published(), Some(first.clone()));
    assert!(same_as_git(&site, &first, NARROW));
    fs::rename(&aside, &object).unwrap();
    assert_eq!(site.post("sync", &json!({})).await.0, 202);
    site.wait_published(&second).await;
    assert!(same_as_git(&site, &second, NARROW));
}

#[tokio::test]
async fn files_of_older_commits_are_fetched_when_somebody_goes_back_to_them() {
    let mut site = site("blob:none");
    site.set("depth", "0");
    let first = site.repo.head();
    let second = site.repo.push_file("d3/f1", "two\n", "two");
    let third = site.repo.push_file("d3/f1", "three\n", "three");
    site.start_in_sync().await;
    let store = site.root().join(".pushsync/repo.git");
    assert_eq!(files(&store), 22, "all the history, and the files of its newest commit");

    assert_eq!(site.post("pin", &json!({ "commit": first })).await.0, 202);
    site.wait_published(&first).await;
    assert!(same_as_git(&site, &first, NARROW));
    assert_eq!(files(&store), 23);

    // They cannot be had now: what is published stays, the record says why, and it is tried again.
    site.remote.set(Mode::Refuse);
    assert_eq!(site.post("pin", &json!({ "commit": second })).await.0, 202);
    let refused = |record: &Record| record.error.is_some() && record.new.as_ref() == Some(&second);
    let error = site.wait_record(refused).await.error.unwrap();
    assert!(error.kind == "network" && error.hint.is_some(), "{error:?}");
    assert!(same_as_git(&site, &first, NARROW));
    site.remote.set(Mode::Serve);
    site.wait_published(&second).await;
    assert!(same_as_git(&site, &second, NARROW));
    assert_eq!(site.post("unpin", &json!({})).await.0, 202);
    site.wait_published(&third).await;

    // A ref that goes back, in a process that never saw those files.
    let fourth = site.repo.push_file("d3/f1", "four\n", "four");
    site.repo.push_file("d3/f1", "five\n", "five");
    assert_eq!(site.post("sync", &json!({})).await.0, 202);
    site.wait_published(&site.repo.head()).await;
    site.repo.git(&["reset", "--quiet", "--hard", &fourth]);
    site.repo.force_push();
    assert_eq!(site.post("sync", &json!({})).await.0, 202);
    site.wait_published(&fourth).await;
    assert!(same_as_git(&site, &fourth, NARROW));
}

#[tokio::test]
async fn when_the_filter_is_dropped_the_store_becomes_whole_by_itself() {
    let mut site = site("blob:none");
    site.set("depth", "0");
    site.repo.push_file("d5/f5", "two\n", "two");
    site.start_in_sync().await;
    let store = site.root().join(".pushsync/repo.git");
    let mark = store.join("pushsync-partial");
    assert!(mark.exists() && files(&store) == 22);
    site.sidecar = None;

    // Nothing is pushed: the next process mends it behind its first look.
    site.unset("filter");
    site.start_in_sync().await;
    eventually(PATIENCE, || !mark.exists()).await;
    site.sidecar().wait_for_text(PATIENCE, "the object store is whole").await;
    assert_eq!(files(&store), 204, "those of all commits");
    run_git(&store, &store, &["-c", "safe.directory=*", "fsck", "--no-dangling"]);
    let looks = site.remote.requests();
    let third = site.push_and_ring("d3/f1", "three\n").await;
    site.wait_published(&third).await;
    assert!(same_as_git(&site, &third, NARROW));
    // A look, and the fetch beside it; no files by their hashes.
    assert_eq!(site.remote.requests() - looks, 2);
    // What knows no filters may build upon it again.
    site.sidecar = None;
    let url = site.repo.file_url();
    site.set("repo", &url).set("hook-repo", "acme/site");
    let fourth = site.repo.push_file("d3/f1", "four\n", "four");
    site.start().await;
    site.wait_published(&fourth).await;
    assert!(same_as_git(&site, &fourth, NARROW));
    assert!(!site.sidecar().log().iter().any(|line| line.contains("damaged")));
}

#[tokio::test]
async fn where_a_filter_has_no_effect_that_is_said_once() {
    let mut site = site("blob:none");
    site.repo.bare_git(&["config", "uploadpack.allowFilter", "false"]);
    site.start_in_sync().await;
    let second = site.push_and_ring("d3/f1", "two\n").await;
    site.wait_published(&second).await;
    assert!(same_as_git(&site, &second, NARROW));
    let said = |line: &String| line.contains("the server does not support filters");
    eventually(PATIENCE, || site.sidecar().log().iter().any(said)).await;
    assert_eq!(site.sidecar().log().iter().filter(|line| said(line)).count(), 1);
    site.sidecar = None;

    // Another address for the same volume, over which libgit2 downloads everything.
    let url = site.repo.file_url();
    site.set("repo", &url);
    site.set("hook-repo", "acme/site");
    site.start_in_sync().await;
    // The log has a thread of its own, which may write the line later than the API shows the publish.
    let said = |line: &String| line.contains("--filter") && line.contains("over http(s) only");
    eventually(PATIENCE, || site.sidecar().log().iter().any(said)).await;
    let third = site.repo.push_file("d3/f1", "three\n", "three");
    assert_eq!(site.post("sync", &json!({})).await.0, 202);
    site.wait_published(&third).await;
    assert!(same_as_git(&site, &third, NARROW));
}
