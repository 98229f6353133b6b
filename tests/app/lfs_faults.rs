//! What goes wrong while objects of Git LFS come in: the tree before stays, and what was had is not had again.

use std::fs;
use std::time::{Duration, Instant};

use pushsync::api::{Outcome, Phase, Record};

use super::lfs::Kept;
use crate::support::git_http::Mode;
use crate::support::lfs::{hash, pointer};
use crate::support::{PATIENCE, eventually};

/// A published commit, before anything goes wrong.
async fn published() -> (Kept, String) {
    let mut kept = Kept::new();
    kept.write("first.bin", 1_000);
    let commit = kept.commit();
    kept.site.start_in_sync().await;
    kept.server.take_gets();
    kept.server.take_batches();
    (kept, commit)
}

async fn failed(kept: &Kept, commit: &str) -> Record {
    let record = kept.site.wait_record(|record| record.outcome == Outcome::Failed).await;
    assert_eq!(record.error.as_ref().map(|error| error.phase), Some(Phase::Fetch), "{record:?}");
    assert_eq!(kept.site.published().as_deref(), Some(commit), "the tree before stays");
    record
}

#[tokio::test]
async fn what_was_cut_off_goes_on_where_it_ended() {
    let (mut kept, _) = published().await;
    kept.server.set(|knobs| (knobs.cuts, knobs.cut_after) = (2, 3 << 20));
    let (commit, oid) = kept.push("film.bin", 20 << 20).await;
    kept.site.wait_published(&commit).await;
    assert_eq!(kept.published("film.bin"), oid);
    let from: Vec<_> = kept.server.take_gets().iter().map(|get| get.from.unwrap_or(0)).collect();
    assert!(from.len() == 3 && from[0] == 0 && from[0] < from[1] && from[1] < from[2], "{from:?}");
    assert!(from[1] > 1 << 20, "{from:?}");
    let sent = kept.server.books().sent[&oid];
    assert!(sent < 27 << 20, "{sent} bytes for {}", 20 << 20);

    // Servers that cannot do it send all of it again.
    for refuse in [false, true] {
        kept.server.set(|knobs| {
            (knobs.cuts, knobs.cut_after) = (1, 3 << 20);
            (knobs.ignore_range, knobs.refuse_range) = (!refuse, refuse);
        });
        let (commit, oid) = kept.push("film.bin", 8 << 20).await;
        kept.site.wait_published(&commit).await;
        assert_eq!(kept.published("film.bin"), oid);
        let from: Vec<_> = kept.server.take_gets().iter().map(|get| get.from.is_some()).collect();
        assert_eq!(from, if refuse { vec![false, true, false] } else { vec![false, true] });
    }
}

/// It gives nothing but the first part, again and again.
#[tokio::test]
async fn a_server_that_never_comes_further_is_given_up_and_named() {
    let (mut kept, first) = published().await;
    kept.server.set(|knobs| {
        (knobs.cuts, knobs.cut_after) = (1_000, 3 << 20);
        knobs.refuse_range = true;
    });
    let (_, oid) = kept.push("film.bin", 20 << 20).await;
    let record = failed(&kept, &first).await;
    let error = record.error.unwrap();
    assert!(error.kind != "timeout" && error.message.contains(&oid), "{error:?}");
    let gets = kept.server.take_gets().len();
    assert!(gets < 20, "{gets} requests for one object");
}

#[tokio::test]
async fn a_kill_in_the_middle_costs_only_what_was_to_come() {
    let (mut kept, first) = published().await;
    kept.server.set(|knobs| knobs.pause = Duration::from_millis(20));
    let (commit, oid) = kept.push("film.bin", 24 << 20).await;
    let part = kept.folder().join(format!("{oid}.part"));
    let length = || fs::metadata(&part).map_or(0, |part| part.len());
    eventually(PATIENCE, || length() > 4 << 20).await;
    kept.site.sidecar().kill();
    let left = length();
    assert!(left < 24 << 20 && kept.site.published() == Some(first));

    // Who starts while the remote is down does not know what is wanted, and sweeps all the same.
    kept.site.remote.set(Mode::Refuse);
    kept.site.set("stale-worktree-timeout", "50ms").set("verbose", "1");
    kept.site.sidecar = None;
    kept.site.start().await;
    kept.site.wait_record(|record| record.error.is_some()).await;
    kept.site.sidecar().wait_for_text(PATIENCE, "looked for trees whose grace is over").await;
    kept.site.sidecar().wait_for_text(PATIENCE, "looked for objects that no tree needs").await;
    kept.site.sidecar().kill();
    kept.site.remote.set(Mode::Serve);
    assert_eq!(length(), left, "what a sweep left of it");

    kept.server.set(|knobs| knobs.pause = Duration::ZERO);
    kept.server.take_gets();
    kept.site.sidecar = None;
    kept.site.start_in_sync().await;
    assert_eq!((kept.site.published(), kept.published("film.bin")), (Some(commit), oid.clone()));
    let gets = kept.server.take_gets();
    assert_eq!(gets.iter().map(|get| (get.oid.as_str(), get.from)).collect::<Vec<_>>(), [(oid.as_str(), Some(left))]);
    assert!(!part.exists());

    // Bytes that a loss of power spoilt are found by the hash, and thrown away.
    let oid = kept.write("film.bin", 5_000);
    kept.site.sidecar = None;
    fs::write(kept.folder().join(format!("{oid}.part")), vec![0; 3_000]).unwrap();
    kept.commit();
    kept.site.start_in_sync().await;
    assert_eq!(kept.published("film.bin"), oid);
    let from: Vec<_> = kept.server.take_gets().iter().map(|get| get.from).collect();
    assert_eq!(from, [Some(3_000), None]);
}

#[tokio::test]
async fn what_does_not_come_within_one_sync_comes_within_several() {
    let mut kept = Kept::new();
    // The wait between two tries grows up to the period.
    kept.site.set("sync-timeout", "5s").set("period", "1s");
    kept.write("first.bin", 1_000);
    kept.commit();
    kept.site.start_in_sync().await;
    kept.server.take_gets();
    kept.server.set(|knobs| knobs.pause = Duration::from_millis(30));
    let (commit, oid) = kept.push("film.bin", 20 << 20).await;
    let record = failed(&kept, &kept.site.published().unwrap()).await;
    assert_eq!(record.error.map(|error| error.kind).as_deref(), Some("timeout"));
    // However many syncs that takes: there is more of it again and again.
    let part = kept.folder().join(format!("{oid}.part"));
    let mut last = (0, Instant::now());
    while kept.site.published().as_ref() != Some(&commit) {
        let length = fs::metadata(&part).map_or(0, |part| part.len());
        if length > last.0 {
            last = (length, Instant::now());
        }
        assert!(last.1.elapsed() < PATIENCE, "it stays at {length} bytes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(kept.published("film.bin"), oid);
    let from: Vec<_> = kept.server.take_gets().iter().map(|get| get.from.unwrap_or(0)).collect();
    assert!(from.len() > 1 && from.is_sorted() && from[1] > 1 << 20, "{from:?}");
}

#[tokio::test]
async fn other_bytes_than_the_pointers_are_refused() {
    for (longer, wrong) in [(0, true), (1 << 20, false)] {
        let (mut kept, first) = published().await;
        kept.server.set(|knobs| (knobs.wrong_bytes, knobs.too_long) = (wrong, longer));
        let (commit, oid) = kept.push("a film.bin", 300_000).await;
        let error = failed(&kept, &first).await.error.unwrap();
        assert_eq!(error.kind, "lfs_mismatch", "{error:?}");
        assert!(error.message.contains("a film.bin") && error.message.contains(&oid), "{error:?}");
        assert!(error.hint.is_some_and(|hint| hint.contains("git lfs fsck")));
        assert!(!kept.objects().contains(&oid));
        kept.server.set(|knobs| (knobs.wrong_bytes, knobs.too_long) = (false, 0));
        assert_eq!(kept.site.ring(&first, &commit).await.status, 202);
        kept.site.wait_published(&commit).await;
        assert_eq!(kept.published("a film.bin"), oid);
    }
}

#[tokio::test]
async fn objects_that_the_server_does_not_have_are_named() {
    let (mut kept, first) = published().await;
    let oid = kept.write("gone.bin", 500);
    kept.server.books().missing.insert(oid.clone());
    kept.ring().await;
    let error = failed(&kept, &first).await.error.unwrap();
    assert_eq!(error.kind, "lfs_object");
    assert!(error.message.contains("gone.bin") && error.message.contains(&oid), "{error:?}");
    assert!(error.message.contains("Object does not exist (404)"), "{error:?}");
    assert!(error.hint.is_some_and(|hint| hint.contains("git lfs push")));
    let metrics = kept.site.probe("/startupz").await;
    assert_eq!(metrics.0, 200, "readers are served all the same");

    // The next push does without it.
    let (commit, oid) = kept.push("gone.bin", 600).await;
    kept.site.wait_published(&commit).await;
    assert_eq!(kept.published("gone.bin"), oid);
}

#[tokio::test]
async fn a_pointer_to_more_than_fits_is_refused_before_anything_is_asked_for() {
    let (kept, first) = published().await;
    let huge = pointer(&"cd".repeat(32), 1 << 60);
    kept.site.repo.write("huge.bin", huge);
    kept.ring().await;
    let error = failed(&kept, &first).await.error.unwrap();
    assert_eq!(error.kind, "disk_full", "{error:?}");
    assert!(error.message.contains("the largest is huge.bin, 1 EiB"), "{error:?}");
    assert!(kept.server.take_batches().is_empty());
}

#[tokio::test]
async fn addresses_that_are_over_are_asked_for_anew() {
    let (mut kept, _) = published().await;
    kept.server.set(|knobs| knobs.expires_in = Some(1));
    let (commit, oid) = kept.push("film.bin", 2_000).await;
    kept.site.wait_published(&commit).await;
    assert_eq!((kept.published("film.bin"), kept.server.take_batches().len()), (oid, 2), "too short to begin with");
    kept.server.set(|knobs| (knobs.expires_in, knobs.stale) = (None, 1));
    kept.server.take_gets();
    let (commit, oid) = kept.push("film.bin", 3_000).await;
    kept.site.wait_published(&commit).await;
    assert_eq!((kept.published("film.bin"), kept.server.take_batches().len()), (oid, 2), "refused once");
    assert_eq!(kept.server.take_gets().len(), 2);
    kept.server.set(|knobs| knobs.stale = 1_000);
    kept.push("film.bin", 4_000).await;
    let error = failed(&kept, &commit).await.error.unwrap();
    assert!(error.kind == "lfs_object" && error.message.contains("403"), "{error:?}");
}

#[tokio::test]
async fn an_object_that_somebody_changed_on_the_volume_is_fetched_anew() {
    let (mut kept, _) = published().await;
    let (commit, oid) = kept.push("film.bin", 9_000).await;
    kept.site.wait_published(&commit).await;
    kept.site.sidecar = None;
    // All of it: the kill may have left a file there, by whose time the program was about to tell what is older.
    fs::remove_dir_all(kept.site.root().join(".worktrees")).unwrap();
    let object = kept.folder().join(&oid);
    let mut content = fs::read(&object).unwrap();
    content[17] ^= 1;
    fs::write(&object, &content).unwrap();
    kept.server.take_batches();
    kept.site.start().await;
    eventually(PATIENCE, || kept.published("film.bin") == oid).await;
    assert_eq!(kept.server.take_batches().concat(), std::slice::from_ref(&oid));
    assert_eq!(hash(&fs::read(&object).unwrap()), oid);

    // An app that writes into its tree does not reach the object.
    fs::write(kept.site.link().join("film.bin"), b"scribbled").unwrap();
    assert_eq!(hash(&fs::read(&object).unwrap()), oid);
}

#[tokio::test]
async fn thousands_of_objects_and_a_server_that_takes_small_questions() {
    let mut kept = Kept::new();
    for number in 0..1_500 {
        kept.write(&format!("d{}/f{number}.bin", number % 40), 20 + number % 50);
    }
    kept.server.set(|knobs| knobs.most = Some(30));
    let commit = kept.commit();
    kept.site.start().await;
    eventually(4 * PATIENCE, || kept.site.published().as_ref() == Some(&commit)).await;
    let batches = kept.server.take_batches();
    assert!(batches.iter().all(|batch| batch.len() <= 30) && batches.concat().len() == 1_500);
    assert_eq!(kept.server.take_gets().len(), 1_500);
}
