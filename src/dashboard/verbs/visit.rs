//! Executes one change on one replica: connects, sends it, and follows the sync that executes it to its end.
//!
//! A change is sent again after a lost connection, because repeating it has no further effect. It knows no other replica
//! and no output.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::api::{Accepted, Event, Outcome, Record, Refusal, Snapshot};
use crate::backoff::Pauses;
use crate::dashboard::forward::{Forward, Way};
use crate::dashboard::http::{Failure, Http, innermost};
use crate::dashboard::message::Change;
use crate::dashboard::model::Problem;
use crate::dashboard::sse::{Frame, Parser};

use super::answer::Answer;

/// The attempts to connect before a replica that got no request counts as unreachable.
const TRIES: u32 = 3;
/// The pause after a lost connection, doubled each time.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// A heartbeat comes every 10 s.
const SILENCE: Duration = Duration::from_secs(25);

/// The progress of the visit.
enum Progress {
    /// No request was sent.
    Unsent,
    /// A request was sent, and its answer did not arrive.
    Unanswered,
    /// The replica promised a sync with this id.
    Promised(Accepted, String),
}

/// A replica and how it is reached.
pub(crate) struct Visit<'a> {
    pub forward: &'a dyn Forward,
    pub http: &'a Http,
    pub change: &'a Change,
    /// The answer is returned by this time.
    pub deadline: Instant,
}

impl Visit<'_> {
    /// Executes the change.
    pub(crate) async fn run(&self) -> Answer {
        let mut progress = Progress::Unsent;
        let mut last = Problem::new("no answer in time");
        let mut tries = 0;
        let mut pauses = Pauses::new(PAUSE, LONGEST_PAUSE);
        loop {
            match timeout_at(self.deadline, self.attempt(&mut progress)).await {
                Err(_late) => break,
                Ok(Ok(answer)) => return answer,
                Ok(Err(problem)) => last = problem,
            }
            tries += 1;
            // Once a request may have arrived, only the deadline ends the attempts, because the change may be under
            // way. A problem with a word of its own, such as a missing permission, does not pass by itself.
            let give_up = matches!(progress, Progress::Unsent) && (tries >= TRIES || last.word.is_some());
            let next = Instant::now() + pauses.take();
            if give_up || next >= self.deadline {
                break;
            }
            sleep_until(next).await;
        }
        match progress {
            Progress::Unsent => Answer::Unreachable(last),
            Progress::Unanswered => Answer::Open(format!("it was asked and did not answer: {}", last.reason)),
            Progress::Promised(..) => {
                Answer::Open("it accepted the change, and the sync for it did not end in time".to_owned())
            }
        }
    }

    /// Uses one connection: sends the change, unless that was done, and waits for the end. An error means that the
    /// connection was lost.
    async fn attempt(&self, progress: &mut Progress) -> Result<Answer, Problem> {
        let (way, response) = match self.connect().await? {
            Ok(connected) => connected,
            // The replica answers but refuses to show its events, so it would refuse the change as well.
            Err(refusal) => return Ok(Answer::Refused(refusal)),
        };
        // The stream is open before the change is sent, so the end of its sync cannot be missed in between.
        let mut stream = Stream { response, parser: Parser::default(), frames: Vec::new().into_iter(), way };
        let snapshot = loop {
            if let Event::Snapshot(snapshot) = stream.next().await? {
                break snapshot;
            }
        };
        if !matches!(progress, Progress::Promised(..)) {
            // Set before the request, because the connection may break after the replica has read it.
            *progress = Progress::Unanswered;
            match self.http.change(&stream.way.base, self.change).await {
                Ok(accepted) => match accepted.sync.clone() {
                    None => return Ok(Answer::Done { accepted, record: None }),
                    Some(sync) => *progress = Progress::Promised(accepted, sync),
                },
                Err(failure) => return refused(failure),
            }
        }
        let Progress::Promised(accepted, sync) = progress else {
            return Err(Problem::new("the replica did not answer"));
        };
        if let Some(record) = recorded(&snapshot, sync) {
            return Ok(concluded(accepted, record));
        }
        loop {
            match stream.next().await? {
                Event::SyncFinished(record) | Event::SyncAmended(record) if record.id == *sync => {
                    return Ok(concluded(accepted, *record));
                }
                Event::Reset => {
                    let snapshot = self.http.snapshot(&stream.way.base).await.map_err(|failure| failure.problem())?;
                    if let Some(record) = recorded(&snapshot, sync) {
                        return Ok(concluded(accepted, record));
                    }
                }
                _ => {}
            }
        }
    }

    /// Opens the event stream at the first place that has the API.
    async fn connect(&self) -> Result<Result<(Way, Response), Refusal>, Problem> {
        let mut first: Option<Problem> = None;
        for place in 0..self.forward.places().max(1) {
            // Only kubectl's reason for ending is shown here.
            let (lines, _unread) = mpsc::channel(1);
            let mut way = self.forward.open(place, lines).await?;
            match self.http.events(&way.base).await {
                Ok(response) => return Ok(Ok((way, response))),
                Err(failure @ Failure::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _)) => {
                    return Ok(Err(failure.refusal()));
                }
                Err(failure) => {
                    let elsewhere = failure.wrong_port();
                    let problem = first.get_or_insert(why_ended(&mut way, failure.problem()).await).clone();
                    if !elsewhere {
                        return Err(problem);
                    }
                }
            }
        }
        Err(first.unwrap_or_else(|| Problem::new("there is no port to connect to")))
    }
}

/// Returns the reason of the end. A connection often breaks a moment before kubectl's last line, which says more.
async fn why_ended(way: &mut Way, problem: Problem) -> Problem {
    if way.ended.is_none() {
        return problem;
    }
    tokio::time::timeout(Duration::from_millis(500), way.end()).await.unwrap_or(problem)
}

/// An open event stream.
struct Stream {
    response: Response,
    parser: Parser,
    frames: std::vec::IntoIter<Frame>,
    way: Way,
}

impl Stream {
    /// Returns the next known event.
    async fn next(&mut self) -> Result<Event, Problem> {
        loop {
            for frame in self.frames.by_ref() {
                let Frame::Event { name, data, .. } = frame else { continue };
                match Event::parse(&name, &data) {
                    Ok(Some(event)) => return Ok(event),
                    Ok(None) => {}
                    Err(error) if name == "snapshot" => {
                        let problem = Problem::new(format!("its snapshot cannot be understood: {error}"));
                        return Err(problem.hint("use the release of the sidecar").word("other api"));
                    }
                    // The snapshot has the same facts.
                    Err(_) => return Ok(Event::Reset),
                }
            }
            let chunk = tokio::select! {
                chunk = tokio::time::timeout(SILENCE, self.response.chunk()) => chunk,
                problem = self.way.end() => return Err(problem),
            };
            let chunk = match chunk {
                Err(_) => return Err(Problem::new(format!("no heartbeat for {} s", SILENCE.as_secs()))),
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => {
                    return Err(why_ended(&mut self.way, Problem::new("the replica ended the stream")).await);
                }
                Ok(Err(error)) => {
                    let problem = Problem::new(format!("the stream broke: {}", innermost(&error)));
                    return Err(why_ended(&mut self.way, problem).await);
                }
            };
            let frames = self.parser.push(&chunk);
            let frames = frames.map_err(|error| Problem::new(format!("the replica sent {error}")))?;
            self.frames = frames.into_iter();
        }
    }
}

fn recorded(snapshot: &Snapshot, sync: &str) -> Option<Record> {
    snapshot.recent.iter().find(|record| record.id == sync).cloned()
}

fn concluded(accepted: &Accepted, record: Record) -> Answer {
    let (accepted, good) = (accepted.clone(), matches!(record.outcome, Outcome::Published | Outcome::Unchanged));
    if good {
        Answer::Done { accepted, record: Some(Box::new(record)) }
    } else {
        Answer::Failed { accepted, record: Box::new(record) }
    }
}

/// Returns a refusal as an answer; any other failure is a lost connection.
fn refused(failure: Failure) -> Result<Answer, Problem> {
    match failure {
        Failure::Status(..) => {
            let refusal = failure.refusal();
            let already = matches!(refusal.code.as_str(), "not_paused" | "not_pinned");
            Ok(if already { Answer::Already(refusal) } else { Answer::Refused(refusal) })
        }
        other => Err(other.problem()),
    }
}
