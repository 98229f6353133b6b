//! A flag that is up for as long as its guard exists. It must not know what the flag means.

use tokio::sync::watch;

/// True in the channel while this exists, also if its owner is given up or panics.
#[derive(Debug)]
pub struct Raised<'a>(&'a watch::Sender<bool>);

impl<'a> Raised<'a> {
    #[must_use]
    pub fn raise(flag: &'a watch::Sender<bool>) -> Self {
        flag.send_replace(true);
        Self(flag)
    }
}

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}
