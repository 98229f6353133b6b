//! Copies text by the terminal (OSC 52), and by the programs of the desktop or of tmux.
//!
//! Each way may fail without an error, so the result names the ways that were used.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::child::on_path;

/// A terminal takes this much by OSC 52; many drop the whole sequence if it is longer.
const MAX_TERMINAL: usize = 75_000;
/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A program that copies its standard input.
type Program = &'static [&'static str];

/// Returns true if the text is short enough for the terminal.
#[must_use]
pub(crate) fn fits_terminal(text: &str) -> bool {
    text.len() <= MAX_TERMINAL
}

/// The programs to ask, as far as the environment says that they have a clipboard to write to.
#[must_use]
pub(crate) fn programs(environment: impl Fn(&str) -> Option<String>, is_there: impl Fn(&str) -> bool) -> Vec<Program> {
    let set = |name: &str| environment(name).is_some_and(|value| !value.is_empty());
    let all: [(bool, Program); 4] = [
        (cfg!(target_os = "macos"), &["pbcopy"]),
        (set("WAYLAND_DISPLAY"), &["wl-copy"]),
        (set("DISPLAY"), &["xclip", "-selection", "clipboard"]),
        (set("TMUX"), &["tmux", "load-buffer", "-w", "-"]),
    ];
    all.into_iter().filter(|(wanted, program)| *wanted && is_there(program[0])).map(|(_, program)| program).collect()
}

/// The programs of this machine.
#[must_use]
pub(crate) fn here() -> Vec<Program> {
    programs(|name| std::env::var(name).ok(), on_path)
}

/// Passes the text to each program. Returns the result in words, and whether all ways failed.
pub(crate) async fn copy(text: String, terminal: bool, programs: Vec<Program>) -> (String, bool) {
    let mut ways = Vec::new();
    let mut failed = Vec::new();
    for program in programs {
        match give(program, &text).await {
            Ok(()) => ways.push(program[0].to_owned()),
            Err(why) => failed.push(format!("{} failed: {why}", program[0])),
        }
    }
    if terminal {
        // The terminal does not report whether it took the text.
        ways.push(if ways.is_empty() { "OSC 52 (the terminal must allow it)" } else { "OSC 52" }.to_owned());
    }
    let count = text.chars().count();
    let failures = if failed.is_empty() { String::new() } else { format!("; {}", failed.join(", ")) };
    if ways.is_empty() {
        return (format!("{count} characters are too much for the clipboard of a terminal{failures}"), true);
    }
    (format!("copied {count} characters by {}{failures}", ways.join(" and ")), false)
}

async fn give(program: Program, text: &str) -> Result<(), String> {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // It must not get Ctrl-C of the terminal.
    command.process_group(0).kill_on_drop(true);
    let work = async {
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ends without reading says more by its exit status.
            stdin.write_all(text.as_bytes()).await.or_else(unless_closed)?;
        }
        child.wait().await
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(status.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}

fn unless_closed(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_with_a_clipboard_are_asked() {
        let of = |set: &'static str, there: &'static str| {
            let environment = move |name: &str| (name == set).then(|| "x".to_owned());
            let found = programs(environment, |program| program == there);
            found.iter().map(|program| program[0]).filter(|name| *name != "pbcopy").collect::<Vec<_>>()
        };
        assert_eq!(of("TMUX", "tmux"), ["tmux"]);
        assert_eq!(of("DISPLAY", "xclip"), ["xclip"]);
        assert_eq!(of("WAYLAND_DISPLAY", "wl-copy"), ["wl-copy"]);
        assert!(of("DISPLAY", "tmux").is_empty() && of("", "wl-copy").is_empty());
    }

    #[tokio::test]
    async fn copying_reports_the_ways_that_worked() {
        let text = || "475b7a7".to_owned();
        let worked: Program = &["cat"];
        let failed: Program = &["false"];
        assert_eq!(copy(text(), true, vec![]).await.0, "copied 7 characters by OSC 52 (the terminal must allow it)");
        assert_eq!(copy(text(), true, vec![worked]).await.0, "copied 7 characters by cat and OSC 52");
        let (words, bad) = copy(text(), false, vec![failed]).await;
        assert!(bad && words.contains("false failed: exit status: 1"), "{words}");
        let (words, bad) = copy(text(), true, vec![failed]).await;
        assert!(!bad && words.starts_with("copied 7 characters by OSC 52"), "{words}");
    }
}
