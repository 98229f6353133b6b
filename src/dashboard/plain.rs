//! The dashboard without a screen: a table, a document, a stream of lines, and an exit code.
//!
//! A verdict is judged once, and the table or document printed with it shows the same moment. The cursor is not moved,
//! except in the one line of `--wait` on a terminal.

pub mod document;
pub mod encoding;
pub mod lines;
pub mod progress;
pub mod table;

use std::io::{self, Write};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use self::encoding::Encoding;
use self::lines::Lines;
use self::progress::Progress;
use super::links::Links;
use super::lists;
use super::message::{Effect, Msg};
use super::model::{Link, Model, Pod, Presence};
use super::update::update;
use super::verdict::{self, Kind, Verdict};
use crate::clock::Clock;

/// A dashboard without a screen.
pub struct Plain<'a> {
    pub model: Model,
    pub clock: Clock,
    pub links: &'a mut Links,
    pub messages: mpsc::Receiver<Msg>,
    pub signals: mpsc::Receiver<u8>,
    /// The start of the program, from which every limit counts.
    pub begun: Instant,
    pub encoding: Encoding,
}

/// The reason why waiting ended.
enum Ended {
    /// The condition is met, or the time is over.
    Here,
    Signal(u8),
}

impl Plain<'_> {
    /// Waits until every replica has answered or failed once, at most until `timeout` after the start, and judges.
    ///
    /// # Errors
    /// The exit code of a signal that came first.
    pub async fn gather(&mut self, timeout: Duration) -> Result<Verdict, u8> {
        let enough = |model: &Model, _: &Verdict| all_answered(model);
        let ended = self.until(timeout, enough, None).await;
        lists::settle(&mut self.model);
        match ended {
            Ended::Here => Ok(verdict::judge(&self.model).after_the_wait()),
            Ended::Signal(code) => Err(code),
        }
    }

    /// Waits until the verdict is good, at most until `limit` after the start, and reports the progress on stderr.
    ///
    /// # Errors
    /// The exit code of a signal that came first.
    pub async fn wait(&mut self, limit: Duration) -> Result<Verdict, u8> {
        let mut progress = Progress::new(limit, self.encoding);
        let enough = |_: &Model, verdict: &Verdict| verdict.kind() == Kind::Live;
        let ended = self.until(limit, enough, Some(&mut progress)).await;
        progress.end();
        lists::settle(&mut self.model);
        match ended {
            Ended::Here => Ok(verdict::judge(&self.model).after_the_wait()),
            Ended::Signal(code) => Err(code),
        }
    }

    async fn until(
        &mut self,
        limit: Duration,
        enough: impl Fn(&Model, &Verdict) -> bool,
        mut progress: Option<&mut Progress>,
    ) -> Ended {
        // From the start of the program: the first listing, which a login may delay, is included.
        let deadline = self.begun + limit;
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            // Judged before each wait, because the state may be sufficient at the start.
            let verdict = verdict::judge(&self.model);
            if enough(&self.model, &verdict) {
                return Ended::Here;
            }
            if let Some(progress) = progress.as_mut() {
                progress.show(&self.model, &verdict, self.begun.elapsed());
            }
            tokio::select! {
                msg = self.messages.recv() => match msg {
                    Some(msg) => self.take(msg),
                    None => return Ended::Here,
                },
                _ = tick.tick() => self.take(Msg::Tick),
                code = self.signals.recv() => return Ended::Signal(code.unwrap_or(143)),
                () = tokio::time::sleep_until(deadline) => return Ended::Here,
            }
        }
    }

    fn take(&mut self, msg: Msg) {
        for effect in update(&mut self.model, self.clock.now(), msg) {
            // These are effects of keys, and there are none here.
            if !matches!(effect, Effect::Quit | Effect::Copy(_)) {
                self.links.carry_out(effect);
            }
        }
    }

    /// Writes a line for each event, as text or as JSON, until a signal arrives. An interrupt is the normal end.
    ///
    /// # Errors
    /// The output is gone.
    pub async fn watch(&mut self, text: bool, out: &mut impl Write) -> io::Result<u8> {
        let mut lines = Lines::default();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let msg = tokio::select! {
                msg = self.messages.recv() => match msg {
                    Some(msg) => msg,
                    None => return Ok(0),
                },
                // Replicas that are visited in turn change with time.
                _ = tick.tick() => Msg::Tick,
                code = self.signals.recv() => return Ok(match code { Some(130) | None => 0, Some(code) => code }),
            };
            let at = self.clock.now();
            if text {
                self.take(msg.clone());
                for line in lines.text(&self.model, at, &msg) {
                    writeln!(out, "{}", self.encoding.lines(&line))?;
                }
            } else {
                let line = lines::json(&self.model, at, &msg);
                self.take(msg);
                if let Some(line) = line {
                    writeln!(out, "{}", self.encoding.json(&line.to_string()))?;
                }
            }
            out.flush()?;
        }
    }
}

/// Returns true if every replica has answered all questions, failed at least once, or does not exist any more.
fn all_answered(model: &Model) -> bool {
    let waits = |pod: &Pod| {
        let waits_for_link = pod.snapshot.is_none() && pod.problem.is_none() && pod.presence == Presence::Running;
        let waits_for_commit = pod.link == Link::Live && super::ask::is_open(model, pod);
        !pod.gone() && (waits_for_link || waits_for_commit)
    };
    model.listed && !model.pods.iter().any(waits)
}
