//! The loop between terminal, links and model: it waits, handles messages, and draws at most twenty times a second.
//!
//! It never waits for the network, and is idle while no time is shown on the screen.

use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

use ratatui::layout::Rect;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior};

use crate::clock::Clock;

use super::bursts::{self, Bursts, More};
use super::clipboard;
use super::decoder::{self, Decoder, Input};
use super::links::Links;
use super::message::{Effect, Msg};
use super::model::{Link, Model, View};
use super::output;
use super::pasted;
use super::reader::{self, Heard};
use super::terminal::{self, Screen};
use super::theme::Theme;
use super::update::{settle, update};
use super::view;

/// Between two frames.
const FRAME: Duration = Duration::from_millis(50);
/// Messages taken before a frame is drawn, however many wait.
const DRAIN: usize = 64;
/// The pauses of the input after which the keys before them are decided.
const QUIET: [Duration; 5] =
    [bursts::GAP, decoder::ESCAPE_WAIT, bursts::SETTLE, decoder::STRING_SILENCE, decoder::PASTE_SILENCE];

/// A terminal that has not answered the question about its background for this long does not know it.
const ANSWER_DUE: Duration = Duration::from_secs(2);
/// How long leaving the screen waits for that answer.
const ANSWER_WAIT: Duration = Duration::from_millis(500);

/// The parts of the loop.
pub(crate) struct Loop<'a> {
    pub screen: Screen,
    pub model: Model,
    pub theme: Theme,
    pub clock: Clock,
    pub links: &'a mut Links,
    pub messages: mpsc::Receiver<Msg>,
    pub signals: mpsc::Receiver<u8>,
    pub panicked: &'a Notify,
    pub log: Option<File>,
    /// The number of the model's notes that are in the log already.
    pub logged: u64,
    /// The view that was drawn last.
    pub shown: Option<View>,
    /// When the terminal was asked for its background; `None` if it was not, or has answered.
    pub asked: Option<Instant>,
}

/// The stages between the terminal's bytes and messages.
#[derive(Default)]
struct Keyboard {
    decoder: Decoder,
    bursts: Bursts,
}

impl Loop<'_> {
    /// Runs until the user, a signal or the loss of the terminal ends it. Returns the exit code.
    ///
    /// # Errors
    /// The terminal cannot be drawn on any more.
    pub(crate) async fn run(mut self) -> io::Result<u8> {
        let mut terminal = reader::start(&QUIET)?;
        let mut keyboard = Keyboard::default();
        let code = self.until_left(&mut terminal, &mut keyboard).await?;
        if code == 0 && self.asked.is_some_and(|asked| asked.elapsed() < ANSWER_DUE) {
            // The shell would take the answer for typed text.
            let answer = answered(&mut terminal, &mut keyboard.decoder);
            let _ = tokio::time::timeout(ANSWER_WAIT, answer).await;
        }
        Ok(code)
    }

    async fn until_left(&mut self, terminal: &mut mpsc::Receiver<Heard>, keyboard: &mut Keyboard) -> io::Result<u8> {
        let mut resized = signal(SignalKind::window_change())?;
        let mut continued = signal(SignalKind::from_raw(libc::SIGCONT))?;
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut drawn = Instant::now();
        let mut dirty = true;
        self.draw()?;
        loop {
            tokio::select! {
                // In this order: signals and keys are not held back by replicas that report without pause.
                biased;
                code = self.signals.recv() => return Ok(code.unwrap_or(143)),
                () = self.panicked.notified() => return Ok(101),
                heard = terminal.recv() => {
                    // The end of input and an error have the same meaning: there is no terminal any more.
                    let Some(heard) = heard else { return Ok(129) };
                    if let Some(leave) = self.typed(keyboard, &heard)? {
                        dirty = true;
                        if leave {
                            return Ok(0);
                        }
                    }
                }
                _ = resized.recv() => {
                    dirty = true;
                    let (width, height) = output::size();
                    self.take(Msg::Resize(width, height))?;
                }
                _ = continued.recv() => {
                    // Not only after our own Ctrl-Z: after SIGSTOP, too, the shell has set its own modes.
                    if terminal::taken() {
                        terminal::resume()?;
                        self.screen.clear()?;
                        dirty = true;
                    }
                }
                _ = tick.tick() => {
                    if counts(&self.model) {
                        dirty = true;
                        self.take(Msg::Tick)?;
                    } else if terminal::taken() {
                        // A terminal that went away without SIGHUP is only noticed by a write, and an idle screen
                        // writes nothing.
                        terminal::poke(&mut self.screen)?;
                    }
                }
                msg = self.messages.recv() => {
                    let Some(msg) = msg else { return Ok(0) };
                    dirty = true;
                    if self.take(msg)? {
                        return Ok(0);
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

    /// Handles input, and decisions by a pause. Returns true to leave, and `None` if there was nothing to handle.
    fn typed(&mut self, keyboard: &mut Keyboard, heard: &Heard) -> io::Result<Option<bool>> {
        let mut taken = None;
        let inputs = match heard {
            Heard::Bytes(bytes) => keyboard.decoder.push(bytes),
            Heard::Quiet(lasted) => {
                if let Some(msg) = keyboard.bursts.quiet(*lasted) {
                    taken = Some(false);
                    if self.take(msg)? {
                        return Ok(Some(true));
                    }
                }
                keyboard.decoder.quiet(*lasted)
            }
        };
        for (index, input) in inputs.iter().enumerate() {
            taken = Some(false);
            let messages = match input {
                Input::Key(key) => {
                    let more = inputs[index + 1..].iter().map(more).max().unwrap_or(More::Nothing);
                    keyboard.bursts.key(*key, more, pasted::weight(&self.model, *key))
                }
                Input::Paste(text) => vec![Msg::Paste(text.clone())],
                Input::Wheel(rows) => vec![Msg::Wheel(*rows)],
                Input::Background(background) => {
                    self.asked = None;
                    self.theme = self.theme.on(*background);
                    self.screen.clear()?;
                    Vec::new()
                }
            };
            for msg in messages {
                if self.take(msg)? {
                    return Ok(Some(true));
                }
            }
        }
        Ok(taken)
    }

    fn draw(&mut self) -> io::Result<()> {
        if !terminal::taken() {
            return Ok(());
        }
        for effect in settle(&mut self.model) {
            self.links.carry_out(effect);
        }
        // Terminals disagree about the width of some characters; clearing the screen removes their remains.
        if self.shown.as_ref() != Some(&self.model.view) {
            self.shown = Some(self.model.view.clone());
            self.screen.clear()?;
        }
        self.screen.draw(|frame| view::draw(frame, &self.model, &self.theme))?;
        if let Some(address) = self.model.address.as_ref().filter(|_| !self.model.too_small()) {
            let (width, height) = self.model.size;
            let area = view::overlay::address_area(Rect::new(0, 0, width, height), address);
            let lines = super::text::wrap(address, usize::from(area.width)).into_iter().take(usize::from(area.height));
            let lines: Vec<_> = (area.y..).zip(lines).map(|(y, line)| (area.x, y, line)).collect();
            terminal::link(&mut self.screen, &lines, address)?;
        }
        Ok(())
    }

    /// Handles a message. Returns true to leave.
    fn take(&mut self, msg: Msg) -> io::Result<bool> {
        let now = self.clock.now();
        for effect in update(&mut self.model, now, msg) {
            match effect {
                Effect::Quit => return Ok(true),
                Effect::Suspend => {
                    terminal::suspend()?;
                    self.screen.clear()?;
                }
                Effect::Redraw => self.screen.clear()?,
                Effect::Copy(text) => self.copy(text)?,
                effect => self.links.carry_out(effect),
            }
        }
        self.write_log();
        Ok(false)
    }

    /// Copies by the terminal at once, and by programs beside the loop.
    fn copy(&mut self, text: String) -> io::Result<()> {
        let fits = clipboard::fits_terminal(&text);
        if fits {
            terminal::copy(&mut self.screen, &text)?;
        }
        let out = self.links.sender();
        // The programs may take seconds (`clipboard::PATIENCE`), and the screen goes on meanwhile.
        tokio::spawn(async move {
            let (words, bad) = clipboard::copy(text, fits, clipboard::here()).await;
            let _ = out.send(Msg::Copied(words, bad)).await;
        });
        Ok(())
    }

    fn write_log(&mut self) {
        let Some(file) = self.log.as_mut() else { return };
        let new = usize::try_from(self.model.noted - self.logged).unwrap_or(usize::MAX);
        self.logged = self.model.noted;
        let mut failed = false;
        // Events are kept newest first, and a log is read in the order of time.
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

/// Reads until the terminal has answered the question about its background, or is gone. Other input is dropped.
async fn answered(terminal: &mut mpsc::Receiver<Heard>, decoder: &mut Decoder) {
    while let Some(heard) = terminal.recv().await {
        let inputs = match heard {
            Heard::Bytes(bytes) => decoder.push(&bytes),
            Heard::Quiet(lasted) => decoder.quiet(lasted),
        };
        if inputs.iter().any(|input| matches!(input, Input::Background(_))) {
            return;
        }
    }
}

/// Returns the meaning of an input for the key before it.
fn more(input: &Input) -> More {
    match input {
        Input::Key(key) if Bursts::is_text(*key) => More::Text,
        Input::Key(_) => More::Steering,
        Input::Paste(_) | Input::Background(_) | Input::Wheel(_) => More::Nothing,
    }
}

/// Returns true if the screen changes with time alone.
fn counts(model: &Model) -> bool {
    !model.frozen
        && (model.flash.is_some()
            || model
                .pods
                .iter()
                .any(|pod| pod.snapshot.is_some() || pod.gone() || matches!(pod.link, Link::Retry { .. })))
}
