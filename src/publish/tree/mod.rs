//! A commit as it is to be on the disk: entries, attributes, conversions, LFS pointers, and comparisons of two commits.
//!
//! It reads the object store, and must not touch published trees.

pub(crate) mod attributes;
pub(crate) mod changes;
pub(crate) mod convert;
pub(crate) mod diff;
pub(crate) mod encode;
pub(crate) mod entry;
pub(crate) mod lfs_objects;
pub(crate) mod options;
pub(crate) mod packed;
pub(crate) mod pointers;
pub(crate) mod remarks;
pub(crate) mod small;
pub(crate) mod store_cache;
pub(crate) mod survey;
pub(crate) mod view;
