//! The values that were given by flag or variable, before they are parsed, and the list of problems found.
//!
//! Flags take precedence over the environment. An empty value counts as not given, because a shell and many templates of
//! manifests put an empty string where a variable is not set.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::path::PathBuf;

use super::flags::{FLAGS, Fallback, Flag, FlagKind, OURS, flag, older_variables};
use super::problem::Problem;
use crate::secret::Secret;

/// The values of one flag and their source. No `Debug`, because a URL may contain a password.
#[derive(Clone)]
pub(super) struct GivenValues {
    pub(super) origin: String,
    pub(super) values: Vec<OsString>,
}

/// All given values, and the problems found with them so far.
#[derive(Default)]
pub(super) struct Given {
    pub(super) sources: HashMap<&'static str, GivenValues>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    /// The value of `--password`, which only git-sync's container specs still use.
    pub(super) password: Option<Secret>,
}

impl Given {
    /// Adds values from the environment for flags that are not on the command line.
    pub(super) fn read_environment(&mut self, environment: &HashMap<OsString, OsString>) {
        for flag in FLAGS.iter() {
            if self.sources.contains_key(flag.name) {
                continue;
            }
            let mut variables = flag.variables();
            // As in git-sync, v3's names take precedence over v4's. git-sync's image sets GITSYNC_ROOT, which would
            // otherwise win.
            let older = older_variables(flag.name);
            variables.splice(1..1, older.clone());
            for variable in variables {
                let Some(value) = environment.get(OsStr::new(&variable)).filter(|value| !value.is_empty()) else {
                    continue;
                };
                let values: Vec<OsString> = match (flag.kind, value.to_str()) {
                    // git-sync separates values by colons, like PATH. Ours are separated by commas, which are rarer
                    // in paths.
                    (FlagKind::Many, Some(text)) => {
                        let separator = if variable.starts_with(OURS) { ',' } else { ':' };
                        text.split(separator).map(str::trim).filter(|part| !part.is_empty()).map(Into::into).collect()
                    }
                    _ => vec![value.clone()],
                };
                if !values.is_empty() {
                    let origin = if older.contains(&variable) {
                        self.older_name(flag, variable, value, environment)
                    } else {
                        variable
                    };
                    self.sources.insert(flag.name, GivenValues { origin, values });
                    break;
                }
            }
        }
    }

    /// Warns of a variable of git-sync v3. Charts that serve both releases set the name of v4 beside it: the value is that one's
    /// then, and no warning is due.
    fn older_name(
        &mut self,
        flag: &Flag,
        variable: String,
        value: &OsStr,
        environment: &HashMap<OsString, OsString>,
    ) -> String {
        let names = flag.variables();
        let same = names.iter().find(|name| environment.get(OsStr::new(name)).is_some_and(|other| other == value));
        if let Some(same) = same {
            return same.clone();
        }
        self.warnings.push(format!("{variable}: is a name of git-sync v3; use --{} or {}", flag.name, names[0]));
        variable
    }

    /// Returns true if the flag or its variable was given.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.sources.contains_key(name)
    }

    /// Returns the name under which the value was given, for messages.
    pub(super) fn origin(&self, name: &str) -> String {
        self.sources.get(name).map_or_else(|| format!("--{name}"), |source| source.origin.clone())
    }

    pub(super) fn problem(&mut self, name: &str, message: impl Into<String>) {
        let origin = self.origin(name);
        self.problems.push(Problem { origin, message: message.into(), unknown: false });
    }

    pub(super) fn warn(&mut self, name: &str, message: impl Display) {
        let origin = self.origin(name);
        self.warnings.push(format!("{origin}: {message}"));
    }

    /// Returns true if a value of this flag was rejected already, so that it is not also reported as missing.
    pub(super) fn is_refused(&self, name: &str) -> bool {
        let origin = self.origin(name);
        let flag = format!("--{name}");
        self.problems.iter().any(|problem| problem.origin == origin || problem.origin == flag)
    }

    /// Returns the value as text, or the flag's default.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let Some(source) = self.sources.get(name) else {
            return match known(name).fallback {
                Fallback::Value(text) => Some(text.to_owned()),
                Fallback::None | Fallback::Rule(_) => None,
            };
        };
        let text = source.values.last()?.to_str().map(str::to_owned);
        if text.is_none() {
            self.problem(name, "is not valid UTF-8");
        }
        text
    }

    /// Parses the value with `read`. An error becomes a problem that shows the value.
    pub(super) fn value<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(name)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.problem(name, format!("`{text}` {wrong}"));
                None
            }
        }
    }

    /// Returns all values as given.
    pub(super) fn values(&self, name: &str) -> Vec<OsString> {
        self.sources.get(name).map(|source| source.values.clone()).unwrap_or_default()
    }

    /// Returns the value as a path.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.paths(name).pop()
    }

    /// Returns all values as paths, or the flag's default.
    pub(super) fn paths(&self, name: &str) -> Vec<PathBuf> {
        match (self.sources.get(name), known(name).fallback) {
            (Some(source), _) => source.values.iter().map(PathBuf::from).collect(),
            (None, Fallback::Value(path)) => vec![PathBuf::from(path)],
            (None, Fallback::None | Fallback::Rule(_)) => Vec::new(),
        }
    }
}

fn known(name: &str) -> &'static Flag {
    flag(name).expect("callers use only names of the table, and a test reads every flag")
}
