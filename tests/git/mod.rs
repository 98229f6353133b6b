//! The git area against real remotes: HTTP, ssh and paths.

use std::path::Path;
use std::time::Duration;

use git2::Oid;
use std::sync::Arc;

use pushsync::git::{Credentials, Engine, Error, Fetched, Network, Reference, RemoteOptions, Want};
use pushsync::remote_url::RemoteUrl;
use pushsync::submodules::Submodules;
use tempfile::TempDir;

use crate::support::git_http::GitHttp;
use crate::support::repo::run_git;
use crate::support::{PATIENCE, eventually};

pub mod access;
mod ahead;
mod compact;
mod compact_kill;
mod depth;
mod faults;
mod follow;
mod gateways;
mod history;
mod malformed;
mod measure;
mod partial;
mod proxy;
mod refused;
mod sha256;
mod ssh;
mod store;
mod submodules;
mod submodules_shape;
mod support;
mod tls;
mod v2;
mod v2_lies;

/// Default options with a short time-out.
fn options(url: &str) -> RemoteOptions {
    RemoteOptions {
        url: RemoteUrl::parse(url).unwrap(),
        reference: Reference::Head,
        depth: 1,
        timeout: PATIENCE,
        credentials: Credentials::default(),
        submodules: Submodules::Recursive,
        filter: None,
        lfs: None,
        network: Network::default(),
        allowance: Arc::default(),
    }
}

/// A volume for one store.
struct Volume(TempDir);

impl Volume {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn engine(&self, options: RemoteOptions) -> Engine {
        Engine::new(options, self.0.path().join("volume/repo.git"))
    }
}

/// Resolves the ref and fetches, as every sync does.
async fn sync(engine: &Engine) -> Result<Fetched, Error> {
    let look = engine.ls_remote().await?;
    let fetched = engine.fetch(Want::Seen(look.clone())).await?;
    assert_eq!(fetched.commit, look.commit);
    Ok(fetched)
}

/// Waits until the client has no request under way. Each open connection is one task then, and one more task closes those
/// that are unused for long. The server's end of a response alone does not say that: the client may not have read it yet. For
/// a test with one engine and no tasks of its own.
async fn at_rest(server: &GitHttp) {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    eventually(PATIENCE, || server.is_idle() && tasks() == server.open_connections() + 1).await;
}

/// Syncs, and has git itself check that the commit is complete and has this `index.html`.
async fn synced(engine: &Engine, commit: &str, page: &str) -> Fetched {
    let fetched = sync(engine).await.unwrap();
    assert_eq!(fetched.commit, oid(commit));
    assert_whole(engine.store(), commit);
    assert_eq!(git(engine.store(), &["show", &format!("{commit}:index.html")]), page.trim_end());
    fetched
}

fn assert_whole(store: &Path, commit: &str) {
    git(store, &["fsck", "--no-dangling"]);
    git(store, &["archive", "--output=/dev/null", commit]);
}

#[track_caller]
fn git(store: &Path, args: &[&str]) -> String {
    let mut all = vec!["-c", "safe.directory=*"];
    all.extend(args);
    run_git(store, store, &all)
}

fn oid(hash: &str) -> Oid {
    Oid::from_str(hash).unwrap()
}

fn shallow_lines(store: &Path) -> usize {
    std::fs::read_to_string(store.join("shallow")).map_or(0, |text| text.lines().count())
}

fn short(timeout: Duration, mut options: RemoteOptions) -> RemoteOptions {
    options.timeout = timeout;
    options
}
