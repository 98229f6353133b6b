//! Whether a volume has room for one more tree. It must not know what the tree is for.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::folder;
use crate::worker::Cancel;

/// What should stay free beside trees: packs, history, other people's files.
const MARGIN: u64 = 16 * 1024 * 1024;
const MARGIN_INODES: u64 = 1_000;

/// Free blocks and inodes, and what one tree takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    free: (u64, u64),
    tree: (u64, u64),
}

impl Room {
    /// Measures the tree `name` and the volume. `None`: cancelled.
    pub(super) fn measure(trees: &OwnedFd, name: &[u8], cancel: &Cancel) -> Result<Option<Self>, Errno> {
        let mut tree = (0_u64, 0_u64);
        let measured = folder::visit(folder::open(trees, name)?, |_, _, stat| {
            tree.0 += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            tree.1 += 1;
            if cancel.is_cancelled() { Err(Errno::CANCELED) } else { Ok(()) }
        });
        match measured {
            Ok(()) => {}
            Err(Errno::CANCELED) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        let state = rustix::fs::fstatvfs(trees)?;
        // File systems without a fixed number of inodes (btrfs) report 0 of 0.
        let inodes = if state.f_files == 0 { u64::MAX } else { state.f_favail };
        Ok(Some(Self { free: (state.f_bavail.saturating_mul(state.f_frsize), inodes), tree }))
    }

    /// True if a fresh tree would hardly fit any more.
    pub(super) fn is_tight(self) -> bool {
        !self.holds(1)
    }

    /// True if a fresh tree would fit even with one more beside it. Dropping a spare on a tight volume does not make it
    /// ample, so that spares are not made and dropped in turn.
    pub(super) fn is_ample(self) -> bool {
        self.holds(2)
    }

    fn holds(self, trees: u64) -> bool {
        let needed = |one: u64, margin: u64| one.saturating_mul(trees).saturating_add(margin);
        self.free.0 >= needed(self.tree.0, MARGIN) && self.free.1 >= needed(self.tree.1, MARGIN_INODES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_dropped_for_want_of_room_is_not_made_again_at_once() {
        let tree = (50 << 20, 100);
        for free in (0..400).map(|megabytes| megabytes << 20) {
            let before = Room { free: (free, 1 << 20), tree };
            let after = Room { free: (free + tree.0, 1 << 20), tree };
            assert!(!(before.is_tight() && after.is_ample()), "{free}");
        }
        assert!(!Room { free: (1 << 30, 1_150), tree }.is_tight());
        assert!(!Room { free: (1 << 30, 1_150), tree }.is_ample(), "inodes count as well");
        assert!(Room { free: (1 << 30, 1_050), tree }.is_tight());
    }
}
