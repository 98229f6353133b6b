//! The user's terminal: taken over at the start, and restored at every end.
//!
//! It knows escape sequences and signals, not the model.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::clipboard::CopyToClipboard;
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::{cursor, execute, queue, terminal};
use ratatui::Terminal;
use rustix::process::{Signal as Number, kill_current_process_group};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};

use super::args::{Color, Look};
use super::children::Children;
use super::output::Output;
use super::theme::Background;

/// The time until the screen has to end after a signal. A terminal that is stopped (Ctrl-S) blocks every write.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks for the background color (xterm's OSC 11). Terminals that do not support it ignore it.
const ASK_BACKGROUND: &str = "\x1b]11;?\x07";
/// Terminals that print a part of that query.
const DEAF: [&str; 2] = ["linux", "cons25"];
/// Terminals without the sequences that the screen needs.
const DUMB: [&str; 5] = ["dumb", "unknown", "vt52", "emacs", "network"];

/// True while the terminal is taken over and has to be restored.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// True if `--mouse` was given.
static MOUSE: AtomicBool = AtomicBool::new(false);
/// Enables reports of buttons, of which the wheel is two, with numbers of any size (SGR).
const MOUSE_ON: &str = "\x1b[?1000h\x1b[?1006h";
const MOUSE_OFF: &str = "\x1b[?1006l\x1b[?1000l";

/// The screen.
pub(crate) type Screen = Terminal<Output>;

/// Takes the terminal over. The mouse is left to the terminal, which selects text with it, unless `--mouse` was given.
///
/// # Errors
/// If it is not a terminal, or is gone.
pub(crate) fn take(mouse: bool) -> io::Result<Screen> {
    MOUSE.store(mouse, Ordering::SeqCst);
    // Without this, NO_COLOR makes crossterm drop modifiers too, and with them the selected row. The theme decides.
    crossterm::style::force_color_output(true);
    enter()?;
    Terminal::new(Output::new())
}

/// Sets the modes: raw input, the alternate screen, bracketed paste, no cursor.
fn enter() -> io::Result<()> {
    terminal::enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    execute!(
        io::stdout(),
        terminal::EnterAlternateScreen,
        EnableBracketedPaste,
        terminal::Clear(terminal::ClearType::All),
        cursor::Hide
    )?;
    if MOUSE.load(Ordering::SeqCst) { execute!(io::stdout(), Print(MOUSE_ON)) } else { Ok(()) }
}

/// Takes the terminal over again after the process was stopped and continued, since a shell sets its own modes.
///
/// # Errors
/// The terminal is gone.
pub(crate) fn resume() -> io::Result<()> {
    // Disabled first, because crossterm still regards it as enabled.
    terminal::disable_raw_mode()?;
    enter()
}

/// Restores the terminal, stops the process as Ctrl-Z does, and takes the terminal over again when it continues.
///
/// # Errors
/// The terminal is gone.
pub(crate) fn suspend() -> io::Result<()> {
    restore();
    // Stops the whole process group, as the terminal itself would do. Without a shell that could continue it, the kernel
    // ignores this.
    kill_current_process_group(Number::TSTP)?;
    resume()
}

/// Asks the terminal for its background color, unless it is known to print the question. The answer is read like keys,
/// whenever it arrives. Returns true if it was asked.
///
/// # Errors
/// The terminal is gone.
pub(crate) fn ask_background(environment: impl Fn(&str) -> Option<String>) -> io::Result<bool> {
    if environment("TERM").is_some_and(|term| DEAF.contains(&term.as_str())) {
        return Ok(false);
    }
    execute!(io::stdout(), Print(ASK_BACKGROUND))?;
    Ok(true)
}

/// Returns the background before the terminal has answered: the user's choice, else `COLORFGBG`, else unknown.
#[must_use]
pub(crate) fn background(look: Look, environment: impl Fn(&str) -> Option<String>) -> Background {
    match look {
        Look::Dark => return Background::Dark,
        Look::Light => return Background::Light,
        Look::Auto => {}
    }
    // `foreground;background` as numbers of the 16 colors, set by rxvt, Konsole and others.
    let told = environment("COLORFGBG");
    let color = told.as_deref().and_then(|told| told.rsplit(';').next()).and_then(|color| color.parse::<u8>().ok());
    match color {
        Some(7 | 9..=15) => Background::Light,
        Some(0..=6 | 8) => Background::Dark,
        _ => Background::Unknown,
    }
}

/// Returns true if the terminal is still taken over: a panic elsewhere may have restored it.
#[must_use]
pub(crate) fn taken() -> bool {
    TAKEN.load(Ordering::SeqCst)
}

/// Restores the terminal, once. Errors are ignored, because it may be gone.
pub(crate) fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = terminal::disable_raw_mode();
        let mut out = io::stdout();
        if MOUSE.load(Ordering::SeqCst) {
            let _ = execute!(out, Print(MOUSE_OFF));
        }
        let _ = execute!(out, DisableBracketedPaste, terminal::LeaveAlternateScreen, cursor::Show);
    }
}

/// Restores the terminal when it goes out of scope.
#[derive(Debug)]
pub(crate) struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        restore();
    }
}

/// Writes an invisible sequence, to check whether the terminal still exists.
///
/// # Errors
/// It is gone.
pub(crate) fn poke(screen: &mut Screen) -> io::Result<()> {
    let out = screen.backend_mut();
    queue!(out, cursor::Hide)?;
    out.flush()
}

/// Asks the terminal to put text into its clipboard (OSC 52), which works through ssh.
///
/// # Errors
/// The terminal is gone.
pub(crate) fn copy(screen: &mut Screen, text: &str) -> io::Result<()> {
    let out = screen.backend_mut();
    queue!(out, CopyToClipboard::to_clipboard_from(text))?;
    out.flush()
}

/// Writes an address on the screen once more, as a link (OSC 8). Terminals without links ignore the sequence.
///
/// # Errors
/// The terminal is gone.
pub(crate) fn link(screen: &mut Screen, lines: &[(u16, u16, String)], address: &str) -> io::Result<()> {
    let out = screen.backend_mut();
    for (x, y, line) in lines {
        queue!(
            out,
            cursor::MoveTo(*x, *y),
            SetAttribute(Attribute::Underlined),
            Print(format_args!("\x1b]8;;{address}\x1b\\{line}\x1b]8;;\x1b\\")),
            SetAttribute(Attribute::Reset)
        )?;
    }
    out.flush()
}

/// Installs a hook that restores the terminal before a panic is printed, and tells the screen to end: after a task's panic
/// it would otherwise keep drawing on a restored terminal.
pub(crate) fn leave_on_panic() -> Arc<Notify> {
    let panicked = Arc::new(Notify::new());
    let tell = panicked.clone();
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        restore();
        previous(info);
        tell.notify_one();
    }));
    panicked
}

/// Writes a line for the user to stderr. A reader that is gone is no error, as it would be for `eprintln!`, which panics.
pub(crate) fn tell(words: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{words}");
}

/// Returns true if there is a terminal to draw on and to read keys from.
#[must_use]
pub(crate) fn present() -> bool {
    io::stdout().is_terminal() && io::stdin().is_terminal()
}

/// Returns true if the terminal supports the sequences that the screen needs.
#[must_use]
pub(crate) fn capable(environment: impl Fn(&str) -> Option<String>) -> bool {
    environment("TERM").is_some_and(|term| !term.is_empty() && !DUMB.contains(&term.as_str()))
}

/// Returns true if colors are wanted.
#[must_use]
pub(crate) fn color(choice: Color, environment: impl Fn(&str) -> Option<String>) -> bool {
    match choice {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            environment("NO_COLOR").is_none_or(|value| value.is_empty())
                && environment("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

/// Returns true if the locale can only show ASCII.
#[must_use]
pub(crate) fn ascii(environment: impl Fn(&str) -> Option<String>) -> bool {
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| environment(name).filter(|it| !it.is_empty()));
    let locale = locale.unwrap_or_default().to_lowercase();
    !(locale.contains("utf-8") || locale.contains("utf8"))
}

/// Waits for a signal to end, and reports its exit code. If the screen has not ended soon after, because its terminal
/// blocks every write, this task ends the process.
///
/// # Errors
/// If signals cannot be waited for.
pub(crate) fn signals(children: Children) -> io::Result<mpsc::Receiver<u8>> {
    let mut term = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (told, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let code = first(&mut term, &mut hangup, &mut interrupt).await;
        let _ = told.try_send(code);
        std::thread::spawn(move || leave_anyway(&children, code));
    });
    Ok(receiver)
}

async fn first(term: &mut Signal, hangup: &mut Signal, interrupt: &mut Signal) -> u8 {
    tokio::select! {
        _ = term.recv() => 143,
        _ = hangup.recv() => 129,
        // In raw mode Ctrl-C is a key. The signal comes from `kill`, or from Ctrl-C where there is no screen.
        _ = interrupt.recv() => 130,
    }
}

#[expect(clippy::exit, reason = "the loop that would return is blocked in a write that may never end")]
fn leave_anyway(children: &Children, code: u8) {
    std::thread::sleep(PATIENCE);
    children.kill_all();
    let _ = terminal::disable_raw_mode();
    std::process::exit(i32::from(code));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn the_flag_beats_the_environment() {
        assert!(color(Color::Auto, with(&[])));
        assert!(!color(Color::Auto, with(&[("NO_COLOR", "1")])));
        assert!(color(Color::Auto, with(&[("NO_COLOR", "")])));
        assert!(color(Color::Always, with(&[("NO_COLOR", "1")])));
        assert!(!color(Color::Auto, with(&[("TERM", "dumb")])));
    }

    #[test]
    fn the_first_locale_variable_that_is_set_decides() {
        assert!(!ascii(with(&[("LANG", "de_DE.UTF-8")])));
        assert!(!ascii(with(&[("LC_ALL", "C.utf8"), ("LANG", "C")])));
        assert!(ascii(with(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")])));
        assert!(ascii(with(&[])));
    }

    #[test]
    fn a_terminal_without_sequences_gets_no_screen() {
        assert!(capable(with(&[("TERM", "xterm-256color")])));
        for term in ["", "dumb", "vt52", "unknown"] {
            assert!(!capable(with(&[("TERM", term)])), "{term}");
        }
        assert!(!capable(with(&[])));
    }

    #[test]
    fn the_background_is_the_given_one_or_that_of_the_environment() {
        assert_eq!(background(Look::Light, with(&[("COLORFGBG", "15;0")])), Background::Light);
        assert_eq!(background(Look::Auto, with(&[("COLORFGBG", "15;0")])), Background::Dark);
        assert_eq!(background(Look::Auto, with(&[("COLORFGBG", "0;default;15")])), Background::Light);
        assert_eq!(background(Look::Auto, with(&[("COLORFGBG", "0;default")])), Background::Unknown);
        assert_eq!(background(Look::Auto, with(&[])), Background::Unknown);
    }

    #[tokio::test]
    async fn a_panic_in_any_thread_restores_the_terminal_and_is_reported() {
        // Not raw in a test; what matters is that the flag is taken down by the hook.
        TAKEN.store(true, Ordering::SeqCst);
        let panicked = leave_on_panic();
        let _ = std::thread::spawn(|| panic!("meant to happen")).join();
        panicked.notified().await;
        assert!(!TAKEN.load(Ordering::SeqCst));
    }
}
