//! Readers that walk resolved trees while pushes are published as fast as possible: none may ever see a torn tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::site::Site;

const PUBLISHES: usize = 200;
const READERS: usize = 4;
const FILES: usize = 40;
const LEAST_READS: u64 = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_sees_a_torn_tree_during_200_publishes() {
    let mut site = Site::new();
    site.set("hook-rate", "0");
    write_generation(&site, 0);
    site.repo.push();
    site.start_in_sync().await;

    let stop = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (link, stop, reads) = (site.link(), stop.clone(), reads.clone());
            std::thread::spawn(move || read_until(&link, &stop, &reads))
        })
        .collect();
    let mut before = site.repo.head();
    for generation in 1..=PUBLISHES {
        let after = write_generation(&site, generation);
        site.repo.push();
        assert_eq!(site.ring(&before, &after).await.status, 202);
        site.wait_published(&after).await;
        before = after;
    }
    while reads.load(Ordering::Relaxed) < LEAST_READS {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let generations: usize = readers.into_iter().map(|reader| reader.join().expect("no torn read")).sum();
    println!("{} file reads over {generations} walks, {PUBLISHES} publishes, 0 torn", reads.load(Ordering::Relaxed));
    site.assert_whole(&before);
    site.wait_record(|record| record.new.as_deref() == Some(&before)).await;
    let (incremental, fresh) = site.incremental_and_fresh().await;
    println!("{incremental} publishes brought a spare, {fresh} wrote a whole tree");
    assert!(incremental > 0);
}

/// Every file of a commit says the same number.
fn write_generation(site: &Site, generation: usize) -> String {
    for file in 0..FILES {
        site.repo.write(&format!("dir{}/file{file}", file % 5), format!("generation {generation}\n"));
    }
    site.repo.commit(&format!("generation {generation}"))
}

/// Resolves the link, then reads the whole tree behind it: all files must be there and of one generation.
fn read_until(link: &Path, stop: &AtomicBool, reads: &AtomicU64) -> usize {
    let mut walks = 0;
    while !stop.load(Ordering::Relaxed) {
        let tree: PathBuf = fs::canonicalize(link).expect("the link always names a tree");
        let mut seen = None;
        for file in 0..FILES {
            let text =
                fs::read_to_string(tree.join(format!("dir{}/file{file}", file % 5))).expect("no file is missing");
            let first = seen.get_or_insert_with(|| text.clone());
            assert_eq!(*first, text, "two generations in {}", tree.display());
            reads.fetch_add(1, Ordering::Relaxed);
        }
        walks += 1;
        // The sidecar and the other tests want the processor, too.
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    walks
}
