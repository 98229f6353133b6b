//! Lists pods by `kubectl`, for a workload, a service, a selector or one pod.
//!
//! It knows how kubectl is called. It must not know how the model uses pods.

mod object;
mod run;
pub(crate) mod watch;

use self::object::{List, Owner, Pod, found};
use self::run::Running;
use self::watch::Watch;
use super::child::Terminal;
use super::children::Children;
use super::kubectl::Cluster;
use super::model::{Found, Problem};

/// The target on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Pod(String),
    /// A kind that selects pods (`deployment`, `service`, `rollouts.argoproj.io`) and a name.
    Owner(String, String),
    Selector(String),
}

/// Lists the pods of a target.
#[derive(Clone, Debug)]
pub struct Lister {
    pub cluster: Cluster,
    pub namespace: Option<String>,
    pub all_namespaces: bool,
    pub target: Target,
    children: Children,
    /// Determined once: a workload's selector does not change.
    selector: Option<String>,
}

impl Lister {
    #[must_use]
    pub fn new(
        cluster: Cluster,
        namespace: Option<String>,
        all_namespaces: bool,
        target: Target,
        children: Children,
    ) -> Self {
        Self { cluster, namespace, all_namespaces, target, children, selector: None }
    }

    /// Lists the pods. With [`Terminal::Shared`] a login plugin may ask for a password.
    ///
    /// # Errors
    /// kubectl's message, or that its output cannot be understood.
    pub async fn list(&mut self, terminal: Terminal) -> Result<Vec<Found>, Problem> {
        let selector = self.selector(terminal).await?;
        let answer = self.get(&self.pods(&selector), terminal).await?;
        if let Target::Pod(_) = &self.target {
            // For a name, kubectl prints the object itself and not a list.
            return Ok(found(parse::<Pod>(&answer)?).into_iter().collect());
        }
        Ok(parse::<List>(&answer)?.items.into_iter().filter_map(found).collect())
    }

    /// Starts a watch of the pods. `None` before the first listing, which determines the selector.
    ///
    /// # Errors
    /// kubectl cannot be started.
    pub fn watch(&self) -> Result<Option<Watch>, Problem> {
        let Some(selector) = &self.selector else { return Ok(None) };
        let mut what = self.pods(selector);
        // Without the second flag kubectl prints only objects, and a deletion looks like one more change of the pod.
        what.extend(["--watch", "--output-watch-events"]);
        let mut running = Running::start(self.command(&what, Terminal::None), Terminal::None, &self.children)?;
        Ok(running.stdout().map(|stdout| Watch::new(running, stdout)))
    }

    /// The arguments that name the pods.
    fn pods<'a>(&'a self, selector: &'a str) -> Vec<&'a str> {
        let mut what = match &self.target {
            Target::Pod(name) => vec!["pod", name],
            _ => vec!["pods", "--selector", selector],
        };
        if self.all_namespaces {
            what.push("--all-namespaces");
        }
        what
    }

    async fn selector(&mut self, terminal: Terminal) -> Result<String, Problem> {
        if let Some(selector) = &self.selector {
            return Ok(selector.clone());
        }
        let selector = match &self.target {
            Target::Selector(selector) => selector.clone(),
            // Not used as a selector (see `pods`). It only marks that a watch may start.
            Target::Pod(name) => name.clone(),
            Target::Owner(kind, name) => {
                let answer = self.get(&[kind, name], terminal).await?;
                let owner: Owner = parse(&answer)?;
                let selector = owner.selector();
                selector.ok_or_else(|| Problem::new(format!("{kind} {name} selects no pods")))?
            }
        };
        self.selector = Some(selector.clone());
        Ok(selector)
    }

    fn command(&self, what: &[&str], terminal: Terminal) -> std::process::Command {
        let mut command = self.cluster.command(terminal);
        if let (Some(namespace), false) = (&self.namespace, self.all_namespaces) {
            command.args(["--namespace", namespace]);
        }
        command.arg("get").args(what).args(["--output", "json"]);
        command
    }

    async fn get(&self, what: &[&str], terminal: Terminal) -> Result<Vec<u8>, Problem> {
        Running::start(self.command(what, terminal), terminal, &self.children)?.answer().await
    }
}

fn parse<T: serde::de::DeserializeOwned>(answer: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(answer)
        .map_err(|error| Problem::new(format!("kubectl's answer cannot be understood: {error}")))
}
