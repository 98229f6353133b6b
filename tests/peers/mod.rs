//! Fan-out: what a replica that was rung tells the others, what they believe, and how a fleet treats the remote.

mod door;
mod fleet;
mod replicas;
mod rollout;
mod standing;
