//! The state of the sync loop between two syncs. The loop owns it and lends it to one sync at a time, so nothing here is
//! shared or locked.

use git2::Oid;

use super::announcement_tracker::AnnouncementTracker;
use super::inherited::Inherited;
use super::rejected::RejectedCommit;

#[derive(Debug, Default)]
pub(crate) struct SyncState {
    /// The other replicas' decisions as received at the start, until the volume is open.
    pub inherited: Option<Inherited>,
    pub tracker: AnnouncementTracker,
    /// The remote's commit at the last successful sync. A poll that finds a later one has found a missed webhook.
    pub head_at_last_success: Option<Oid>,
    pub rejected: RejectedCommit,
    /// How often a published tree was repaired.
    pub repairs: u64,
    /// The volume was opened, and the tree that an earlier process published there has not been verified.
    pub adoption_is_due: bool,
}
