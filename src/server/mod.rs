//! Three listeners, three trust zones: the hook for the internet, probes and metrics for the cluster, the admin API for
//! whoever may port-forward.
//!
//! It knows sync only as a handle: it may ask for a look, watch, and read the history. It must not know git or files of
//! the volume.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What to listen on.
#[derive(Clone, Debug)]
pub struct Options {
    /// `None`: no secret was given, so there is no webhook route.
    pub hook: Option<HookOptions>,
    pub http: Option<SocketAddr>,
    pub http_metrics: bool,
    pub admin: AdminBind,
    /// Required when the admin address is not loopback.
    pub admin_token_file: Option<PathBuf>,
}

/// The webhook listener.
#[derive(Clone, Debug)]
pub struct HookOptions {
    pub bind: SocketAddr,
    /// Exact path, begins with a slash.
    pub path: String,
    /// Current secret first, then the previous one.
    pub secret_files: Vec<PathBuf>,
    pub audience: Audience,
}

/// Which deliveries are ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience {
    /// `None`: any signed repository is accepted (the remote is a path).
    pub repository: Option<Repository>,
    /// `--ref` as configured.
    pub reference: String,
}

/// A repository on a forge, compared without case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// `None`: `--hook-repo owner/name` named no host.
    pub host: Option<String>,
    /// `owner/name`
    pub name: String,
}

/// `--admin-bind`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminBind {
    Off,
    /// Not given: 127.0.0.1:9180, or the next free port up to 9189.
    Default,
    Address(SocketAddr),
}
