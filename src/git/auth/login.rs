//! A user name with its password.

use crate::secret::Secret;

/// The user name and password for one remote.
#[derive(Clone)]
pub(crate) struct Login {
    pub user: String,
    pub password: Secret,
}
