//! Parses the command line and the environment into one validated [`Config`]; all problems are reported together.
//!
//! This area knows the options of all areas, but does none of their work: it binds, writes and connects to nothing.
//! Files with secrets are read once, to report bad ones before the program starts.

mod accepted;
mod accounts;
mod app;
mod command;
mod credentials;
mod files;
mod flags;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod git_config;
mod given;
mod listeners;
mod manual;
mod network;
mod older;
mod problem;
mod reference;
mod remote;
mod tells;
mod timing;
mod values;

use std::collections::HashMap;
use std::ffi::OsString;
use std::time::Duration;

use crate::git::{Credentials, RemoteOptions};
use crate::publish::{CheckoutOptions, VolumeOptions};
use crate::{log, server, sync};

pub use command::{COMMANDS, command};
pub use flags::{FLAGS, Fallback, Flag, FlagKind, Group, older as older_flags, older_variables};
pub use manual::parts as manual_parts;
pub use problem::{Exit, nearest};
pub use reference::render as render_reference;
pub use remote::check_reference;

use command::Asked;
use given::Given;

/// The configuration of `pushsync run`.
#[derive(Clone)]
pub struct Config {
    pub remote: RemoteOptions,
    pub volume: VolumeOptions,
    pub sync: sync::Options,
    pub server: server::ServerOptions,
    pub log: log::LogOptions,
    /// How long to keep serving after the signal to end.
    pub drain: Duration,
    /// Oddities that do not prevent the start; they are logged.
    pub warnings: Vec<String>,
}

/// The command that was requested.
pub enum Invocation {
    Run(Box<Config>),
    /// The arguments after the word `ping`, which that command parses.
    Ping(Vec<OsString>),
    /// Text for stdout, and exit code 0.
    Print(String),
}

/// Parses the arguments (without the program's name) and the environment.
///
/// # Errors
/// The text with all problems for stderr, and the exit code.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Invocation, Exit> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    match arguments.first().and_then(|first| first.to_str()) {
        Some("ping") => return Ok(Invocation::Ping(arguments.split_off(1))),
        Some("run") => {
            arguments.remove(0);
        }
        // An empty first argument names no command. It is reported as an argument without a flag.
        Some(word) if !word.starts_with('-') && !word.is_empty() => return Err(unknown_command(word)),
        _ => {}
    }
    let environment: HashMap<OsString, OsString> = environment.into_iter().collect();
    let mut given = Given::default();
    match command::read_arguments(arguments, &mut given) {
        Asked::Run => {}
        Asked::Print(text) => return Ok(Invocation::Print(text)),
        Asked::Nothing => return Err(Exit::listing(&given.problems, "pushsync --help")),
    }
    given.read_environment(&environment);
    older::read_environment(&environment, &mut given);
    command::warn_of_unknown_variables(&environment, &mut given);
    let config = config(&mut given, &environment);
    if given.problems.is_empty() {
        let mut config = config.expect("a value is missing only if a problem says why");
        config.warnings = given.warnings;
        Ok(Invocation::Run(Box::new(config)))
    } else {
        Err(refused(&given))
    }
}

/// Builds the exit with all problems, and the file that they are also written to.
fn refused(given: &Given) -> Exit {
    Exit { error_file: tells::error_file(given), ..Exit::listing(&given.problems, "pushsync --help") }
}

fn unknown_command(word: &str) -> Exit {
    let hint = problem::nearest(word, COMMANDS).map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
    let problem = problem::Problem {
        origin: format!("`{word}`"),
        message: format!("is not a command of pushsync; `pushsync -h` lists the commands{hint}"),
        unknown: false,
    };
    Exit::listing(&[problem], "pushsync --help")
}

/// Reads every value, even after a problem. Returns `None` only if a problem was reported.
fn config(given: &mut Given, environment: &HashMap<OsString, OsString>) -> Option<Config> {
    // First, so that the scrubber knows the password before any message is written.
    let password = credentials::password_variable(given, environment);
    accepted::read(given);
    let key = app::key_variable(environment);
    let (git_settings, mut network) = network::rewrites(given);
    let url = remote::url(given);
    // The rewritten URL is used to connect. Webhooks and the name of the link refer to the original.
    let remote = url.as_ref().and_then(|url| remote::rewritten(given, url, &network));
    network::read(given, git_settings, remote.as_ref(), environment, &mut network);
    let reference = remote::reference(given);
    let depth = given.value("depth", values::number::<u32>);
    let submodules = remote::submodules(given);
    let filter = remote::filter(given, remote.as_ref());
    let lfs = remote::lfs(given, remote.as_ref(), &network);
    let credentials = match &remote {
        Some(remote) => credentials::read(given, remote, password, key),
        // The URL determines which credentials are needed, so none are read without one.
        None => Credentials::default(),
    };
    let volume = remote::volume(given, url.as_ref(), submodules);
    let volume = volume
        .map(|volume| VolumeOptions { checkout: CheckoutOptions { lfs: lfs.is_some(), ..volume.checkout }, ..volume });
    let place = volume.as_ref().map(|volume| (volume.root.as_path(), volume.link.as_path()));
    let notices = tells::notices(given, place.map(|(root, _)| root), place.map(|(_, link)| link));
    let hooks = tells::hooks(given, environment);
    let compaction = remote::compaction(given);
    let timing = timing::read(given);
    let log = timing::log(given);
    let server = listeners::read(given, url.as_ref(), reference.as_ref().map(|(text, _)| text.as_str()));
    let hook_rate = given.value("hook-rate", values::rate);
    let drain = given.value("drain", values::duration);

    // Only now: each of the calls above has reported its own problems, and the list is complete.
    let (url, (reference_text, reference), timing, server) = (url?, reference?, timing?, server?);
    Some(Config {
        sync: sync::Options {
            period: timing.period,
            init_period: timing.init_period,
            timeout: timing.timeout,
            one_time: timing.one_time,
            max_failures: timing.max_failures,
            init_max_failures: timing.init_max_failures,
            sync_on_signal: timing.sync_on_signal,
            hook_rate: hook_rate?,
            webhooks: server.hook.as_ref().is_some_and(server::WebhookOptions::has_secret),
            peers: server.hook.as_ref().is_some_and(|hook| !hook.peers.names.is_empty()),
            history_limit: timing.history_limit,
            compaction: compaction?,
            reference: reference_text,
            repo: url.to_string(),
            replica: replica(),
            hooks: hooks?,
            notices: notices?,
        },
        remote: RemoteOptions {
            url: remote?,
            reference,
            depth: depth?,
            timeout: timing.timeout,
            credentials,
            network,
            submodules: submodules?,
            filter,
            lfs,
            allowance: volume.as_ref().map(|volume| volume.checkout.allowance.clone()).unwrap_or_default(),
        },
        volume: volume?,
        server,
        log: log?,
        drain: drain?,
        warnings: Vec::new(),
    })
}

/// Returns the host name; in Kubernetes it is the pod's name.
fn replica() -> String {
    log::printable(&rustix::system::uname().nodename().to_string_lossy())
}

#[cfg(test)]
mod tests;
