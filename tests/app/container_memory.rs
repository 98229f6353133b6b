//! The rows of the fault matrix about a container's memory limit: the kernel ends whoever goes past it, and asks nobody.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::faults::Tmpfs;
use super::site::Site;
use crate::support::control_group::Group;
use crate::support::{PATIENCE, eventually, skip};

const LIMIT: u64 = 64 << 20;
/// More than the limit, so that nobody can hold it in memory whole, let alone two versions of it.
const FILE: usize = 80 << 20;

/// What is in memory only is charged to whoever wrote it, and cannot be taken back.
fn is_in_memory(path: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    rustix::fs::statfs(path).unwrap().f_type == TMPFS
}

#[tokio::test]
async fn a_file_that_is_larger_than_the_containers_memory_is_cloned_changed_and_changed_again() {
    let mut site = Site::new();
    if is_in_memory(site.folder.path()) {
        return skip("a folder for temporary files (TMPDIR) that is not in memory");
    }
    let Some(group) = Group::make(LIMIT) else { return };
    // Noise does not get shorter, however long git tries.
    site.repo.git(&["config", "core.compression", "0"]);
    site.repo.bare_git(&["config", "core.compression", "0"]);
    let mut content = vec![0; FILE];
    fastrand::Rng::with_seed(7).fill(&mut content);
    let mut head = site.repo.push_file("large", &content, "a large file");
    let sidecar = group.run(site.arguments());
    site.started(sidecar).await;
    // After the second change all packs but one weigh more than that one, which is when a store is compacted.
    for change in 0..=3 {
        if change > 0 {
            // A few bytes of it: a server would like to send the difference, which takes both versions to understand.
            content[change * FILE / 4..][..8].copy_from_slice(b"changed!");
            let before = head;
            head = site.repo.push_file("large", &content, &format!("change {change}"));
            assert_eq!(site.ring(&before, &head).await.status, 202);
        }
        let (wanted, group) = (head.clone(), &group);
        eventually(PATIENCE * 4, || {
            assert_eq!(group.killed(), 0, "killed at change {change}");
            site.published().as_ref() == Some(&wanted)
        })
        .await;
        assert!(fs::read(site.link().join("large")).unwrap() == content, "change {change}");
        // What goes on behind a publish (a spare tree, a compaction) has the same limit, and needs time.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(group.killed(), 0);
    assert!(site.sidecar().is_running());
    site.sidecar().kill();
}

/// What is written to a volume in memory is charged to the container. Beyond its limit the kernel would end it.
#[tokio::test]
async fn a_push_that_does_not_fit_into_a_volume_in_memory_is_told_and_nobody_is_killed() {
    let mut site = Site::new();
    let Some(_volume) = Tmpfs::mount(&site.root(), "size=512m") else { return };
    let Some(group) = Group::make(LIMIT) else { return };
    site.set("stale-worktree-timeout", "200ms");
    let noise = |length: usize| {
        let mut content = vec![0; length];
        fastrand::Rng::with_seed(7).fill(&mut content);
        content
    };
    site.repo.push_file("small", noise(4 << 20), "4 MiB");
    let sidecar = group.run(site.arguments());
    site.started(sidecar).await;
    let live = site.repo.head();
    site.wait_published(&live).await;
    for size in [26, 80] {
        let before = site.repo.head();
        site.repo.write("large", noise(size << 20));
        let large = site.repo.commit("a large file");
        site.repo.push();
        assert_eq!(site.ring(&before, &large).await.status, 202);
        let record = site.wait_record(|record| record.new.as_deref() == Some(&large) && record.error.is_some()).await;
        let error = record.error.unwrap();
        println!("{size} MiB: {error:?}");
        assert_eq!(error.kind, "disk_full", "{error:?}");
        assert_eq!((group.killed(), site.sidecar().is_running()), (0, true));
        site.assert_whole(&live);
    }
    site.repo.remove("large");
    let after = site.push_and_ring("page", "without it").await;
    site.wait_published(&after).await;
    site.assert_whole(&after);
    assert_eq!(group.killed(), 0);
    site.sidecar().kill();
}
