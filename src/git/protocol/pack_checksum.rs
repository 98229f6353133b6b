//! The end of a pack, found by its checksum: the last twenty bytes are the SHA-1 of all bytes before them
//! (gitformat-pack, "pack-*.pack files have the following format").
//!
//! A server waits for a program to end before it ends its response, which takes as long as ingesting a small pack.
//! This is no verification of the pack; the writer into the store verifies it.

use sha1::{Digest as _, Sha1};

/// The length of the checksum.
const LENGTH: usize = 20;

/// The end of a larger pack is not searched for: the wait is short beside the transfer, and hashing it takes time.
const LARGEST: usize = 1 << 20;

/// Hashes a pack as it arrives.
#[derive(Default)]
pub(crate) struct PackChecksum {
    hash: Sha1,
    /// The last bytes, which may be the checksum.
    last: Vec<u8>,
    read: usize,
}

impl PackChecksum {
    /// Takes the next part. Returns true if the pack is complete with it. A malicious server can make this true too
    /// early; writing the pack fails then.
    pub(crate) fn ends_with(&mut self, part: &[u8]) -> bool {
        self.read = self.read.saturating_add(part.len());
        if self.read > LARGEST {
            return false;
        }
        self.last.extend_from_slice(part);
        // The checksum does not cover itself, so the last twenty bytes are held back: they may be the checksum.
        let before = self.last.len().saturating_sub(LENGTH);
        self.hash.update(self.last.drain(..before).as_slice());
        // A copy is finished, because finishing ends a hash and more parts may follow.
        self.read > LENGTH && self.hash.clone().finalize().as_slice() == self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(length: usize) -> Vec<u8> {
        let mut pack: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let hash = Sha1::digest(&pack);
        pack.extend_from_slice(&hash);
        pack
    }

    #[test]
    fn the_end_of_a_pack_is_found_for_any_chunk_size() {
        let pack = pack(1000);
        for size in [1, 2, 19, 20, 21, 40, 333, 1020, 2000] {
            let mut checksum = PackChecksum::default();
            let ends: Vec<bool> = pack.chunks(size).map(|part| checksum.ends_with(part)).collect();
            let (last, before) = ends.split_last().unwrap();
            assert!(*last && !before.contains(&true), "{size}: {ends:?}");
        }
    }

    #[test]
    fn truncated_changed_longer_and_large_packs_have_no_end() {
        let good = pack(1000);
        let mut changed = good.clone();
        changed[500] ^= 1;
        let longer = [good.clone(), vec![0]].concat();
        for bad in [&good[..1019], &changed, &longer, &[]] {
            assert!(!PackChecksum::default().ends_with(bad));
        }
        assert!(
            PackChecksum::default().ends_with(&pack(LARGEST - LENGTH))
                && !PackChecksum::default().ends_with(&pack(LARGEST))
        );
    }
}
