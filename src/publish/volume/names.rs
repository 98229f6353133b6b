//! The names of pushsync's entries in `ROOT`. They are read by later versions, so they are an interface.
//!
//! It must not touch the disk.

use std::ffi::OsStr;

use git2::Oid;

pub(crate) const STATE: &[u8] = b".pushsync";
pub(crate) const TREES: &[u8] = b".worktrees";

/// Names in `.worktrees` that are not trees of a commit.
pub(crate) const UNFINISHED: &str = ".tmp-";
// `.trash-` and `.spare-` are the words of earlier versions. They stay, because an upgrade finds such entries.
pub(crate) const MARKED: &str = ".trash-";
/// A damaged tree that was exchanged for a good one while readers may have used it.
pub(crate) const EXCHANGED: &str = ".old-";
/// A standby tree; its commit and a unique part follow.
pub(crate) const STANDBY: &str = ".spare-";
/// The prefix of the folders that contain a tree one level deeper: see `NewTree::stand_beside`.
pub(crate) const BESIDE: &str = ".beside-";

/// Returns the commit that an entry of `.worktrees` is named after.
pub(crate) fn commit_named(name: Option<&OsStr>) -> Option<Oid> {
    let text = name?.to_str()?;
    // libgit2 would read an abbreviated hash as one that ends in zeros.
    let is_hash = text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hash { Oid::from_str(text).ok() } else { None }
}

/// Returns an unused name for `.worktrees`.
pub(crate) fn unique(prefix: &str) -> Vec<u8> {
    format!("{prefix}{:x}-{:016x}", std::process::id(), fastrand::u64(..)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_lower_case_hash_names_a_commit() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(commit_named(Some(OsStr::new(hash))).unwrap().to_string(), hash);
        for name in ["", "HEAD", &hash[1..], &hash.to_uppercase(), ".tmp-1"] {
            assert_eq!(commit_named(Some(OsStr::new(name))), None, "{name}");
        }
    }
}
