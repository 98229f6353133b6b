//! The group "where": the folder, the link and the trees on the volume.
//!
//! Texts only; values are checked where they are used.

use super::Fallback::{None as Absent, Rule, Value};
use super::Group::Where;
use super::{Flag, one, shared, switch};

pub(super) const FLAGS: &[Flag] = &[
    shared(one(
        Where,
        "root",
        "DIR",
        Absent,
        "The folder on the shared volume; created if it does not exist. Required",
    )),
    shared(one(
        Where,
        "link",
        "PATH",
        Rule("the last part of the URL"),
        "The symlink that readers use: absolute, or relative to the root",
    )),
    shared(switch(
        Where,
        "group-write",
        "false",
        "Let the group write what the owner may write: folders 0775, files 0664",
    )),
    shared(one(
        Where,
        "touch-file",
        "PATH",
        Absent,
        "A file that is touched at each publish, and after the first successful sync: absolute, or relative to the root",
    )),
    shared(one(
        Where,
        "error-file",
        "PATH",
        Absent,
        "A file with the current error, removed when there is none: absolute, or relative to the root",
    )),
    switch(
        Where,
        "worktree-git",
        "false",
        "Put a .git file into each tree, so that git works inside it (rev-parse, log, status). Each publish then writes an index of the whole tree",
    ),
    one(
        Where,
        "standby-trees",
        "NUMBER",
        Value("2"),
        "Trees kept ready at most, so that a push writes only what it changes; each takes the space of one more tree. Without a push for ten minutes one is kept. 0 for tight volumes, or an emptyDir with a tight sizeLimit",
    ),
    one(
        Where,
        "volume-limit",
        "SIZE",
        Absent,
        "The most that root may take (900Mi, 10G, bytes). What would cross it drops the standby trees first, then fails as disk_full with the old tree live. Give 90 % of an emptyDir's sizeLimit: a pod that crosses that is evicted",
    ),
    one(
        Where,
        "durability",
        "LEVEL",
        Value("normal"),
        "normal: a publish is written through to the disk right after readers see it, and compared with its commit if the machine went down before that. full: before readers see it",
    ),
    shared(one(
        Where,
        "git-gc",
        "WHEN",
        Value("auto"),
        "When the object store is compacted: auto, as soon as it gains more than it costs; always, also whenever replaced trees are removed; off, never, so that the store grows with each push. aggressive is the same as always. Takes room for a second copy of what it rewrites",
    )),
];
