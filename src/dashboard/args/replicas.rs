//! The arguments that select the replicas and the connection to them. The dashboard and all verbs share them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use url::Url;

use super::values::{base_url, target};
use crate::dashboard::pods::Target;

/// The heading in the help.
const HEADING: &str = "Replicas";
/// Port-forwards at a time.
const MAX_LINKS: u16 = 12;

/// The selected replicas.
#[derive(Clone, Debug)]
pub(crate) struct Replicas {
    pub target: Option<Target>,
    pub selector: Option<String>,
    pub namespace: Option<String>,
    pub all_namespaces: bool,
    pub context: Option<String>,
    pub kubeconfig: Option<OsString>,
    /// `None`: 9180, or the one of the next nine that answers.
    pub port: Option<u16>,
    /// If not empty: these replicas, without kubectl.
    pub url: Vec<Url>,
    pub token_file: Option<PathBuf>,
    pub max_links: u16,
}

/// Adds the flags. The caller adds the words of the target, since a verb may have further words after them.
#[must_use]
pub(crate) fn flags(command: Command) -> Command {
    let value = |name: &'static str, what: &'static str, help: &'static str| {
        Arg::new(name).long(name).help(help).value_name(what).help_heading(HEADING)
    };
    command
        .arg(value("selector", "LABELS", "The pods with these labels").short('l').conflicts_with("url"))
        .arg(value("namespace", "NAME", "The namespace, if not the context's own").short('n').conflicts_with("url"))
        .arg(
            Arg::new("all-namespaces")
                .long("all-namespaces")
                .short('A')
                .help("Look in all namespaces (with --selector)")
                .help_heading(HEADING)
                .action(ArgAction::SetTrue)
                // A name belongs to one namespace; only labels can be searched for in all of them.
                .requires("selector")
                .conflicts_with("namespace"),
        )
        .arg(value("context", "NAME", "The context of the kubeconfig").hide_short_help(true).conflicts_with("url"))
        .arg(
            value("kubeconfig", "FILE", "The kubeconfig file")
                // The name of a file need not be UTF-8.
                .value_parser(value_parser!(OsString))
                .value_hint(clap::ValueHint::FilePath)
                .hide_short_help(true)
                .conflicts_with("url"),
        )
        .arg(
            value(
                "port",
                "PORT",
                "The admin port in the pods [default: 9180, or the one of the next nine that answers]",
            )
            .value_parser(value_parser!(u16).range(1..))
            .hide_short_help(true)
            .conflicts_with("url"),
        )
        .arg(
            value("url", "URL", "A replica's admin API that is reachable already, also as :9180; repeatable")
                .action(ArgAction::Append)
                .value_parser(base_url),
        )
        .arg(
            value("token-file", "FILE", "A file with the token that the admin listener requires")
                .value_parser(value_parser!(PathBuf))
                .value_hint(clap::ValueHint::FilePath)
                .hide_short_help(true),
        )
        .arg(
            value("max-links", "N", "Pods that are connected at the same time; the others are visited in turn")
                .default_value("12")
                .value_parser(value_parser!(u16).range(1..))
                .hide_short_help(true),
        )
}

/// The words of the target as an argument.
#[must_use]
pub(crate) fn target_words() -> Arg {
    Arg::new("target")
        .value_name("TARGET")
        .num_args(1..=2)
        .action(ArgAction::Append)
        .help("deploy/NAME, statefulset/NAME, daemonset/NAME, svc/NAME, rs/NAME, pod/NAME, or KIND NAME")
        .long_help(
            "The replicas: deploy/NAME, statefulset/NAME, daemonset/NAME, replicaset/NAME, svc/NAME or pod/NAME, also \
             as two words (deploy NAME). Another kind that selects pods is written with its group: \
             rollouts.argoproj.io/NAME.",
        )
}

impl Replicas {
    /// Takes the arguments, with the target in `words`.
    ///
    /// # Errors
    /// Contradictory or missing arguments, in words for the user.
    pub(crate) fn take(given: &mut ArgMatches, words: &[String]) -> Result<Self, String> {
        let target = if words.is_empty() { None } else { Some(target(words)?) };
        let replicas = Self {
            target,
            selector: given.remove_one("selector"),
            namespace: given.remove_one("namespace"),
            all_namespaces: given.get_flag("all-namespaces"),
            context: given.remove_one("context"),
            kubeconfig: given.remove_one("kubeconfig"),
            port: given.remove_one("port"),
            url: given.remove_many("url").into_iter().flatten().collect(),
            token_file: given.remove_one("token-file"),
            max_links: given.remove_one("max-links").unwrap_or(MAX_LINKS),
        };
        if replicas.target.is_none() && replicas.selector.is_none() && replicas.url.is_empty() {
            return Err("say which replicas: deploy/NAME, pod/NAME, svc/NAME, -l LABELS or --url URL".to_owned());
        }
        // clap does not check what a flag requires if that conflicts with another given flag.
        if replicas.all_namespaces && replicas.selector.is_none() {
            return Err("--all-namespaces goes with --selector".to_owned());
        }
        // The address is the id of its replica: the second link would replace the first.
        for (index, url) in replicas.url.iter().enumerate() {
            if replicas.url[..index].contains(url) {
                return Err(format!("--url {url} is given twice"));
            }
        }
        Ok(replicas)
    }

    /// Returns the selected pods; `None` with `--url`.
    #[must_use]
    pub(crate) fn pods(&self) -> Option<Target> {
        self.target.clone().or_else(|| self.selector.clone().map(Target::Selector))
    }

    /// Returns how many replicas are connected at a time. Addresses need no kubectl, so all of them are.
    #[must_use]
    pub(crate) fn links_at_a_time(&self) -> usize {
        if self.url.is_empty() { usize::from(self.max_links) } else { usize::MAX }
    }

    /// Returns the name of the replicas in the header.
    #[must_use]
    pub(crate) fn subject(&self) -> String {
        let place = match (&self.namespace, self.all_namespaces) {
            (Some(namespace), _) => format!("{namespace}/"),
            (None, true) => "all namespaces: ".to_owned(),
            (None, false) => String::new(),
        };
        match self.pods() {
            Some(Target::Pod(name) | Target::Owner(_, name)) => format!("{place}{name}"),
            Some(Target::Selector(selector)) => format!("{place}{selector}"),
            None => match self.url.as_slice() {
                [url] => url.authority().to_owned(),
                urls => format!("{} replicas", urls.len()),
            },
        }
    }
}
