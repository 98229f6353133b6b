//! The checked values of the command line, from which the manifests are made.
//!
//! It must not know the command line or YAML.

use std::path::PathBuf;

/// A site, or the sidecar of an app.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub repo: String,
    pub reference: String,
    pub name: String,
    pub namespace: Option<String>,
    pub image: String,
    pub access: Access,
    pub lfs: bool,
    pub replicas: u32,
    pub route: Option<Route>,
    pub extras: Vec<Extra>,
}

/// How the repository is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Public,
    Token,
    Ssh,
    App,
}

/// The route from the internet.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub host: String,
    pub by: By,
}

#[derive(Clone, Debug)]
pub(super) enum By {
    Ingress { class: String },
    Gateway { namespace: Option<String>, name: String },
}

/// Manifests that not every cluster needs or knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    NetworkPolicy,
    PodMonitor,
    Role,
}

/// The workload that gets the sidecar.
#[derive(Clone, Debug)]
pub(super) struct Inject {
    /// `-` is standard input.
    pub file: PathBuf,
    /// `NAME` or `KIND/NAME`.
    pub workload: Option<String>,
    pub container: Option<String>,
    pub mount: String,
}

/// The manifests to write, and their destination.
#[derive(Clone, Debug)]
pub(super) enum Task {
    /// To standard output, or to a folder.
    Manifests { site: Site, folder: Option<PathBuf>, overwrite: bool },
    /// The name is the workload's if it is not given.
    Inject { site: Site, inject: Inject, is_named: bool },
}
