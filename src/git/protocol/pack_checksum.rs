//! Where a pack ends, as the pack itself says: its last twenty bytes are the SHA-1 of all bytes before them
//! (gitformat-pack, "pack-*.pack files have the following format").
//!
//! A server has to wait for a program to end before it says that no more will follow, which takes as long as all that is
//! done here with a small pack. It must not be taken for a check of the pack: who writes it into the store makes that.

use sha1::{Digest as _, Sha1};

/// What the hash takes.
const HASH: usize = 20;

/// Of more than this, the end is waited for: the wait is nothing beside it then, and hashing it would be something.
const MOST: usize = 1 << 20;

/// Reads along with a pack.
#[derive(Default)]
pub(crate) struct Trailer {
    hash: Sha1,
    /// The last bytes, which may be the hash.
    last: Vec<u8>,
    read: usize,
}

impl Trailer {
    /// Takes the next part. True if the pack is whole with it. A server that means harm can make this true too early: the
    /// pack is found to be cut off then.
    pub(crate) fn ends_with(&mut self, part: &[u8]) -> bool {
        self.read = self.read.saturating_add(part.len());
        if self.read > MOST {
            return false;
        }
        self.last.extend_from_slice(part);
        let before = self.last.len().saturating_sub(HASH);
        self.hash.update(self.last.drain(..before).as_slice());
        self.read > HASH && self.hash.clone().finalize().as_slice() == self.last
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
    fn a_pack_ends_where_it_says_however_it_comes_in_parts() {
        let pack = pack(1000);
        for size in [1, 2, 19, 20, 21, 40, 333, 1020, 2000] {
            let mut trailer = Trailer::default();
            let ends: Vec<bool> = pack.chunks(size).map(|part| trailer.ends_with(part)).collect();
            let (last, before) = ends.split_last().unwrap();
            assert!(*last && !before.contains(&true), "{size}: {ends:?}");
        }
    }

    #[test]
    fn what_is_cut_off_changed_longer_or_large_does_not_end() {
        let good = pack(1000);
        let mut changed = good.clone();
        changed[500] ^= 1;
        let longer = [good.clone(), vec![0]].concat();
        for bad in [&good[..1019], &changed, &longer, &[]] {
            assert!(!Trailer::default().ends_with(bad));
        }
        assert!(Trailer::default().ends_with(&pack(MOST - HASH)) && !Trailer::default().ends_with(&pack(MOST)));
    }
}
