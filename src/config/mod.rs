//! Command line and environment become one checked [`Config`]; every problem is told at once.
//!
//! It knows everybody's options and nobody's work: nothing is opened, bound or written here.

use crate::git::RemoteOptions;
use crate::publish::VolumeOptions;
use crate::{server, sync};

/// Everything that `pushsync run` needs to know.
#[derive(Clone)]
pub struct Config {
    pub remote: RemoteOptions,
    pub volume: VolumeOptions,
    pub sync: sync::Options,
    pub server: server::Options,
}
