//! The parts of a volume that work on standby trees needs, and of one job on them.

use std::os::fd::OwnedFd;

use git2::Oid;

use crate::publish::checkout::plan::{Plan, plan};
use crate::publish::error::Error;
use crate::publish::standby::state::StandbyTrees;
use crate::publish::tree::view::{Objects, View};
use crate::publish::volume::published::PublishedTrees;
use crate::publish::volume::usage::Usage;
use crate::publish::volume::worktrees::Worktrees;
use crate::worker::Cancel;

/// A plan with more steps takes too much memory.
pub(crate) const MOST_STEPS: u64 = 150_000;

/// The parts of a volume.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub volume: &'a Worktrees,
    pub published: &'a PublishedTrees,
    pub standby: &'a StandbyTrees,
    pub usage: &'a Usage,
}

/// The parts of a job. The store and the folder of the trees are open for its whole time.
pub(crate) struct Job<'a> {
    pub parts: Parts<'a>,
    pub objects: &'a Objects,
    pub view: &'a View<'a>,
    pub trees: &'a OwnedFd,
    pub cancel: &'a Cancel,
}

impl Job<'_> {
    /// Returns the plan from one commit's tree to that of the live one; `None` if everything has to be compared instead.
    pub(crate) fn plan(&self, from: Option<Oid>, live: Oid) -> Result<Option<Plan>, Error> {
        let Some(from) = from else { return Ok(None) };
        let most = usize::try_from(MOST_STEPS).unwrap_or(usize::MAX);
        plan(self.view, from, self.objects.root(live)?, most, self.cancel)
    }
}
