//! Lets a removal, which may take an hour, leave the processor and the disk to syncs and to the probes.
//!
//! It must not know what is removed.

use std::cell::Cell;
use std::thread;
use std::time::Duration;

/// The longest total wait of a sweep for others, so that it ends however many pushes there are. A lower priority of its
/// thread would not suffice: on a machine that is always busy old trees would accumulate.
const LONGEST_COURTESY: Duration = Duration::from_secs(5);

/// A sweep works for this time at once,
const SLICE: Duration = Duration::from_millis(2);
/// and rests this many times as long as that took: a thread that a CPU limit stopped meanwhile rests longer, so that a push
/// or a probe finds most of the limit unused.
const REST: u32 = 3;
const LONGEST_REST: Duration = Duration::from_millis(500);

/// Lets syncs go first, for a limited time, and leaves most of the processor to others.
pub(crate) struct Courtesy(Cell<Duration>, Cell<std::time::Instant>);

impl Default for Courtesy {
    fn default() -> Self {
        Self(Cell::default(), Cell::new(std::time::Instant::now()))
    }
}

impl Courtesy {
    /// To be called before each small piece of work. Sleeps once enough was done.
    pub(crate) fn rest(&self) {
        let worked = self.1.get().elapsed();
        if worked >= SLICE {
            thread::sleep((worked * REST).min(LONGEST_REST));
            self.1.set(std::time::Instant::now());
        }
    }

    /// Waits while `is_busy`, up to [`LONGEST_COURTESY`] in total.
    pub(crate) fn wait_while(&self, is_busy: impl Fn() -> bool) {
        const STEP: Duration = Duration::from_millis(1);
        while is_busy() && self.0.get() < LONGEST_COURTESY {
            thread::sleep(STEP);
            self.0.set(self.0.get() + STEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_sweep_lets_syncs_go_first_and_comes_to_its_end_all_the_same() {
        let busy = AtomicBool::new(true);
        let courtesy = Courtesy::default();
        let started = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(50));
                busy.store(false, Ordering::Relaxed);
            });
            courtesy.wait_while(|| busy.load(Ordering::Relaxed));
        });
        assert!(started.elapsed() >= Duration::from_millis(50) && courtesy.0.get() > Duration::ZERO);
        // The total wait is limited, not each single one.
        busy.store(true, Ordering::Relaxed);
        courtesy.0.set(LONGEST_COURTESY);
        courtesy.wait_while(|| busy.load(Ordering::Relaxed));
        assert_eq!(courtesy.0.get(), LONGEST_COURTESY);
    }

    #[test]
    fn a_sweep_rests_three_quarters_of_its_time_and_longer_if_it_was_held_up() {
        let courtesy = Courtesy::default();
        let (started, mut worked) = (Instant::now(), Duration::ZERO);
        while worked < Duration::from_millis(20) {
            let piece = Instant::now();
            while piece.elapsed() < SLICE {
                std::hint::spin_loop();
            }
            worked += piece.elapsed();
            courtesy.rest();
        }
        assert!(started.elapsed() >= worked * 3, "{worked:?} of {:?}", started.elapsed());
        // Simulates a stop by a CPU limit.
        thread::sleep(Duration::from_millis(90));
        let rest = Instant::now();
        courtesy.rest();
        assert!(rest.elapsed() >= Duration::from_millis(200), "{:?}", rest.elapsed());
    }
}
