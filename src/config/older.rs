//! Flags of git-sync v3 that v4 still accepts: read under their current names, with a warning at the start.
//!
//! It knows names and units. Values are checked where the current flag is read.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches};

use super::flags::{Became, GIT_SYNC, GIT_SYNC_3, Older, older};
use super::given::{Given, GivenValues};
use super::problem::Problem;
use super::values;
use crate::secret::Secret;

/// Defines the argument, hidden from `--help`.
pub(super) fn argument(older: &'static Older) -> Arg {
    let argument = Arg::new(older.name)
        .long(older.name)
        .value_parser(ValueParser::os_string())
        .allow_negative_numbers(true)
        .hide(true);
    match older.became {
        // A switch in git-sync v3: the word behind it is not its value.
        Became::Needless => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        _ => argument.action(ArgAction::Set),
    }
}

/// Reads the old flags on the command line. As in git-sync, an old name takes precedence over the new one.
pub(super) fn collect(matches: &ArgMatches, given: &mut Given) {
    for older in older() {
        if let Some(value) = matches.get_one::<OsString>(older.name).filter(|value| !value.is_empty()) {
            take(older, format!("--{}", older.name), value, given);
        }
    }
}

/// Reads the old variables, unless a flag or one of our variables is given.
pub(super) fn read_environment(environment: &HashMap<OsString, OsString>, given: &mut Given) {
    for older in older() {
        let Some(variable) = older.variable else { continue };
        if let Some(value) = environment.get(OsStr::new(variable)).filter(|value| !value.is_empty()) {
            if says_nothing_new(older, variable, value, environment) {
                continue;
            }
            take(older, variable.to_owned(), value, given);
        }
    }
}

/// True if a variable of git-sync v4 says the same, as in charts that serve both releases.
fn says_nothing_new(older: &Older, variable: &str, value: &OsStr, environment: &HashMap<OsString, OsString>) -> bool {
    let now = older.now().map_or_else(|| variable.replace(GIT_SYNC_3, GIT_SYNC), variable_of);
    let Some(there) = environment.get(OsStr::new(&now)) else { return false };
    match older.became {
        Became::Seconds { .. } => {
            let duration = |text: &str| values::duration(text).ok();
            let seconds = seconds(value).ok().flatten().and_then(|text| duration(&text));
            seconds.is_some() && seconds == there.to_str().and_then(duration)
        }
        Became::Renamed { .. } | Became::Needless => there == value,
        Became::Password | Became::Gone { .. } => false,
    }
}

/// git-sync v4's variable for a flag.
fn variable_of(flag: &str) -> String {
    format!("{GIT_SYNC}{}", flag.to_ascii_uppercase().replace('-', "_"))
}

fn take(older: &Older, origin: String, value: &OsStr, given: &mut Given) {
    let from_flag = origin.starts_with('-');
    match older.became {
        Became::Renamed { unset, .. } if value == unset => {}
        Became::Renamed { now, .. } => set(older, now, origin, value.to_owned(), given),
        Became::Seconds { now } => match seconds(value) {
            Ok(None) => {}
            Ok(Some(duration)) => set(older, now, origin, duration.into(), given),
            Err(message) => given.problems.push(Problem { origin, message, unknown: false }),
        },
        Became::Password if from_flag => {
            given.warnings.push(format!(
                "{origin}: every process of the machine can read arguments; use --password-file or PUSHSYNC_PASSWORD"
            ));
            given.password = Some(Secret::new(value.as_encoded_bytes()));
        }
        Became::Password => {}
        Became::Needless => match value.to_str().map(values::switch) {
            Some(Ok(false)) => {}
            Some(Ok(true)) => given.warnings.push(format!(
                "{origin}: has no effect and can be removed, because the URL determines whether SSH is used"
            )),
            _ => {
                let message = "is neither true nor false".to_owned();
                given.problems.push(Problem { origin, message, unknown: false });
            }
        },
        Became::Gone { .. } if value == "0" => {}
        Became::Gone { instead } => given.problems.push(Problem {
            origin,
            message: format!("is no longer supported, as in git-sync v4; use --{instead}"),
            unknown: false,
        }),
    }
}

fn set(older: &Older, now: &'static str, origin: String, value: OsString, given: &mut Given) {
    // On the command line the old name beats everything; the environment is checked below.
    let from_flag = origin.starts_with('-');
    if let Some(there) = given.sources.get(now).map(|source| source.origin.clone()) {
        if is_of(&there, older) {
            let message =
                format!("is given together with {there}, and git-sync v4 accepts only one of them; use --{now}");
            given.problems.push(Problem { origin, message, unknown: false });
            return;
        }
        // As in git-sync, v3's variables take precedence over v4's, but over nothing else.
        if !from_flag && !there.starts_with(GIT_SYNC) {
            given.warnings.push(format!("{origin}: has no effect, because {there} is given"));
            return;
        }
        given.warnings.push(format!("{origin}: overrides {there}, as in git-sync v4; use --{now} alone"));
    } else {
        given.warnings.push(format!("{origin}: is a name of git-sync v3; use --{now}"));
    }
    given.sources.insert(now, GivenValues { origin, values: vec![value] });
}

/// Returns true if the origin is another v3 name for the same flag, given in the same way. Neither is newer, so this
/// is a conflict.
fn is_of(origin: &str, older_one: &Older) -> bool {
    older().filter(|other| other.now() == older_one.now()).any(|other| {
        other.name != older_one.name
            && (origin.strip_prefix("--") == Some(other.name) || Some(origin) == other.variable)
    })
}

/// Converts v3's seconds to a duration; `None` for 0, which means not given.
fn seconds(value: &OsStr) -> Result<Option<String>, String> {
    let text = value.to_string_lossy();
    match text.parse::<f64>() {
        Ok(0.0) => Ok(None),
        // Cut to milliseconds and not rounded, as git-sync does.
        Ok(seconds) if seconds.is_finite() && seconds > 0.0 => Ok(Some(format!("{}ms", (seconds * 1000.0).trunc()))),
        _ => Err(format!("`{text}` is not a number of seconds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_durations_as_go_rounds_them() {
        for (text, duration) in
            [("30", Some("30000ms")), ("0.5", Some("500ms")), ("0", None), ("1.2349", Some("1234ms"))]
        {
            assert_eq!(seconds(OsStr::new(text)), Ok(duration.map(str::to_owned)), "{text}");
        }
        for text in ["-1", "x", "", "inf", "NaN", "1s"] {
            assert!(seconds(OsStr::new(text)).is_err(), "{text}");
        }
        assert_eq!(values::duration("1234ms"), Ok(std::time::Duration::from_millis(1234)));
    }
}
