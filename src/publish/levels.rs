//! The `.gitattributes` on the way from the top folder to the one that is being read.
//!
//! Trees are walked from the top down, so each folder's file is known before what is below it is asked for. It must not
//! know what attributes do to a file beyond whether they matter.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use git2::Oid;

use super::convert::{Conversion, matters};
use super::remarks::Remarks;
use crate::attributes::{Rules, State, look_up};

/// So many different files are kept parsed; more of them are read again.
const KEPT: usize = 1_000;

/// A file that was read.
#[derive(Debug)]
pub(super) struct Level {
    rules: Rules,
    /// False if nothing in it can change a file.
    matters: bool,
}

impl Level {
    fn new(rules: Rules) -> Self {
        let matters = rules.mentions(matters);
        Self { rules, matters }
    }
}

#[derive(Debug)]
pub(super) struct Levels {
    built_in: Rules,
    /// By folder, only of folders that have one.
    files: BTreeMap<Vec<u8>, Arc<Level>>,
    /// By the file's content, and whether it is the top one: the others may not define macros.
    parsed: HashMap<(Oid, bool), Arc<Level>>,
    /// Equal ones are shared, as a tree has few kinds and many files.
    conversions: Vec<Arc<Conversion>>,
}

impl Levels {
    pub(super) fn new() -> Self {
        Self { built_in: Rules::built_in(), files: BTreeMap::new(), parsed: HashMap::new(), conversions: Vec::new() }
    }

    /// The folder that was read last has no such file.
    pub(super) fn none(&mut self, folder: &[u8]) {
        if !self.files.is_empty() {
            self.files.remove(folder);
        }
    }

    /// The folder that was read last has this one; `read` is asked for its content if it is not known.
    pub(super) fn enter<E>(
        &mut self,
        (folder, top): (&[u8], usize),
        id: Oid,
        remarks: &mut Remarks,
        read: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        let is_top = folder.len() == top;
        let key = (id, is_top);
        let level = if let Some(level) = self.parsed.get(&key) {
            Arc::clone(level)
        } else {
            let level = Arc::new(Level::new(Rules::parse(&read()?, is_top)));
            let _ = level.rules.mentions(|name, state| {
                if let (b"filter", State::Value(value)) = (name, state)
                    && value != b"lfs"
                {
                    remarks.filter(value);
                }
                false
            });
            if self.parsed.len() >= KEPT {
                self.parsed.clear();
            }
            self.parsed.insert(key, Arc::clone(&level));
            level
        };
        self.files.insert(folder.to_vec(), level);
        Ok(())
    }

    /// True if a file in the folder may have to be changed. What is above `top`, where its repository begins, is of another
    /// one.
    pub(super) fn matter(&self, folder: (&[u8], usize)) -> bool {
        !self.files.is_empty() && self.on_the_way(folder).any(|(_, level)| level.matters)
    }

    /// What is to be done to a file; `path` is its own.
    pub(super) fn conversion(
        &mut self,
        folder: (&[u8], usize),
        path: &[u8],
        remarks: &mut Remarks,
    ) -> Option<Arc<Conversion>> {
        let mut files: Vec<(&[u8], &Rules)> = vec![(b"", &self.built_in)];
        files.extend(self.on_the_way(folder).map(|(folder, level)| (folder, &level.rules)));
        let conversion = Conversion::of(&look_up(&files, path))?;
        if let Some(unknown) = conversion.unknown_encoding() {
            remarks.encoding(unknown);
        }
        if let Some(known) = self.conversions.iter().find(|known| ***known == conversion) {
            return Some(Arc::clone(known));
        }
        let conversion = Arc::new(conversion);
        if self.conversions.len() < KEPT {
            self.conversions.push(Arc::clone(&conversion));
        }
        Some(conversion)
    }

    fn on_the_way<'a>(&'a self, (folder, top): (&'a [u8], usize)) -> impl Iterator<Item = (&'a [u8], &'a Level)> {
        let ends = folder.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let folders = [0].into_iter().chain(ends).chain([folder.len()].into_iter().filter(|end| *end > 0));
        folders.filter(move |end| *end >= top).filter_map(|end| {
            let (folder, level) = self.files.get_key_value(&folder[..end])?;
            Some((folder.as_slice(), level.as_ref()))
        })
    }
}
