//! The state of the published tree: whether it is its commit's tree, as the configuration wants it.
//!
//! The background checks find damage while the loop runs a sync, so both change it here. It must not know how a tree is checked.

use parking_lot::Mutex;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum TreeState {
    #[default]
    Sound,
    /// It lacks submodules that the configuration now asks for. It is complete otherwise, and stays live until they have
    /// been fetched.
    LacksSubmodules,
    /// It is known, or has to be assumed, to differ from its commit.
    Unverified,
}

/// The state of the tree that the link names.
#[derive(Debug, Default)]
pub(crate) struct PublishedTree(Mutex<TreeState>);

impl PublishedTree {
    /// A sync has published a tree that it built.
    pub(crate) fn was_published(&self) {
        *self.0.lock() = TreeState::Sound;
    }

    /// The tree may differ from its commit. Until it was verified or published again, nothing may rely on it.
    pub(crate) fn distrust(&self) {
        *self.0.lock() = TreeState::Unverified;
    }

    /// A comparison with the commit found no difference.
    pub(crate) fn was_verified(&self) {
        let mut state = self.0.lock();
        if *state == TreeState::Unverified {
            *state = TreeState::Sound;
        }
    }

    /// The tree lacks submodules. Returns true if that is news.
    pub(crate) fn lacks_submodules_now(&self) -> bool {
        let mut state = self.0.lock();
        // An unverified tree is built again in any case, with the submodules.
        let is_news = *state == TreeState::Sound;
        if is_news {
            *state = TreeState::LacksSubmodules;
        }
        is_news
    }

    /// Another volume was opened, whose submodules have not been compared yet.
    pub(crate) fn was_replaced(&self) {
        let mut state = self.0.lock();
        if *state == TreeState::LacksSubmodules {
            *state = TreeState::Sound;
        }
    }

    pub(crate) fn is_unverified(&self) -> bool {
        *self.0.lock() == TreeState::Unverified
    }

    pub(crate) fn lacks_submodules(&self) -> bool {
        *self.0.lock() == TreeState::LacksSubmodules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_publish_or_a_comparison_ends_a_doubt() {
        let tree = PublishedTree::default();
        assert!(!tree.is_unverified());
        tree.distrust();
        assert!(!tree.lacks_submodules_now(), "it is built again anyway");
        tree.was_replaced();
        assert!(tree.is_unverified() && !tree.lacks_submodules());
        tree.was_verified();
        assert!(!tree.is_unverified());
        assert!(tree.lacks_submodules_now() && !tree.lacks_submodules_now(), "news once");
        tree.was_verified();
        assert!(tree.lacks_submodules(), "the comparison says nothing of submodules");
        tree.was_published();
        assert!(!tree.lacks_submodules());
    }
}
