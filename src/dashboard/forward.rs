//! A connection to a replica's admin API: an existing URL, or one that has to be created first.
//!
//! It separates links from Kubernetes: a link knows only this trait.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::DropGuard;
use url::Url;

use super::model::Problem;

/// A future that a trait object can return.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens connections to one replica.
pub trait Forward: Send + Sync {
    /// Returns how many places the API may be at: see [`Forward::open`].
    fn places(&self) -> usize {
        1
    }

    /// Opens a connection to place number `place`. Messages of a helper program are sent to `lines`.
    fn open(&self, place: usize, lines: mpsc::Sender<String>) -> Boxed<'_, Result<Way, Problem>>;
}

/// An open connection. Dropping it closes it.
#[derive(Debug)]
pub struct Way {
    pub base: Url,
    /// The reason of its end, once it has ended. `None` if it never ends by itself.
    pub ended: Option<watch::Receiver<Option<Problem>>>,
    /// Ends the task that keeps it open, when it is dropped.
    pub guard: Option<DropGuard>,
}

impl Way {
    /// Waits for its end; forever if it never ends by itself.
    pub async fn end(&mut self) -> Problem {
        let Some(ended) = self.ended.as_mut() else { return std::future::pending().await };
        match ended.wait_for(Option::is_some).await {
            Ok(problem) => problem.clone().unwrap_or_else(|| Problem::new("the port-forward ended")),
            Err(_) => Problem::new("the port-forward ended"),
        }
    }
}

/// A URL that is reachable without help.
#[derive(Clone, Debug)]
pub(crate) struct Direct(pub Url);

impl Forward for Direct {
    fn open(&self, _place: usize, _lines: mpsc::Sender<String>) -> Boxed<'_, Result<Way, Problem>> {
        let base = self.0.clone();
        Box::pin(std::future::ready(Ok(Way { base, ended: None, guard: None })))
    }
}
