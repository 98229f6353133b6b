//! The flags of the repository, the ref and how much of both is fetched.
//!
//! Texts only; values are checked where they are used.

use super::Fallback::{None as Absent, Value};
use super::Group::Repository;
use super::{Flag, one, shared, switch};

pub(super) const FLAGS: &[Flag] = &[
    shared(one(
        Repository,
        "repo",
        "URL",
        Absent,
        "The repository: https://, http://, ssh://, user@host:path, file:// or a path. Required",
    )),
    shared(one(
        Repository,
        "ref",
        "REF",
        Value("HEAD"),
        "The branch, tag or other ref to follow; HEAD is the remote's default branch; a full hash never changes",
    )),
    shared(one(
        Repository,
        "submodules",
        "MODE",
        Value("recursive"),
        "Which submodules are published with their files: recursive (all), shallow (no nested ones), off",
    )),
    shared(one(
        Repository,
        "sparse-checkout-file",
        "FILE",
        Absent,
        "A file with sparse-checkout patterns (cone mode or not): only matching files are written. Read again for each new commit",
    )),
    shared(one(
        Repository,
        "filter",
        "FILTER",
        Absent,
        "Files that are not downloaded unless they are published: blob:none (all), blob:limit=SIZE (those of SIZE or more; k, m, g). Over http(s), if the server supports filters; useful with --sparse-checkout-file or a --depth other than 1",
    )),
    switch(
        Repository,
        "lfs",
        "false",
        "Fetch Git LFS objects and publish them in place of their pointers: files with filter=lfs in .gitattributes. Needs space for each of them twice, in the store and in the tree",
    ),
    one(
        Repository,
        "lfs-url",
        "URL",
        Absent,
        "The LFS server, http:// or https://, if it is not the default one of --repo over http(s) (URL.git/info/lfs). Required if --repo uses SSH or is a local path. A URL in .lfsconfig is used only on --repo's own server",
    ),
    shared(one(Repository, "depth", "NUMBER", Value("1"), "Commits of history to fetch; 0 fetches all")),
];
