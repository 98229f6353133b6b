//! Chooses the packs to combine, and the objects to keep.
//!
//! Sizes form a geometric series: a pack is left alone while it is at least twice as large as all smaller ones
//! together. So a large history is not rewritten for each push, and the number of packs stays small. Once the others
//! reach the size of the largest, there may be as much garbage as content: then everything is rewritten, and
//! unreachable objects are dropped. Small pushes soon reach the size of a small pack in bytes; it is left alone until they
//! reach it in objects as well, since each object costs time.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::Oid;

use crate::allowance::Allowance;
use crate::git::error::{Cause, Error};
use crate::git::libgit2::memory;
use crate::git::store::compact::pack_files;
use crate::git::store::compact::pack_files::Pack;
use crate::git::store::{refs, repository, shallow};

/// Up to this number of packs lookups are as fast as in one.
const MOST_PACKS: usize = 24;
/// Packs beside the largest one are left alone while they are no larger than it in all, or than this.
const MOST_REST: u64 = 8 * 1024 * 1024;
/// The largest pack is not rewritten while the others together have fewer than this fraction of its objects: one in 16.
const WORTHY_PART: u64 = 16;
/// The most objects for one pack. libgit2 needs some hundred bytes of memory for each.
const MOST_OBJECTS: u64 = 1_000_000;
/// Space on the volume that is left to other users.
const MOST_NEEDED_BY_OTHERS: u64 = 16 * 1024 * 1024;

/// The extent of one compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Only as far as the gain is worth the cost.
    Worthwhile,
    /// All packs become one, and unreachable objects are dropped.
    Full,
    /// The same at once: a push waits for the room.
    Urgent,
}

impl Effort {
    /// Returns true if all unreachable objects are to be dropped.
    pub(crate) fn is_full(self) -> bool {
        matches!(self, Self::Full | Self::Urgent)
    }
}

/// A planned compaction. It is made on the git thread, where no ref moves meanwhile.
#[derive(Debug)]
pub(crate) struct Plan {
    pub store: PathBuf,
    /// Device and inode of the store's folder, so that a replaced store is noticed.
    pub identity: (u64, u64),
    /// The targets of our refs.
    pub tips: HashSet<Oid>,
    /// Other commits to keep, with their history up to `depth`.
    pub keep: Vec<Oid>,
    pub depth: u32,
    /// The shallow boundary.
    pub shallow: HashSet<Oid>,
    /// The packs to replace. All others stay.
    pub(crate) replaced: Vec<Pack>,
    pub(crate) others: Vec<Pack>,
    /// True if only reachable objects are kept. Then loose objects are packed as well.
    pub full: bool,
    pub loose: Vec<PathBuf>,
    /// Counts the new pack while it is written.
    pub(crate) allowance: Arc<Allowance>,
}

/// Returns `None` if there is nothing to gain. `has_garbage`: there is garbage that the sizes do not show. `allowance`
/// counts the new pack.
pub(crate) fn plan(
    path: &Path,
    effort: Effort,
    has_garbage: bool,
    keep: Vec<Oid>,
    depth: u32,
    allowance: Arc<Allowance>,
) -> Result<Option<Plan>, Error> {
    let on_disk = |error: std::io::Error| Error::from_disk(path, &error);
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        meta => meta.map_err(on_disk)?,
    };
    let packs = pack_files::packs(path).map_err(on_disk)?;
    let wanted = match effort {
        Effort::Full | Effort::Urgent => true,
        Effort::Worthwhile => has_garbage || is_worth_it(&packs),
    };
    if !wanted {
        return Ok(None);
    }
    let repository = repository::open(path)?;
    let tips = refs::tips(&repository)?;
    // Nothing has been fetched yet.
    if tips.is_empty() {
        return Ok(None);
    }
    let everything = effort.is_full() || has_garbage;
    let (replaced, others, full) = choose(packs, everything, largest_allowed());
    let loose = if full { pack_files::loose(path).map_err(on_disk)? } else { Vec::new() };
    if replaced.len() + loose.len() < 2 && !full {
        return Ok(None);
    }
    // A full compaction does not write what it drops. How much that is it finds out by itself, see `selection`.
    if !full && room(path, &allowance) < replaced.iter().map(|pack| pack.bytes).sum() {
        return Err(no_room());
    }
    let shallow = shallow::boundary(&repository)?;
    let (store, identity) = (path.to_owned(), (meta.dev(), meta.ino()));
    Ok(Some(Plan { store, identity, tips, keep, depth, shallow, replaced, others, full, loose, allowance }))
}

fn is_worth_it(packs: &[Pack]) -> bool {
    let largest = packs.iter().map(|pack| pack.bytes).max().unwrap_or(0);
    let rest = packs.iter().map(|pack| pack.bytes).sum::<u64>() - largest;
    packs.len() > MOST_PACKS || rest > largest.max(MOST_REST)
}

/// Splits the packs into those to replace and those that stay. Returns true if unreachable objects are to be dropped.
fn choose(mut packs: Vec<Pack>, everything: bool, largest: u64) -> (Vec<Pack>, Vec<Pack>, bool) {
    packs.sort_by_key(|pack| std::cmp::Reverse(pack.bytes));
    let objects = |packs: &[Pack]| packs.iter().map(|pack| pack.objects).sum::<u64>();
    let mut stay = 0;
    if !everything {
        stay = usize::from(packs.first().is_some_and(|first| outweighs(first, &packs[1..])));
        let twice_the_rest = |at: usize| packs[at + 1..].iter().map(|pack| pack.bytes).sum::<u64>().saturating_mul(2);
        while stay < packs.len() && packs[stay].bytes >= twice_the_rest(stay) {
            stay += 1;
        }
    }
    let full = stay == 0;
    // Packs that are too large to rewrite stay. Most of their objects are history, which is kept anyway.
    while objects(&packs[stay..]) > MOST_OBJECTS || packs.get(stay).is_some_and(|pack| pack.bytes > largest) {
        stay += 1;
    }
    let replaced = packs.split_off(stay);
    (replaced, packs, full && stay == 0)
}

/// Returns true if a pack has so many more objects than all others together that rewriting it would cost more than they
/// did.
fn outweighs(largest: &Pack, others: &[Pack]) -> bool {
    let objects: u64 = others.iter().map(|pack| pack.objects).sum();
    let bytes: u64 = others.iter().map(|pack| pack.bytes).sum();
    largest.objects > objects.saturating_mul(WORTHY_PART) && bytes <= largest.bytes.max(MOST_REST)
}

/// Returns the size up to which a pack may be rewritten. libgit2 holds each file that it packs in memory, and a file
/// may be nearly all of its pack: a container with a memory limit must not be killed for that. Garbage in larger packs
/// stays.
fn largest_allowed() -> u64 {
    memory::limit().map_or(u64::MAX, |limit| limit / 4)
}

/// Returns how many bytes a new pack may take. A file system that reports no sizes is assumed to have room.
pub(crate) fn room(store: &Path, allowance: &Allowance) -> u64 {
    let free = rustix::fs::statvfs(store).ok().filter(|stat| stat.f_blocks > 0).map(|stat| {
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        free.saturating_sub(MOST_NEEDED_BY_OTHERS)
    });
    free.into_iter().chain(allowance.left()).min().unwrap_or(u64::MAX)
}

pub(crate) fn no_room() -> Error {
    Error::Compaction { source: Cause::new("there is no room for a second copy of the packs") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packs(sizes: &[u64]) -> Vec<Pack> {
        let pack = |(number, bytes): (usize, &u64)| Pack {
            stem: format!("pack-{number}").into(),
            bytes: *bytes,
            objects: bytes / 100,
        };
        sizes.iter().enumerate().map(pack).collect()
    }

    fn sizes(packs: &[Pack]) -> Vec<u64> {
        packs.iter().map(|pack| pack.bytes).collect()
    }

    #[test]
    fn few_small_packs_are_left_alone() {
        assert!(!is_worth_it(&packs(&[1_000; MOST_PACKS])));
        assert!(is_worth_it(&packs(&[1_000; MOST_PACKS + 1])));
        assert!(!is_worth_it(&packs(&[90 << 20, 80 << 20])));
        assert!(is_worth_it(&packs(&[90 << 20, 80 << 20, 11 << 20])));
        assert!(!is_worth_it(&packs(&[10, 7 << 20])));
        assert!(!is_worth_it(&[]));
    }

    #[test]
    fn a_large_pack_is_not_rewritten_for_small_ones() {
        let (replaced, others, full) = choose(packs(&[10, 10, 100_000, 10]), false, u64::MAX);
        assert_eq!((sizes(&replaced), sizes(&others), full), (vec![10, 10, 10], vec![100_000], false));
        let (replaced, others, full) = choose(packs(&[10, 1_000, 100_000, 10]), false, u64::MAX);
        // Two equal packs are no series, three sizes are.
        assert_eq!((sizes(&replaced), sizes(&others), full), (vec![10, 10], vec![100_000, 1_000], false));
        let (replaced, others, full) = choose(packs(&[60_000, 10, 100_000]), false, u64::MAX);
        assert_eq!((replaced.len(), others.len(), full), (3, 0, true));
        let (replaced, others, full) = choose(packs(&[10, 100_000]), true, u64::MAX);
        assert_eq!((replaced.len(), others.len(), full), (2, 0, true));
    }

    #[test]
    fn many_objects_are_not_rewritten_for_a_few() {
        let pack = |stem: &str, bytes, objects| Pack { stem: stem.into(), bytes, objects };
        // 20,000 small files, and pushes that bring a large folder each.
        let pushes = |count: u64| {
            let pushed = (0..count).map(|number| pack(&format!("push-{number}"), 200_000, 4));
            [pack("first", 1_600_000, 20_300)].into_iter().chain(pushed).collect::<Vec<_>>()
        };
        let (replaced, others, full) = choose(pushes(24), false, u64::MAX);
        assert_eq!((replaced.len(), others.len(), full), (24, 1, false));
        let (replaced, others, full) = choose(pushes(320), false, u64::MAX);
        assert_eq!((replaced.len(), others.len(), full), (321, 0, true), "so much garbage goes, whatever it costs");
        // A pack with few objects is rewritten as soon as there may be as much garbage.
        let few = [pack("first", 1_600_000, 300)].into_iter().chain(pushes(24).into_iter().skip(1)).collect();
        assert!(choose(few, false, u64::MAX).2);
    }

    #[test]
    fn a_pack_too_large_to_rewrite_stays_and_no_object_is_dropped() {
        let (replaced, others, full) = choose(packs(&[MOST_OBJECTS * 100 + 100, 500, 500]), true, u64::MAX);
        assert_eq!((replaced.len(), others.len(), full), (2, 1, false));
    }

    /// Measures endless pushes of one size: the bytes written in all, and the most packs at once.
    #[test]
    fn compactions_write_a_bounded_multiple_of_the_pushed_bytes() {
        let mut row = packs(&[10_000_000]);
        let (mut written, mut most) = (0, 0);
        for _ in 0..10_000 {
            row.extend(packs(&[100]));
            most = most.max(row.len());
            if is_worth_it(&row) {
                let (replaced, mut others, _) = choose(row, false, u64::MAX);
                let sum = sizes(&replaced).iter().sum();
                written += sum;
                others.extend(packs(&[sum]));
                row = others;
            }
        }
        assert!(most <= MOST_PACKS + 1, "{most}");
        assert!(written < 100 * 10_000 * 20, "{written}");
    }
}
