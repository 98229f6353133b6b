//! The command line of the dashboard.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{EnumValueParser, PossibleValue};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, ValueEnum, value_parser};
use jiff::SignedDuration;
use url::Url;

use super::pods::Target;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Args {
    pub target: Option<Target>,
    pub selector: Option<String>,
    pub namespace: Option<String>,
    pub all_namespaces: bool,
    pub context: Option<String>,
    pub kubeconfig: Option<OsString>,
    /// `None`: 9180, or the one of the next nine that answers.
    pub port: Option<u16>,
    /// Not empty: these replicas and no kubectl.
    pub url: Vec<Url>,
    pub token_file: Option<PathBuf>,
    pub read_only: bool,
    pub max_links: u16,
    pub log_file: Option<PathBuf>,
    pub color: Color,
    pub theme: Look,
    pub ascii: bool,
    pub utc: bool,
    pub once: bool,
    pub watch: bool,
    pub check: bool,
    pub wait: Option<Duration>,
    /// In lower case, at least seven digits.
    pub commit: Option<String>,
    pub output: Option<Output>,
    pub timeout: Duration,
}

/// The flags in the order of the help.
fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help).action(ArgAction::SetTrue);
    let value = |name: &'static str, what: &'static str, help: &'static str| {
        Arg::new(name).long(name).help(help).value_name(what)
    };
    Command::new("pushsync dashboard")
        .about("Shows every replica's sync history in the terminal, over port-forwards")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help("Exit codes with --check: 0 in sync, 3 some behind or failed, 2 none reachable, 1 bad usage.")
        .arg(
            Arg::new("target")
                .value_name("KIND/NAME")
                .help("What to look at: deploy/NAME, statefulset/NAME, daemonset/NAME, svc/NAME or pod/NAME")
                .value_parser(target),
        )
        .arg(value("selector", "LABELS", "Look at the pods with these labels").short('l').conflicts_with("target"))
        .arg(value("namespace", "NAME", "The namespace, if not the context's own").short('n'))
        .arg(
            flag("all-namespaces", "Look in all namespaces (with --selector)")
                .short('A')
                .requires("selector")
                .conflicts_with("namespace"),
        )
        .arg(value("context", "NAME", "The context of the kubeconfig"))
        .arg(value("kubeconfig", "FILE", "The kubeconfig file").value_parser(value_parser!(OsString)))
        .arg(
            value(
                "port",
                "PORT",
                "The admin port in the pods [default: 9180, or the one of the next nine that answers]",
            )
            .value_parser(value_parser!(u16).range(1..)),
        )
        .arg(
            value("url", "URL", "A replica's admin API that is reachable already; repeatable")
                .action(ArgAction::Append)
                .value_parser(base_url)
                .conflicts_with_all(["target", "selector", "namespace", "context", "kubeconfig", "port"]),
        )
        .arg(
            value("token-file", "FILE", "A file with the token that the admin listener wants")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(flag("read-only", "Offer no action that changes a replica"))
        .arg(
            value("max-links", "N", "Pods that are connected at the same time; the others are visited in turn")
                .default_value("12")
                .value_parser(value_parser!(u16).range(1..)),
        )
        .arg(
            value("log-file", "FILE", "Append what the Events view shows to a file")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            value("color", "WHEN", "Colours; auto follows NO_COLOR and TERM")
                .default_value("auto")
                .value_parser(EnumValueParser::<Color>::new()),
        )
        .arg(
            value("theme", "LOOK", "Colours for a dark or a light background; auto asks the terminal")
                .default_value("auto")
                .value_parser(EnumValueParser::<Look>::new()),
        )
        .arg(flag("ascii", "Only ASCII characters [default: if LC_ALL or LANG does not say UTF-8]"))
        .arg(flag("utc", "Begin with UTC times in lists; `t` changes it"))
        .arg(
            flag("once", "Print the fleet once and exit; the default if the output is not a terminal")
                .conflicts_with("watch"),
        )
        .arg(
            flag("watch", "Print what happens as it happens, one JSON document a line, until interrupted")
                .conflicts_with("check"),
        )
        .arg(flag("check", "Print the fleet once; the exit code tells whether the newest commit is live everywhere"))
        .arg(
            value("wait", "DURATION", "With --check: wait so long for it to be in sync [e.g. 90s, 5m]")
                .value_parser(duration)
                .requires("check"),
        )
        .arg(
            value(
                "commit",
                "SHA",
                "With --check: this commit must be live (or have been, if a newer one is), not the newest known",
            )
            .value_parser(commit)
            .requires("check"),
        )
        .arg(
            value("output", "FORMAT", "The format without a screen")
                .short('o')
                .value_parser(EnumValueParser::<Output>::new()),
        )
        .arg(
            value("timeout", "DURATION", "How long a replica may take to answer without a screen")
                .default_value("20s")
                .value_parser(duration),
        )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    Auto,
    Always,
    Never,
}

/// The background that the colors are chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Auto,
    Dark,
    Light,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Table,
    Json,
    Ndjson,
}

impl ValueEnum for Color {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Always, Self::Never]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }))
    }
}

impl ValueEnum for Look {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Dark, Self::Light]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Auto => "auto",
            Self::Dark => "dark",
            Self::Light => "light",
        }))
    }
}

impl ValueEnum for Output {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Table, Self::Json, Self::Ndjson]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
        }))
    }
}

impl Args {
    /// Reads the command line; `as_kubectl_plugin` changes only the name in the help.
    ///
    /// # Errors
    /// What clap has to say, which may be the help.
    pub fn read(args: Vec<OsString>, as_kubectl_plugin: bool) -> Result<Self, clap::Error> {
        let name = if as_kubectl_plugin { "kubectl pushsync" } else { "pushsync dashboard" };
        let mut command = command().bin_name(name);
        let mut given = command.try_get_matches_from_mut(std::iter::once(OsString::from(name)).chain(args))?;
        let read = Self {
            target: given.remove_one("target"),
            selector: given.remove_one("selector"),
            namespace: given.remove_one("namespace"),
            all_namespaces: given.get_flag("all-namespaces"),
            context: given.remove_one("context"),
            kubeconfig: given.remove_one("kubeconfig"),
            port: given.remove_one("port"),
            url: given.remove_many("url").into_iter().flatten().collect(),
            token_file: given.remove_one("token-file"),
            read_only: given.get_flag("read-only"),
            max_links: given.remove_one("max-links").unwrap_or(12),
            log_file: given.remove_one("log-file"),
            color: given.remove_one("color").unwrap_or(Color::Auto),
            theme: given.remove_one("theme").unwrap_or(Look::Auto),
            ascii: given.get_flag("ascii"),
            utc: given.get_flag("utc"),
            once: given.get_flag("once"),
            watch: given.get_flag("watch"),
            check: given.get_flag("check"),
            wait: given.remove_one("wait"),
            commit: given.remove_one("commit"),
            output: given.remove_one("output"),
            timeout: given.remove_one("timeout").unwrap_or(Duration::from_secs(20)),
        };
        read.checked().map_err(|text| command.error(ErrorKind::ValueValidation, text))
    }

    fn checked(self) -> Result<Self, String> {
        if self.target.is_none() && self.selector.is_none() && self.url.is_empty() {
            return Err("say what to look at: deploy/NAME, pod/NAME, svc/NAME, -l LABELS or --url URL".to_owned());
        }
        for (index, url) in self.url.iter().enumerate() {
            if self.url[..index].contains(url) {
                return Err(format!("--url {url} is given twice"));
            }
        }
        if self.output == Some(Output::Ndjson) && !self.watch {
            return Err("--output ndjson goes with --watch".to_owned());
        }
        if self.watch && matches!(self.output, Some(Output::Table | Output::Json)) {
            return Err("--watch writes ndjson only".to_owned());
        }
        Ok(self)
    }

    /// The pods that are asked for; `None` with `--url`.
    #[must_use]
    pub fn pods(&self) -> Option<Target> {
        self.target.clone().or_else(|| self.selector.clone().map(Target::Selector))
    }

    /// What the header calls it.
    #[must_use]
    pub fn subject(&self) -> String {
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
                urls => format!("{} addresses", urls.len()),
            },
        }
    }
}

fn target(text: &str) -> Result<Target, String> {
    let (kind, name) = text.split_once('/').ok_or("say KIND/NAME, such as deploy/web or pod/web-0")?;
    let good = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '.');
    if name.is_empty() || name.starts_with('-') || !name.chars().all(good) {
        return Err(format!("{name:?} is not the name of a Kubernetes object"));
    }
    let name = name.to_owned();
    Ok(match kind {
        "pod" | "pods" | "po" => Target::Pod(name),
        "deploy" | "deployment" | "deployments" => Target::Owner("deployment", name),
        "sts" | "statefulset" | "statefulsets" => Target::Owner("statefulset", name),
        "ds" | "daemonset" | "daemonsets" => Target::Owner("daemonset", name),
        "svc" | "service" | "services" => Target::Owner("service", name),
        "rs" | "replicaset" | "replicasets" => Target::Owner("replicaset", name),
        _ => return Err(format!("{kind:?} is none of deploy, statefulset, daemonset, svc, pod")),
    })
}

fn base_url(text: &str) -> Result<Url, String> {
    // `127.0.0.1:9180` is what people have in their clipboard.
    let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
    let url = url.map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("an http or https address is needed".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("give a token with --token-file, not in the address".to_owned());
    }
    Ok(url)
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration = text.parse().map_err(|_| "say a duration such as 90s, 1m30s or 500ms")?;
    Duration::try_from(duration).map_err(|_| "a duration is not negative".to_owned())
}

fn commit(text: &str) -> Result<String, String> {
    if (7..=64).contains(&text.len()) && text.chars().all(|character| character.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("at least seven hexadecimal digits of a commit".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Args, String> {
        let args = line.split_whitespace().map(OsString::from).collect();
        Args::read(args, false).map_err(|error| error.to_string())
    }

    #[test]
    fn targets_are_understood_in_the_words_of_kubectl() {
        let target = |line: &str| read(line).expect("good").pods();
        assert_eq!(target("deploy/web"), Some(Target::Owner("deployment", "web".to_owned())));
        assert_eq!(target("pod/web-0 -n prod"), Some(Target::Pod("web-0".to_owned())));
        assert_eq!(target("-l app=web -A"), Some(Target::Selector("app=web".to_owned())));
        assert_eq!(target("--url 127.0.0.1:9180"), None);
        assert_eq!(read("sts/db -n prod").expect("good").subject(), "prod/db");
    }

    #[test]
    fn contradictions_are_refused_with_a_reason() {
        for (line, words) in [
            ("", "say what to look at"),
            ("web", "KIND/NAME"),
            ("job/web", "none of deploy"),
            ("deploy/-rf", "not the name"),
            ("--url ftp://a", "http or https"),
            ("--url http://u:p@a", "--token-file"),
            ("--url http://a --url http://a", "twice"),
            ("deploy/web --url http://a", "cannot be used with"),
            ("deploy/web --wait 5s", "--check"),
            ("deploy/web --check --commit xyz", "hexadecimal"),
            ("deploy/web --output ndjson", "--watch"),
            ("deploy/web --max-links 0", "0"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
