//! The flags of the space that the volume holds, of durability and of the object store.
//!
//! Texts only; values are checked where they are used.

use super::Fallback::{None as Absent, Value};
use super::Group::Volume;
use super::{Flag, one, shared};

pub(super) const FLAGS: &[Flag] = &[
    shared(one(
        Volume,
        "stale-worktree-timeout",
        "DURATION",
        Value("60s"),
        "How long a replaced tree is kept for readers that still use it",
    )),
    one(
        Volume,
        "standby-trees",
        "NUMBER",
        Value("2"),
        "Trees kept ready at most, so that a push writes only what it changes; each takes the space of one more tree. Without a push for ten minutes one is kept. 0 for tight volumes, or an emptyDir with a tight sizeLimit",
    ),
    one(
        Volume,
        "volume-limit",
        "SIZE",
        Absent,
        "The most that root may take (900Mi, 10G, bytes). What would cross it drops the standby trees first, then old trees and objects that no tree needs, then fails as disk_full with the old tree live. Give 90 % of an emptyDir's sizeLimit: a pod that crosses that is evicted",
    ),
    one(
        Volume,
        "durability",
        "LEVEL",
        Value("normal"),
        "normal: a publish is written through to the disk right after readers see it, and compared with its commit if the machine went down before that. full: before readers see it",
    ),
    shared(one(
        Volume,
        "git-gc",
        "WHEN",
        Value("auto"),
        "When the object store is compacted: auto, as soon as it gains more than it costs; always, also whenever replaced trees are removed; off, never, so that the store grows with each push. aggressive is the same as always. Takes room for a second copy of what it rewrites",
    )),
];
