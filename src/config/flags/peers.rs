//! The flags of the other replicas.
//!
//! Texts only; values are checked where they are used.

use super::Fallback::None as Absent;
use super::Group::Peers;
use super::{Flag, many};

pub(super) const FLAGS: &[Flag] = &[many(
    Peers,
    "peers",
    "NAME:PORT",
    Absent,
    "The other replicas' webhook listeners, to which each webhook is forwarded: a headless Service, or several hosts or IPs separated by commas. Names are resolved for each delivery, own addresses are skipped",
)];
