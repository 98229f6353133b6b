//! What is shown to a remote that asks who we are, and to whom it is not shown.
//!
//! libgit2 asks again after each refusal, for ever if it is let: every credential is offered once. Files are read when a
//! connection begins, so a rotated Secret counts from the next look on.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::cert::Cert;
use git2::{CertificateCheckStatus, Cred, CredentialType, ErrorClass, ErrorCode};
use url::Url;

use crate::git::auth::known_hosts::{Verdict, fingerprint, judge, key_type, plain_lines};
use crate::git::auth::request_auth::RequestAuth;
use crate::git::auth::{credentials, login, ssh_keys};
use crate::git::error::{Cause, Error};
use crate::git::http::origin::same_origin;
use crate::git::libgit2::limits;
use crate::git::remote::options::RemoteOptions;
use crate::remote_url::Transport;

/// The user that forges expect for SSH when the address names none.
const SSH_USER: &str = "git";

/// One connection's credentials, with what was already tried.
pub(crate) struct Login<'a> {
    options: &'a RemoteOptions,
    http: Option<&'a login::Login>,
    /// False: whatever certificate a server shows.
    verify: bool,
    known_hosts: Option<String>,
    state: RefCell<State>,
}

struct State {
    keys: VecDeque<PathBuf>,
    key_offered: bool,
    password_offered: bool,
    /// What our own callbacks decided; libgit2 keeps of it only that something failed.
    problem: Option<Error>,
}

impl<'a> Login<'a> {
    /// Reads the files. `store` is where libgit2 is shown which host keys are known.
    pub(crate) fn prepare(options: &'a RemoteOptions, pass: &'a RequestAuth, store: &Path) -> Result<Self, Error> {
        let ours = &options.credentials;
        let http = pass.login.as_ref();
        let verify = options.route().verify;
        let mut known_hosts = None;
        let mut keys = VecDeque::new();
        if options.url.transport() == Transport::Ssh {
            if let Some(path) = &ours.ssh_known_hosts {
                let text = fs::read(path).map_err(|error| unreadable(path, &error))?;
                known_hosts = Some(String::from_utf8_lossy(&text).into_owned());
            }
            // libssh2 would end the connection at a line that it cannot read.
            let (lines, unreadable) = plain_lines(known_hosts.as_deref().unwrap_or_default());
            if limits::prefer_known_keys(store, &lines) && !unreadable.is_empty() {
                let lines = unreadable.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                tracing::warn!(lines, "these lines of --ssh-known-hosts-file cannot be read and are passed over");
            }
            keys = usable_keys(ours)?;
        }
        let state = State { keys, key_offered: false, password_offered: false, problem: None };
        Ok(Self { options, http, verify, known_hosts, state: RefCell::new(state) })
    }

    /// What our callbacks found wrong, if they ended the connection.
    pub(crate) fn into_problem(self) -> Option<Error> {
        self.state.into_inner().problem
    }

    /// libgit2's question. `address` is where it is connected to, which after a redirect is not where we sent it.
    pub(crate) fn answer(
        &self,
        address: &str,
        user_of_url: Option<&str>,
        allowed: CredentialType,
    ) -> Result<Cred, git2::Error> {
        let mut state = self.state.borrow_mut();
        let url = &self.options.url;
        let remote = || url.to_string();
        if url.transport() != Transport::Ssh && !same_origin(url.bare(), address) {
            return Err(state.stop(Error::OtherOrigin { remote: remote(), asked: origin(address) }));
        }
        let ssh_user = user_of_url.or(url.user()).unwrap_or(SSH_USER);
        if allowed.contains(CredentialType::USERNAME) {
            return Cred::username(ssh_user);
        }
        if allowed.contains(CredentialType::SSH_KEY)
            && let Some(key) = state.keys.pop_front()
        {
            state.key_offered = true;
            return Cred::ssh_key(ssh_user, None, &key, None);
        }
        if allowed.contains(CredentialType::USER_PASS_PLAINTEXT)
            && !state.password_offered
            && let Some(login::Login { user, password }) = self.http
        {
            state.password_offered = true;
            let Some(password) = password.expose_str() else {
                let source = Cause::new("the password is not UTF-8");
                return Err(state.stop(Error::Refused { remote: remote(), source }));
            };
            return Cred::userpass_plaintext(user, password);
        }
        let offered_before = state.key_offered || state.password_offered;
        Err(state.stop(if offered_before {
            Error::Refused { remote: remote(), source: Cause::new("every credential was refused") }
        } else {
            Error::NoCredentials { remote: remote(), offered: String::new(), source: None }
        }))
    }

    /// Is it the host that it claims to be? TLS certificates are left to OpenSSL's verdict.
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
            Verdict::Known => return Ok(CertificateCheckStatus::CertificateOk),
            Verdict::Unknown => Error::HostKeyUnknown { host, key_type, fingerprint },
            Verdict::Changed => Error::HostKeyChanged { host, key_type, fingerprint },
            Verdict::Revoked => Error::HostKeyRevoked { host, key_type, fingerprint },
        };
        Err(self.state.borrow_mut().stop(problem))
    }
}

impl State {
    /// Notes why, and gives libgit2 an error that it passes on without another question.
    fn stop(&mut self, problem: Error) -> git2::Error {
        self.problem = Some(problem);
        git2::Error::new(ErrorCode::User, ErrorClass::Callback, "stopped by pushsync")
    }
}

/// The keys that can be offered.
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
    // ssh passes over a key that it cannot read as well. But without any, that is why nobody is let in.
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

/// The port of `ssh://host:port/…` or `[host:port]:path`; 22 where none is named.
fn ssh_port(address: &str) -> u16 {
    let named = if address.contains("://") {
        Url::parse(address).ok().and_then(|url| url.port())
    } else {
        let inside = address.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(inside, _)| inside);
        // More than one colon is an IPv6 address.
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
