//! Receives a webhook's body: every byte is hashed, a bounded part is kept.
//!
//! The bytes are not parsed here, because they are not trusted until the signature has been verified.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use crate::signature::Signer;

/// The largest accepted body, which is GitHub's own limit for deliveries.
pub(crate) const LARGEST: u64 = 26_214_400;
/// The largest part that is kept of one body.
const KEPT: usize = 1024 * 1024;
/// Every body may keep this much regardless of the others; ordinary pushes are smaller.
const ASSURED: usize = 16 * 1024;
/// How much all bodies together may keep beyond their assured part.
const SHARED: usize = 16 * 1024 * 1024;
// Taken in steps, so that the shared counter does not change with each chunk of a body.
const STEP: usize = 64 * 1024;

/// Why a body could not be received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    TooLarge,
    TimedOut,
    /// The connection broke, or the chunked encoding was invalid.
    Broken,
}

/// The memory that all bodies in flight share. A body that finds it used up keeps less and does not wait, so a client
/// that sends large bodies slowly cannot delay an authentic push.
#[derive(Debug)]
pub(crate) struct Budget(AtomicUsize);

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

/// The kept beginning of a body.
#[derive(Debug)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    whole: bool,
    reserved: usize,
    budget: Arc<Budget>,
}

impl Kept {
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        Self { bytes: Vec::new(), whole: true, reserved: 0, budget: Arc::clone(budget) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns false if the body was longer than the kept part.
    pub(crate) fn is_whole(&self) -> bool {
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
            // `reserve_exact`, because doubling the capacity would allocate up to twice what was reserved.
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

/// Reads a body until its end or `deadline` and feeds every signer.
///
/// # Errors
/// [`Fault`], if the body is incomplete by then, too large or broken.
pub(crate) async fn receive(
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
        // Trailers are not covered by the signature.
        let Some(chunk) = frame.data_ref() else { continue };
        length += chunk.len() as u64;
        // A chunked body has no `Content-Length` that could be checked before.
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
