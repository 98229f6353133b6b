//! The running links of a dashboard, and the task that lists pods.
//!
//! It executes the model's effects, without waiting for them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use url::Url;

use super::child::Terminal;
use super::children::Children;
use super::forward::{Direct, Forward};
use super::http::{Http, Token};
use super::kubectl::Kubectl;
use super::kubectl::follow::Follow;
use super::link::Link;
use super::listing::Listing;
use super::message::{Effect, Msg, News, Order};
use super::model::{Found, PodId, Presence, Problem};
use super::pods::Lister;

/// The most messages that wait for the screen; beyond it links wait, so that memory is bounded.
const WAITING: usize = 256;
/// Orders that may wait for a link.
const ORDERS: usize = 16;
/// The time for children to end.
pub(crate) const CLOSING: Duration = Duration::from_millis(1800);

/// The source of the replicas.
#[derive(Clone, Debug)]
pub enum Source {
    Urls(Vec<Url>),
    Cluster { lister: Box<Lister>, ports: Vec<u16> },
}

impl Source {
    /// Lists the replicas. For a cluster this calls kubectl.
    ///
    /// # Errors
    /// That the pods cannot be listed, and why.
    pub async fn list(&mut self, terminal: Terminal) -> Result<Vec<Found>, Problem> {
        match self {
            Self::Urls(urls) => Ok(urls.iter().map(by_url).collect()),
            Self::Cluster { lister, .. } => lister.list(terminal).await,
        }
    }

    /// Returns how one of them is reached, and an address for its HTTP client. `None` if it is not in this source.
    #[must_use]
    pub fn forward(&self, found: &Found, children: &Children, tasks: &TaskTracker) -> Option<(Box<dyn Forward>, Url)> {
        match self {
            Self::Cluster { lister, ports } => {
                let kubectl = Kubectl {
                    cluster: lister.cluster.clone(),
                    namespace: found.namespace.clone()?,
                    pod: found.name.clone(),
                    ports: ports.clone(),
                    children: children.clone(),
                    tasks: tasks.clone(),
                };
                Some((Box::new(kubectl), loopback()))
            }
            Self::Urls(urls) => {
                let url = urls.iter().find(|url| url.as_str() == &*found.id.0)?;
                Some((Box::new(Direct(url.clone())), url.clone()))
            }
        }
    }
}

/// The links and how to reach them.
pub struct Links {
    source: Source,
    token: Option<Token>,
    out: mpsc::Sender<Msg>,
    running: HashMap<PodId, (mpsc::Sender<Order>, CancellationToken)>,
    children: Children,
    tasks: TaskTracker,
    stop: CancellationToken,
    relist: Arc<Notify>,
    /// Dropping it ends the followed log.
    log: Option<DropGuard>,
}

impl Links {
    /// Creates it without running links. All messages arrive at the receiver.
    #[must_use]
    pub fn new(source: Source, token: Option<Token>, children: Children) -> (Self, mpsc::Receiver<Msg>) {
        let (out, messages) = mpsc::channel(WAITING);
        let links = Self {
            source,
            token,
            out,
            running: HashMap::new(),
            children,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            relist: Arc::new(Notify::new()),
            log: None,
        };
        (links, messages)
    }

    /// Returns the sender of messages for the screen.
    #[must_use]
    pub fn sender(&self) -> mpsc::Sender<Msg> {
        self.out.clone()
    }

    /// Makes the first listing. For a cluster this calls kubectl.
    ///
    /// # Errors
    /// That the pods cannot be listed, and why.
    pub async fn first(&mut self, terminal: Terminal) -> Result<Vec<Found>, Problem> {
        self.source.list(terminal).await
    }

    /// Starts keeping the list of pods up to date after the first listing.
    pub fn watch_pods(&self, first: Result<Vec<Found>, Problem>) {
        let Source::Cluster { lister, .. } = &self.source else { return };
        let listing = Listing::new((**lister).clone(), first, self.out.clone(), self.relist.clone());
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = listing.run() => {}
            }
        });
    }

    /// Executes an effect; effects that do not concern links are left to the caller.
    pub fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Attach(found) => self.attach(found),
            Effect::Detach(id) => {
                if let Some((orders, stop)) = self.running.remove(&id) {
                    // In this order: a link whose orders end without this is lost.
                    stop.cancel();
                    drop(orders);
                }
            }
            Effect::Order(id, order) => self.order(&id, order),
            Effect::ListPods => self.relist.notify_one(),
            Effect::OpenLog { id, namespace, pod, container } => self.open_log(id, namespace, pod, container),
            Effect::CloseLog => self.log = None,
            Effect::Quit | Effect::Copy(_) | Effect::Suspend | Effect::Redraw => {}
        }
    }

    fn attach(&mut self, found: Found) {
        let Some((forward, base)) = self.source.forward(&found, &self.children, &self.tasks) else { return };
        let stop = self.stop.child_token();
        let (orders, received) = mpsc::channel(ORDERS);
        match Http::new(&base, self.token.clone()) {
            Ok(http) => {
                let out = self.out.clone();
                let link = Link { id: found.id.clone(), forward, http, out, orders: received, stop: stop.clone() };
                self.tasks.spawn(link.run());
            }
            Err(error) => {
                let problem = Problem::new(error);
                // The address and the proxy stay the same while the program runs, so another attempt would fail in the
                // same way.
                let lost = News::Lost { problem, attempt: 1, retry_in: Duration::from_secs(3600) };
                // The loop that calls this also empties the channel: to wait for room here would be to wait for itself.
                let _ = self.out.try_send(Msg::Link(found.id.clone(), lost));
            }
        }
        self.running.insert(found.id, (orders, stop));
    }

    /// Follows the log of one sidecar, instead of the previous one.
    fn open_log(&mut self, id: PodId, namespace: String, pod: String, container: Option<String>) {
        let Source::Cluster { lister, .. } = &self.source else { return };
        let (cluster, children) = (lister.cluster.clone(), self.children.clone());
        let follow = Follow { cluster, id, namespace, pod, container, children, out: self.out.clone() };
        let stop = self.stop.child_token();
        self.log = Some(stop.clone().drop_guard());
        self.tasks.spawn(follow.run(stop));
    }

    fn order(&self, id: &PodId, order: Order) {
        let Some((orders, _)) = self.running.get(id) else { return };
        // The link has sixteen orders waiting: report it instead of dropping this one silently.
        if let Err(mpsc::error::TrySendError::Full(Order::Change(change))) = orders.try_send(order) {
            let message = "the link is busy, nothing was sent: try again".to_owned();
            let refusal = crate::api::Refusal { code: "busy".to_owned(), message, hint: None };
            let _ = self.out.try_send(Msg::Link(id.clone(), News::Answer(change, Err(refusal))));
        }
    }

    /// Ends everything, the children too.
    pub async fn close(mut self) {
        self.stop.cancel();
        self.log = None;
        self.running.clear();
        self.tasks.close();
        // Long enough for the second between SIGTERM and SIGKILL and for the pipes after it (`kubectl::supervise`).
        let _ = tokio::time::timeout(CLOSING, self.tasks.wait()).await;
        self.children.kill_all();
    }
}

fn loopback() -> Url {
    // The forwarded address differs only in its port, which the client is given with each request.
    Url::parse("http://127.0.0.1/").expect("a constant that is a URL")
}

fn by_url(url: &Url) -> Found {
    let host = url.host_str().unwrap_or("?");
    let name = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    Found {
        id: PodId::new(url.as_str()),
        name,
        namespace: None,
        presence: Presence::Running,
        container: None,
        advice: None,
        sidecar: None,
    }
}
