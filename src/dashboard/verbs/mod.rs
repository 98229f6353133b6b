//! The verbs: one question to replicas, or one change of them, without a screen.
//!
//! `status` and `wait` are the dashboard's `--check`, with its output. The others send a change to each replica, to as many
//! at a time as there are links, and print each answer as it arrives.

pub(crate) mod answer;
pub(crate) mod args;
pub(crate) mod verb;
pub(crate) mod visit;

use std::io::{self, Write};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use self::answer::{Answer, Answered};
use self::args::Request;
use self::visit::Visit;
use super::children::Children;
use super::http::Http;
use super::links::{CLOSING, Source};
use super::message::Change;
use super::model::{Found, Presence, Problem};
use super::text;
use crate::clock::Clock;
use crate::dashboard::{reach, terminal};
use crate::text::escape_json;

/// The connections at a time to addresses that need no `kubectl`.
const AT_ONCE: usize = 64;
/// The most names of replicas in the refusal to change several of them.
const NAMED: usize = 5;

/// Executes a change. Returns the exit code.
///
/// # Errors
/// The token cannot be read.
pub(crate) async fn run(
    request: Request,
    children: Children,
    mut signals: mpsc::Receiver<u8>,
    begun: Instant,
) -> anyhow::Result<u8> {
    let tasks = TaskTracker::new();
    let source = reach::source(&request.replicas, children.clone());
    let token = reach::token(&request.replicas)?;
    let mut work =
        Work { request, source, children, tasks, token, begun, answers: Vec::new(), width: 0, unread: false };
    let code = tokio::select! {
        code = work.carry_out() => code,
        // This drops the requests under way. A replica that has accepted its change goes on with it.
        signal = signals.recv() => {
            work.report_interrupted();
            signal.unwrap_or(143)
        }
    };
    work.close().await;
    Ok(code)
}

/// A change under way.
struct Work {
    request: Request,
    source: Source,
    children: Children,
    tasks: TaskTracker,
    token: Option<super::http::Token>,
    begun: Instant,
    answers: Vec<Answered>,
    /// Columns of the widest name.
    width: usize,
    /// True once the reader of the output has closed it.
    unread: bool,
}

impl Work {
    async fn carry_out(&mut self) -> u8 {
        let listing = self.source.list(reach::terminal());
        let found = match reach::within(listing, self.begun, self.request.limit).await {
            Ok(found) => found,
            Err(problem) => return self.no_replicas(&problem),
        };
        let found: Vec<Found> =
            // A pod that is being deleted needs no change, and would count as a failure.
            found.into_iter().filter(|found| !matches!(found.presence, Presence::Gone { .. })).collect();
        if found.is_empty() {
            return self.no_replicas(&Problem::new(format!("no pods match {}", self.request.replicas.subject())));
        }
        // Before anything is sent: the number of replicas is only known from the listing.
        if found.len() > 1 && !self.request.all {
            return self.refuse_several(&found);
        }
        self.width = found.iter().map(|found| text::width(&text::clean(&found.name))).max().unwrap_or(0);
        self.ask(found.clone(), self.request.change.clone()).await;
        self.ask_again_with_full_hash(found).await;
        self.finish(None)
    }

    /// Sends the change to these replicas, and prints each answer as it arrives. All get it, even if the reader of the
    /// output has closed it.
    async fn ask(&mut self, found: Vec<Found>, change: Change) {
        let at_once = self.request.replicas.links_at_a_time().min(AT_ONCE);
        let places = Semaphore::new(at_once);
        let deadline = self.begun + self.request.limit;
        let (source, children, tasks, token) = (&self.source, &self.children, &self.tasks, &self.token);
        let (places, change) = (&places, &change);
        let mut asked: FuturesUnordered<_> = found
            .into_iter()
            .map(|found| async move {
                let answer = ask_one(source, children, tasks, token.clone(), &found, change, places, deadline).await;
                Answered { name: found.name, namespace: found.namespace, answer }
            })
            .collect();
        // In the order of the answers, so that a replica that hangs does not hold back the lines of the others.
        while let Some(answered) = asked.next().await {
            if !self.request.json {
                let line = answer::line(&self.request.change, &answered, self.width);
                self.unread |= print(&line).is_err();
            }
            self.answers.push(answered);
        }
    }

    /// Sends the full hash to replicas that do not know an abbreviated commit. The replicas that published it report the
    /// hash.
    async fn ask_again_with_full_hash(&mut self, found: Vec<Found>) {
        let Change::Pin { commit } = &self.request.change else { return };
        let full = self.answers.iter().find_map(|answered| match &answered.answer {
            Answer::Done { accepted, .. } | Answer::Failed { accepted, .. } => accepted.pinned.clone(),
            _ => None,
        });
        // With the same text the second round would only repeat the first.
        let Some(full) = full.filter(|full| full.starts_with(commit) && full != commit) else { return };
        let ignorant = |answered: &Answered| matches!(&answered.answer, Answer::Refused(refusal) if refusal.code == "unknown_commit");
        let again = |found: &Found| {
            self.answers.iter().any(|answered| {
                ignorant(answered) && answered.name == found.name && answered.namespace == found.namespace
            })
        };
        let again: Vec<Found> = found.into_iter().filter(again).collect();
        self.answers.retain(|answered| !ignorant(answered));
        self.ask(again, Change::Pin { commit: full }).await;
    }

    /// Reports that there are no replicas.
    fn no_replicas(&self, problem: &Problem) -> u8 {
        let hint = problem.hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
        terminal::tell(format_args!("pushsync: {}{hint}", text::clean(&problem.reason)));
        self.finish(Some(problem))
    }

    fn refuse_several(&self, found: &[Found]) -> u8 {
        let names: Vec<_> = found.iter().take(NAMED).map(|found| text::clean(&found.name)).collect();
        let more = if found.len() > NAMED { ", …" } else { "" };
        let (them, one) = if self.request.replicas.url.is_empty() {
            let subject = self.request.replicas.subject();
            (format!("{} has {} replicas", text::clean(&subject), found.len()), "pod/NAME")
        } else {
            (format!("these are {} replicas", found.len()), "a single --url")
        };
        terminal::tell(format_args!(
            "pushsync: {them} ({}{more}): give --all to {} all of them, or name one by {one}",
            names.join(", "),
            answer::verb(&self.request.change),
        ));
        1
    }

    fn report_interrupted(&self) {
        if !self.request.json && !self.answers.is_empty() && !self.unread {
            let _ = print(&format!("interrupted: {}", answer::sum(&self.request.change, &self.answers)));
        }
    }

    /// Prints the sum or the document.
    fn finish(&self, problem: Option<&Problem>) -> u8 {
        let text = if self.request.json {
            let document = answer::document(&self.request.change, &self.answers, problem, Clock::real().now());
            Some(escape_json(&format!("{document:#}")))
        } else {
            problem.is_none().then(|| answer::sum(&self.request.change, &self.answers))
        };
        if let Some(text) = text.filter(|_| !self.unread) {
            // The exit code says the same.
            let _ = print(&text);
        }
        answer::exit_code(&self.answers)
    }

    /// Ends every kubectl.
    async fn close(self) {
        self.tasks.close();
        // The tasks send SIGTERM and reap their kubectl. SIGKILL is for those that did not end in this time.
        let _ = timeout(CLOSING, self.tasks.wait()).await;
        self.children.kill_all();
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

#[expect(clippy::too_many_arguments, reason = "one call, which names each of them")]
async fn ask_one(
    source: &Source,
    children: &Children,
    tasks: &TaskTracker,
    token: Option<super::http::Token>,
    found: &Found,
    change: &Change,
    places: &Semaphore,
    deadline: Instant,
) -> Answer {
    if let Presence::NotReady(reason) = &found.presence {
        return Answer::NotReady(reason.clone());
    }
    let late = || Answer::Unreachable(Problem::new("the time was over before it was its turn"));
    // The semaphore is never closed, so an error is only that of the time.
    let Ok(Ok(_place)) = tokio::time::timeout_at(deadline, places.acquire()).await else { return late() };
    let Some((forward, base)) = source.forward(found, children, tasks) else {
        return Answer::Unreachable(Problem::new("it has no namespace"));
    };
    match Http::new(&base, token) {
        Ok(http) => Visit { forward: &*forward, http: &http, change, deadline }.run().await,
        Err(error) => Answer::Unreachable(Problem::new(error)),
    }
}
