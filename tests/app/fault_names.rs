//! The rows of the fault matrix about names: a resolver that says no, one that is not there, one that is silent.
//!
//! The program runs in a mount namespace where `/etc/hosts` and the resolver's configuration are files of the test.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;

use super::fault_matrix::{newest, told};
use super::site::Site;
use crate::support::git_http::Mode;
use crate::support::sidecar::Sidecar;
use crate::support::skip;

/// Nothing listens there.
const NOBODY: &str = "127.0.77.54";
/// Somebody listens there who never answers.
const SILENT: &str = "127.0.77.53";

struct Names {
    site: Site,
    before: String,
}

impl Names {
    /// Starts with a name in the hosts file, and publishes. `None` where mount namespaces are not allowed.
    async fn start(server: &str) -> Option<Self> {
        let allowed = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
        if !allowed {
            skip("a mount namespace, to change /etc/hosts in (unshare -m)");
            return None;
        }
        let mut site = Site::new();
        let (hosts, resolver, order) = (site.path("hosts"), site.path("resolv.conf"), site.path("nsswitch.conf"));
        fs::write(&hosts, "127.0.0.1 localhost forge.invalid\n").unwrap();
        fs::write(&resolver, format!("nameserver {server}\n")).unwrap();
        // Some systems ask a service instead, which has servers of its own.
        fs::write(&order, "hosts: files dns\n").unwrap();
        let url = format!("http://forge.invalid:{}/site.git", site.remote.address().port());
        site.set("repo", &url).set("hook-rate", "0");
        let script = r#"for file in hosts resolv.conf nsswitch.conf; do
            [ ! -e /etc/$file ] || mount --bind "$0/$file" /etc/$file || exit 1
        done; exec "$@""#;
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script]).arg(site.path(""));
        command.arg(env!("CARGO_BIN_EXE_pushsync")).args(site.arguments());
        site.started(Sidecar::spawn(command)).await;
        let before = site.repo.head();
        site.wait_published(&before).await;
        Some(Self { site, before })
    }

    /// Takes the name away, says how that is told, and gives it back.
    async fn lost(mut self) -> String {
        let site = &mut self.site;
        let last = newest(&site.history().await);
        fs::write(site.path("hosts"), "127.0.0.1 localhost\n").unwrap();
        // A connection that is open needs no name.
        site.remote.set(Mode::Refuse);
        site.remote.set(Mode::Serve);
        let after = site.repo.push_file("a", "2", "a change");
        assert_eq!(site.ring(&self.before, &after).await.status, 202);
        let error = told(site, last, &self.before).await.error.expect("told");
        println!("{error:?}");
        assert_eq!(error.kind, "dns", "{error:?}");
        fs::write(site.path("hosts"), "127.0.0.1 localhost forge.invalid\n").unwrap();
        assert_eq!(site.ring(&self.before, &after).await.status, 202);
        site.wait_published(&after).await;
        site.assert_whole(&after);
        error.message
    }
}

#[tokio::test]
async fn a_name_that_is_not_resolved_any_more_is_told_and_survived() {
    let Some(names) = Names::start(NOBODY).await else { return };
    names.lost().await;
}

#[tokio::test]
async fn a_name_server_that_is_silent_is_told_as_such_and_survived() {
    let server = match UdpSocket::bind((SILENT, 53)) {
        Ok(server) => server,
        Err(error) => {
            return skip(&format!("the port of name servers: {error}"));
        }
    };
    let Some(names) = Names::start(SILENT).await else { return };
    let message = names.lost().await;
    assert!(message.contains("the name server did not answer within 8 s"), "{message}");
    server.set_nonblocking(true).unwrap();
    assert!(server.recv(&mut [0; 512]).is_ok(), "it was asked");
}
