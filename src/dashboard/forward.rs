//! A way to a replica's admin API: a URL that is there already, or one that has to be made first.
//!
//! The seam between links and Kubernetes: a link knows only this trait.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::DropGuard;
use url::Url;

use super::model::Problem;

/// A future that a trait object can return.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Makes ways to one replica.
pub trait Forward: Send + Sync {
    /// How many places the API may be at: see [`Forward::open`].
    fn places(&self) -> usize {
        1
    }

    /// Opens a way to the `place`th of them. What is said meanwhile by whoever helps goes to `lines`.
    fn open(&self, place: usize, lines: mpsc::Sender<String>) -> Boxed<'_, Result<Way, Problem>>;
}

/// An open way. Dropping it closes it.
#[derive(Debug)]
pub struct Way {
    pub base: Url,
    /// Why it ended, once it has. `None`: it has no end of its own.
    pub ended: Option<watch::Receiver<Option<Problem>>>,
    /// Tells whoever keeps it open that it is not needed any more.
    pub guard: Option<DropGuard>,
}

impl Way {
    /// Waits for its end; for ever if it has none.
    pub async fn end(&mut self) -> Problem {
        let Some(ended) = self.ended.as_mut() else { return std::future::pending().await };
        match ended.wait_for(Option::is_some).await {
            Ok(problem) => problem.clone().unwrap_or_else(|| Problem::new("the port-forward ended")),
            Err(_) => Problem::new("the port-forward ended"),
        }
    }
}

/// A URL that somebody else keeps reachable.
#[derive(Clone, Debug)]
pub struct Direct(pub Url);

impl Forward for Direct {
    fn open(&self, _place: usize, _lines: mpsc::Sender<String>) -> Boxed<'_, Result<Way, Problem>> {
        let base = self.0.clone();
        Box::pin(std::future::ready(Ok(Way { base, ended: None, guard: None })))
    }
}
