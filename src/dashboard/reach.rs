//! Connects the arguments with the replicas: their source, the token, and the first listing of pods.
//!
//! Shared by the dashboard and the verbs. It knows arguments and links, not how replicas are used.

use std::future::Future;
use std::io::{self, IsTerminal};

use anyhow::Context;
use tokio::time::Instant;

use crate::api::{DEFAULT_ADMIN_PORT, LAST_ADMIN_PORT};

use super::args::replicas::Replicas;
use super::child::Terminal;
use super::children::Children;
use super::http::Token;
use super::kubectl::Cluster;
use super::links::Source;
use super::model::{Found, Problem};
use super::pods::Lister;

/// The longest token file that is read.
const MAX_TOKEN: usize = 8192;

/// Returns the source of the replicas.
#[must_use]
pub(crate) fn source(replicas: &Replicas, children: Children) -> Source {
    let Some(target) = replicas.pods() else { return Source::Urls(replicas.url.clone()) };
    let cluster = Cluster { context: replicas.context.clone(), kubeconfig: replicas.kubeconfig.clone() };
    let ports = match replicas.port {
        Some(port) => vec![port],
        // Two sidecars in one pod share its ports: the second one listens on the next.
        None => (DEFAULT_ADMIN_PORT..=LAST_ADMIN_PORT).collect(),
    };
    let lister = Lister::new(cluster, replicas.namespace.clone(), replicas.all_namespaces, target, children);
    Source::Cluster { lister: Box::new(lister), ports }
}

/// Reads the token of `--token-file`.
///
/// # Errors
/// The file cannot be read, or holds no token.
pub(crate) fn token(replicas: &Replicas) -> anyhow::Result<Option<Token>> {
    let Some(path) = &replicas.token_file else { return Ok(None) };
    let text = std::fs::read(path).with_context(|| format!("cannot read the token file {}", path.display()))?;
    anyhow::ensure!(text.len() <= MAX_TOKEN, "{} is too long to be a token", path.display());
    let text = String::from_utf8(text).ok().filter(|text| !text.trim().is_empty());
    let text = text.with_context(|| format!("{} holds no token", path.display()))?;
    Ok(Some(Token::new(&text)))
}

/// Returns whether the first `kubectl` may use the terminal: a login plugin has to ask for a password.
#[must_use]
pub(crate) fn terminal() -> Terminal {
    if io::stdin().is_terminal() && io::stderr().is_terminal() { Terminal::Shared } else { Terminal::None }
}

/// Waits for a listing, at most until `limit` after `begun`.
///
/// # Errors
/// The problem of the listing, or that there was no answer in time.
pub(crate) async fn within(
    listing: impl Future<Output = Result<Vec<Found>, Problem>>,
    begun: Instant,
    limit: std::time::Duration,
) -> Result<Vec<Found>, Problem> {
    let late = || Problem::new(format!("kubectl did not answer within {limit:?}"));
    tokio::time::timeout_at(begun + limit, listing).await.unwrap_or_else(|_| Err(late()))
}

/// Returns true if a listing that failed for this reason fails again until the user does something.
#[must_use]
pub(crate) fn stays(problem: &Problem) -> bool {
    matches!(problem.word, Some("no kubectl" | "forbidden" | "log in"))
}
