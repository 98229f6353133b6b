//! A rolling restart while pushes go on: no request to an app behind a ready replica sees a missing or mixed tree.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::replicas::{Fleet, SECRET};

const REPLICAS: usize = 3;
const FILES: usize = 20;
const ROUNDS: usize = 2;

/// Acts like a Service: sends requests only to replicas that are ready.
#[derive(Clone)]
struct Service {
    roots: Vec<PathBuf>,
    ready: Arc<[AtomicBool; REPLICAS]>,
    /// Requests under way at each replica: a pod that ends finishes them first.
    busy: Arc<[AtomicU64; REPLICAS]>,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_during_pushes_shows_no_missing_and_no_mixed_tree() {
    let mut fleet = Fleet::start(REPLICAS, 0, |_| vec![SECRET]).await;
    let first = write_generation(&fleet, 0);
    fleet.ring(0, &first.0, &first.1, SECRET).await;
    fleet.wait_published(&first.1).await;
    let service = Service {
        roots: fleet.replicas.iter().map(|replica| replica.root.clone()).collect(),
        ready: Arc::new(std::array::from_fn(|_| AtomicBool::new(true))),
        busy: Arc::new(std::array::from_fn(|_| AtomicU64::new(0))),
        stop: Arc::default(),
        served: Arc::default(),
    };
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let service = service.clone();
            std::thread::spawn(move || service.read_until_stopped())
        })
        .collect();
    let mut last = first.1;
    let mut generation = 0;
    for at in (0..REPLICAS).cycle().take(REPLICAS * ROUNDS) {
        // A push before, one while the replica is away, and one as soon as it is back.
        let others: Vec<usize> = (0..REPLICAS).filter(|other| *other != at).collect();
        for step in 0..3 {
            if step == 1 {
                service.drain(at).await;
            }
            generation += 1;
            let (before, after) = write_generation(&fleet, generation);
            let (answer, _) = fleet.ring(others[generation % others.len()], &before, &after, SECRET).await;
            assert_eq!(answer.status, 202);
            last = after;
            if step == 1 {
                fleet.replicas[at].replace().await;
                service.ready[at].store(true, Ordering::SeqCst);
            }
        }
    }
    fleet.wait_published(&last).await;
    service.stop.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.join().expect("every request was answered from one whole tree");
    }
    let served = service.served.load(Ordering::Relaxed);
    println!(
        "{served} requests during {} replaced pods and {generation} pushes, all from one whole tree",
        REPLICAS * ROUNDS
    );
    assert!(served > 1000, "{served} requests");
}

fn write_generation(fleet: &Fleet, generation: usize) -> (String, String) {
    let before = fleet.repo.head();
    for file in 0..FILES {
        fleet.repo.write(&format!("d{}/f{file}", file % 3), format!("generation {generation}"));
    }
    let after = fleet.repo.commit(&format!("generation {generation}"));
    fleet.repo.push();
    (before, after)
}

impl Service {
    /// Sends no more requests to a replica, and waits for those under way.
    async fn drain(&self, at: usize) {
        self.ready[at].store(false, Ordering::SeqCst);
        while self.busy[at].load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn read_until_stopped(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            let at = fastrand::usize(..REPLICAS);
            self.busy[at].fetch_add(1, Ordering::SeqCst);
            if self.ready[at].load(Ordering::SeqCst) {
                read_page(&self.roots[at]);
                self.served.fetch_add(1, Ordering::Relaxed);
            }
            self.busy[at].fetch_sub(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

/// One page with everything that belongs to it.
fn read_page(root: &Path) {
    let tree = std::fs::canonicalize(root.join("current")).expect("a ready replica has a tree");
    let read =
        |file: usize| std::fs::read_to_string(tree.join(format!("d{}/f{file}", file % 3))).expect("nothing is missing");
    let first = read(0);
    assert!((1..FILES).all(|file| read(file) == first), "two commits in {}", tree.display());
}
