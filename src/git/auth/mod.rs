//! Credentials: accounts by address, the services that issue passwords, cookies, SSH keys and known hosts.
//!
//! It must not know how a remote is asked.

pub(crate) mod askpass;
pub(crate) mod cookies;
pub(crate) mod credentials;
pub(crate) mod github_app;
pub(crate) mod known_hosts;
pub(crate) mod login;
pub(crate) mod pem;
pub(crate) mod request_auth;
pub(crate) mod ssh_keys;
