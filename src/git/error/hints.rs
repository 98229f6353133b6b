//! The hints for users, for each error of a remote or of the object store.

use crate::error::{NO_DESCRIPTORS_HINT, NO_THREAD_HINT, OUT_OF_MEMORY_HINT, TIMEOUT_HINT};
use crate::git::error::{Cause, Error};
use crate::remote_url::{RemoteUrl, Transport};
use crate::worker::Lost;

impl Error {
    /// Returns what the user can do about the error.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Refused { source, .. } if source.says(&["SSO", "SAML", "single sign-on"]) => {
                "authorize the key or token for the organization's single sign-on, on the forge's page for keys or tokens"
            }
            Self::Refused { source, .. } if source.says(&["suspended", "blocked", "disabled"]) => {
                "the account or repository is shut off there: ask the forge's support, or use another account"
            }
            Self::Refused { .. } => {
                "check that the token or key is valid and may read this repository; files are read again each time, no restart is needed"
            }
            Self::NoCredentials { remote, .. } if is_ssh(remote) => {
                "give --ssh-key-file (without it /etc/git-secret/ssh is used, if it is there), and --ssh-known-hosts-file"
            }
            Self::NoCredentials { .. } => {
                "give --username and --password-file; a private repository, or a wrong path on some forges, asks for them"
            }
            Self::CredentialFile { .. } => "check that the Secret is mounted there and readable by the sidecar's user",
            Self::OtherOrigin { .. } | Self::Redirected { .. } => {
                "give the address that the redirect leads to as --repo, if you trust it"
            }
            Self::Misled { .. } => {
                "check --repo: what answers there is a login page, a proxy or a server that is set up wrongly"
            }
            Self::NotFound { .. } => {
                "check the path in --repo; forges also say this for a private repository without credentials"
            }
            Self::Network { .. } | Self::ConnectTimeout { .. } => {
                "check host and port in --repo, network policies, and whether the server is up"
            }
            Self::Dns { .. } => "check the host name in --repo and the pod's DNS",
            Self::CookieFile { .. } => {
                "write each cookie as seven fields with tabs between: domain, TRUE or FALSE, path, TRUE or FALSE, end, name, value"
            }
            Self::Askpass { .. } => {
                "check that the service at --askpass-url runs; it must answer 200 within a second, without a redirect"
            }
            Self::AppToken { .. } => {
                "check the App's id, its private key, --github-app-installation-id, --github-base-url and the pod's clock"
            }
            Self::Proxy { .. } => {
                "check http_proxy, https_proxy and all_proxy (or http.proxy) and the proxy itself; no_proxy names hosts that need none"
            }
            Self::Tls { source, .. } => tls_hint(source),
            Self::HostKeyUnknown { .. } => {
                "compare the fingerprint with what the server's operator publishes, then add the key to --ssh-known-hosts-file"
            }
            Self::HostKeyChanged { .. } => {
                "the connection may be intercepted: compare the fingerprint with the operator's before you change known_hosts"
            }
            Self::HostKeyRevoked { .. } => "do not connect: ask the server's operator",
            Self::Timeout { .. } => TIMEOUT_HINT,
            Self::Server { source, .. } if source.says(&["quota"]) => {
                "the repository or its owner is over a limit of the server: raise it there; it is asked again"
            }
            Self::Server { after: Some(_), .. } => "the server says when it may be asked again, and is asked then",
            Self::Server { .. } => "the server has a problem; it is asked again",
            Self::Protocol { .. } => "check that --repo is a git address and no proxy or login page answers for it",
            Self::RefMissing { .. } => "check --ref, or push the branch or tag",
            Self::NotACommit { .. } => {
                "give a branch, a tag of a commit, or a commit's hash as --ref; of an annotated tag that is what `git rev-parse TAG^{}` prints"
            }
            Self::MalformedCommit { .. } => {
                "git cannot check it out either: `git fsck` tells what is wrong; push a commit that is whole"
            }
            Self::RepositoryFormat { .. } => {
                "serve it over http(s) (`git http-backend`), where any repository can be followed, or make a plain one of it (`git clone --mirror`)"
            }
            Self::EmptyRepository { .. } => "push a first commit",
            Self::NoSuchCommit { .. } => {
                "check the hash: the server has no such commit, or none that a ref of it leads to"
            }
            Self::NoContents { .. } => {
                "the server lost them (`git fsck` there tells), or does not give files out by their hash: then leave out --filter and empty the volume's .pushsync/repo.git"
            }
            Self::NoLfs { .. } => {
                "see that the forge has LFS on for the repository, or give the server's address as --lfs-url; without --lfs pointers are published"
            }
            Self::LfsElsewhere { .. } => {
                "give the address as --lfs-url, with a --credential of its own, if you trust it: a file in the repository cannot choose it"
            }
            Self::LfsAnswer { .. } => "check the server and any proxy in between; --lfs-url gives another address",
            Self::NoObject { .. } => {
                "push it (`git lfs push --all` where it still is), or take the file out of the commit; what is published stays"
            }
            Self::NotTheObject { .. } => {
                "the server's copy is damaged, or the pointer is wrong: `git lfs fsck` tells which; what is published stays"
            }
            Self::Object { source, .. } => return source.hint(),
            Self::NotInStore { .. } => return None,
            Self::Damaged { .. } | Self::Incomplete { .. } | Self::Foreign { .. } => {
                "a new store is fetched; what is published stays. If it happens again, check the volume"
            }
            Self::DiskFull { .. } => {
                "make room on the volume of --root, or raise its size (an emptyDir's sizeLimit and --volume-limit)"
            }
            Self::Quota { .. } => "raise the quota of the volume's owner, or make room on it",
            Self::NoMemory { .. } => OUT_OF_MEMORY_HINT,
            Self::NoDescriptors { .. } => NO_DESCRIPTORS_HINT,
            Self::ReadOnly { .. } => {
                "mount the volume writable (no readOnly for the sidecar); a failing disk turns read-only too"
            }
            Self::StoreAccess { .. } => "check the permissions of the volume (fsGroup) below --root",
            Self::Submodule { source, .. } => return source.hint_for_submodule(),
            Self::BadSubmodule { .. } => {
                "correct .gitmodules in the repository, or leave submodules out with --submodules=off"
            }
            Self::Compaction { .. } => "nothing is lost; it is tried again after a later publish",
            Self::ObjectFormat { .. } => {
                "follow a repository with SHA-1 object names; `git rev-parse --show-object-format` tells which it has"
            }
            Self::NoSharedMaps { .. } => {
                "mount the volume with a cache (9p: cache=mmap or cache=loose; virtio-fs: cache=auto; FUSE: without direct_io), or give --root another volume"
            }
            Self::Internal { source: Lost::NoThread } => NO_THREAD_HINT,
            Self::Internal { .. } => "this is a defect of pushsync: please report it with the log",
        })
    }

    /// Returns the hint for the remote of a submodule, which no flag names.
    fn hint_for_submodule(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoCredentials { remote, .. } if is_ssh(remote) => return self.hint(),
            Self::Refused { remote, .. } if is_ssh(remote) => {
                "give a key that may read the submodule as another --ssh-key-file (they are tried in turn), or --submodules=off"
            }
            Self::Refused { .. } | Self::NoCredentials { .. } => {
                "give --credential for the submodule's address (the account of --repo counts for its own server only), or --submodules=off"
            }
            Self::NotFound { .. }
            | Self::Redirected { .. }
            | Self::Misled { .. }
            | Self::Network { .. }
            | Self::ConnectTimeout { .. }
            | Self::Dns { .. }
            | Self::Protocol { .. } => {
                "check the submodule's url in .gitmodules and whether it is reached from here, or leave submodules out with --submodules=off"
            }
            Self::NoSuchCommit { .. } | Self::NotACommit { .. } => {
                "push the submodule's commit to its own repository (git push --recurse-submodules=check finds this beforehand)"
            }
            _ => return self.hint(),
        })
    }
}

/// Returns true for an address over ssh, which is authenticated by a key.
fn is_ssh(remote: &str) -> bool {
    RemoteUrl::parse(remote).is_ok_and(|url| url.transport() == Transport::Ssh)
}

/// Chooses a hint by OpenSSL's message about a certificate. libgit2's message only says that something is wrong.
fn tls_hint(source: &Cause) -> &'static str {
    let says = |part: &str| source.0.contains(part);
    if says("expired") || says("not yet valid") {
        "the server's certificate is not valid today: renew it, or check the clock of the node"
    } else if says("ostname mismatch") || says("hostname does not match") || says("IP address mismatch") {
        "the server's certificate is for other names: check the host in --repo, or have one issued for it"
    } else if says("certificate signature failure")
        || says("self-signed")
        || says("self signed")
        || says("issuer certificate")
        || says("unable to verify")
    {
        "the server's certificate is not signed by a trusted authority: mount its CA's and name it in SSL_CERT_FILE, or --git-config http.sslCAInfo"
    } else {
        "check the server's certificate and name; SSL_CERT_FILE names the certificates that are trusted"
    }
}
