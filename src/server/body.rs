//! A webhook's body while it streams by: hashed whole, kept only as far as it can matter, bounded in total.
//!
//! Nothing here looks into the bytes; they are nobody's until the signature is known to hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use crate::signature::Signer;

/// The largest body that is accepted: GitHub sends no larger one.
pub const LARGEST: u64 = 26_214_400;
/// The most that is kept of one body.
const KEPT: usize = 1024 * 1024;
/// Of every body this much is kept whatever the others do; ordinary pushes are smaller.
const ASSURED: usize = 16 * 1024;
/// What all bodies together may keep beyond that.
const SHARED: usize = 16 * 1024 * 1024;
const STEP: usize = 64 * 1024;

/// Why a body did not arrive whole.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    TooLarge,
    TimedOut,
    /// The connection broke, or the chunks were no chunks.
    Broken,
}

/// The memory that all bodies in flight share. Whoever finds it used up keeps less, and nobody waits: a stranger who
/// dribbles large bodies cannot hold up the owner's push.
#[derive(Debug)]
pub struct Budget(AtomicUsize);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicUsize::new(SHARED))
    }
}

impl Budget {
    fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

/// The beginning of a body.
#[derive(Debug)]
pub struct Kept {
    bytes: Vec<u8>,
    whole: bool,
    reserved: usize,
    budget: Arc<Budget>,
}

impl Kept {
    pub fn new(budget: &Arc<Budget>) -> Self {
        Self { bytes: Vec::new(), whole: true, reserved: 0, budget: Arc::clone(budget) }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// False: the body was longer than what is kept.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    fn push(&mut self, chunk: &[u8]) {
        if !self.whole {
            return;
        }
        let wanted = (self.bytes.len() + chunk.len()).min(KEPT);
        while wanted > ASSURED + self.reserved && self.budget.take(STEP) {
            self.reserved += STEP;
        }
        let count = wanted.min(ASSURED + self.reserved) - self.bytes.len();
        if self.bytes.capacity() < self.bytes.len() + count {
            // Exactly: doubling would take up to twice what was reserved.
            self.bytes.reserve_exact(count.max(STEP.min(ASSURED + self.reserved - self.bytes.len())));
        }
        self.bytes.extend_from_slice(&chunk[..count]);
        self.whole = count == chunk.len();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.reserved, Ordering::Relaxed);
    }
}

/// Reads a body to its end or to `deadline`, feeding every signer.
///
/// # Errors
/// [`Fault`], if it is not there whole by then.
pub async fn receive(
    mut body: Body,
    signers: &mut [Signer],
    budget: &Arc<Budget>,
    deadline: Instant,
) -> Result<Kept, Fault> {
    let mut kept = Kept::new(budget);
    let mut length = 0u64;
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Err(_elapsed) => return Err(Fault::TimedOut),
            Ok(None) => return Ok(kept),
            Ok(Some(Err(_broken))) => return Err(Fault::Broken),
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers are not part of what is signed.
        let Some(chunk) = frame.data_ref() else { continue };
        length += chunk.len() as u64;
        if length > LARGEST {
            return Err(Fault::TooLarge);
        }
        for signer in &mut *signers {
            signer.update(chunk);
        }
        kept.push(chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_kept_up_to_its_share_and_the_memory_comes_back() {
        let budget = Arc::new(Budget::default());
        let chunk = vec![7; 8 * 1024];
        let mut all = Vec::new();
        for _ in 0..32 {
            let mut kept = Kept::new(&budget);
            for _ in 0..3000 {
                kept.push(&chunk);
            }
            assert!(!kept.is_whole());
            assert!(kept.bytes().len() >= ASSURED && kept.bytes().len() <= KEPT);
            all.push(kept);
        }
        let total: usize = all.iter().map(|kept| kept.bytes.capacity()).sum();
        assert!(total <= SHARED + 32 * ASSURED, "{total} bytes");
        assert_eq!(all.first().map(|kept| kept.bytes().len()), Some(KEPT));
        drop(all);
        assert_eq!(budget.0.load(Ordering::Relaxed), SHARED);
    }

    #[test]
    fn a_body_of_exactly_the_kept_size_is_whole() {
        let budget = Arc::new(Budget::default());
        let mut kept = Kept::new(&budget);
        for _ in 0..4 {
            kept.push(&vec![1; KEPT / 4]);
        }
        assert!(kept.is_whole());
        kept.push(&[]);
        assert!(kept.is_whole());
        kept.push(&[1]);
        assert!(!kept.is_whole());
        assert_eq!(kept.bytes().len(), KEPT);
    }
}
