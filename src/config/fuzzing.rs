//! What must hold for the text of any value on the command line (see src/fuzzing.rs).

use std::time::Duration;

use super::git_config;
use super::listeners::{hook_path, peer, repository};
use super::values::{address, duration, level, number, period, rate, signal, switch};

/// A value that is taken and printed is taken as the same again; a refusal never repeats what it refuses.
pub(crate) fn config_values(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    durations(text);
    if let Ok(address) = told(address(text)) {
        assert_eq!(self::address(&address.to_string()), Ok(address));
    }
    if let Ok(rate) = told(rate(text)) {
        assert!(rate.is_finite() && (rate == 0.0 || rate >= 0.001), "{rate}");
        assert_eq!(self::rate(&rate.to_string()), Ok(rate));
    }
    if let Ok(signal) = told(signal(text)) {
        assert_eq!(self::signal(&signal.to_string()), Ok(signal));
        assert!(![2, 9, 15, 11, 19].contains(&signal), "{signal} means something else");
    }
    if let Ok(number) = told(number::<u32>(text)) {
        assert_eq!(self::number::<u32>(&number.to_string()), Ok(number));
    }
    assert!(told(level(text)).is_err() || told(switch(text)).is_err() || matches!(text, "0" | "1"), "two meanings");
    if let Ok(name) = told(peer(text)) {
        assert_eq!(peer(&name.to_string()), Ok(name));
    }
    if let Ok(path) = told(hook_path(text)) {
        assert!(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) && path != "/");
    }
    if let Ok(named) = told(repository(text)) {
        let printed = named.host.iter().map(String::as_str).chain([named.name.as_str()]).collect::<Vec<_>>().join("/");
        // Of two `.git` only the last is taken off.
        assert!(named.name.contains(".git") || repository(&printed) == Ok(named), "{printed}");
    }
}

/// What is read and written again, quoted, is the same; a refusal repeats nothing of what may be a secret.
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
            // Words of our own, of which there are few; the same for all values.
            assert!(what.is_ascii() && what.len() < 100, "{why}");
            assert_eq!(git_config::parse(&text.replace('q', "qq")), Err(why), "it depends on a letter of it");
        }
    }
}

fn durations(text: &str) {
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    if let Ok(read) = told(duration(text)) {
        assert!(read <= LONGEST, "{read:?}");
        assert_ne!(text, "");
        let again = duration(&format!("{}ns", read.as_nanos())).expect("nanoseconds are read");
        // Years of nanoseconds have more digits than a float.
        assert!(read.abs_diff(again) <= Duration::from_micros(1), "{read:?} {again:?}");
    }
    if let Ok(period) = told(period(text)) {
        assert!(period >= Duration::from_millis(10));
        assert_eq!(duration(text), Ok(period));
    }
}

fn told<T>(read: Result<T, String>) -> Result<T, ()> {
    read.map_err(|why| {
        assert!(!why.is_empty() && !why.chars().any(char::is_control), "{why:?}");
    })
}
