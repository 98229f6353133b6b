//! The group "what": the repository, the ref and how much of it.
//!
//! Words only; what a value means is checked where it is used.

use super::Fallback::{None as Absent, Value};
use super::Group::What;
use super::{Flag, one, shared, switch};

pub(super) const FLAGS: &[Flag] = &[
    shared(one(
        What,
        "repo",
        "URL",
        Absent,
        "The repository: https://, http://, ssh://, user@host:path, file:// or a path. Required",
    )),
    shared(one(
        What,
        "ref",
        "REF",
        Value("HEAD"),
        "The branch, tag or other ref to follow; HEAD is the remote's default branch, a full hash follows nothing",
    )),
    shared(one(
        What,
        "submodules",
        "MODE",
        Value("recursive"),
        "Which submodules are published with their files: recursive (all), shallow (not those of submodules), off",
    )),
    shared(one(
        What,
        "sparse-checkout-file",
        "FILE",
        Absent,
        "A file of sparse-checkout patterns (cone or not): only what they match is written. Read again for each new commit",
    )),
    shared(one(
        What,
        "filter",
        "FILTER",
        Absent,
        "Files that are not downloaded unless they are published: blob:none (all), blob:limit=SIZE (those of SIZE or more; k, m, g). Over http(s), if the server takes filters; of use with --sparse-checkout-file or a --depth other than 1",
    )),
    switch(
        What,
        "lfs",
        "false",
        "Fetch the objects of Git LFS and publish them in the place of their pointers: files with filter=lfs in .gitattributes. Needs room for each of them once more, beside the trees",
    ),
    one(
        What,
        "lfs-url",
        "URL",
        Absent,
        "The LFS server, http:// or https://, if it is not the one that goes with --repo over http(s) (URL.git/info/lfs); wanted where --repo is reached over ssh or is a path. What .lfsconfig says counts on --repo's own server only",
    ),
    shared(one(What, "depth", "NUMBER", Value("1"), "Commits of history to fetch; 0 is all of it")),
];
