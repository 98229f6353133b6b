//! Checks whether a volume has room for one more tree. It must not know what the tree is for.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::publish::folder;

/// The space that should stay free beside trees: for packs, history, files of others.
const MARGIN: u64 = 16 * 1024 * 1024;
const MARGIN_INODES: u64 = 1_000;

/// The size of the live tree: measured once, and then increased by what is written. Each tree is made from the previous one
/// or replaces it, so one size serves all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    measured: (u64, u64),
    /// Written since the measurement; the size of replaced files is not known.
    more: (u64, u64),
}

impl Size {
    /// Creates it from the bytes and inodes of a tree as it was measured, or written.
    pub(crate) fn of(tree: (u64, u64)) -> Self {
        Self { measured: tree, more: (0, 0) }
    }

    /// Adds what was written into the tree to make the next one.
    pub(crate) fn grow(&mut self, (bytes, inodes): (u64, u64)) {
        self.more = (self.more.0.saturating_add(bytes), self.more.1.saturating_add(inodes));
    }

    /// Returns at least the tree's size; `None` if so much was written that it has to be measured again.
    pub(crate) fn at_most(self) -> Option<(u64, u64)> {
        // Replaced files are counted with their successors, so the sum is never too small, but becomes useless with
        // time.
        let near = |more: u64, measured: u64, some: u64| more <= measured / 8 + some;
        let near =
            near(self.more.0, self.measured.0, MARGIN / 8) && near(self.more.1, self.measured.1, MARGIN_INODES / 8);
        near.then(|| (self.measured.0 + self.more.0, self.measured.1 + self.more.1))
    }
}

/// Measures a tree by reading the `stat` of each entry, while `go_on`, which is called at each, returns true. `None` if it
/// was stopped.
pub(crate) fn measure(trees: &OwnedFd, name: &[u8], go_on: &impl Fn() -> bool) -> Result<Option<(u64, u64)>, Errno> {
    let mut tree = (0_u64, 0_u64);
    let measured = folder::visit(folder::open(trees, name)?, |_, _, stat| {
        // Blocks and not lengths, because files may be sparse. They are counted in units of 512 bytes (stat(3type)).
        tree.0 += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        tree.1 += 1;
        if go_on() { Ok(()) } else { Err(Errno::CANCELED) }
    });
    match measured {
        Ok(()) => Ok(Some(tree)),
        Err(Errno::CANCELED) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The free space and inodes, and the size of one tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    free: (u64, u64),
    tree: (u64, u64),
}

impl Room {
    /// Reads the free space of the volume of `trees`; `tree` is the size of one tree.
    pub(crate) fn of(trees: &OwnedFd, tree: (u64, u64)) -> Result<Self, Errno> {
        let state = rustix::fs::fstatvfs(trees)?;
        // File systems without a fixed number of inodes (btrfs) report 0 of 0.
        let inodes = if state.f_files == 0 { u64::MAX } else { state.f_favail };
        Ok(Self { free: (state.f_bavail.saturating_mul(state.f_frsize), inodes), tree })
    }

    /// Limits the free space to `left` bytes, if there is a limit besides the file system's.
    pub(crate) fn within(mut self, left: Option<u64>) -> Self {
        self.free.0 = self.free.0.min(left.unwrap_or(u64::MAX));
        self
    }

    /// Returns true if a fresh tree would hardly fit any more.
    pub(crate) fn is_tight(self) -> bool {
        !self.holds(1)
    }

    /// Returns true if two fresh trees would fit. Dropping one standby tree on a tight volume does not satisfy this, so
    /// standby trees are not made and dropped in turn.
    pub(crate) fn is_ample(self) -> bool {
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

    #[test]
    fn a_size_is_counted_along_and_measured_again_when_it_says_little() {
        let mut size = Size::of((80 << 20, 8_000));
        size.grow((4096, 1));
        assert_eq!(size.at_most(), Some(((80 << 20) + 4096, 8_001)));
        size.grow((20 << 20, 0));
        assert_eq!(size.at_most(), None, "a quarter of it was written again");
        let mut size = Size::of((80 << 20, 8_000));
        size.grow((0, 2_000));
        assert_eq!(size.at_most(), None, "inodes count as well");
        let mut small = Size::of((4096, 1));
        small.grow((4096, 1));
        assert!(small.at_most().is_some(), "a tree of one file is not measured at each push");
    }
}
