//! The group "credentials": who we are to the remote.
//!
//! Words only; what a value means is checked where it is used.

use super::Fallback::{None as Absent, Value};
use super::Group::Credentials;
use super::{Flag, many, one, shared, switch, whole};

pub(super) const FLAGS: &[Flag] = &[
    shared(one(
        Credentials,
        "username",
        "NAME",
        Absent,
        "User for http(s); its password is in --password-file or in $PUSHSYNC_PASSWORD",
    )),
    shared(one(
        Credentials,
        "password-file",
        "FILE",
        Absent,
        "A file with the password or token, read again for each look",
    )),
    shared(whole(
        Credentials,
        "credential",
        "JSON",
        "An account for one address and all below it: url, username, and password-file or password. One object or a list. Repeatable",
    )),
    shared(one(
        Credentials,
        "askpass-url",
        "URL",
        Absent,
        "A service that says user and password before each look: GET, 200, lines username=... and password=...",
    )),
    shared(switch(
        Credentials,
        "cookie-file",
        "false",
        "Show the cookies of /etc/git-secret/cookie_file (Netscape format), or of another file: --cookie-file=/path",
    )),
    shared(one(
        Credentials,
        "github-app-private-key-file",
        "FILE",
        Absent,
        "The private key (PEM) of a GitHub App, read again for each token; or $PUSHSYNC_GITHUB_APP_PRIVATE_KEY",
    )),
    shared(one(Credentials, "github-app-application-id", "ID", Absent, "The App's id; or its client id:")),
    shared(one(Credentials, "github-app-client-id", "ID", Absent, "The App's client id")),
    shared(one(Credentials, "github-app-installation-id", "ID", Absent, "Where the App is installed")),
    shared(one(
        Credentials,
        "github-base-url",
        "URL",
        Value("https://api.github.com/"),
        "GitHub's API, for GitHub Apps",
    )),
    shared(whole(
        Credentials,
        "git-config",
        "LIST",
        "Settings of git, key:value with commas between: http.extraHeader, http.proxy, http.sslCAInfo, http.sslVerify, \
         http.cookieFile (also http.<url>.*) and url.<base>.insteadOf have an effect. Repeatable",
    )),
    shared(whole(Credentials, "git-config-add", "LIST", "The same, added to what is there instead of replacing it")),
    shared(many(
        Credentials,
        "ssh-key-file",
        "FILE",
        Value("/etc/git-secret/ssh"),
        "A private key for SSH. Repeatable: they are tried in turn",
    )),
    shared(switch(Credentials, "ssh-known-hosts", "true", "Check the keys of SSH hosts")),
    shared(one(
        Credentials,
        "ssh-known-hosts-file",
        "FILE",
        Value("/etc/git-secret/known_hosts"),
        "The keys of SSH hosts",
    )),
];
