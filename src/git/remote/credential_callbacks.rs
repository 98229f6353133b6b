//! Answers libgit2's callbacks for credentials and host keys of one connection.
//!
//! libgit2 asks again after each refusal, without an end: so each credential is offered once. Files are read when a
//! connection begins, so a rotated Secret counts from the next connection on.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::cert::Cert;
use git2::{CertificateCheckStatus, Cred, CredentialType, ErrorClass, ErrorCode};
use url::Url;

use crate::git::auth::known_hosts::{HostKeyVerdict, fingerprint, judge, key_type, plain_lines};
use crate::git::auth::login::Login as HttpLogin;
use crate::git::auth::request_auth::RequestAuth;
use crate::git::auth::{credentials, ssh_keys};
use crate::git::error::{Cause, Error};
use crate::git::http::origin::same_origin;
use crate::git::libgit2::limits;
use crate::git::remote::options::RemoteOptions;
use crate::remote_url::Transport;

/// The user name that forges expect for SSH if the address has none.
const SSH_USER: &str = "git";

/// The credentials of one connection, and which of them were tried.
pub(crate) struct CredentialCallbacks<'a> {
    options: &'a RemoteOptions,
    http: Option<&'a HttpLogin>,
    /// False: any TLS certificate is accepted.
    verify: bool,
    known_hosts: Option<String>,
    offered: RefCell<Offered>,
}

struct Offered {
    keys: VecDeque<PathBuf>,
    key_offered: bool,
    password_offered: bool,
    /// The reason why a callback ended the connection. libgit2 only reports that it failed.
    problem: Option<Error>,
}

impl<'a> CredentialCallbacks<'a> {
    /// Reads the files. `store` is the folder in which libgit2 looks for `known_hosts`.
    pub(crate) fn prepare(options: &'a RemoteOptions, auth: &'a RequestAuth, store: &Path) -> Result<Self, Error> {
        let ours = &options.credentials;
        let http = auth.login.as_ref();
        let verify = options.route().verify;
        let mut known_hosts = None;
        let mut keys = VecDeque::new();
        if options.url.transport() == Transport::Ssh {
            if let Some(path) = &ours.ssh_known_hosts {
                let text = fs::read(path).map_err(|error| unreadable(path, &error))?;
                known_hosts = Some(String::from_utf8_lossy(&text).into_owned());
            }
            // libssh2 closes the connection at a line that it cannot parse.
            let (lines, unreadable) = plain_lines(known_hosts.as_deref().unwrap_or_default());
            if limits::prefer_known_keys(store, &lines) && !unreadable.is_empty() {
                let lines = unreadable.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                tracing::warn!(lines, "these lines of --ssh-known-hosts-file cannot be read and are passed over");
            }
            keys = usable_keys(ours)?;
        }
        let offered = Offered { keys, key_offered: false, password_offered: false, problem: None };
        Ok(Self { options, http, verify, known_hosts, offered: RefCell::new(offered) })
    }

    /// Returns the reason why a callback ended the connection.
    pub(crate) fn into_problem(self) -> Option<Error> {
        self.offered.into_inner().problem
    }

    /// Answers the callback for credentials. `address` is the current address, which after a redirect is not the
    /// configured one.
    pub(crate) fn answer(
        &self,
        address: &str,
        user_of_url: Option<&str>,
        allowed: CredentialType,
    ) -> Result<Cred, git2::Error> {
        let mut offered = self.offered.borrow_mut();
        let url = &self.options.url;
        let remote = || url.to_string();
        // After a redirect, the credentials of the configured server must not be sent to another one.
        if url.transport() != Transport::Ssh && !same_origin(url.bare(), address) {
            return Err(offered.stop(Error::OtherOrigin { remote: remote(), asked: origin(address) }));
        }
        let ssh_user = user_of_url.or(url.user()).unwrap_or(SSH_USER);
        // libssh2 needs the user name before it can ask the server for its methods.
        if allowed.contains(CredentialType::USERNAME) {
            return Cred::username(ssh_user);
        }
        if allowed.contains(CredentialType::SSH_KEY)
            && let Some(key) = offered.keys.pop_front()
        {
            // If the server refuses this key, libgit2 calls again, and gets the next one.
            offered.key_offered = true;
            // Without a file for the public key: libssh2 derives it from the private one.
            return Cred::ssh_key(ssh_user, None, &key, None);
        }
        if allowed.contains(CredentialType::USER_PASS_PLAINTEXT)
            && !offered.password_offered
            && let Some(HttpLogin { user, password }) = self.http
        {
            offered.password_offered = true;
            let Some(password) = password.expose_str() else {
                let source = Cause::new("the password is not UTF-8");
                return Err(offered.stop(Error::Refused { remote: remote(), source }));
            };
            return Cred::userpass_plaintext(user, password);
        }
        let offered_before = offered.key_offered || offered.password_offered;
        Err(offered.stop(if offered_before {
            Error::Refused { remote: remote(), source: Cause::new("every credential was refused") }
        } else {
            Error::NoCredentials { remote: remote(), offered: String::new(), source: None }
        }))
    }

    /// Answers the callback for host keys and certificates. TLS certificates are left to OpenSSL.
    pub(crate) fn check(&self, certificate: &Cert<'_>, host: &str) -> Result<CertificateCheckStatus, git2::Error> {
        let Some(shown) = certificate.as_hostkey() else {
            return Ok(if self.verify {
                CertificateCheckStatus::CertificatePassthrough
            } else {
                CertificateCheckStatus::CertificateOk
            });
        };
        let Some(known_hosts) = &self.known_hosts else { return Ok(CertificateCheckStatus::CertificateOk) };
        let port = ssh_port(self.options.url.bare());
        let key = shown.hostkey().unwrap_or_default();
        let host = if port == 22 { host.to_owned() } else { format!("{host}:{port}") };
        let (key_type, fingerprint) = (key_type(key), fingerprint(key));
        let problem = match judge(known_hosts, host.rsplit_once(':').map_or(&host, |(host, _)| host), port, key) {
            HostKeyVerdict::Known => return Ok(CertificateCheckStatus::CertificateOk),
            HostKeyVerdict::Unknown => Error::HostKeyUnknown { host, key_type, fingerprint },
            HostKeyVerdict::Changed => Error::HostKeyChanged { host, key_type, fingerprint },
            HostKeyVerdict::Revoked => Error::HostKeyRevoked { host, key_type, fingerprint },
        };
        Err(self.offered.borrow_mut().stop(problem))
    }
}

impl Offered {
    /// Keeps the reason, and returns an error that makes libgit2 give up without another callback.
    fn stop(&mut self, problem: Error) -> git2::Error {
        self.problem = Some(problem);
        git2::Error::new(ErrorCode::User, ErrorClass::Callback, "stopped by pushsync")
    }
}

/// Returns the keys that can be offered.
fn usable_keys(ours: &credentials::Credentials) -> Result<VecDeque<PathBuf>, Error> {
    let mut keys = VecDeque::new();
    let mut unusable = None;
    for path in &ours.ssh_keys {
        match ssh_keys::check(path) {
            Ok(()) => keys.push_back(path.clone()),
            Err(error) if ours.ssh_keys_assumed && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::debug!(key = %path.display(), %error, "this SSH key is passed over");
                unusable = unusable.or(Some(unreadable(path, &error)));
            }
        }
    }
    // Like ssh, an unreadable key is skipped. If no other is left, it is the reason for the failure.
    match unusable {
        Some(error) if keys.is_empty() => Err(error),
        _ => Ok(keys),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::CredentialFile { path: path.to_owned(), source: Cause::from(error) }
}

fn origin(address: &str) -> String {
    let origin = Url::parse(address).map(|url| url.origin().ascii_serialization());
    origin.unwrap_or_else(|_| "an address that cannot be parsed".to_owned())
}

/// Returns the port of `ssh://host:port/…` or `[host:port]:path`; 22 by default.
fn ssh_port(address: &str) -> u16 {
    let named = if address.contains("://") {
        Url::parse(address).ok().and_then(|url| url.port())
    } else {
        let inside = address.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(inside, _)| inside);
        // Several colons belong to an IPv6 address.
        inside
            .filter(|inside| inside.matches(':').count() == 1)
            .and_then(|inside| inside.split(':').next_back()?.parse().ok())
    };
    named.unwrap_or(22)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_both_forms_are_found() {
        assert_eq!(ssh_port("ssh://git@host:2222/a"), 2222);
        assert_eq!(ssh_port("ssh://git@host/a"), 22);
        assert_eq!(ssh_port("git@host:a"), 22);
        assert_eq!(ssh_port("git@[host:2222]:a"), 2222);
        assert_eq!(ssh_port("git@[::1]:a"), 22);
    }
}
