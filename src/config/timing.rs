//! Plain values of several groups: periods, limits, and the format of the log.

use std::time::Duration;

use super::given::Given;
use super::values;
use crate::log;

/// When to sync and when to give up.
pub(super) struct Timing {
    pub(super) period: Duration,
    pub(super) init_period: Option<Duration>,
    pub(super) timeout: Duration,
    pub(super) one_time: bool,
    pub(super) max_failures: i64,
    pub(super) init_max_failures: Option<i64>,
    pub(super) sync_on_signal: Option<i32>,
    pub(super) history_limit: usize,
}

/// Reads the values; `None` if there was a problem. All of them are read.
pub(super) fn read(given: &mut Given) -> Option<Timing> {
    let period = given.value("period", values::period);
    let init_period = given.value("init-period", values::period);
    let timeout = given.value("sync-timeout", values::period);
    let one_time = given.value("one-time", values::switch);
    let limited = given.is_given("max-failures");
    let mut max_failures = given.value("max-failures", values::number::<i64>);
    if one_time == Some(true) && !limited {
        // A one-time sync should report its failure by default; a Job retries by itself.
        max_failures = Some(1);
    }
    let init_max_failures = given.value("init-max-failures", values::number::<i64>);
    let sync_on_signal = given.value("sync-on-signal", values::signal);
    let history_limit = given.value("history-limit", |text| match values::number::<usize>(text)? {
        // A record takes some hundred bytes, and all of them are in memory.
        limit @ 1..=100_000 => Ok(limit),
        _ => Err("is out of bounds; use 1 to 100000".to_owned()),
    });
    Some(Timing {
        period: period?,
        init_period,
        timeout: timeout?,
        one_time: one_time?,
        max_failures: max_failures?,
        init_max_failures,
        sync_on_signal,
        history_limit: history_limit?,
    })
}

/// Reads the log's options; `None` if there was a problem.
pub(super) fn log(given: &mut Given) -> Option<log::LogOptions> {
    let wanted = given.is_given("log-format");
    let format = given.value("log-format", |text| match text {
        "json" => Ok(log::Format::Json),
        "text" => Ok(log::Format::Text),
        _ => Err("is not a format; use json or text".to_owned()),
    });
    let verbosity = given.value("verbose", values::level);
    if wanted && format.is_none() {
        return None;
    }
    Some(log::LogOptions { format, verbosity: verbosity? })
}
