//! The rows of the fault matrix about a container's memory limit: the kernel ends whoever goes past it, and asks nobody.

use std::fs;
use std::path::Path;
use std::time::Duration;

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
