//! Plans how one commit's tree becomes another's, by touching only entries that differ.
//!
//! The plan is made from the store alone, so a commit that cannot be published is refused before anything is touched. It must
//! not know the disk.

use git2::Oid;

use crate::publish::error::Error;
use crate::publish::tree::diff;
use crate::publish::tree::view::{EntryKind, MAX_DEPTH, TreeEntry, View, hostile, join};
use crate::worker::Cancel;

/// One step in the current folder.
#[derive(Debug)]
pub(crate) enum PlanStep {
    /// Enter a folder of both commits. Its tree is that of the new one.
    Enter(Vec<u8>, Oid),
    /// Create and enter a folder that the old commit does not have.
    MakeAndEnter(Vec<u8>, Oid),
    Leave,
    /// Remove a file, a link, a submodule's folder, or a folder with everything in it.
    Remove(Vec<u8>),
    /// Create a submodule's empty folder.
    Make(Vec<u8>),
    /// Write a file or a link that does not exist.
    Write(TreeEntry),
    /// Replace a file or a link.
    Replace(TreeEntry),
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub steps: Vec<PlanStep>,
    /// The most entries that the new tree can have in addition to the old ones.
    pub more: u64,
}

struct Frame {
    path: Vec<u8>,
    folders: std::vec::IntoIter<(Vec<u8>, Option<Oid>, Oid)>,
}

/// Plans the steps that turn a tree of `old` into one of `new`. `None` if there are more than `most` steps, or if a
/// `.gitattributes` differs, which may change files that are equal in both.
///
/// # Errors
/// If an object of either is missing or damaged, or if the new tree is hostile.
pub(crate) fn plan(view: &View<'_>, old: Oid, new: Oid, most: usize, cancel: &Cancel) -> Result<Option<Plan>, Error> {
    let mut plan = Plan { steps: Vec::new(), more: 0 };
    let mut seen = 0;
    view.attributes_differ.set(false);
    let mut stack = vec![plan.folder(view, Some(old), new, Vec::new(), &mut seen)?];
    while let Some(top) = stack.last_mut() {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        // Different attributes and submodules show only while folders are read, so they are asked for in each round.
        if plan.steps.len() > most || view.may_mislead() {
            return Ok(None);
        }
        let Some((name, old, new)) = top.folders.next() else {
            stack.pop();
            plan.steps.push(PlanStep::Leave);
            continue;
        };
        let path = if top.path.is_empty() { name.clone() } else { join(&top.path, &name) };
        if stack.len() == MAX_DEPTH {
            return Err(hostile(&path, b"", "folders are nested more than 256 deep"));
        }
        plan.steps.push(if old.is_some() { PlanStep::Enter(name, new) } else { PlanStep::MakeAndEnter(name, new) });
        stack.push(plan.folder(view, old, new, path, &mut seen)?);
    }
    // The top folder was not entered by a step.
    plan.steps.pop();
    Ok(Some(plan))
}

impl Plan {
    fn folder(
        &mut self,
        view: &View<'_>,
        old: Option<Oid>,
        new: Oid,
        path: Vec<u8>,
        seen: &mut u64,
    ) -> Result<Frame, Error> {
        let mut folders = Vec::new();
        let (mut made, mut replaced) = (Vec::new(), Vec::new());
        for (before, after) in diff::folders(view, old, Some(new), &path, seen)? {
            match (before, after) {
                (Some(before), Some(after)) if before.kind == EntryKind::Folder => {
                    folders.push((after.name, Some(before.id), after.id));
                }
                // An empty folder does not show the commit of its submodule.
                (Some(before), Some(after)) if before.kind == after.kind && after.kind == EntryKind::Submodule => {}
                (Some(_), Some(after)) if after.kind != EntryKind::Folder && after.kind != EntryKind::Submodule => {
                    replaced.push(PlanStep::Replace(after));
                }
                (before, after) => {
                    // All removals of a folder come first, because a file and a folder may exchange their names.
                    self.steps.extend(before.map(|before| PlanStep::Remove(before.name)));
                    made.extend(after);
                }
            }
        }
        // Removed entries are not subtracted: callers need an upper bound.
        self.more += made.len() as u64;
        self.steps.append(&mut replaced);
        for entry in made {
            match entry.kind {
                EntryKind::Folder => folders.push((entry.name, None, entry.id)),
                EntryKind::Submodule => self.steps.push(PlanStep::Make(entry.name)),
                _ => self.steps.push(PlanStep::Write(entry)),
            }
        }
        Ok(Frame { path, folders: folders.into_iter() })
    }

    /// Returns how many names are created, replaced or removed.
    pub(crate) fn changes(&self) -> usize {
        self.steps.iter().filter(|step| !matches!(step, PlanStep::Enter(..) | PlanStep::Leave)).count()
    }
}
