//! The three listeners over real sockets: every rule of the webhook contract, the admin API's guard and its documents.

mod abuse;
mod admin;
mod balancers;
mod events;
mod flood;
mod forges;
pub mod harness;
mod hook;
mod large;
mod lifecycle;
mod metrics;
mod outgoing;
mod pings;
mod probes;
mod restarts;
mod smuggling;
mod wire;
