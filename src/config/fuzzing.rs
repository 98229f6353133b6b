//! Properties that must hold for the text of any command line value (see src/fuzzing.rs).

use std::time::Duration;

use super::git_config;
use super::listeners::{hook_path, peer, repository};
use super::values::{address, duration, level, number, period, rate, signal, switch};

/// A value that is accepted and printed is accepted again as the same value. A rejection never repeats the value.
pub(crate) fn config_values(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    durations(text);
    if let Ok(address) = checked(address(text)) {
        assert_eq!(self::address(&address.to_string()), Ok(address));
    }
    if let Ok(rate) = checked(rate(text)) {
        assert!(rate.is_finite() && (rate == 0.0 || rate >= 0.001), "{rate}");
        assert_eq!(self::rate(&rate.to_string()), Ok(rate));
    }
    if let Ok(signal) = checked(signal(text)) {
        assert_eq!(self::signal(&signal.to_string()), Ok(signal));
        assert!(![2, 9, 15, 11, 19].contains(&signal), "{signal} means something else");
    }
    if let Ok(number) = checked(number::<u32>(text)) {
        assert_eq!(self::number::<u32>(&number.to_string()), Ok(number));
    }
    assert!(
        checked(level(text)).is_err() || checked(switch(text)).is_err() || matches!(text, "0" | "1"),
        "two meanings"
    );
    if let Ok(name) = checked(peer(text)) {
        assert_eq!(peer(&name.to_string()), Ok(name));
    }
    if let Ok(path) = checked(hook_path(text)) {
        assert!(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) && path != "/");
    }
    if let Ok(named) = checked(repository(text)) {
        let printed = named.host.iter().map(String::as_str).chain([named.name.as_str()]).collect::<Vec<_>>().join("/");
        // Of two `.git` suffixes only the last is removed.
        assert!(named.name.contains(".git") || repository(&printed) == Ok(named), "{printed}");
    }
}

/// A parsed list, written with quotes and parsed again, is the same. A rejection repeats nothing that may be a
/// secret.
pub(crate) fn git_config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let quoted = |text: &str| {
        let escaped = text.replace('\\', r"\\").replace('"', r#"\""#);
        format!("\"{escaped}\"")
    };
    match git_config::parse(text) {
        Ok(pairs) => {
            assert!(pairs.iter().all(|(key, _)| !key.is_empty() && key.trim() == key), "{pairs:?}");
            let written: Vec<_> =
                pairs.iter().map(|(key, value)| format!("{}:{}", quoted(key), quoted(value))).collect();
            assert_eq!(git_config::parse(&written.join(",")), Ok(pairs.clone()));
            assert!(pairs.is_empty() || git_config::parse(&format!("{},", written.join(", "))) == Ok(pairs));
        }
        Err(why) => {
            let what = why.strip_prefix("entry ").and_then(|rest| rest.split_once(": "));
            let (number, what) = what.expect("it says which");
            assert!(number.parse::<usize>().is_ok_and(|number| (1..=text.len()).contains(&number)), "{why}");
            // There are few messages, and they do not depend on the value.
            assert!(what.is_ascii() && what.len() < 100, "{why}");
            assert_eq!(git_config::parse(&text.replace('q', "qq")), Err(why), "it depends on a letter of it");
        }
    }
}

fn durations(text: &str) {
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    if let Ok(read) = checked(duration(text)) {
        assert!(read <= LONGEST, "{read:?}");
        assert_ne!(text, "");
        let again = duration(&format!("{}ns", read.as_nanos())).expect("nanoseconds are read");
        // Nanoseconds of many years have more digits than a float.
        assert!(read.abs_diff(again) <= Duration::from_micros(1), "{read:?} {again:?}");
    }
    if let Ok(period) = checked(period(text)) {
        assert!(period >= Duration::from_millis(10));
        assert_eq!(duration(text), Ok(period));
    }
}

fn checked<T>(read: Result<T, String>) -> Result<T, ()> {
    read.map_err(|why| {
        assert!(!why.is_empty() && !why.chars().any(char::is_control), "{why:?}");
    })
}
