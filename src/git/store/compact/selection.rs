//! Chooses the packs that a full compaction replaces at once, by the room that there is.
//!
//! With enough room for a copy of everything that is kept, all packs become one. On a tight volume, packs without anything
//! to keep are removed first, and then those with the least to keep are rewritten, as many as fit. Each such step frees room
//! for the next one. It writes nothing.

use git2::Oid;

use crate::git::error::Error;
use crate::git::store::compact::pack_files::{self, Pack, pack_folder};
use crate::git::store::compact::plan::{self, Plan};

/// The packs of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    pub replaced: Vec<Pack>,
    /// The packs that stay.
    pub others: Vec<Pack>,
    /// True if all packs and all loose objects become one pack.
    pub all: bool,
}

impl Selection {
    /// All packs of the plan that may be replaced.
    pub(crate) fn all(plan: &Plan) -> Self {
        Self { replaced: plan.replaced.clone(), others: plan.others.clone(), all: true }
    }
}

/// Chooses the packs to replace. `kept` are the objects that are kept, sorted.
///
/// # Errors
/// If there is no room to replace even one of the packs with garbage.
pub(crate) fn select(plan: &Plan, kept: &[Oid]) -> Result<Selection, Error> {
    let room = plan::room(&plan.store, &plan.allowance);
    if room >= plan.replaced.iter().map(|pack| pack.bytes).sum() {
        return Ok(Selection::all(plan));
    }
    let folder = pack_folder(&plan.store);
    let mut uses = Vec::new();
    for pack in &plan.replaced {
        let sizes = pack_files::sizes(&folder, pack).map_err(|error| Error::from_disk(&plan.store, &error))?;
        let objects = sizes.len();
        let kept: Vec<u64> =
            sizes.iter().filter(|(id, _)| kept.binary_search(id).is_ok()).map(|(_, bytes)| *bytes).collect();
        uses.push(Use { pack: pack.clone(), kept: kept.iter().sum(), has_garbage: kept.len() < objects });
    }
    let selection = fit(uses, &plan.others, room);
    if selection.replaced.is_empty() { Err(plan::no_room()) } else { Ok(selection) }
}

/// How much of a pack is kept.
#[derive(Clone, Debug)]
struct Use {
    pack: Pack,
    /// Bytes of the kept objects.
    kept: u64,
    has_garbage: bool,
}

fn fit(mut uses: Vec<Use>, others: &[Pack], room: u64) -> Selection {
    // An object may take more room where the one that it was stored as a difference to is not kept.
    let room = room - room / 4;
    let packs = |uses: &[Use]| uses.iter().map(|one| one.pack.clone()).collect::<Vec<_>>();
    let everything: u64 = uses.iter().map(|one| one.kept).sum();
    let is_unused = |one: &Use| one.kept == 0 && one.has_garbage;
    if everything <= room && !uses.iter().any(is_unused) {
        return Selection { replaced: packs(&uses), others: others.to_vec(), all: true };
    }
    uses.sort_by_key(|one| (!one.has_garbage, one.kept));
    let (mut written, mut count) = (0, 0);
    for one in &uses {
        written += one.kept;
        // Packs that are only removed need no room. Once one of them was chosen, the step ends with them: it is over at
        // once, and the room that it frees is there for the next step.
        if !one.has_garbage || written > room || count > 0 && is_unused(&uses[0]) && !is_unused(one) {
            break;
        }
        count += 1;
    }
    let stay = uses.split_off(count);
    let others = packs(&stay).into_iter().chain(others.iter().cloned()).collect();
    Selection { replaced: packs(&uses), others, all: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, bytes: u64, kept: u64) -> Use {
        let pack = Pack { stem: name.into(), bytes, objects: 3 };
        Use { pack, kept, has_garbage: kept < bytes }
    }

    fn chosen(uses: &[Use], room: u64) -> (Vec<String>, Vec<String>, bool) {
        let selection = fit(uses.to_vec(), &[], room);
        let names = |packs: &[Pack]| packs.iter().map(|pack| pack.stem.to_string_lossy().into_owned()).collect();
        (names(&selection.replaced), names(&selection.others), selection.all)
    }

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn packs_without_anything_to_keep_go_first_and_take_no_room() {
        let uses = [one("live", 300, 300), one("dead", 300, 0), one("half", 300, 100), one("gone", 300, 0)];
        assert_eq!(chosen(&uses, 0), (names("dead gone"), names("half live"), false));
        assert_eq!(chosen(&uses, 10_000), (names("dead gone"), names("half live"), false));
    }

    #[test]
    fn packs_with_the_least_to_keep_are_rewritten_as_far_as_they_fit() {
        let uses = [one("live", 300, 300), one("half", 300, 150), one("little", 300, 30), one("most", 300, 290)];
        assert_eq!(chosen(&uses, 1_100), (names("live half little most"), names(""), true));
        assert_eq!(chosen(&uses, 300), (names("little half"), names("most live"), false));
        assert_eq!(chosen(&uses, 100), (names("little"), names("half most live"), false));
        assert_eq!(chosen(&uses, 10), (names(""), names("little half most live"), false));
        let whole = [one("live", 300, 300), one("other", 300, 300)];
        assert!(chosen(&whole, 100).0.is_empty(), "there is nothing to gain");
    }
}
