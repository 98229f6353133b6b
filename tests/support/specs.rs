//! Arguments and environments of git-sync containers as charts, operators, manifests and compose files write them, with names,
//! hosts and secrets replaced. `cli::specs` reads each of them, `app::specs` runs each of them to a publish.
//!
//! Placeholders: `FILES` is a folder with what the containers mount (`password`, `ssh`, `known_hosts`, `cookie_file`,
//! `ca.pem`, `key`, `sparse`, `hook`), `COMMIT` the hash of the newest commit of `main`. The repository is
//! `https://git.test/acme/dags.git` (or `.../dags`), over SSH `git@git.test:acme/dags.git`.

mod charts;
mod compose;
mod manifests;
mod older;
mod operators;

/// One container: what it is given, and what that has to mean.
#[derive(Clone, Copy)]
pub struct Spec {
    /// The kind of project that uses it.
    pub of: &'static str,
    pub args: &'static [&'static str],
    pub env: &'static [(&'static str, &'static str)],
    pub repo: &'static str,
    pub reference: &'static str,
    pub root: &'static str,
    pub link: &'static str,
    /// Seconds.
    pub period: u64,
    pub depth: u32,
    pub one_time: bool,
    /// The flags and variables that the start warns of: these and no others.
    pub told: &'static [&'static str],
}

pub const HTTPS: &str = "https://git.test/acme/dags.git";
pub const SSH: &str = "git@git.test:acme/dags.git";

/// What most of them mean.
const PLAIN: Spec = Spec {
    of: "",
    args: &[],
    env: &[],
    repo: HTTPS,
    reference: "main",
    root: "/git",
    link: "repo",
    period: 60,
    depth: 1,
    one_time: false,
    told: &[],
};

/// A container that git-sync v4 refuses to start, and so do we: what it is given, and the words that say what to do.
pub struct Refused {
    pub of: &'static str,
    pub args: &'static [&'static str],
    pub env: &'static [(&'static str, &'static str)],
    pub says: &'static str,
}

/// Every container.
pub fn all() -> impl Iterator<Item = Spec> {
    [charts::SPECS, operators::SPECS, manifests::SPECS, compose::SPECS, older::SPECS].into_iter().flatten().copied()
}

/// Every container that is refused.
pub fn refused() -> &'static [Refused] {
    older::REFUSED
}
