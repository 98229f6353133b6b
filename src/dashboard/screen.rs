//! The loop between terminal, links and model: wait, take what came, draw at most twenty times a second.
//!
//! It never waits for the network, and does nothing at all while nothing on screen counts time.

use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

use crossterm::event::{Event as TerminalEvent, EventStream, KeyEventKind};
use futures_util::StreamExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior};

use crate::clock::Clock;

use super::links::Links;
use super::message::{Effect, Msg};
use super::model::{Link, Model};
use super::terminal::{self, Screen};
use super::theme::Theme;
use super::update::update;
use super::view;

/// Between two frames.
const FRAME: Duration = Duration::from_millis(50);
/// Messages taken before a frame is drawn, however many wait.
const DRAIN: usize = 64;

/// What the loop works with.
pub struct Loop<'a> {
    pub screen: Screen,
    pub model: Model,
    pub theme: Theme,
    pub clock: Clock,
    pub links: &'a mut Links,
    pub messages: mpsc::Receiver<Msg>,
    pub signals: mpsc::Receiver<u8>,
    pub panicked: &'a Notify,
    pub log: Option<File>,
    /// Notes of the model that are in the log already.
    pub logged: u64,
}

impl Loop<'_> {
    /// Runs until the user, a signal or the loss of the terminal ends it. Returns the exit code.
    ///
    /// # Errors
    /// The terminal cannot be drawn on any more.
    pub async fn run(mut self) -> io::Result<u8> {
        let mut keys = EventStream::new();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut drawn = Instant::now();
        let mut dirty = true;
        self.draw()?;
        loop {
            tokio::select! {
                code = self.signals.recv() => return Ok(code.unwrap_or(143)),
                () = self.panicked.notified() => return Ok(101),
                event = keys.next() => match event {
                    // The end of input and an error are the same: there is no terminal any more.
                    None | Some(Err(_)) => return Ok(129),
                    Some(Ok(event)) => {
                        let Some(msg) = understand(event) else { continue };
                        dirty = true;
                        if self.take(msg)? {
                            return Ok(0);
                        }
                    }
                },
                msg = self.messages.recv() => {
                    let Some(msg) = msg else { return Ok(0) };
                    dirty = true;
                    if self.take(msg)? {
                        return Ok(0);
                    }
                }
                _ = tick.tick() => {
                    if counts(&self.model) {
                        dirty = true;
                        self.take(Msg::Tick)?;
                    } else if terminal::taken() {
                        terminal::poke(&mut self.screen)?;
                    }
                }
                () = tokio::time::sleep_until(drawn + FRAME), if dirty => {}
            }
            for _ in 0..DRAIN {
                let Ok(msg) = self.messages.try_recv() else { break };
                dirty = true;
                if self.take(msg)? {
                    return Ok(0);
                }
            }
            if dirty && drawn.elapsed() >= FRAME {
                self.draw()?;
                drawn = Instant::now();
                dirty = false;
            }
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        if !terminal::taken() {
            return Ok(());
        }
        self.screen.draw(|frame| view::draw(frame, &self.model, &self.theme))?;
        Ok(())
    }

    /// Returns true if it is time to leave.
    fn take(&mut self, msg: Msg) -> io::Result<bool> {
        let now = self.clock.now();
        for effect in update(&mut self.model, now, msg) {
            match effect {
                Effect::Quit => return Ok(true),
                Effect::Copy(text) => {
                    let count = text.chars().count();
                    let (words, bad) = if terminal::copy(&mut self.screen, &text)? {
                        (format!("copied {count} characters (OSC 52: the terminal must allow it)"), false)
                    } else {
                        (format!("{count} characters are too much for the clipboard of a terminal"), true)
                    };
                    self.model.say(words, bad);
                }
                effect => self.links.carry_out(effect),
            }
        }
        self.write_log();
        Ok(false)
    }

    fn write_log(&mut self) {
        let Some(file) = self.log.as_mut() else { return };
        let new = usize::try_from(self.model.noted - self.logged).unwrap_or(usize::MAX);
        self.logged = self.model.noted;
        let mut failed = false;
        for entry in self.model.events.iter().take(new).collect::<Vec<_>>().into_iter().rev() {
            let text = super::text::clean(&entry.text);
            failed |= writeln!(file, "{} {} {} {text}", entry.at, entry.pod, entry.kind).is_err();
        }
        if failed {
            self.log = None;
            self.model.say("the log file cannot be written any more", true);
        }
    }
}

fn understand(event: TerminalEvent) -> Option<Msg> {
    match event {
        TerminalEvent::Key(key) if key.kind == KeyEventKind::Press => Some(Msg::Key(key)),
        TerminalEvent::Resize(width, height) => Some(Msg::Resize(width, height)),
        _ => None,
    }
}

/// Whether anything on screen changes by time alone.
fn counts(model: &Model) -> bool {
    !model.frozen
        && (model.flash.is_some()
            || model
                .pods
                .iter()
                .any(|pod| pod.snapshot.is_some() || pod.gone() || matches!(pod.link, Link::Retry { .. })))
}
