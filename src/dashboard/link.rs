//! One task for each replica: it opens a connection, reads the event stream, executes orders, and starts over when the
//! connection breaks.
//!
//! The screen never waits for it, and only reads its messages. It runs until it is stopped.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::api::Event;
use crate::backoff::{doubled, spread};

use super::forward::{Forward, Way};
use super::http::{Failure, Http};
use super::message::{Msg, News, Order};
use super::model::{PodId, Problem};
use super::sse::{Frame, Parser};

/// A heartbeat arrives every 10 s; after a laptop's sleep a dead connection only looks quiet.
const SILENCE: Duration = Duration::from_secs(25);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The share by which a wait is lengthened or shortened, so that the replicas are not all connected at the same moment.
const SPREAD: f64 = 0.2;
/// After this many attempts all places are tried again, not only the last one that worked.
const LOOK_AROUND: u32 = 4;
/// Orders carried out at the same time.
const AT_ONCE: usize = 8;

/// The wait before the next attempt, which doubles up to [`LONGEST_WAIT`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a failure and returns the wait after it.
    pub(crate) fn failed(&mut self) -> Duration {
        let wait = doubled(FIRST_WAIT, self.failures, LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        // The random part must not exceed the limit, because the row of a restarted server should not wait longer.
        spread(wait, SPREAD, fastrand::f64()).min(LONGEST_WAIT)
    }

    /// Resets the wait. Called at a snapshot only, because a connection that opens and breaks at once is no success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    #[must_use]
    pub(crate) fn failures(self) -> u32 {
        self.failures
    }
}

/// A link to one replica.
pub(crate) struct Link {
    pub id: PodId,
    pub forward: Box<dyn Forward>,
    pub http: Http,
    pub out: mpsc::Sender<Msg>,
    pub orders: mpsc::Receiver<Order>,
    pub stop: CancellationToken,
}

/// The result of an order.
type Done = News;

impl Link {
    /// Runs until it is stopped or no task reads its messages any more.
    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        // Dropping the future drops the connection, and with it the child.
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.keep_alive() => {}
        }
    }

    async fn keep_alive(&mut self) {
        let mut backoff = Backoff::default();
        let mut place = 0;
        loop {
            if !self.tell(News::Connecting).await {
                return;
            }
            let problem = self.attempt(&mut backoff, &mut place).await;
            // The end of a visit is no loss: the token is cancelled before the channel of orders closes.
            if self.stop.is_cancelled() {
                return;
            }
            let wait = backoff.failed();
            let lost = News::Lost { problem, attempt: backoff.failures(), retry_in: wait };
            if !self.tell(lost).await || !self.wait(wait).await {
                return;
            }
        }
    }

    /// Makes one attempt: tries every place of the API, then reads the stream until it breaks.
    async fn attempt(&mut self, backoff: &mut Backoff, place: &mut usize) -> Problem {
        let around = backoff.failures().is_multiple_of(LOOK_AROUND);
        let places = self.forward.places();
        let mut first: Option<Problem> = None;
        for step in 0..if around { places } else { 1 } {
            let here = (*place + step) % places.max(1);
            match self.connect(here).await {
                Ok((way, response)) => {
                    *place = here;
                    return self.listen(way, response, backoff).await;
                }
                Err((problem, elsewhere)) => {
                    // The problem of the place that worked last is shown. At the other ports, usually nothing listens.
                    let problem = first.get_or_insert(problem).clone();
                    if !elsewhere {
                        return problem;
                    }
                }
            }
        }
        first.unwrap_or_else(|| Problem::new("there is no port to connect to"))
    }

    /// Returns a connection and the beginning of its stream; or the problem, and whether the API may be at another place.
    async fn connect(&self, place: usize) -> Result<(Way, Response), (Problem, bool)> {
        let (lines, mut said) = mpsc::channel(64);
        let out = self.out.clone();
        let id = self.id.clone();
        // A task of its own, because kubectl writes lines while `open` still waits for it.
        tokio::spawn(async move {
            while let Some(line) = said.recv().await {
                if out.send(Msg::Link(id.clone(), News::Line(line))).await.is_err() {
                    return;
                }
            }
        });
        let mut way = self.forward.open(place, lines).await.map_err(|problem| (problem, false))?;
        match self.http.events(&way.base).await {
            Ok(response) => Ok((way, response)),
            Err(failure) => {
                let elsewhere = failure.wrong_port();
                Err((reason(&mut way, failure.problem()).await, elsewhere))
            }
        }
    }

    async fn listen(&mut self, mut way: Way, mut response: Response, backoff: &mut Backoff) -> Problem {
        let mut parser = Parser::default();
        let mut work: JoinSet<Done> = JoinSet::new();
        let mut rereading = false;
        // Events up to here are contained in a snapshot that was read apart from the stream.
        let mut known: u64 = 0;
        // The newest event of the stream: an older snapshot, read separately, would take the screen back in time.
        let mut newest: u64 = 0;
        loop {
            tokio::select! {
                chunk = tokio::time::timeout(SILENCE, response.chunk()) => {
                    let chunk = match chunk {
                        Err(_) => return Problem::new(format!("no heartbeat for {} s: starting over", SILENCE.as_secs())),
                        Ok(Ok(Some(chunk))) => chunk,
                        Ok(Ok(None)) => return reason(&mut way, Problem::new("the replica ended the stream")).await,
                        Ok(Err(error)) => {
                            let problem = Problem::new(format!("the stream broke: {}", super::http::innermost(&error)));
                            return reason(&mut way, problem).await;
                        }
                    };
                    let frames = match parser.push(&chunk) {
                        Ok(frames) => frames,
                        Err(error) => return Problem::new(format!("the replica sent {error}")),
                    };
                    for frame in frames {
                        newest = newest.max(number(&frame));
                        let (news, reread) = match understand(frame, known) {
                            Ok(understood) => understood,
                            Err(problem) => return problem,
                        };
                        if matches!(news, Some(News::Snapshot(_))) {
                            backoff.reset();
                        }
                        if let Some(news) = news && !self.tell(news).await {
                            return Problem::new("the link was closed");
                        }
                        if reread && !rereading {
                            rereading = true;
                            work.spawn(read_again(self.http.clone(), way.base.clone()));
                        }
                    }
                }
                problem = way.end() => return problem,
                order = self.orders.recv(), if work.len() < AT_ONCE => match order {
                    None => return Problem::new("the link was closed"),
                    // It is live; there is nothing to reconnect.
                    Some(Order::Reconnect) => {}
                    Some(order) => { work.spawn(carry_out(self.http.clone(), way.base.clone(), order)); }
                },
                Some(done) = work.join_next(), if !work.is_empty() => {
                    let Ok(news) = done else { continue };
                    match &news {
                        News::Snapshot(snapshot) if snapshot.seq < newest => {
                            work.spawn(read_again(self.http.clone(), way.base.clone()));
                            continue;
                        }
                        News::Snapshot(snapshot) => {
                            rereading = false;
                            known = snapshot.seq;
                        }
                        News::Lost { problem, .. } => return problem.clone(),
                        _ => {}
                    }
                    if !self.tell(news).await {
                        return Problem::new("the link was closed");
                    }
                }
            }
        }
    }

    /// Waits for the backoff. Returns false if no task reads its messages any more.
    async fn wait(&mut self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return true,
                order = self.orders.recv() => match order {
                    None => return false,
                    Some(Order::Reconnect) => return true,
                    Some(order) => {
                        if !self.tell(not_connected(order)).await {
                            return false;
                        }
                    }
                }
            }
        }
    }

    async fn tell(&self, news: News) -> bool {
        self.out.send(Msg::Link(self.id.clone(), news)).await.is_ok()
    }
}

/// Returns the reason of the end. A stream often breaks a moment before its cause is known, and the child's last line says
/// more.
async fn reason(way: &mut Way, problem: Problem) -> Problem {
    if way.ended.is_none() {
        return problem;
    }
    tokio::time::timeout(Duration::from_millis(500), way.end()).await.unwrap_or(problem)
}

/// Returns the number of an event; 0 if it has none.
fn number(frame: &Frame) -> u64 {
    match frame {
        Frame::Event { id: Some(id), .. } => id.parse().unwrap_or(0),
        _ => 0,
    }
}

/// Returns the meaning of a frame, and whether the snapshot has to be read again.
fn understand(frame: Frame, known: u64) -> Result<(Option<News>, bool), Problem> {
    let Frame::Event { name, data, id } = frame else { return Ok((Some(News::Heartbeat), false)) };
    // An event without a number is never taken for one that a snapshot contains.
    let number: u64 = id.and_then(|id| id.parse().ok()).unwrap_or(u64::MAX);
    match Event::parse(&name, &data) {
        Ok(Some(Event::Snapshot(snapshot))) => Ok((Some(News::Snapshot(snapshot)), false)),
        Ok(Some(Event::Reset)) => Ok((Some(News::Event(Event::Reset)), true)),
        Ok(Some(_)) if number <= known => Ok((None, false)),
        Ok(Some(event)) => Ok((Some(News::Event(event)), false)),
        // An event of a newer server.
        Ok(None) => Ok((None, false)),
        Err(error) if name == "snapshot" => Err(Problem::new(format!("its snapshot cannot be understood: {error}"))
            .hint("use the dashboard of the same release as the sidecar")
            .word("other api")),
        // The snapshot has the same facts.
        Err(_) => Ok((None, true)),
    }
}

async fn read_again(http: Http, base: Url) -> Done {
    match http.snapshot(&base).await {
        Ok(snapshot) => News::Snapshot(Box::new(snapshot)),
        Err(failure) => News::Lost { problem: failure.problem(), attempt: 0, retry_in: Duration::ZERO },
    }
}

async fn carry_out(http: Http, base: Url, order: Order) -> Done {
    match order {
        Order::Reconnect => News::Heartbeat,
        Order::Page { before } => {
            News::Page(http.history(&base, before.as_deref()).await.map_err(|failure| failure.problem()))
        }
        Order::Detail(id) => {
            let detail = http.detail(&base, &id).await.map(Box::new).map_err(|failure| match failure {
                Failure::Status(StatusCode::NOT_FOUND, _) => {
                    Problem::new("the replica does not keep this sync any more")
                }
                failure => failure.problem(),
            });
            News::Detail(id, detail)
        }
        Order::Commit(commit) => {
            let answer = http.commit(&base, &commit).await.map(Box::new).map_err(|failure| match failure {
                Failure::Status(StatusCode::NOT_FOUND, _) => Problem::new(
                    "its sidecar is of an older release, which cannot say whether a commit is contained in another",
                ),
                failure => failure.problem(),
            });
            News::Commit(answer)
        }
        Order::Change(change) => {
            let answer = http.change(&base, &change).await.map_err(Failure::refusal);
            News::Answer(change, answer)
        }
    }
}

/// Returns the answer to an order that arrived too late.
fn not_connected(order: Order) -> News {
    let problem = Problem::new("not connected");
    match order {
        Order::Reconnect => News::Heartbeat,
        Order::Page { .. } => News::Page(Err(problem)),
        Order::Detail(id) => News::Detail(id, Err(problem)),
        Order::Commit(_) => News::Commit(Err(problem)),
        Order::Change(change) => {
            let message = "not connected: nothing was sent".to_owned();
            News::Answer(change, Err(crate::api::Refusal { code: "unreachable".to_owned(), message, hint: None }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_ten_seconds_and_start_over_after_a_snapshot() {
        let mut backoff = Backoff::default();
        let expected = [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0];
        for seconds in expected {
            let wait = backoff.failed().as_secs_f64();
            assert!((seconds * 0.8..=seconds * 1.2).contains(&wait), "{wait} is not about {seconds}");
        }
        for _ in 0..1000 {
            assert!(backoff.failed() <= LONGEST_WAIT);
        }
        backoff.reset();
        assert!(backoff.failed() <= Duration::from_millis(600));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_ends_by_itself_has_no_reason_to_wait_for() {
        let base: Url = "http://127.0.0.1:9180/".parse().expect("a URL");
        let mut way = Way { base, ended: None, guard: None };
        let begun = Instant::now();
        assert_eq!(reason(&mut way, Problem::new("refused")).await.reason, "refused");
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[test]
    fn events_in_a_snapshot_are_skipped_and_unreadable_ones_request_a_snapshot() {
        let event = |name: &str, id: &str, data: &str| {
            let frame = Frame::Event { name: name.to_owned(), data: data.to_owned(), id: Some(id.to_owned()) };
            understand(frame, 10).expect("no problem")
        };
        let webhook = serde_json::to_string(&crate::api::Webhook::default()).expect("json");
        assert!(matches!(event("delivery", "10", &webhook), (None, false)));
        assert!(matches!(event("delivery", "11", &webhook), (Some(News::Event(_)), false)));
        assert!(matches!(event("delivery", "11", "nonsense"), (None, true)));
        assert!(matches!(event("of_a_newer_server", "11", "{}"), (None, false)));
        assert!(matches!(event("reset", "3", "{}"), (Some(_), true)));
    }
}
