//! The three listeners: webhooks from the internet, probes and metrics for the cluster, and the admin API for clients
//! that can port-forward to the pod.
//!
//! The server area knows the sync area only through its handle: it requests a sync, watches the state and reads the
//! history. It must not know git or the files of the volume.

mod accept;
mod admin;
mod answer;
mod body;
mod context;
mod error;
mod events;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod guard;
mod hook;
mod limits;
mod listen;
mod opening;
mod ours;
mod payload;
mod peer;
mod probes;
mod refusals;
mod secret_file;
mod socket;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::peers::{self, Peers};
use crate::sync::{Handle, Inherited};

use self::accept::Ending;
use self::body::Budget;
use self::context::Hook;
use self::events::Streams;
use self::guard::Guard;
use self::refusals::Refusals;
use self::secret_file::{SecretFile, Secrets};

pub use self::error::ServeError;
pub use self::limits::Limits;
pub use self::ours::{Audience, Repository};

/// The addresses to listen on, and their options.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// `None`: no secret was given, so there is no webhook route.
    pub hook: Option<WebhookOptions>,
    pub http: Option<SocketAddr>,
    pub http_metrics: bool,
    pub admin: AdminBind,
    /// Required when the admin address is not loopback.
    pub admin_token_file: Option<PathBuf>,
}

/// The webhook listener.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    pub bind: SocketAddr,
    /// Exact path, begins with a slash.
    pub path: String,
    /// Current secret first, then the previous one.
    pub secret_files: Vec<PathBuf>,
    /// True: the current secret may be missing at the start or later. Until its file exists no delivery is accepted.
    pub secret_optional: bool,
    pub audience: Audience,
    /// The other replicas. Their messages are accepted even if this replica sends none.
    pub peers: peers::PeerOptions,
}

impl WebhookOptions {
    /// Returns whether a delivery could be authentic now. A required secret exists, otherwise the start has failed.
    #[must_use]
    pub fn has_secret(&self) -> bool {
        !self.secret_optional || self.secret_files.iter().any(|path| path.exists())
    }
}

/// `--admin-bind`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminBind {
    Off,
    /// Not given: 127.0.0.1:9180, or the next free port up to 9189.
    Default,
    Address(SocketAddr),
}

/// The limits of the three listeners.
#[derive(Clone, Copy, Debug)]
pub struct AllLimits {
    pub hook: Limits,
    pub http: Limits,
    pub admin: Limits,
}

impl Default for AllLimits {
    fn default() -> Self {
        Self { hook: Limits::hook(), http: Limits::http(), admin: Limits::admin() }
    }
}

/// The running listeners.
#[derive(Debug)]
pub struct Servers {
    pub hook_addr: Option<SocketAddr>,
    pub http_addr: Option<SocketAddr>,
    pub admin_addr: Option<SocketAddr>,
    peers: Option<Arc<Peers>>,
    ending: Ending,
}

/// Opens the listeners and serves them. Must be called within a tokio runtime.
///
/// # Errors
/// [`ServeError`]; no socket is left open.
pub fn start(options: &ServerOptions, handle: &Handle) -> Result<Servers, ServeError> {
    start_with(options, handle, &AllLimits::default())
}

/// The same with other limits.
///
/// # Errors
/// [`ServeError`]; no socket is left open.
pub fn start_with(options: &ServerOptions, handle: &Handle, limits: &AllLimits) -> Result<Servers, ServeError> {
    if let (AdminBind::Address(address), None) = (options.admin, &options.admin_token_file)
        // `::ffff:127.0.0.1` is loopback as well.
        && !address.ip().to_canonical().is_loopback()
    {
        return Err(ServeError::OpenAdmin(address));
    }
    // Open all sockets before any other work, so that a port that is taken is reported immediately.
    let hook = options.hook.as_ref().map(|hook| listen::listen(hook.bind, "--hook-bind")).transpose()?;
    let http = options.http.map(|address| listen::listen(address, "--http-bind")).transpose()?;
    let admin = listen::listen_admin(options.admin)?;

    let ending = Ending::default();
    let refusals = Arc::new(Refusals::default());
    let mut ready = Vec::new();
    let mut known_peers = None;
    if let (Some(listener), Some(options)) = (hook, &options.hook) {
        let secrets = Arc::new(Secrets::new(read_secrets(options)?));
        let own = listener.local_addr().ok();
        let hook = Hook {
            path: options.path.clone(),
            peers: connect_peers(options, own, &secrets, handle, &ending),
            secrets,
            audience: options.audience.clone(),
            limits: limits.hook,
            handle: handle.clone(),
            budget: Arc::new(Budget::default()),
            refusals: Arc::clone(&refusals),
            leaving: ending.leaving.clone(),
        };
        known_peers = Some(Arc::clone(&hook.peers));
        ready.push(("hook", listener, hook::router(hook), limits.hook));
    }
    if let Some(listener) = http {
        ready.push(("http", listener, probes::router(handle.clone(), options.http_metrics), limits.http));
    }
    if let Some(listener) = admin {
        let token = options.admin_token_file.as_ref().map(|path| {
            let flag = "--admin-token-file";
            let file = SecretFile::required(path);
            file.map(Arc::new).map_err(|source| ServeError::Secret { flag, path: path.clone(), source })
        });
        let bound = listener.local_addr().ok().map(|address| address.ip());
        let guard = Guard { token: token.transpose()?, bound };
        let streams = Streams::new(ending.stop.clone());
        ready.push(("admin", listener, admin::router(handle.clone(), streams, guard, &limits.admin), limits.admin));
    }
    Ok(serve(ready, known_peers, ending, &refusals))
}

/// Sets up the exchange of messages with the other replicas.
fn connect_peers(
    options: &WebhookOptions,
    own: Option<SocketAddr>,
    secrets: &Arc<Secrets>,
    handle: &Handle,
    ending: &Ending,
) -> Arc<Peers> {
    let secrets = Arc::clone(secrets);
    let around = peers::Surroundings {
        own,
        path: peer::path(&options.path),
        // Without a look at the files: a message to a peer must not wait for a disk.
        secrets: Arc::new(move || secrets.known().into_iter().map(|(_, secret)| secret).collect()),
        network: Arc::new(peers::Tcp),
        metrics: Arc::clone(handle.metrics()),
        clock: handle.clock().clone(),
        tasks: ending.tasks.clone(),
    };
    Arc::new(Peers::new(options.peers.clone(), around))
}

/// Reads the secret files. The first must exist unless it is optional; later ones may have been removed.
fn read_secrets(options: &WebhookOptions) -> Result<Vec<SecretFile>, ServeError> {
    let paths = &options.secret_files;
    let read = |(at, path): (usize, &PathBuf)| {
        let required = at == 0 && !options.secret_optional;
        let file = if required { SecretFile::required(path) } else { SecretFile::removable(path) };
        file.map_err(|source| ServeError::Secret { flag: "--hook-secret-file", path: path.clone(), source })
    };
    if paths.is_empty() {
        return Err(ServeError::NoSecret);
    }
    paths.iter().enumerate().map(read).collect()
}

fn serve(
    ready: Vec<(&'static str, TcpListener, Router, Limits)>,
    peers: Option<Arc<Peers>>,
    ending: Ending,
    refusals: &Arc<Refusals>,
) -> Servers {
    let mut servers = Servers { hook_addr: None, http_addr: None, admin_addr: None, peers, ending };
    for (name, listener, router, limits) in ready {
        let address = listener.local_addr().ok();
        match name {
            "hook" => servers.hook_addr = address,
            "http" => servers.http_addr = address,
            _ => servers.admin_addr = address,
        }
        tracing::info!(listener = name, address = address.map(tracing::field::display), "listening");
        let (ending, refusals) = (servers.ending.clone(), Arc::clone(refusals));
        servers.ending.tasks.spawn(accept::accept(listener, router, limits, ending, refusals));
    }
    servers
}

impl Servers {
    /// Returns how long to wait before the first sync, so that the replicas of a large fleet do not all contact the
    /// remote at once.
    pub fn start_delay(&self) -> impl Future<Output = Duration> + Send + 'static {
        let peers = self.peers.clone();
        async move {
            match peers {
                Some(peers) => peers.start_delay().await,
                None => Duration::ZERO,
            }
        }
    }

    /// The pin and the pause that are in force on the other replicas, asked of them.
    pub fn inherited(&self) -> impl Future<Output = Option<Inherited>> + Send + 'static {
        let peers = self.peers.clone();
        async move {
            let peers::Agreed { standing, answers } = peers?.standing().await?;
            let commit = |text: Option<String>| text.and_then(|text| ours::commit(&text));
            Some(Inherited {
                pinned: commit(standing.pinned),
                pinned_by: standing.pinned_by,
                paused_until: standing.paused_until,
                paused_by: standing.paused_by,
                published: commit(standing.published),
                replicas: answers,
            })
        }
    }

    /// Makes `GET /` of the hook listener answer 503 while everything else is served as before, so that load
    /// balancers that check this port send new connections elsewhere.
    pub fn leave(&self) {
        self.ending.leaving.cancel();
    }

    /// Accepts the connections that are already established and no more, ends the event streams, waits for running
    /// requests, and closes what is left after `within`.
    pub async fn shutdown(self, within: Duration) {
        self.ending.stop.cancel();
        self.ending.tasks.close();
        if timeout(within, self.ending.tasks.wait()).await.is_err() {
            tracing::info!("connections were still open after {} ms, dropping them", within.as_millis());
            self.ending.abandon.cancel();
            // The tasks were cancelled and wait for no client, so this is quick.
            let _ = timeout(Duration::from_millis(200), self.ending.tasks.wait()).await;
        }
    }
}
