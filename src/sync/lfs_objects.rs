//! Whether there may be LFS objects on the volume that no tree needs. It must not know how they are removed.

use parking_lot::Mutex;

/// Whether there may be objects on the volume that no tree needs.
#[derive(Debug)]
pub(crate) struct LfsObjects(Mutex<Unneeded>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unneeded {
    None,
    Possible,
}

impl Default for LfsObjects {
    /// An earlier process may have left some.
    fn default() -> Self {
        Self(Mutex::new(Unneeded::Possible))
    }
}

impl LfsObjects {
    /// Objects were downloaded, or trees were removed, so that some may not be needed.
    pub(crate) fn changed(&self) {
        *self.0.lock() = Unneeded::Possible;
    }

    /// Returns whether there may be some, and assumes from now on that there are none.
    pub(super) fn take(&self) -> Unneeded {
        std::mem::replace(&mut *self.0.lock(), Unneeded::None)
    }
}
