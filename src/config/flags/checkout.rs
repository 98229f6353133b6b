//! The flags of the folder, the link and the trees that readers see.
//!
//! Texts only; values are checked where they are used.

use super::Fallback::{None as Absent, Rule};
use super::Group::Checkout;
use super::{Flag, one, shared, switch};

pub(super) const FLAGS: &[Flag] = &[
    shared(one(
        Checkout,
        "root",
        "DIR",
        Absent,
        "The folder on the shared volume; created if it does not exist. Required",
    )),
    shared(one(
        Checkout,
        "link",
        "PATH",
        Rule("the last part of the URL"),
        "The symlink that readers use: absolute, or relative to the root",
    )),
    shared(switch(
        Checkout,
        "group-write",
        "false",
        "Let the group write what the owner may write: folders 0775, files 0664",
    )),
    shared(one(
        Checkout,
        "touch-file",
        "PATH",
        Absent,
        "A file that is touched at each publish, and after the first successful sync: absolute, or relative to the root",
    )),
    shared(one(
        Checkout,
        "error-file",
        "PATH",
        Absent,
        "A file with the current error, removed when there is none: absolute, or relative to the root",
    )),
    switch(
        Checkout,
        "worktree-git",
        "false",
        "Put a .git file into each tree, so that git works inside it (rev-parse, log, status). Each publish then writes an index of the whole tree",
    ),
];
