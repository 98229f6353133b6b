//! The parts of the sidecar's container and of the pod for a private repository and for LFS.
//!
//! The names of the mounts and keys are those of docs/credentials.md. It must not know where the parts are put.

use crate::remote_url::{self, RemoteUrl};

use super::options::{Access, Site};

/// Items for the lists of a container and its pod, as block sequences in the first column.
#[derive(Debug)]
pub(super) struct Parts {
    pub arguments: String,
    pub variables: String,
    pub mounts: String,
    pub volumes: String,
}

/// The Secret with the token or key.
pub(super) fn secret(site: &Site) -> String {
    format!("{}-git", site.name)
}

pub(super) fn parts(site: &Site) -> Parts {
    let secret = secret(site);
    let (folder, mut arguments, variables) = match site.access {
        Access::Public => (None, String::new(), String::new()),
        // The token is mounted as a file and not given as a variable: a changed Secret then needs no restart.
        Access::Token => (Some("/etc/git"), TOKEN.to_owned(), String::new()),
        // The keys `ssh` and `known_hosts` have their usual places there, so no flag is needed.
        Access::Ssh => (Some("/etc/git-secret"), String::new(), String::new()),
        Access::App => {
            let variables = [("CLIENT_ID", "client-id"), ("INSTALLATION_ID", "installation-id")]
                .map(|(variable, key)| from_secret(variable, &secret, key));
            (Some("/etc/git"), format!("{APP}{}", api(&site.repo)), variables.concat())
        }
    };
    if site.lfs {
        arguments.push_str("# Needs space for each object twice: see sizeLimit and --volume-limit.\n- --lfs\n");
    }
    let mounts = folder.map(|folder| format!("- name: git-secret\n  mountPath: {folder}\n  readOnly: true\n"));
    let volume =
        format!("- name: git-secret\n  secret:\n    secretName: {secret}\n    {MODE_OF_SITE}\n    defaultMode: 288\n");
    let volumes = if mounts.is_some() { volume } else { String::new() };
    Parts { arguments, variables, mounts: mounts.unwrap_or_default(), volumes }
}

const TOKEN: &str = "\
- --username=x-access-token
# Read again before each request.
- --password-file=/etc/git/token
";

const APP: &str = "- --github-app-private-key-file=/etc/git/private-key\n";

/// GitHub Enterprise Server has its API on its own host.
fn api(repo: &str) -> String {
    let url = RemoteUrl::parse(repo).ok();
    let host = url.as_ref().and_then(RemoteUrl::repository).map_or("github.com", |(host, _)| host);
    if remote_url::forge(host) == "github.com" {
        return String::new();
    }
    format!("- --github-base-url=https://{host}/api/v3/\n")
}

fn from_secret(variable: &str, secret: &str, key: &str) -> String {
    let from = format!("secretKeyRef:\n      name: {secret}\n      key: {key}");
    format!("- name: PUSHSYNC_GITHUB_APP_{variable}\n  valueFrom:\n    {from}\n")
}

/// The comment on the mode of a Secret's files.
pub(super) const MODE_OF_SITE: &str = "# 0440 in decimal, which every YAML parser reads in the same way.";
