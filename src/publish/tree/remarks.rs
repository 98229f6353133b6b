//! Remarks on a tree for the operator: pointers instead of large files, filters that are not run.
//!
//! It only reports, and must not change how a tree is written.

use std::collections::BTreeSet;

use crate::publish::path::printable;

/// The first line of every Git LFS pointer; none is longer than a kilobyte.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
const LONGEST_POINTER: usize = 1024;

/// The most remarks that are kept, so that a hostile tree cannot fill the log.
const MOST: usize = 8;

#[derive(Clone, Debug, Default)]
pub(crate) struct Remarks {
    pointers: u64,
    first: Option<Vec<u8>>,
    filters: BTreeSet<Vec<u8>>,
    encodings: BTreeSet<String>,
}

impl Remarks {
    /// Notes a written file, if it is only a pointer.
    pub(crate) fn wrote(&mut self, content: &[u8], path: impl FnOnce() -> Vec<u8>) {
        if content.len() <= LONGEST_POINTER && content.starts_with(POINTER) {
            self.pointers += 1;
            self.first.get_or_insert_with(path);
        }
    }

    pub(crate) fn filter(&mut self, name: &[u8]) {
        if self.filters.len() < MOST {
            self.filters.insert(name.to_vec());
        }
    }

    pub(crate) fn encoding(&mut self, name: &str) {
        if self.encodings.len() < MOST {
            self.encodings.insert(name.to_owned());
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.pointers += other.pointers;
        if self.first.is_none() {
            self.first = other.first;
        }
        other.filters.iter().for_each(|name| self.filter(name));
        other.encodings.iter().for_each(|name| self.encoding(name));
    }

    /// Returns true for a remark that applies to every tree until `.gitattributes` change, so that it is made only once.
    pub(crate) fn is_lasting(remark: &str) -> bool {
        remark.starts_with(".gitattributes ask")
    }

    /// Returns the remarks as text. `lfs` is true if pointers were replaced by their objects where possible.
    pub(crate) fn words(&self, lfs: bool) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(first) = &self.first {
            let why = if lfs {
                "only files with filter=lfs in .gitattributes are fetched, without extensions and outside of submodules"
            } else {
                "LFS objects are not fetched without --lfs"
            };
            words.push(format!(
                "{} of the files written are pointers of Git LFS, not the files themselves (the first is {}): {why}",
                self.pointers,
                printable(first)
            ));
        }
        for name in &self.filters {
            words.push(format!(
                ".gitattributes ask for filter={}: programs are not run, the files are written as they are stored",
                printable(name)
            ));
        }
        for name in &self.encodings {
            words.push(format!(
                ".gitattributes ask for working-tree-encoding={}, which is not known here: the files stay UTF-8",
                printable(name.as_bytes())
            ));
        }
        words
    }
}
