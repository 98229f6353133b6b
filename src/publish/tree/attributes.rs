//! The `.gitattributes` files from the top folder down to the current one.
//!
//! Trees are walked from the top down, so each folder's file is known before the entries below it are read. It must not
//! know the effect of attributes on a file, only whether they have one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use git2::Oid;

use crate::attributes::{AttributeState, Rules, look_up};
use crate::publish::tree::convert::{Conversion, matters};
use crate::publish::tree::remarks::Remarks;

/// The most different files that are kept parsed; further ones are read again.
const KEPT: usize = 1_000;

/// A parsed `.gitattributes` file.
#[derive(Debug)]
pub(crate) struct AttributeFile {
    rules: Rules,
    /// False if no rule in it can change a file.
    matters: bool,
}

impl AttributeFile {
    fn new(rules: Rules) -> Self {
        let matters = rules.mentions(matters);
        Self { rules, matters }
    }
}

#[derive(Debug)]
pub(crate) struct AttributeFiles {
    built_in: Rules,
    /// By folder; folders without such a file have no entry.
    files: BTreeMap<Vec<u8>, Arc<AttributeFile>>,
    /// By the file's hash, and whether it is the top one: only that may define macros.
    parsed: HashMap<(Oid, bool), Arc<AttributeFile>>,
    /// Equal conversions are shared, because a tree has few kinds and many files.
    conversions: Vec<Arc<Conversion>>,
}

impl AttributeFiles {
    pub(crate) fn new() -> Self {
        Self { built_in: Rules::built_in(), files: BTreeMap::new(), parsed: HashMap::new(), conversions: Vec::new() }
    }

    /// Notes that the current folder has no such file.
    pub(crate) fn none(&mut self, folder: &[u8]) {
        if !self.files.is_empty() {
            self.files.remove(folder);
        }
    }

    /// Notes the file of the current folder; `read` returns its content if it is not known.
    pub(crate) fn enter<E>(
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
            let level = Arc::new(AttributeFile::new(Rules::parse(&read()?, is_top)));
            // The closure returns false, so that the search goes on through all rules.
            let _ = level.rules.mentions(|name, state| {
                if let (b"filter", AttributeState::Value(value)) = (name, state)
                    && value != b"lfs"
                {
                    remarks.filter(value);
                }
                false
            });
            if self.parsed.len() >= KEPT {
                // A hostile repository may have one in each folder. Others have a handful, so all may go at once.
                self.parsed.clear();
            }
            self.parsed.insert(key, Arc::clone(&level));
            level
        };
        self.files.insert(folder.to_vec(), level);
        Ok(())
    }

    /// Returns true if a file in the folder may have to be converted. Files above `top`, where its repository begins,
    /// belong to another repository.
    pub(crate) fn matter(&self, folder: (&[u8], usize)) -> bool {
        !self.files.is_empty() && self.on_the_way(folder).any(|(_, level)| level.matters)
    }

    /// Returns the conversion of a file; `path` is its own.
    pub(crate) fn conversion(
        &mut self,
        folder: (&[u8], usize),
        path: &[u8],
        remarks: &mut Remarks,
    ) -> Option<Arc<Conversion>> {
        // The built-in macros come first, because later files override earlier ones.
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

    fn on_the_way<'a>(
        &'a self,
        (folder, top): (&'a [u8], usize),
    ) -> impl Iterator<Item = (&'a [u8], &'a AttributeFile)> {
        let ends = folder.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let folders = [0].into_iter().chain(ends).chain([folder.len()].into_iter().filter(|end| *end > 0));
        folders.filter(move |end| *end >= top).filter_map(|end| {
            let (folder, level) = self.files.get_key_value(&folder[..end])?;
            Some((folder.as_slice(), level.as_ref()))
        })
    }
}
