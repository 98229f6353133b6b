//! Parses values: durations, addresses, switches, signals.
//!
//! An error text completes a sentence that begins with the flag and the rejected value. This module knows no flags.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::process::Signal;

/// The nanoseconds of each unit of Go's `time.ParseDuration`, whose syntax git-sync uses.
const UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// A hundred years in seconds. Longer values are mistakes, and could overflow sums of times.
const LONGEST: f64 = 100.0 * 365.0 * 24.0 * 3600.0;

/// One sync in about a quarter of an hour. With a lower rate, polls would always come first.
const SLOWEST_RATE: f64 = 0.001;

/// Parses `60s`, `1m30s`, `1.5h`, `10ms` or `0`.
///
/// By hand and not by jiff, because values of git-sync have to keep their meaning: Go allows units in any order and more than
/// once (`30s1m`), a fraction of each (`1.5h0.5m`) and `.5m`, and it refuses the words and spaces that jiff allows.
///
/// # Errors
/// A description of the mistake.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const SYNTAX: &str = "is not a duration; write it like 60s, 1m30s or 10ms";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err("is negative".to_owned());
    }
    let mut rest = text;
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        // Only digits and points get here, so `inf` and `1e9`, which are numbers for `f64`, do not.
        let number: f64 = number.parse().map_err(|_| SYNTAX.to_owned())?;
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        if unit.is_empty() {
            return Err(format!("has no unit; write it like {number}s or {number}m"));
        }
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| SYNTAX.to_owned())?;
        nanoseconds += number * scale;
        rest = tail;
    }
    // Behind the loop, which an empty text does not enter.
    if text.is_empty() {
        return Err(SYNTAX.to_owned());
    }
    let seconds = nanoseconds / 1e9;
    if seconds > LONGEST {
        return Err("is longer than a hundred years".to_owned());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| SYNTAX.to_owned())
}

/// Parses a duration of at least ten milliseconds. A shorter period would load the remote with a busy loop.
///
/// # Errors
/// A description of the mistake.
pub(crate) fn period(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        short if short < Duration::from_millis(10) => Err("is too short; use at least 10ms".to_owned()),
        enough => Ok(enough),
    }
}

/// Parses what Go's `strconv.ParseBool` accepts.
///
/// # Errors
/// A description of the mistake.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("is neither true nor false".to_owned()),
    }
}

/// Parses a level: a number, or the letters of `-vv` after the first one.
///
/// # Errors
/// A description of the mistake.
pub(crate) fn level(text: &str) -> Result<u8, String> {
    // clap passes what follows the first letter as the value of `-v`.
    if !text.is_empty() && text.bytes().all(|byte| byte == b'v') {
        return u8::try_from(text.len() + 1).map_err(|_| "is too long".to_owned());
    }
    text.parse().map_err(|_| "is not a level; use 0 to 9".to_owned())
}

/// Parses a whole number in the range of the type.
///
/// # Errors
/// A description of the mistake.
pub(crate) fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "is not a whole number in the range that is possible here".to_owned())
}

/// Parses a number of bytes in Kubernetes' notation: `900Mi`, `10G`, `1073741824`.
///
/// # Errors
/// A description of the mistake.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("", 1),
    ];
    // Of Kubernetes' quantities, those that make sense for a volume: no `m` for thousandths, and no exponents.
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = UNITS.iter().find(|(unit, _)| *unit == &text[digits.len()..]);
    let bytes = digits.parse::<u64>().ok().zip(unit).and_then(|(number, (_, unit))| number.checked_mul(*unit));
    match bytes {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err("is not a size; write it like 900Mi, 10G or 1073741824".to_owned()),
    }
}

/// Parses a rate: finite and not negative.
///
/// # Errors
/// A description of the mistake.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        // `NaN` and `inf` are numbers for `f64`.
        Ok(rate) if rate.is_finite() && (rate == 0.0 || rate >= SLOWEST_RATE) => Ok(rate),
        _ => Err(
            "is not a rate; use a number of syncs per second of at least 0.001, such as 1 or 0.5, or 0 for no limit"
                .to_owned(),
        ),
    }
}

/// Parses `:8080`, `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`. No host means every interface.
///
/// # Errors
/// A description of the mistake.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let parsed = match text.split_once(':') {
        Some(("", port)) => port.parse().ok().map(|port| SocketAddr::new(every_interface(), port)),
        // Without asking the resolver, whose answer may be `::1` on one node and 127.0.0.1 on another.
        Some(("localhost", port)) => port.parse().ok().map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
        _ => text.parse().ok(),
    };
    parsed.ok_or_else(|| "is not an address; write it like :8080, 127.0.0.1:8080 or [::1]:8080".to_owned())
}

/// Returns `[::]` if it is known to accept IPv4 as well, otherwise `0.0.0.0`. Pods of an IPv6-only cluster are probed
/// by IPv6, and on a machine without IPv6 binding `[::]` fails.
#[cfg(target_os = "linux")]
fn every_interface() -> IpAddr {
    let says = |file: &str, word: &str| std::fs::read_to_string(file).is_ok_and(|text| text.trim() == word);
    let dual = says("/proc/sys/net/ipv6/bindv6only", "0")
        && says("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0")
        && std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|text| !text.trim().is_empty());
    if dual { std::net::Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

#[cfg(not(target_os = "linux"))]
fn every_interface() -> IpAddr {
    Ipv4Addr::UNSPECIFIED.into()
}

/// Returns true if two listeners would use the same port of the same interface. Port 0 selects a different port each
/// time.
#[must_use]
pub(crate) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    // A listener on every interface takes the port on each of them.
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (everywhere || one.ip() == other.ip())
}

/// The signals that may trigger a sync: they can be caught and have no other meaning for this program.
const SIGNALS: [(&str, Signal); 12] = [
    ("HUP", Signal::HUP),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("QUIT", Signal::QUIT),
    ("ALRM", Signal::ALARM),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("CONT", Signal::CONT),
    ("TSTP", Signal::TSTP),
    ("URG", Signal::URG),
    ("WINCH", Signal::WINCH),
    ("IO", Signal::IO),
];

/// Parses `SIGHUP`, `HUP`, `hup` or `1` and returns the signal's number on this system.
///
/// # Errors
/// A description of the mistake.
pub(crate) fn signal(text: &str) -> Result<i32, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = text.parse::<i32>().ok();
    let known = SIGNALS.iter().find(|(known, signal)| *known == name || number == Some(signal.as_raw()));
    let Some((_, signal)) = known else {
        let taken = [("TERM", Signal::TERM), ("INT", Signal::INT), ("KILL", Signal::KILL), ("STOP", Signal::STOP)];
        if taken.iter().any(|(taken, signal)| *taken == name || number == Some(signal.as_raw())) {
            return Err("has another meaning already; use SIGHUP, SIGUSR1 or SIGUSR2".to_owned());
        }
        return Err("is not a signal that can be used here; use SIGHUP, SIGUSR1 or SIGUSR2".to_owned());
    };
    Ok(signal.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let cases = [
            ("60s", 60_000_000),
            ("1m30s", 90_000_000),
            ("10ms", 10_000),
            ("1h", 3_600_000_000),
            ("1.5s", 1_500_000),
            (".5m", 30_000_000),
            ("250us", 250),
            ("3µs", 3),
            ("0", 0),
            ("0s", 0),
            ("30s1m", 90_000_000),
            ("1.5h0.5m", 5_430_000_000),
        ];
        for (text, microseconds) in cases {
            assert_eq!(duration(text), Ok(Duration::from_micros(microseconds)), "{text}");
        }
    }

    #[test]
    fn jiff_reads_another_syntax_than_go() {
        for text in ["30s1m", "1.5h0.5m", ".5m"] {
            assert!(text.parse::<jiff::SignedDuration>().is_err() && duration(text).is_ok(), "{text}");
        }
        for text in ["1 minute", "1m 30s", "PT1M"] {
            assert!(text.parse::<jiff::SignedDuration>().is_ok() && duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rejected_duration_explains_the_syntax() {
        for text in ["", "s", "1x", "abc", "1s2", ".", "..s", "1e3s", "+ 1s", "inf", "NaNs", "9999999999999h", " 1s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration("60").unwrap_err(), "has no unit; write it like 60s or 60m");
        assert_eq!(duration("-1s").unwrap_err(), "is negative");
        assert_eq!(period("9ms").unwrap_err(), "is too short; use at least 10ms");
        assert_eq!(period("10ms"), Ok(Duration::from_millis(10)));
    }

    #[test]
    fn addresses_without_a_host_are_every_interface() {
        let everywhere = address(":8080").unwrap();
        assert!(everywhere.ip().is_unspecified() && everywhere.port() == 8080);
        assert_eq!(address("[::1]:90").unwrap().to_string(), "[::1]:90");
        assert_eq!(address("localhost:90").unwrap().to_string(), "127.0.0.1:90");
        for text in ["8080", "host:1", ":65536", ":", "1.2.3.4", "", "::1:90:"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_for_every_interface_can_be_bound_and_takes_ipv4() {
        let listener = std::net::TcpListener::bind(address(":0").unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    }

    #[test]
    fn listeners_collide_on_a_port_unless_their_interfaces_differ() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(collide(at("0.0.0.0:1"), at("127.0.0.1:1")));
        assert!(collide(at("[::]:1"), at("127.0.0.1:1")));
        assert!(!collide(at("127.0.0.2:1"), at("127.0.0.1:1")));
        assert!(!collide(at("0.0.0.0:0"), at("0.0.0.0:0")));
    }

    #[test]
    fn signals_have_names_short_names_and_numbers() {
        for text in ["SIGHUP", "HUP", "hup", "sighup", "1"] {
            assert_eq!(signal(text), Ok(1), "{text}");
        }
        assert_eq!(signal("usr1"), Ok(Signal::USR1.as_raw()));
        for text in ["SIGTERM", "9", "INT"] {
            assert!(signal(text).unwrap_err().starts_with("has another meaning"), "{text}");
        }
        for text in ["SIGSEGV", "11", "", "-1", "0", "HUPP", "99999999999"] {
            assert!(signal(text).unwrap_err().starts_with("is not a signal"), "{text}");
        }
    }

    #[test]
    fn switches_levels_and_rates() {
        assert_eq!((switch("1"), switch("False")), (Ok(true), Ok(false)));
        assert!(switch("yes").is_err());
        assert_eq!((level("v"), level("vv"), level("5")), (Ok(2), Ok(3), Ok(5)));
        assert!(level("x").is_err() && level("-1").is_err() && level("").is_err());
        assert_eq!(rate("0.5"), Ok(0.5));
        for text in ["-1", "NaN", "inf", "", "fast"] {
            assert!(rate(text).is_err(), "{text}");
        }
        assert!(number::<u32>("-1").is_err() && number::<i64>("-1") == Ok(-1));
    }
}
