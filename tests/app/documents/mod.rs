//! The commands in the documents: those that need no cluster are run, the others are checked as far as that goes without one.
//!
//! A block that begins with three backticks and `sh` is run. A second word is the reason why it cannot be: see [`REASONS`].

mod links;
mod run;
mod shell;
mod typed;
mod yaml;

use std::fs;
use std::path::{Path, PathBuf};

/// Why a block is not run here. It needs: a cluster and the objects in it; a forge or a registry; a compiler and some minutes, or
/// Docker; the reader's own shell and home.
const REASONS: [&str; 4] = ["cluster", "network", "build", "profile"];

/// One block of commands.
struct Block {
    /// File and line, for messages.
    place: String,
    /// The words after `sh`.
    reason: Option<String>,
    text: String,
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents at the top, and everything below docs, examples and charts.
fn documents() -> Vec<PathBuf> {
    let names = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];
    let mut found = names.map(|name| top().join(name)).to_vec();
    let mut folders: Vec<PathBuf> = ["docs", "examples", "charts"].iter().map(|name| top().join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Files that stand for the content of a user's repository are no documents.
                if !path.ends_with("repository") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Every block of commands in the documents.
fn blocks() -> Vec<Block> {
    let mut found = Vec::new();
    for path in documents() {
        let name = path.strip_prefix(top()).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let Some(info) = line.strip_prefix("```").filter(|info| !info.is_empty()) else { continue };
            let body: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            let (language, reason) = info.split_once(' ').map_or((info, None), |(word, rest)| (word, Some(rest)));
            assert!(!["bash", "shell", "console"].contains(&language), "{name}:{}: write `sh`", number + 1);
            if language == "sh" {
                let reason = reason.map(str::to_owned);
                found.push(Block { place: format!("{name}:{}", number + 1), reason, text: body.join("\n") });
            }
        }
    }
    found
}

#[test]
fn each_block_is_run_or_says_why_not() {
    let blocks = blocks();
    assert!(blocks.len() > 30, "{}", blocks.len());
    for block in &blocks {
        let known = block.reason.as_deref().is_none_or(|reason| REASONS.contains(&reason));
        assert!(known, "{}: {:?} is no reason", block.place, block.reason);
    }
    assert!(blocks.iter().filter(|block| block.reason.is_none()).count() >= 3);
}

/// Readers paste blocks into an interactive shell. zsh, the shell of macOS, takes a `#` there as an argument or a command,
/// and `read` takes the next pasted line as its input.
#[test]
fn each_block_can_be_pasted() {
    let mut wrong = Vec::new();
    for block in blocks() {
        wrong.extend(shell::comments(&block.text).iter().map(|comment| format!("{}: {comment}", block.place)));
        let is_prompt = shell::calls(&block.text).iter().any(|call| call.words[0] == "read");
        if is_prompt && block.text.lines().count() > 1 {
            wrong.push(format!("{}: `read` has lines after or before it", block.place));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// True for a line that opens a screen, or runs until it is interrupted.
fn stays(line: &str) -> bool {
    let Some(call) = shell::calls(line).into_iter().next() else { return false };
    let words: Vec<&str> = call.words.iter().map(String::as_str).collect();
    let prints = |flags: &[&str]| words.iter().any(|word| flags.contains(word));
    let dashboard = ["--check", "--once", "--output", "-o", "--wait", "--watch"];
    let until_interrupted = match words[..] {
        ["scripts/demo", ..] => !prints(&["--check"]),
        ["kubectl", "pushsync", first, ..] | ["pushsync", first, ..] if first == "dashboard" || first.contains('/') => {
            !prints(&dashboard)
        }
        ["kubectl", ..] => prints(&["port-forward", "--follow", "--watch", "-w"]),
        ["pushsync", first, ..] if first.starts_with('-') => !prints(&["--one-time", "--help", "--version"]),
        _ => false,
    };
    until_interrupted && !line.trim_end().ends_with('&')
}

/// A screen would take the lines that were pasted after it for keys.
#[test]
fn a_line_that_stays_is_the_last_of_its_block() {
    let mut wrong = Vec::new();
    for block in blocks() {
        let text = block.text.replace("\\\n", " ");
        let lines: Vec<&str> = text.lines().collect();
        let early = lines.iter().rev().skip(1).filter(|line| stays(line));
        wrong.extend(early.map(|line| format!("{}: {line}", block.place)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for line in ["scripts/demo", "pushsync dashboard deploy/x", "kubectl pushsync deploy/x", "pushsync --repo x"] {
        assert!(stays(line), "{line}");
    }
    for line in ["scripts/demo --check", "pushsync dashboard :9180 --once", "pushsync status deploy/x", "pushsync -v &"]
    {
        assert!(!stays(line), "{line}");
    }
}
