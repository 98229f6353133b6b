//! The values of `--submodules`, and the refs of the store that name the tree under which a commit is published.
//!
//! A leaf: `git` writes the ref and `publish` reads it, and they share only this name. The commit behind the ref has the
//! flattened tree as its tree (a submodule's files in place of its empty folder), the commits of the submodules as its
//! parents, which keeps them in the store, and one line for each of them in its message.

use std::fmt::{self, Display, Write as _};

use crate::hash::is_hash;

/// The prefix of the refs of flattened trees; each mode has its own, since their trees differ.
pub const GRAFTS: &str = "refs/pushsync/modules/";

/// How much of the submodules is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Submodules {
    /// All of them, those of submodules too.
    Recursive,
    /// Only those of the repository itself; theirs stay empty folders.
    Shallow,
    /// None: they are empty folders.
    #[default]
    Off,
}

impl Submodules {
    /// Returns the ref that names the flattened commit; none if submodules are off.
    #[must_use]
    pub fn graft(self, commit: impl Display) -> Option<String> {
        (self != Self::Off).then(|| format!("{GRAFTS}{self}/{commit}"))
    }
}

impl Display for Submodules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recursive => "recursive",
            Self::Shallow => "shallow",
            Self::Off => "off",
        })
    }
}

/// Returns the folders of submodules, as the flattened commit's message lists them.
pub fn folders(message: &str) -> impl Iterator<Item = Vec<u8>> + '_ {
    lines(message).map(|line| decode(line.path))
}

/// One line of a flattened commit's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubmoduleLine<'a> {
    /// The submodule's commit.
    pub commit: &'a str,
    /// A fingerprint of its address.
    pub address: &'a str,
    /// Its folder, as [`encode`] writes it.
    pub path: &'a str,
}

/// Returns the lines of a flattened commit's message.
pub fn lines(message: &str) -> impl Iterator<Item = SubmoduleLine<'_>> + '_ {
    message.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (commit, address, path) = (words.next()?, words.next()?, words.next()?);
        (is_hash(commit) && is_hash(address) && words.next().is_none()).then_some(SubmoduleLine {
            commit,
            address,
            path,
        })
    })
}

/// Encodes a path as one word of text. It works byte by byte, so that a common prefix of two paths stays one.
#[must_use]
pub fn encode(path: &[u8]) -> String {
    let mut word = String::with_capacity(path.len());
    for &byte in path {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => word.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => {
                let _ = write!(word, "%{byte:02x}");
            }
        }
    }
    word
}

fn decode(word: &str) -> Vec<u8> {
    let mut path = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = hex.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| first == b'%');
        path.push(byte.unwrap_or(first));
        rest = byte.map_or(tail, |_| &tail[2..]);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_has_its_own_ref() {
        assert_eq!(Submodules::Recursive.graft("c0ffee").as_deref(), Some("refs/pushsync/modules/recursive/c0ffee"));
        assert_eq!(Submodules::Shallow.graft("c0ffee").as_deref(), Some("refs/pushsync/modules/shallow/c0ffee"));
        assert_eq!(Submodules::Off.graft("c0ffee"), None);
    }

    #[test]
    fn folders_of_any_name_are_found_again() {
        let odd = b"lib/a b\n%41\xff\xc3\xa9".as_slice();
        let hash = "1".repeat(40);
        let message =
            format!("the submodules of a commit\n\n{hash} {hash} {}\n{hash} {hash} lib/x\nnot a line\n", encode(odd));
        assert_eq!(folders(&message).collect::<Vec<_>>(), [odd.to_vec(), b"lib/x".to_vec()]);
        assert!(encode(b"lib/x y").starts_with(&encode(b"lib/x")));
    }
}
