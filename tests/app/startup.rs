//! What a start believes of the tree that it finds: at once if nothing can have been lost, else only after a look.
//!
//! A loss of power cannot be had here. Its two traces can: another boot in the mark, and a file without its content.

use std::fs;

use super::site::Site;
use crate::support::{PATIENCE, eventually};

const ANOTHER_BOOT: &str = "11111111-2222-3333-4444-555555555555";

/// A site that was published and written through, and its sidecar killed.
async fn left_behind() -> (Site, String) {
    let mut site = Site::new();
    site.repo.push_file("page.html", "as committed", "a page");
    site.start_in_sync().await;
    let head = site.repo.head();
    let mark = site.root().join(".pushsync/flushed");
    eventually(PATIENCE, || fs::read_to_string(&mark).is_ok_and(|text| text.trim_end().ends_with(&head))).await;
    site.sidecar().kill();
    (site, head)
}

fn lose_power(site: &Site, flushed: &str) {
    fs::write(site.root().join(".pushsync/flushed"), format!("{ANOTHER_BOOT} {flushed}\n")).unwrap();
    fs::write(site.link().join("page.html"), "").unwrap();
}

fn position(site: &mut Site, text: &str) -> Option<usize> {
    site.sidecar().log().iter().position(|line| line.contains(text))
}

#[tokio::test]
async fn after_a_restart_of_the_container_the_tree_is_vouched_for_before_it_is_compared() {
    let (mut site, head) = left_behind().await;
    site.remote.set(crate::support::git_http::Mode::Refuse);
    site.start().await;
    site.sidecar().wait_for_text(PATIENCE, "compared in the background").await;
    eventually(PATIENCE, || site.published().as_deref() == Some(&head)).await;
    assert_eq!(site.probe("/startupz").await.0, 200);
    assert_eq!(site.snapshot().await.published.unwrap().commit, head);
}

#[tokio::test]
async fn after_a_loss_of_power_a_tree_that_was_not_written_through_is_compared_first_and_rebuilt() {
    let (mut site, head) = left_behind().await;
    lose_power(&site, "0123456789012345678901234567890123456789");
    site.remote.set(crate::support::git_http::Mode::Refuse);
    site.start().await;
    site.sidecar().wait_for_text(PATIENCE, "is not its commit; it will be rebuilt").await;
    eventually(PATIENCE, || fs::read_to_string(site.link().join("page.html")).is_ok_and(|text| text == "as committed"))
        .await;
    site.assert_whole(&head);
    assert_eq!(position(&mut site, "compared in the background"), None);
    assert_eq!(site.probe("/readyz").await.0, 200);
}

#[tokio::test]
async fn after_a_loss_of_power_a_tree_that_was_written_through_is_vouched_for_at_once_and_compared_all_the_same() {
    let (mut site, head) = left_behind().await;
    lose_power(&site, &head);
    site.start().await;
    site.sidecar().wait_for_text(PATIENCE, "compared in the background").await;
    eventually(PATIENCE, || fs::read_to_string(site.link().join("page.html")).is_ok_and(|text| text == "as committed"))
        .await;
    site.assert_whole(&head);
    // And it is known again for what it is in this boot.
    let mark = site.root().join(".pushsync/flushed");
    eventually(PATIENCE, || fs::read_to_string(&mark).is_ok_and(|text| !text.contains(ANOTHER_BOOT))).await;
}

#[tokio::test]
async fn full_durability_writes_through_before_readers_see_it_and_normal_right_after() {
    for level in ["full", "normal"] {
        let mut site = Site::new();
        site.set("durability", level);
        site.start_in_sync().await;
        let commit = site.push_and_ring("page.html", level).await;
        site.wait_published(&commit).await;
        site.assert_whole(&commit);
        let mark = site.root().join(".pushsync/flushed");
        eventually(PATIENCE, || fs::read_to_string(&mark).is_ok_and(|text| text.trim_end().ends_with(&commit))).await;
    }
}

#[tokio::test]
async fn who_runs_once_leaves_a_tree_that_is_written_through() {
    let mut site = Site::new();
    site.set("one-time", "true");
    let mut sidecar = crate::support::sidecar::Sidecar::start(site.arguments());
    assert_eq!(sidecar.exited(PATIENCE).await.code(), Some(0), "{:?}", sidecar.log());
    let mark = fs::read_to_string(site.root().join(".pushsync/flushed")).unwrap();
    assert!(mark.trim_end().ends_with(&site.repo.head()), "{mark}");
}
