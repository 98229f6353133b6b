//! Values of the command line: targets in kubectl's words, addresses, durations, commits.
//!
//! Pure functions from text to values. They know no flags.

use std::time::Duration;

use jiff::SignedDuration;
use url::Url;

use crate::api::{DEFAULT_ADMIN_PORT, LONGEST_PAUSE_MINUTES};
use crate::dashboard::pods::Target;

/// Reads `KIND/NAME`, or `KIND` and `NAME` as two words, as kubectl does.
///
/// # Errors
/// Says what to write instead.
pub(crate) fn target(words: &[String]) -> Result<Target, String> {
    match words {
        [both] => {
            let (kind, name) = both.split_once('/').ok_or("say KIND/NAME, such as deploy/web or pod/web-0")?;
            named(kind, name)
        }
        [kind, name] if !kind.contains('/') && !name.contains('/') => named(kind, name),
        _ => Err("one target at a time: KIND/NAME or KIND NAME".to_owned()),
    }
}

fn named(kind: &str, name: &str) -> Result<Target, String> {
    let good = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '.');
    // kubectl would take a name that begins with a dash for a flag.
    if name.is_empty() || name.starts_with('-') || !name.chars().all(good) {
        return Err(format!("{name:?} is not the name of a Kubernetes object"));
    }
    let kind = kind.to_ascii_lowercase();
    // `pods.v1.` and the like: the group of the core kinds is empty.
    let plain = kind.trim_end_matches('.').trim_end_matches(".v1");
    let kind = match plain {
        "pod" | "pods" | "po" => return Ok(Target::Pod(name.to_owned())),
        "deploy" | "deployment" | "deployments" => "deployment",
        "sts" | "statefulset" | "statefulsets" => "statefulset",
        "ds" | "daemonset" | "daemonsets" => "daemonset",
        "svc" | "service" | "services" => "service",
        "rs" | "replicaset" | "replicasets" => "replicaset",
        "rc" | "replicationcontroller" | "replicationcontrollers" => "replicationcontroller",
        // `deployments.apps` and `rollouts.argoproj.io`: kubectl knows what they are, and whether they select pods.
        grouped if grouped.contains('.') && !grouped.starts_with(['.', '-']) && grouped.chars().all(good) => {
            return Ok(Target::Owner(kind, name.to_owned()));
        }
        _ => {
            return Err(format!(
                "{kind:?} is none of deploy, statefulset, daemonset, replicaset, svc, pod; write another kind with its \
                 group, such as rollouts.argoproj.io/{name}"
            ));
        }
    };
    Ok(Target::Owner(kind.to_owned(), name.to_owned()))
}

/// Reads the address of an admin API. A port alone, with or without its colon, is one of this machine.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn base_url(text: &str) -> Result<Url, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    let url = if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
        let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or("a port is a number from 1 to 65535")?;
        Url::parse(&format!("http://127.0.0.1:{port}"))
    } else if text.contains("://") {
        Url::parse(text)
    } else {
        // `127.0.0.1:9180` is what people have in their clipboard.
        Url::parse(&format!("http://{text}"))
    };
    let url = url.map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("an http or https address is needed, such as http://127.0.0.1:{DEFAULT_ADMIN_PORT}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("give a token with --token-file, not in the address".to_owned());
    }
    Ok(url)
}

/// # Errors
/// Says how a duration is written.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration = text.parse().map_err(|_| "say a duration such as 90s, 1m30s or 500ms")?;
    Duration::try_from(duration).map_err(|_| "a duration is not negative".to_owned())
}

/// The length of a pause: a duration of whole minutes, or a number of minutes.
///
/// # Errors
/// Says what is allowed.
pub(crate) fn minutes(text: &str) -> Result<u32, String> {
    let allowed =
        || format!("a pause lasts whole minutes, from 1m to 168h: say 30m, 1h, or a number of minutes, not {text}");
    let minutes = if let Ok(minutes) = text.parse::<u32>() {
        minutes
    } else {
        let duration = duration(text).map_err(|_| allowed())?;
        if duration.subsec_nanos() != 0 || !duration.as_secs().is_multiple_of(60) {
            return Err(allowed());
        }
        u32::try_from(duration.as_secs() / 60).map_err(|_| allowed())?
    };
    if (1..=LONGEST_PAUSE_MINUTES).contains(&minutes) { Ok(minutes) } else { Err(allowed()) }
}

/// # Errors
/// Says what a commit is named by.
pub(crate) fn commit(text: &str) -> Result<String, String> {
    if (7..=64).contains(&text.len()) && crate::hash::is_hex(text) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("at least seven hexadecimal digits of a commit".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Target, String> {
        target(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn targets_are_read_in_the_words_of_kubectl() {
        let owner = |kind: &str, name: &str| Ok(Target::Owner(kind.to_owned(), name.to_owned()));
        assert_eq!(words("deploy/web"), owner("deployment", "web"));
        assert_eq!(words("deploy web"), owner("deployment", "web"));
        assert_eq!(words("Deployment web"), owner("deployment", "web"));
        assert_eq!(words("rs/web-6f9c"), owner("replicaset", "web-6f9c"));
        assert_eq!(words("rc web"), owner("replicationcontroller", "web"));
        assert_eq!(words("deployments.apps/web"), owner("deployments.apps", "web"));
        assert_eq!(words("deployment.v1.apps web"), owner("deployment.v1.apps", "web"));
        assert_eq!(words("rollouts.argoproj.io/web"), owner("rollouts.argoproj.io", "web"));
        assert_eq!(words("svc.v1./web"), owner("service", "web"));
        assert_eq!(words("pods web-0"), Ok(Target::Pod("web-0".to_owned())));
    }

    #[test]
    fn a_bad_target_is_refused_with_an_example() {
        for (text, why) in [
            ("web", "KIND/NAME"),
            ("job/web", "none of deploy"),
            ("deploy/-rf", "not the name"),
            ("deploy/", "not the name"),
            ("deploy/a/b", "not the name"),
            ("deploy/a deploy/b", "one target at a time"),
            ("a b c", "one target at a time"),
            ("--flag.x/web", "none of deploy"),
            (".x/web", "none of deploy"),
        ] {
            let error = words(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        let url = |text: &str| base_url(text).map(String::from);
        for text in [":9180", "9180", "127.0.0.1:9180", "http://127.0.0.1:9180"] {
            assert_eq!(url(text).as_deref(), Ok("http://127.0.0.1:9180/"), "{text}");
        }
        assert_eq!(url("pods.example:80").as_deref(), Ok("http://pods.example/"));
        for text in [":0", "0", ":70000", "70000", "", ":", "ftp://a"] {
            assert!(base_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn pauses_are_whole_minutes() {
        assert_eq!(
            ["1h", "90m", "1h30m", "45", "120s", "168h"].map(|text| minutes(text).ok()),
            [Some(60), Some(90), Some(90), Some(45), Some(2), Some(10_080)]
        );
        for text in ["30s", "0", "0m", "1m30s", "169h", "-1h", "an hour", "", "99999999999"] {
            assert!(minutes(text).is_err(), "{text:?}");
        }
    }
}
