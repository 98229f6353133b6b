//! Settings of libgit2 and the C libraries that hold for the whole process, and the memory that libgit2 may use.

pub(crate) mod limits;
pub(crate) mod memory;
