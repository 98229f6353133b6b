//! The state of a volume as a process without its lock sees it: whether it has an owner, and what the link names.
//!
//! It creates, changes and locks nothing. It must not know why the caller waits.

use crate::publish::error::Error;
use crate::publish::volume::layout::VolumeOptions;
use crate::publish::volume::link::{LinkPath, LinkState};
use crate::publish::volume::lock::has_owner;
use crate::publish::volume::worktrees::Live;

/// The state of a volume, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// True while another process has the lock.
    pub owned: bool,
    pub live: Live,
}

/// Reads the state of a volume without owning it. A tree counts as present by its name, as for the owner, since only a
/// complete tree gets it.
///
/// # Errors
/// If the link cannot be read, or cannot be one.
pub fn observe(options: &VolumeOptions) -> Result<Observed, Error> {
    let owned = has_owner(&options.root);
    // The owner has not made the root yet.
    let Ok(root) = options.root.canonicalize() else { return Ok(Observed { owned, live: Live::Nothing }) };
    let trees = root.join(".worktrees");
    let live = match LinkPath::new(&root, &options.link, trees.clone())?.read()? {
        LinkState::Nothing => Live::Nothing,
        LinkState::Foreign => Live::Foreign,
        LinkState::Ours(target) => match std::fs::symlink_metadata(trees.join(target.path())) {
            Ok(stat) if stat.is_dir() => Live::Tree(target.commit),
            _ => Live::Dangling(target.commit),
        },
    };
    Ok(Observed { owned, live })
}
