//! Which packs are worth to be made one, and what of them is kept.
//!
//! Sizes in a geometric row: a pack stays out of it while it is at least twice what all smaller ones have together. So a
//! large history is not written anew for each push, and there are few packs. When the largest is caught up with, there
//! may be as much garbage as there is content: then everything is written anew, and what is not kept is dropped. Small
//! pushes come up to a small pack soon in bytes; it is let be until they do so in objects, too, since each object costs.

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

/// Fewer packs than this are looked up as quickly as one.
const MOST_PACKS: usize = 24;
/// Packs beside the largest one are let be as long as they are no more than it, or than this.
const MOST_REST: u64 = 8 * 1024 * 1024;
/// The largest pack is not written anew for fewer objects than this part of its own.
const WORTHY_PART: u64 = 16;
/// What one pack is made of at most. libgit2 needs some hundred bytes of memory for each.
const MOST_OBJECTS: u64 = 1_000_000;
/// Left on the volume for everybody else.
const MOST_NEEDED_BY_OTHERS: u64 = 16 * 1024 * 1024;

/// How far one compaction goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// As far as it is worth it.
    Worthwhile,
    /// Everything becomes one pack, and what is not kept is dropped.
    Full,
}

/// What a compaction is to do. Made on the git thread, where no ref moves meanwhile.
#[derive(Debug)]
pub(crate) struct Plan {
    pub store: PathBuf,
    /// The store's folder itself, so that another one in its place is noticed.
    pub identity: (u64, u64),
    /// What our refs name.
    pub roots: HashSet<Oid>,
    /// Other commits to keep, with as much of their history as there is of `depth`.
    pub keep: Vec<Oid>,
    pub depth: u32,
    /// Where the history ends.
    pub shallow: HashSet<Oid>,
    /// The packs to be replaced; all others stay.
    pub(crate) chosen: Vec<Pack>,
    pub(crate) others: Vec<Pack>,
    /// True if only what is kept is taken over. Then loose objects are, too.
    pub full: bool,
    pub loose: Vec<PathBuf>,
    /// What the new pack is counted by as it is written.
    pub(super) allowance: Arc<Allowance>,
}

/// `None` if there is nothing to gain. `due`: there is garbage that the sizes do not show.
pub(crate) fn plan(
    path: &Path,
    effort: Effort,
    due: bool,
    keep: Vec<Oid>,
    (depth, allowance): (u32, &Arc<Allowance>),
) -> Result<Option<Plan>, Error> {
    let on_disk = |error: std::io::Error| Error::from_disk(path, &error);
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        meta => meta.map_err(on_disk)?,
    };
    let packs = pack_files::packs(path).map_err(on_disk)?;
    let wanted = match effort {
        Effort::Full => true,
        Effort::Worthwhile => due || is_worth_it(&packs),
    };
    if !wanted {
        return Ok(None);
    }
    let repository = repository::open(path)?;
    let roots = refs::tips(&repository)?;
    if roots.is_empty() {
        return Ok(None);
    }
    let everything = effort == Effort::Full || due;
    let (chosen, others, full) = choose(packs, everything, largest_allowed());
    let loose = if full { pack_files::loose(path).map_err(on_disk)? } else { Vec::new() };
    if chosen.len() + loose.len() < 2 && !full {
        return Ok(None);
    }
    let needed = chosen.iter().map(|pack| pack.bytes).sum();
    // What is dropped is not written again: how much that is, a full compaction finds out as it writes.
    if !full && allowance.left().is_some_and(|left| left < needed) {
        let source = Cause::new("a second copy of the packs would cross the volume's limit");
        return Err(Error::Compaction { source });
    }
    if !has_room(path, needed) {
        return Err(Error::Compaction { source: Cause::new("there is no room for a second copy of the packs") });
    }
    let shallow = shallow::boundary(&repository)?;
    let (store, identity) = (path.to_owned(), (meta.dev(), meta.ino()));
    let allowance = Arc::clone(allowance);
    Ok(Some(Plan { allowance, store, identity, roots, keep, depth, shallow, chosen, others, full, loose }))
}

fn is_worth_it(packs: &[Pack]) -> bool {
    let largest = packs.iter().map(|pack| pack.bytes).max().unwrap_or(0);
    let rest = packs.iter().map(|pack| pack.bytes).sum::<u64>() - largest;
    packs.len() > MOST_PACKS || rest > largest.max(MOST_REST)
}

/// Splits into those to be replaced and those that stay; true if the garbage is to be dropped.
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
    // What is too large to be written anew is let be: most of it is the history of something large, which is kept anyway.
    while objects(&packs[stay..]) > MOST_OBJECTS || packs.get(stay).is_some_and(|pack| pack.bytes > largest) {
        stay += 1;
    }
    let chosen = packs.split_off(stay);
    (chosen, packs, full && stay == 0)
}

/// True if a pack has so many more objects than all others together that writing it anew would cost more than they did.
fn outweighs(largest: &Pack, others: &[Pack]) -> bool {
    let objects: u64 = others.iter().map(|pack| pack.objects).sum();
    let bytes: u64 = others.iter().map(|pack| pack.bytes).sum();
    largest.objects > objects.saturating_mul(WORTHY_PART) && bytes <= largest.bytes.max(MOST_REST)
}

/// Of what size a pack may be taken. libgit2 holds each file that it packs in memory, and a file may be nearly all of its
/// pack: a container with a memory limit must not be ended for that. Garbage in what is let be stays.
fn largest_allowed() -> u64 {
    memory::limit().map_or(u64::MAX, |limit| limit / 4)
}

/// True if as much as the new pack may take is free. A file system that does not say is believed to have room.
fn has_room(store: &Path, needed: u64) -> bool {
    let Ok(stat) = rustix::fs::statvfs(store) else { return true };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    stat.f_blocks == 0 || free >= needed.saturating_add(MOST_NEEDED_BY_OTHERS)
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
    fn few_small_packs_are_let_be() {
        assert!(!is_worth_it(&packs(&[1_000; MOST_PACKS])));
        assert!(is_worth_it(&packs(&[1_000; MOST_PACKS + 1])));
        assert!(!is_worth_it(&packs(&[90 << 20, 80 << 20])));
        assert!(is_worth_it(&packs(&[90 << 20, 80 << 20, 11 << 20])));
        assert!(!is_worth_it(&packs(&[10, 7 << 20])));
        assert!(!is_worth_it(&[]));
    }

    #[test]
    fn a_large_pack_is_not_written_anew_for_small_ones() {
        let (chosen, others, full) = choose(packs(&[10, 10, 100_000, 10]), false, u64::MAX);
        assert_eq!((sizes(&chosen), sizes(&others), full), (vec![10, 10, 10], vec![100_000], false));
        let (chosen, others, full) = choose(packs(&[10, 1_000, 100_000, 10]), false, u64::MAX);
        // Two equal ones are no row, three sizes are.
        assert_eq!((sizes(&chosen), sizes(&others), full), (vec![10, 10], vec![100_000, 1_000], false));
        let (chosen, others, full) = choose(packs(&[60_000, 10, 100_000]), false, u64::MAX);
        assert_eq!((chosen.len(), others.len(), full), (3, 0, true));
        let (chosen, others, full) = choose(packs(&[10, 100_000]), true, u64::MAX);
        assert_eq!((chosen.len(), others.len(), full), (2, 0, true));
    }

    #[test]
    fn many_objects_are_not_written_anew_for_a_few() {
        let pack = |stem: &str, bytes, objects| Pack { stem: stem.into(), bytes, objects };
        // 20,000 small files, and pushes that bring a large folder each.
        let pushes = |count: u64| {
            let pushed = (0..count).map(|number| pack(&format!("push-{number}"), 200_000, 4));
            [pack("first", 1_600_000, 20_300)].into_iter().chain(pushed).collect::<Vec<_>>()
        };
        let (chosen, others, full) = choose(pushes(24), false, u64::MAX);
        assert_eq!((chosen.len(), others.len(), full), (24, 1, false));
        let (chosen, others, full) = choose(pushes(320), false, u64::MAX);
        assert_eq!((chosen.len(), others.len(), full), (321, 0, true), "so much garbage goes, whatever it costs");
        // With few objects in it the pack is written anew as soon as there may be as much garbage.
        let few = [pack("first", 1_600_000, 300)].into_iter().chain(pushes(24).into_iter().skip(1)).collect();
        assert!(choose(few, false, u64::MAX).2);
    }

    #[test]
    fn what_is_too_large_stays_and_then_nothing_is_dropped() {
        let (chosen, others, full) = choose(packs(&[MOST_OBJECTS * 100 + 100, 500, 500]), true, u64::MAX);
        assert_eq!((chosen.len(), others.len(), full), (2, 1, false));
    }

    /// Pushes of one size for ever: how much is written in all, and how many packs there are at most.
    #[test]
    fn the_work_grows_little_faster_than_what_is_pushed() {
        let mut row = packs(&[10_000_000]);
        let (mut written, mut most) = (0, 0);
        for _ in 0..10_000 {
            row.extend(packs(&[100]));
            most = most.max(row.len());
            if is_worth_it(&row) {
                let (chosen, mut others, _) = choose(row, false, u64::MAX);
                let sum = sizes(&chosen).iter().sum();
                written += sum;
                others.extend(packs(&[sum]));
                row = others;
            }
        }
        assert!(most <= MOST_PACKS + 1, "{most}");
        assert!(written < 100 * 10_000 * 20, "{written}");
    }
}
