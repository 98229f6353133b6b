//! Limits on kubectl: time, processes that are left behind, port-forwards at a time, and how soon a change is seen.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

use super::fake::Fake;
use super::kubectl::{Kubectl, TARGET, Watch, running};
use crate::support::eventually_for;
use crate::support::pty::Pty;

fn document(output: &[u8]) -> Value {
    serde_json::from_slice(output).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(output)))
}

#[test]
fn a_first_call_that_hangs_has_the_limit_of_the_command_line() {
    let kubectl = Kubectl::new();
    for (step, list) in [("the workload", false), ("the pods", true)] {
        if list {
            kubectl.list("exec sleep 600\n");
        } else {
            fs::remove_file(kubectl.path().join("owner")).unwrap();
            // `cat` of a FIFO that is never written hangs.
            let made = Command::new("mkfifo").arg(kubectl.path().join("owner")).status().unwrap();
            assert!(made.success());
        }
        for args in [
            &["--check", "--timeout", "2s"][..],
            &["--once", "--timeout", "2s"],
            &["-o", "json", "--timeout", "2s"],
            &["--check", "--wait", "2s"],
        ] {
            let begun = Instant::now();
            let output = kubectl.command(&TARGET).args(args).output().unwrap();
            let took = begun.elapsed();
            assert_eq!(output.status.code(), Some(2), "{step} {args:?}");
            assert!(took > Duration::from_secs(2) && took < Duration::from_secs(15), "{step} {args:?}: {took:?}");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("kubectl did not answer within 2s"), "{step} {args:?}: {said}");
        }
        kubectl.assert_none_left();
        fs::remove_file(kubectl.path().join("owner")).unwrap();
        kubectl.owner(&json!({"spec": {"selector": {"matchLabels": {"app": "web"}}}}));
    }
}

#[test]
fn a_signal_during_the_first_call_ends_it_and_its_kubectl() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let kubectl = Kubectl::new();
        kubectl.list("trap '' TERM INT\nwhile :; do sleep 1; done\n");
        let mut child = kubectl.command(&TARGET).arg("--check").stderr(Stdio::null()).spawn().unwrap();
        eventually_for("the listing runs", || kubectl.calls().contains("get pods"));
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        kubectl.assert_none_left();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn kill_9_leaves_no_kubectl_behind() {
    let fake = Fake::local("web-1");
    let kubectl = Kubectl::new();
    let port = fake.address.port();
    kubectl.watch("trap '' TERM HUP INT PIPE\nwhile :; do sleep 1; done\n");
    kubectl.forward(&format!(
        "trap '' TERM HUP INT PIPE\necho 'Forwarding from 127.0.0.1:{port} -> 9180'\nwhile :; do sleep 1; done\n"
    ));
    let mut watch = Watch::start(&kubectl, &TARGET);
    watch.live();
    eventually_for("the pods are watched", || kubectl.calls().contains("--watch"));
    watch.kill();
    kubectl.assert_none_left();

    // While the first listing hangs, too.
    let kubectl = Kubectl::new();
    kubectl.list("trap '' TERM HUP INT PIPE\nwhile :; do sleep 1; done\n");
    let mut child = kubectl.command(&TARGET).arg("--check").stderr(Stdio::null()).spawn().unwrap();
    eventually_for("the listing runs", || kubectl.calls().contains("get pods"));
    child.kill().unwrap();
    child.wait().unwrap();
    kubectl.assert_none_left();
}

#[test]
fn kubectl_runs_in_a_session_of_its_own() {
    let fake = Fake::local("web-1");
    let kubectl = Kubectl::new();
    let port = fake.address.port();
    kubectl.forward(&format!(
        "echo $$ > \"$D/forwarder\"\necho 'Forwarding from 127.0.0.1:{port} -> 9180'\nexec sleep 600\n"
    ));
    let mut watch = Watch::start(&kubectl, &TARGET);
    watch.live();
    let pid: i32 = fs::read_to_string(kubectl.path().join("forwarder")).unwrap().trim().parse().unwrap();
    let pid = Pid::from_raw(pid).unwrap();
    assert_eq!(rustix::process::getsid(Some(pid)).unwrap(), pid);
    watch.stop(Signal::INT, 0);
    kubectl.assert_none_left();
}

#[test]
fn a_change_that_the_watch_reports_is_seen_at_once() {
    let fake = Fake::local("web");
    let kubectl = Kubectl::new();
    kubectl.forward_to(&fake);
    fs::write(kubectl.path().join("changes"), "").unwrap();
    kubectl.watch("exec tail -n +1 -f \"$D/changes\"\n");
    let mut watch = Watch::start(&kubectl, &TARGET);
    watch.expect("the old pod", |line| line["event"] == "snapshot" && line["pod"] == "web-1");
    eventually_for("the pods are watched", || kubectl.calls().contains("--watch --output-watch-events"));
    let listings =
        || kubectl.calls().lines().filter(|line| line.contains("get pods") && !line.contains("--watch")).count();
    let before = listings();
    let begun = Instant::now();
    let event = |kind: &str, name: &str| format!("{:#}\n", json!({"type": kind, "object": running(name)}));
    // As in a rollout; the listing still knows only the old one.
    fs::write(kubectl.path().join("changes"), event("ADDED", "web-2") + &event("DELETED", "web-1")).unwrap();
    watch.expect("the new pod", |line| line["event"] == "snapshot" && line["pod"] == "web-2");
    println!("a new pod was connected {:?} after the watch reported it", begun.elapsed());
    assert_eq!(listings(), before, "no listing was needed");
    watch.stop(Signal::INT, 0);
    kubectl.assert_none_left();
}

/// Takes the first free number as long as the port-forward runs, so that the highest one is the most at a time.
const COUNTED: &str = "i=0; while [ -d \"$D\" ] && ! mkdir \"$D/slot.$i\" 2>/dev/null; do i=$((i+1)); done\n\
    echo $i >> \"$D/slots\"\ntrap 'rmdir \"$D/slot.$i\"; exit 0' TERM INT HUP\n";

#[test]
fn sixty_pods_are_checked_with_twelve_port_forwards_at_a_time() {
    let fake = Fake::local("web");
    fake.publish("9f3c2ab", "Fix pricing table");
    let kubectl = Kubectl::new();
    let names: Vec<String> = (0..60).map(|number| format!("web-{number}")).collect();
    kubectl.pods(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let port = fake.address.port();
    kubectl
        .forward(&format!("{COUNTED}echo 'Forwarding from 127.0.0.1:{port} -> 9180'\nwhile :; do sleep 0.05; done\n"));
    let output = kubectl.command(&TARGET).args(["--check", "-o", "json", "--timeout", "120s"]).output().unwrap();
    let document = document(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", document["words"]);
    assert_eq!((&document["groups"][0]["live"], &document["groups"][0]["total"]), (&json!(60), &json!(60)));
    kubectl.assert_none_left();
    let slots = fs::read_to_string(kubectl.path().join("slots")).unwrap();
    let most = slots.lines().filter_map(|line| line.parse::<u32>().ok()).max().unwrap();
    println!("{} port-forwards, at most {} at a time", slots.lines().count(), most + 1);
    // One that was told to end may still be there when the next one begins.
    assert!(most < 16, "{most}");
    assert!(slots.lines().count() >= 60);
}

#[test]
fn replicas_that_were_not_looked_at_are_unknown_and_stand_last() {
    let fake = Fake::local("web");
    fake.publish("9f3c2ab", "Fix pricing table");
    let kubectl = Kubectl::new();
    let names: Vec<String> = (10..30).map(|number| format!("web-{number}")).collect();
    kubectl.pods(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let port = fake.address.port();
    // Of the first twelve all but two never get ready, and so keep their links until the limit.
    kubectl.forward(&format!(
        "case \"$*\" in *pod/web-10\\ *|*pod/web-11\\ *) echo 'Forwarding from 127.0.0.1:{port} -> 9180' ;; esac\nexec sleep 600\n"
    ));
    let output = kubectl.command(&TARGET).args(["--check", "--timeout", "6s"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("web-")).collect();
    assert!(rows[0].contains("in sync") && rows[1].contains("in sync"), "{text}");
    assert!(rows[19].contains("not looked at") && rows[19].contains('?'), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("UNKNOWN  9f3c2ab Fix pricing table  2 of 20"), "{last}");
    assert!(last.contains("of 20 replicas not looked at yet"), "{last}");
    assert!(!text.contains("live on 12"), "{text}");
    kubectl.assert_none_left();
}

#[test]
fn the_reason_of_a_pod_is_in_plain_output_with_what_works_instead() {
    let fake = Fake::local("web-1");
    fake.publish("9f3c2ab", "Fix");
    let kubectl = Kubectl::new();
    kubectl.forward_to(&fake);
    let named = |name: &str, status: Value| json!({"metadata": {"name": name, "namespace": "prod", "uid": name}, "status": status});
    kubectl.pod_objects(vec![
        running("web-1"),
        named(
            "web-2",
            json!({"phase": "Pending",
            "initContainerStatuses": [{"name": "poll", "image": "pushsync:1", "state": {"running": {}}}],
            "containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "PodInitializing"}}}]}),
        ),
        named(
            "web-3",
            json!({"phase": "Running",
            "containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
        ),
    ]);
    let output = kubectl.command(&TARGET).args(["--check", "--timeout", "60s"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("not ready: PodInitializing"), "{text}");
    assert!(text.contains("app: CrashLoopBackOff"), "{text}");
    assert!(text.contains("kubectl -n prod logs web-2 -c poll"), "{text}");
    assert!(text.contains("kubectl -n prod exec web-2 -c poll -- /pushsync dashboard --url"), "{text}");
    assert!(text.lines().last().unwrap().contains("not ready (PodInitializing)"), "{text}");
}

#[test]
fn the_stage_refuses_to_outlive_a_parent_that_is_not_there() {
    // Process 1 is never the parent that the stage is told about here.
    let output = Command::new(env!("CARGO_BIN_EXE_pushsync"))
        .arg0("pushsync")
        .args(["dashboard", "__child", "1", "own", "sh", "-c", "echo ran"])
        .output()
        .unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), b"".as_slice()));
    let own = std::process::id().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_pushsync"))
        .args(["dashboard", "__child", &own, "own", "sh", "-c", "echo ran"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ran\n");
}

#[test]
fn a_screen_visits_more_pods_than_links_in_turn_and_says_how_old_each_is() {
    let fake = Fake::local("web");
    fake.publish("9f3c2ab", "Fix pricing table");
    let kubectl = Kubectl::new();
    let names: Vec<String> = (10..18).map(|number| format!("web-{number}")).collect();
    kubectl.pods(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let port = fake.address.port();
    kubectl.forward(&format!(
        "echo $$ >> \"$D/forwards\"\necho 'Forwarding from 127.0.0.1:{port} -> 9180'\nexec sleep 600\n"
    ));
    let arguments = ["deploy/web", "-n", "prod", "--max-links", "3"].map(str::to_owned);
    let path = kubectl.search_path();
    let mut pty = Pty::start(120, 32, &arguments, &[("PATH", path.to_str().unwrap())]);
    pty.shows("8 of 8");
    pty.shows("LIVE EVERYWHERE");
    pty.press("2");
    pty.shows("seen ");
    let running = || {
        let pids = fs::read_to_string(kubectl.path().join("forwards")).unwrap();
        let pids = pids.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?));
        pids.filter(|pid| test_kill_process(*pid).is_ok()).count()
    };
    for _ in 0..20 {
        // One that was told to end may still be there when the next one begins.
        assert!(running() <= 6, "{} port-forwards", running());
        std::thread::sleep(Duration::from_millis(50));
    }
    pty.press("q");
    assert_eq!(pty.exit(), 0);
    kubectl.assert_none_left();
}

#[test]
fn the_end_of_a_visit_is_no_lost_connection() {
    let fake = Fake::local("web");
    fake.publish("9f3c2ab", "Fix pricing table");
    let kubectl = Kubectl::new();
    let names: Vec<String> = (10..24).map(|number| format!("web-{number}")).collect();
    kubectl.pods(&names.iter().map(String::as_str).collect::<Vec<_>>());
    kubectl.forward_to(&fake);
    // Several times, because it was a race.
    for _ in 0..3 {
        let output =
            kubectl.command(&TARGET).args(["--check", "--max-links", "5", "--timeout", "60s"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(text.lines().last().unwrap().contains("14 of 14"), "{text}");
    }
    kubectl.assert_none_left();
}
