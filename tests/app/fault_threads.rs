//! The row of the fault matrix about threads: the system starts no more of them for this process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use pushsync::api::Outcome;

use super::fault_volume::give;
use super::site::Site;
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

#[tokio::test]
async fn no_more_threads_is_an_error_of_its_own_and_survived() {
    if !rustix::process::geteuid().is_root() || Command::new("prlimit").arg("--version").output().is_err() {
        return skip("to be root, and prlimit, to run the program as another user under a limit of its threads");
    }
    let mut site = Site::new();
    site.set("period", "1s").set("spare-trees", "0");
    fs::set_permissions(site.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = site.path("pushsync");
    copy_program(&program);
    fs::create_dir_all(site.root()).unwrap();
    let user = USER.parse().unwrap();
    give(&site.root(), user);
    give(&site.path("secret"), user);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(program).args(site.arguments());
    site.started(Sidecar::spawn(command)).await;
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
