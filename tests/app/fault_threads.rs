//! The row of the fault matrix about threads: the system starts no more of them for this process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use pushsync::api::{Outcome, Record};

use super::fault_volume::give;
use super::site::Site;
use crate::support::git_http::Mode;
use crate::support::sidecar::Sidecar;
use crate::support::{copy_program, skip};

/// A user that runs nothing else: the limit counts all that a user runs.
const USER: &str = "54321";

fn limit(process: u32, number: &str) {
    // By the same user: root without CAP_SYS_RESOURCE may not.
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "prlimit", "--pid"]).arg(process.to_string());
    let set = command.arg(format!("--nproc={number}")).status();
    assert!(set.unwrap().success());
}

/// An installation whose volume and secret are a user's own.
fn site_of_user() -> (Site, u32) {
    let site = Site::new();
    fs::set_permissions(site.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    copy_program(&site.path("pushsync"));
    fs::create_dir_all(site.root()).unwrap();
    let user = USER.parse().unwrap();
    give(&site.root(), user);
    give(&site.path("secret"), user);
    (site, user)
}

async fn start_as(site: &mut Site, user: u32) {
    let user = user.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(site.path("pushsync"));
    command.args(site.arguments());
    site.started(Sidecar::spawn(command)).await;
}

fn cannot_limit() -> bool {
    let cannot = !rustix::process::geteuid().is_root() || Command::new("prlimit").arg("--version").output().is_err();
    if cannot {
        skip("to be root, and prlimit, to run the program as another user under a limit of its threads");
    }
    cannot
}

#[tokio::test]
async fn no_more_threads_is_an_error_of_its_own_and_survived() {
    if cannot_limit() {
        return;
    }
    let (mut site, user) = site_of_user();
    site.set("period", "1s").set("spare-trees", "0");
    start_as(&mut site, user).await;
    let before = site.repo.head();
    site.wait_published(&before).await;
    let id = site.sidecar().id();
    limit(id, "1:");
    (0..20).for_each(|file| site.repo.write(&format!("many/{file}"), "x"));
    let after = site.repo.push_file("a", "2", "a change");
    assert_eq!(site.ring(&before, &after).await.status, 202);
    let record = site.wait_record(|record| record.outcome == Outcome::Failed).await;
    let error = record.error.unwrap();
    println!("{error:?}");
    assert_eq!(error.kind, "no_thread", "{error:?}");
    assert!(error.hint.is_some_and(|hint| hint.contains("pids")));
    site.assert_whole(&before);
    limit(id, "1000:");
    site.wait_published(&after).await;
    site.assert_whole(&after);
    let log = site.sidecar().log().join("\n");
    assert!(!log.contains("panicked") && !log.contains("defect"), "{log}");
}

/// Names are looked up on threads. Without one the look fails, in words, and the peers are not found.
#[tokio::test]
async fn a_name_that_no_thread_can_look_up_is_no_panic() {
    if cannot_limit() {
        return;
    }
    let (mut site, user) = site_of_user();
    let url = site.remote.url("site.git").replace("127.0.0.1", "localhost");
    site.set("repo", &url).set("period", "1s").set("peers", "localhost:9,other.localhost:9").set("spare-trees", "0");
    site.set("webhook-url", "http://localhost:9/reload").set("webhook-backoff", "1s");
    start_as(&mut site, user).await;
    let before = site.repo.head();
    site.wait_published(&before).await;
    let id = site.sidecar().id();
    limit(id, "1:");
    // Connections that are kept need no name.
    site.remote.set(Mode::Refuse);
    site.remote.set(Mode::Serve);
    let after = site.repo.push_file("a", "2", "a change");
    assert_eq!(site.ring(&before, &after).await.status, 202);
    let no_thread = |record: &Record| record.error.as_ref().is_some_and(|error| error.kind == "no_thread");
    let error = site.wait_record(no_thread).await.error.unwrap();
    println!("{error:?}");
    assert!(error.message.contains("no thread could be started"), "{error:?}");
    limit(id, "1000:");
    site.wait_published(&after).await;
    site.assert_whole(&after);
    let log = site.sidecar().log().join("\n");
    assert!(!log.contains("panicked") && !log.contains("defect"), "{log}");
}

#[tokio::test]
async fn a_start_without_threads_is_told_as_what_it_is() {
    if cannot_limit() {
        return;
    }
    // The tests beside this one run processes as the other user.
    let user = 54322;
    let (mut site, _) = site_of_user();
    give(&site.root(), user);
    give(&site.path("secret"), user);
    site.set("one-time", "true");
    for threads in 1..=6 {
        let mut command = Command::new("setpriv");
        let user = user.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "prlimit"]);
        command.arg(format!("--nproc={threads}")).arg(site.path("pushsync")).args(site.arguments());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        let code = output.status.code();
        println!("{threads} threads: exit {code:?}: {said}");
        assert!(matches!(code, Some(0 | 1)) && !said.contains("panicked") && !said.contains("defect"), "{said}");
        assert!(code == Some(0) || said.contains("threads") && said.contains("ulimit -u"), "{threads}: {said}");
    }
}
