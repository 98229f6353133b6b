//! The verbs with a kubectl that hangs, fails or is interrupted: they end in time and leave nothing behind.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::fake::Fake;
use super::kubectl::{Kubectl, running};
use super::verbs::run;
use crate::support::eventually_for;

const HANGS: &str = "trap '' TERM INT HUP\nwhile :; do sleep 1; done\n";

#[test]
fn a_kubectl_that_hangs_has_the_limit_of_the_verb() {
    for (what, words) in [("list", "kubectl did not answer within 2s"), ("forward", "cannot be reached")] {
        for verb in [&["sync", "deploy/web", "--all"][..], &["pin", "deploy/web", "c69507e"], &["pause", "deploy/web"]]
        {
            let kubectl = Kubectl::new();
            if what == "list" {
                kubectl.list(HANGS);
            }
            kubectl.forward(HANGS);
            let begun = Instant::now();
            let mut command = kubectl.program();
            command.args(verb);
            let ran = run(command, &["--timeout", "2s"]);
            assert_eq!(ran.code, Some(2), "{what} {verb:?}: {}{}", ran.out, ran.err);
            assert!(begun.elapsed() < Duration::from_secs(20), "{what} {verb:?}: {:?}", begun.elapsed());
            assert!(ran.out.contains(words) || ran.err.contains(words), "{what} {verb:?}: {}{}", ran.out, ran.err);
            kubectl.assert_none_left();
        }
    }
}

#[test]
fn a_signal_ends_a_verb_and_its_kubectl() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let kubectl = Kubectl::new();
        kubectl.forward(HANGS);
        let mut command = kubectl.program();
        command.args(["sync", "deploy/web"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        eventually_for("the port-forward runs", || kubectl.port_forwards() > 0);
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        kubectl.assert_none_left();
    }
}

#[test]
fn what_kubectl_says_is_the_reason_and_no_pods_is_exit_2() {
    let kubectl = Kubectl::new();
    kubectl.forward("echo 'error: You must be logged in to the server (Unauthorized)' >&2\nexit 1\n");
    let begun = Instant::now();
    let ran = run(kubectl.program(), &["sync", "deploy/web"]);
    assert_eq!(ran.code, Some(2), "{}", ran.out);
    assert!(ran.out.contains("must be logged in") && ran.out.contains("log in again"), "{}", ran.out);
    // What a person has to mend is not tried until the end of the two minutes.
    assert!(begun.elapsed() < Duration::from_secs(30));
    kubectl.pods(&[]);
    let ran = run(kubectl.program(), &["sync", "deploy/web", "--all"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    assert!(ran.err.contains("no pods match web"), "{}", ran.err);
    kubectl.assert_none_left();
}

#[test]
fn a_pod_that_is_not_ready_was_not_asked_and_sixty_have_their_turn() {
    let fake = Fake::local("web");
    fake.publish("9f3c2ab", "Fix");
    let kubectl = Kubectl::new();
    kubectl.forward_to(&fake);
    let names: Vec<String> = (0..60).map(|number| format!("web-{number}")).collect();
    kubectl.pods(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let ran = run(kubectl.program(), &["pause", "deploy/web", "--all", "-o", "json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let asked = fake.inner().changes.iter().filter(|(change, _)| change == "pause").count();
    assert_eq!(asked, 60, "each was asked once");
    let waiting = json!({"metadata": {"name": "web-x", "namespace": "prod", "uid": "x"}, "status": {"phase": "Pending",
        "containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}});
    kubectl.pod_objects(vec![running("web-1"), waiting]);
    let ran = run(kubectl.program(), &["pause", "deploy/web", "--all"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.out.contains("web-x  not asked, since it is not ready: ImagePullBackOff"), "{}", ran.out);
    kubectl.assert_none_left();
}

#[test]
fn a_reader_that_has_enough_does_not_keep_replicas_from_being_asked() {
    let fakes = [Fake::local("web-1"), Fake::local("web-2")];
    let kubectl = Kubectl::new();
    let mut command = kubectl.program();
    command.args(["pause", "--all"]);
    for fake in &fakes {
        command.args(["--url", &fake.url()]);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for fake in &fakes {
        assert_eq!(fake.inner().changes.len(), 1);
    }
}

#[test]
fn a_token_is_sent_and_its_lack_is_a_refusal() {
    let fake = Fake::local("web-1");
    fake.inner().token = Some("s3cret-token".to_owned());
    let kubectl = Kubectl::new();
    let url = fake.url();
    let ran = run(kubectl.program(), &["pause", "--url", &url]);
    assert_eq!(ran.code, Some(3), "{}", ran.out);
    assert!(ran.out.contains("requires a token"), "{}", ran.out);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "s3cret-token\n").unwrap();
    let path = file.path().display().to_string();
    let ran = run(kubectl.program(), &["pause", "--url", &url, "--token-file", &path]);
    assert_eq!(ran.code, Some(0), "{}", ran.out);
    assert!(!ran.out.contains("s3cret"));
}
