//! The three listeners over real sockets: every rule of the webhook contract, the admin API's guard and its documents.

mod abuse;
mod admin;
mod events;
mod flood;
pub mod harness;
mod hook;
mod large;
mod lifecycle;
mod probes;
mod smuggling;
mod wire;
