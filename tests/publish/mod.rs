//! From a commit to what readers see, on real file systems, with repositories that the `git` program made.

mod checkout;
mod fixture;
mod patterns;

mod attributes;
mod changes;
mod content;
mod damage;
mod group_write;
mod hostile;
mod large;
mod live;
mod many;
mod model;
mod opening;
mod rotation;
mod space;
mod spare;
mod sparse;
mod trash;
mod worktree_git;
