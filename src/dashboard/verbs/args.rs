//! The command lines of the verbs: `pushsync status|wait|sync|pause|resume|pin|unpin TARGET`.

use std::ffi::OsString;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::verb::Verb;
use crate::dashboard::args::replicas::{Replicas, flags, target_words};
use crate::dashboard::args::values::{commit, duration, minutes};
use crate::dashboard::args::{ANSWER, Args, Output};
use crate::dashboard::message::Change;

/// The time limit for replicas to execute a change, and of `wait`.
const LIMIT: &str = "2m";
const DEFAULT_LIMIT: Duration = Duration::from_secs(120);

/// The request of a verb.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// The verdict, once or as soon as it is good.
    Check(Box<Args>),
    Change(Box<Request>),
}

/// A change of replicas.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub replicas: Replicas,
    pub change: Change,
    /// True if several replicas may be changed.
    pub all: bool,
    pub json: bool,
    /// The limit of the whole run, from the start of the program.
    pub limit: Duration,
}

/// The command line of a verb.
#[must_use]
pub(crate) fn command(verb: Verb) -> Command {
    let mut command = Command::new(verb.word()).about(verb.about()).version(env!("CARGO_PKG_VERSION"));
    command = match verb {
        // The commit is the last word of this argument. As an argument of its own, clap could not tell it from the
        // second word of a target (`deploy NAME`). A conflict with --selector or --url is checked in `take`, since the
        // commit is always given.
        Verb::Pin => command.arg(
            target_words()
                .value_names(["TARGET", "COMMIT"])
                .num_args(1..=3)
                .required(true)
                .help("The replicas (deploy/NAME, pod/NAME, ... or KIND NAME), then the commit: at least 7 digits")
                .long_help(
                    "The replicas, as deploy/NAME, pod/NAME, svc/NAME and so on or as KIND NAME, then the commit: at \
                     least seven digits of its hash. With --selector or --url only the commit.",
                ),
        ),
        _ => command.arg(target_words().conflicts_with_all(["selector", "url"])),
    };
    command = flags(command).next_help_heading("Options");
    if verb.changes() {
        // A forgotten flag must not change more replicas than meant, so several have to be asked for.
        let all = "All replicas of the target; needed where it has several";
        command = command.arg(Arg::new("all").long("all").help(all).action(ArgAction::SetTrue));
    }
    if verb == Verb::Pause {
        command = command.arg(
            Arg::new("for")
                .long("for")
                .value_name("DURATION")
                .help("When it ends by itself: 30m, 1h, or a number of minutes, at most a week")
                .default_value("1h")
                .value_parser(minutes),
        );
    }
    if !verb.changes() {
        command = command.arg(
            Arg::new("commit")
                .long("commit")
                .value_name("SHA")
                .help("The question is about this commit, not the newest known")
                .value_parser(commit),
        );
    }
    let (limit, help) = match verb {
        Verb::Status => ("20s", "How long replicas may take to answer"),
        Verb::Wait => (LIMIT, "How long to wait for it to be live everywhere"),
        _ => (LIMIT, "How long replicas may take to do it"),
    };
    command
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("FORMAT")
                .help("table or json")
                .hide_possible_values(true)
                .value_parser(PossibleValuesParser::new(["table", "json"])),
        )
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("DURATION")
                .help(help)
                .default_value(limit)
                .value_parser(duration),
        )
        .after_help(verb.examples())
        .after_long_help(format!("{}\n\n{}", verb.examples(), verb.explanation()))
}

/// Reads the arguments after the verb. `called` is the text before it: `pushsync`, `kubectl pushsync`.
///
/// # Errors
/// clap's error, which may be the help.
pub(crate) fn read(verb: Verb, args: Vec<OsString>, called: &str) -> Result<Asked, clap::Error> {
    let name = format!("{called} {}", verb.word());
    let mut command = command(verb).bin_name(&name);
    let mut given = command.try_get_matches_from_mut(std::iter::once(OsString::from(name)).chain(args))?;
    take(verb, &mut given).map_err(|text| command.error(ErrorKind::ValueValidation, text))
}

fn take(verb: Verb, given: &mut ArgMatches) -> Result<Asked, String> {
    let mut words: Vec<String> = given.remove_many("target").into_iter().flatten().collect();
    let change = match verb {
        Verb::Status | Verb::Wait => None,
        Verb::Sync => Some(Change::Sync),
        Verb::Pause => Some(Change::Pause { minutes: given.remove_one("for").unwrap_or(60) }),
        Verb::Resume => Some(Change::Resume),
        Verb::Unpin => Some(Change::Unpin),
        Verb::Pin => {
            let last = words.pop().unwrap_or_default();
            let commit = commit(&last).map_err(|why| {
                format!("the last word of `pin` is the commit to pin to, and {last:?} is none: say {why}")
            })?;
            let elsewhere = given.contains_id("selector") || given.contains_id("url");
            if elsewhere && !words.is_empty() {
                return Err("name the replicas by a target, by --selector or by --url, not by two of them".to_owned());
            }
            Some(Change::Pin { commit })
        }
    };
    let limit: Option<Duration> = given.remove_one("timeout");
    let json = given.remove_one::<String>("output").is_some_and(|format| format == "json");
    let replicas = Replicas::take(given, &words)?;
    if let Some(change) = change {
        let all = given.get_flag("all");
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        return Ok(Asked::Change(Box::new(Request { replicas, change, all, json, limit })));
    }
    let wait = (verb == Verb::Wait).then(|| limit.unwrap_or(DEFAULT_LIMIT));
    let mut args = Args::check(replicas, wait);
    args.commit = given.remove_one("commit");
    args.output = json.then_some(Output::Json);
    args.timeout = limit.unwrap_or(ANSWER);
    Ok(Asked::Check(Box::new(args)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::pods::Target;

    fn read(line: &str) -> Result<Asked, String> {
        let mut words = line.split_whitespace();
        let verb = words.next().and_then(Verb::of).expect("a verb");
        super::read(verb, words.map(OsString::from).collect(), "pushsync").map_err(|error| error.to_string())
    }

    fn change(line: &str) -> Request {
        match read(line) {
            Ok(Asked::Change(request)) => *request,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn each_verb_reads_a_target_and_its_own_arguments() {
        let deployment = Some(Target::Owner("deployment".to_owned(), "web".to_owned()));
        let pin = change("pin deploy/web C69507E --all");
        assert_eq!(pin.change, Change::Pin { commit: "c69507e".to_owned() });
        assert_eq!((pin.replicas.pods(), pin.all), (deployment.clone(), true));
        assert_eq!(change("pin deploy web c69507e").replicas.pods(), deployment);
        assert_eq!(change("pin -n prod deploy web c69507e --timeout 5s").limit, Duration::from_secs(5));
        assert_eq!(change("pin --url :9180 c69507e").replicas.url.len(), 1);
        assert_eq!(change("pin -l app=web c69507e").replicas.pods(), Some(Target::Selector("app=web".to_owned())));
        assert_eq!(change("pause deploy/web").change, Change::Pause { minutes: 60 });
        assert_eq!(change("pause deploy/web --for 90").change, Change::Pause { minutes: 90 });
        assert_eq!(change("pause deploy/web --for 2h").change, Change::Pause { minutes: 120 });
        assert!(change("sync deploy/web -o json").json);
        assert_eq!(change("resume pod/web-0").limit, DEFAULT_LIMIT);
        let Ok(Asked::Check(status)) = read("status deploy/web --commit c69507e -o json") else { panic!("a check") };
        assert_eq!((status.check, status.wait, status.timeout), (true, None, ANSWER));
        assert_eq!((status.commit.as_deref(), status.output), (Some("c69507e"), Some(Output::Json)));
        let Ok(Asked::Check(wait)) = read("wait deploy/web --timeout 90s") else { panic!("a check") };
        assert_eq!(wait.wait, Some(Duration::from_secs(90)));
    }

    #[test]
    fn missing_and_surplus_arguments_are_reported() {
        for (line, words) in [
            ("sync", "say which replicas"),
            ("pin deploy/web", "the last word of `pin` is the commit"),
            ("pin deploy web", "the last word of `pin` is the commit"),
            ("pin c69507e", "say which replicas"),
            ("pin deploy/web c69507e --url :9180", "not by two of them"),
            ("pin deploy/a deploy/b c69507e", "one target at a time"),
            ("pause deploy/web --for 30s", "whole minutes"),
            ("status deploy/web --all", "--all"),
            ("sync deploy/web --commit c69507e", "--commit"),
            ("sync deploy/web --url :9180", "cannot be used with"),
            ("sync deploy/web -o yaml", "yaml"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(words), "{line}: {error}");
        }
    }

    #[test]
    fn the_help_of_each_verb_has_examples_and_is_short() {
        for verb in Verb::ALL {
            command(verb).debug_assert();
            let short = read(&format!("{} -h", verb.word())).expect_err("help");
            let long = read(&format!("{} --help", verb.word())).expect_err("help");
            assert!(short.contains("Examples:") && short.lines().count() <= 34, "{short}");
            assert!(long.contains("Exit codes:"), "{long}");
        }
    }
}
