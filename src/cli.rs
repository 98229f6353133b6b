//! The commands that are about the command line itself: `completion`, `man` and `help`, and the tree of all commands.
//!
//! It collects the definitions of the other areas. It must not know what any command does.

mod complete;
mod man;
mod objects;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};

use crate::config::{self, COMMANDS};
use crate::dashboard::{self, Verb};
use crate::{init, ping};

pub use complete::{Completions, complete};

/// kubectl runs a program of this name to complete the arguments of its plugin `pushsync`.
const COMPLETER: &str = "kubectl_complete-pushsync";
/// The command that the scripts call, as programs made with cobra have it.
const COMPLETE: &str = "__complete";

const ABOUT_COMPLETION: &str = "\
Prints the completion script of a shell. It completes commands, flags, values, and the names of deployments, pods and \
namespaces, which it asks kubectl for, for at most two seconds.";

const INSTALL: &str = "\
Examples:
  source <(pushsync completion bash)        bash, in ~/.bashrc
  source <(pushsync completion zsh)         zsh, in ~/.zshrc after compinit
  pushsync completion fish > ~/.config/fish/completions/pushsync.fish

For `kubectl pushsync`, kubectl looks in PATH for a program named kubectl_complete-pushsync, which is pushsync itself:
  ln -s \"$(command -v pushsync)\" ~/bin/kubectl_complete-pushsync";

const ABOUT_MAN: &str =
    "Prints the man page, or writes the pages of all commands to a folder, as man looks for them in share/man/man1.";

const MAN_EXAMPLES: &str = "\
Examples:
  pushsync man | man -l -
  pushsync man /usr/local/share/man/man1 && man pushsync-run";

/// Runs the command if it belongs to this area. Returns its exit code, or the arguments of another command.
///
/// # Errors
/// The arguments, with `help COMMAND` as `COMMAND --help`.
pub fn run(called_as: &OsStr, mut arguments: Vec<OsString>, plugin: bool) -> Result<u8, Vec<OsString>> {
    // kubectl passes the words after the plugin's name, without the command that the scripts put before them.
    if Path::new(called_as).file_stem().is_some_and(|name| name == COMPLETER) {
        return Ok(print_candidates(&arguments, true));
    }
    match arguments.first().and_then(|first| first.to_str()) {
        Some(COMPLETE) => Ok(print_candidates(&arguments[1..], plugin)),
        Some("completion") => Ok(print(completion(), &arguments, |given| Ok(script(given).to_owned()))),
        Some("man") => Ok(print(man(), &arguments, man::write)),
        Some("help") => {
            let command = arguments.get(1).filter(|word| !word.is_empty()).cloned();
            match command.as_deref().and_then(OsStr::to_str) {
                Some("help") => return Ok(print(help(), &["help".into(), "--help".into()], |_| Ok(String::new()))),
                Some("completion" | "man") => {
                    return run(called_as, vec![arguments.remove(1), "--help".into()], plugin);
                }
                _ => {}
            }
            Err(command.into_iter().chain([OsString::from("--help")]).collect())
        }
        _ => Err(arguments),
    }
}

/// All commands with their flags. `plugin`: as `kubectl pushsync`, which has no sidecar.
#[must_use]
pub fn tree(plugin: bool) -> Command {
    let dashboard = || dashboard::args::command().name("dashboard");
    let root = if plugin { dashboard() } else { config::command() };
    // The command `help` below takes its place.
    let root = root.name("pushsync").disable_help_subcommand(true);
    let verbs = Verb::ALL.map(dashboard::verbs::args::command);
    let root = root.subcommand(dashboard()).subcommands(verbs);
    let root = if plugin { root } else { root.subcommand(sidecar()).subcommand(ping::command().name("ping")) };
    root.subcommands([init::command(), completion(), man(), help()])
}

/// `pushsync run`, as a command of its own.
fn sidecar() -> Command {
    config::command()
        .name("run")
        .about("Keeps a folder in step with a git repository, at once when a webhook announces a push")
        .override_usage("pushsync [run] --repo URL --root DIR [flags]")
}

fn completion() -> Command {
    let shell = PossibleValuesParser::new(["bash", "zsh", "fish"]);
    Command::new("completion")
        .about("Prints the completion script of a shell")
        .long_about(ABOUT_COMPLETION)
        .after_help(INSTALL)
        .arg(Arg::new("shell").value_name("SHELL").help("bash, zsh or fish").required(true).value_parser(shell))
}

fn man() -> Command {
    let folder = Arg::new("folder").value_name("DIR").value_hint(ValueHint::DirPath);
    let folder = folder.help("Write a page for each command to this folder, which is created if it does not exist");
    Command::new("man")
        .about("Prints the man page, or writes the pages of all commands to a folder")
        .long_about(ABOUT_MAN)
        .after_help(MAN_EXAMPLES)
        .arg(folder.value_parser(value_parser!(PathBuf)))
}

fn help() -> Command {
    let command = Arg::new("command").value_name("COMMAND").value_parser(PossibleValuesParser::new(COMMANDS));
    Command::new("help")
        .about("Explains a command; without one, all flags of the sidecar")
        .arg(command.hide_possible_values(true).help("run, dashboard, status, pin, ..."))
}

/// The script that was asked for.
fn script(given: &ArgMatches) -> &'static str {
    match given.get_one::<String>("shell").map(String::as_str) {
        Some("zsh") => include_str!("cli/zsh.txt"),
        Some("fish") => include_str!("cli/fish.txt"),
        _ => include_str!("cli/bash.txt"),
    }
}

/// Reads the arguments, with the command's name before them, and prints the text that they ask for.
fn print(command: Command, arguments: &[OsString], text: impl Fn(&ArgMatches) -> io::Result<String>) -> u8 {
    let name = format!("pushsync {}", command.get_name());
    // A fixed width, as in all help texts, so that they are the same on every terminal.
    let given = match command.bin_name(name).term_width(110).try_get_matches_from(arguments) {
        Ok(given) => given,
        Err(error) => {
            // Nothing is left to do if even this cannot be printed.
            let _ = error.print();
            return u8::from(error.use_stderr());
        }
    };
    let printed = text(&given).and_then(|text| io::stdout().write_all(text.as_bytes()));
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "pushsync: {error}");
            1
        }
        _ => 0,
    }
}

/// Prints the candidates for the last of the words, in the form of programs made with cobra.
fn print_candidates(words: &[OsString], plugin: bool) -> u8 {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let answer = complete(tree(plugin), &words, objects::list);
    // The shell may have lost interest.
    let _ = io::stdout().write_all(answer.to_string().as_bytes());
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound_and_has_every_command_of_the_help() {
        tree(true).debug_assert();
        let tree = tree(false);
        tree.clone().debug_assert();
        let mut names: Vec<&str> = tree.get_subcommands().map(Command::get_name).collect();
        names.sort_unstable();
        let mut expected = COMMANDS;
        expected.sort_unstable();
        assert_eq!(names, expected);
        let help = config::command().render_help().to_string();
        for name in COMMANDS {
            assert!(help.contains(&format!("\n  {name:<11} ")), "{name}: {help}");
        }
    }
}
