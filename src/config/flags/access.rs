//! The flags of access to the repository: how the program authenticates at the remote.
//!
//! Texts only; values are checked where they are used.

use super::Fallback::{None as Absent, Value};
use super::Group::Access;
use super::{Flag, many, one, shared, switch, whole};

pub(super) const FLAGS: &[Flag] = &[
    shared(one(
        Access,
        "username",
        "NAME",
        Absent,
        "User for http(s); its password is in --password-file or in $PUSHSYNC_PASSWORD",
    )),
    shared(one(
        Access,
        "password-file",
        "FILE",
        Absent,
        "A file with the password or token, read again before each request",
    )),
    shared(whole(
        Access,
        "credential",
        "JSON",
        "An account for a URL and everything below it: url, username, and password-file or password. One object or a list. Repeatable",
    )),
    shared(one(
        Access,
        "askpass-url",
        "URL",
        Absent,
        "A service that returns user and password before each sync: GET, 200, lines username=... and password=...",
    )),
    shared(switch(
        Access,
        "cookie-file",
        "false",
        "Send the cookies of /etc/git-secret/cookie_file (Netscape format), or of another file: --cookie-file=/path",
    )),
    shared(one(
        Access,
        "github-app-private-key-file",
        "FILE",
        Absent,
        "The private key (PEM) of a GitHub App, read again for each token; or $PUSHSYNC_GITHUB_APP_PRIVATE_KEY",
    )),
    shared(one(
        Access,
        "github-app-application-id",
        "ID",
        Absent,
        "The App's id; its client id works as well, see the next flag",
    )),
    shared(one(Access, "github-app-client-id", "ID", Absent, "The App's client id")),
    shared(one(Access, "github-app-installation-id", "ID", Absent, "The id of the App's installation")),
    shared(one(Access, "github-base-url", "URL", Value("https://api.github.com/"), "GitHub's API, for GitHub Apps")),
    shared(whole(
        Access,
        "git-config",
        "LIST",
        "Git settings, key:value separated by commas: http.extraHeader, http.proxy, http.sslCAInfo, http.sslVerify, \
         http.cookieFile (also http.<url>.*) and url.<base>.insteadOf have an effect. Repeatable",
    )),
    shared(whole(
        Access,
        "git-config-add",
        "LIST",
        "The same, but adds to the existing values instead of replacing them",
    )),
    shared(many(
        Access,
        "ssh-key-file",
        "FILE",
        Value("/etc/git-secret/ssh"),
        "A private key for SSH. Repeatable: the keys are tried in order",
    )),
    shared(switch(Access, "ssh-known-hosts", "true", "Verify the host keys of SSH servers")),
    shared(one(
        Access,
        "ssh-known-hosts-file",
        "FILE",
        Value("/etc/git-secret/known_hosts"),
        "The host keys of SSH servers",
    )),
];
