//! The dashboard: its screens cell by cell, its links against servers and a `kubectl` that misbehave, the program in a
//! real pseudo-terminal.

mod commits;
mod copies;
mod fake;
mod help;
mod incident;
mod judging;
mod keyboard;
mod kubectl;
mod kubectl_limits;
mod narrow;
mod pasted;
mod pictures;
mod places;
mod plain;
mod program;
mod rollbacks;
mod rollout;
mod sample;
mod scenes;
mod screens;
#[path = "../app/site.rs"]
#[allow(dead_code, reason = "the app's tests use the rest")]
mod site;
mod updates;
mod verbs;
mod verbs_limits;
mod verdicts;
mod webhook_health;
