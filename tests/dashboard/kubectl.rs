//! A `kubectl` on the PATH that does what a test says, and the dashboard program that has to live with it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::fake::Fake;
use crate::support::{PATIENCE, eventually_for};

/// A directory with a `kubectl` in it.
pub struct Kubectl {
    directory: TempDir,
}

impl Kubectl {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let kubectl = Self { directory };
        let path = kubectl.path().display().to_string();
        let script = format!(
            "#!/bin/sh\nD='{path}'\necho $$ >> \"$D/pids\"\necho \"$*\" >> \"$D/calls\"\n\
             case \"$*\" in\n*port-forward*) . \"$D/forward\" ;;\n*--watch*) . \"$D/watch\" ;;\n*'get pods'*|*'get pod '*) . \"$D/list\" ;;\n\
             *get*) cat \"$D/owner\" ;;\nesac\n"
        );
        let program = kubectl.path().join("kubectl");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        kubectl.owner(&json!({"spec": {"selector": {"matchLabels": {"app": "web"}}}}));
        kubectl.replace("list", "cat \"$D/pods\"\n");
        // As an old kubectl, so that what needs no watch is tested with the listing.
        kubectl.watch("echo 'error: unknown flag: --output-watch-events' >&2\nexit 1\n");
        kubectl.pods(&["web-1"]);
        kubectl
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn replace(&self, name: &str, text: &str) {
        // By rename: a script that is being read must not change under the shell.
        let temporary = self.path().join("new");
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, self.path().join(name)).unwrap();
    }

    /// What a port-forward does.
    pub fn forward(&self, script: &str) {
        self.replace("forward", script);
    }

    /// A port-forward that works: the fake server listens already.
    pub fn forward_to(&self, fake: &Fake) {
        self.forward(&format!("echo 'Forwarding from 127.0.0.1:{} -> 9180'\nexec sleep 600\n", fake.address.port()));
    }

    /// What a watch of the pods does.
    pub fn watch(&self, script: &str) {
        self.replace("watch", script);
    }

    /// What a listing of the pods does; `cat "$D/pods"` unless a test says otherwise.
    pub fn list(&self, script: &str) {
        self.replace("list", script);
    }

    pub fn owner(&self, owner: &Value) {
        self.replace("owner", &owner.to_string());
    }

    pub fn pods(&self, names: &[&str]) {
        self.pod_objects(names.iter().map(|name| running(name)).collect());
    }

    pub fn pod_objects(&self, items: Vec<Value>) {
        self.replace("pods", &json!({"items": items}).to_string());
    }

    pub fn calls(&self) -> String {
        fs::read_to_string(self.path().join("calls")).unwrap_or_default()
    }

    pub fn port_forwards(&self) -> usize {
        self.calls().lines().filter(|line| line.contains("port-forward")).count()
    }

    /// The dashboard with this kubectl.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.program();
        command.arg("dashboard").args(args);
        command
    }

    /// The program with this kubectl and nothing else of ours in its environment.
    pub fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushsync"));
        command.env("PATH", self.search_path()).stdin(Stdio::null());
        command
    }

    pub fn search_path(&self) -> std::ffi::OsString {
        let rest = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(PathBuf::from(self.path())).chain(std::env::split_paths(&rest));
        std::env::join_paths(paths).unwrap()
    }

    /// No kubectl that was ever started is left.
    pub fn assert_none_left(&self) {
        let pids = fs::read_to_string(self.path().join("pids")).unwrap_or_default();
        for pid in pids.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw) {
            eventually_for("every kubectl is gone", || test_kill_process(pid).is_err());
        }
    }
}

/// A pod whose containers run.
pub fn running(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "prod", "uid": format!("uid-{name}")}, "status": {"phase": "Running"}})
}

/// The program with `--watch`, its lines as they come.
pub struct Watch {
    child: Child,
    lines: Receiver<Value>,
    seen: Vec<Value>,
}

impl Watch {
    pub fn start(kubectl: &Kubectl, args: &[&str]) -> Self {
        let args: Vec<&str> = args.iter().chain(&["--watch"]).copied().collect();
        let mut child = kubectl.command(&args).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for a line that passes, among those not waited for yet.
    pub fn expect(&mut self, what: &str, passes: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if passes(&line) {
                        return line;
                    }
                }
                Err(error) => panic!("{what}: {error}; seen: {:#?}", self.seen),
            }
        }
    }

    pub fn live(&mut self) -> Value {
        self.expect("a snapshot", |line| line["event"] == "snapshot")
    }

    fn lost(&mut self) -> Value {
        self.expect("a lost link", |line| line["event"] == "lost")["data"].take()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Interrupts it and waits for its end.
    pub fn stop(mut self, signal: Signal, code: i32) {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), signal).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(code));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub const TARGET: [&str; 3] = ["deploy/web", "-n", "prod"];

#[test]
fn a_late_ready_line_among_others_is_ready() {
    let fake = Fake::local("web-1");
    fake.publish("9f3c2ab", "Fix");
    let kubectl = Kubectl::new();
    let port = fake.address.port();
    kubectl.forward(&format!(
        "sleep 2\necho 'Forwarding from [::1]:1 -> 9180'\necho 'Forwarding from 127.0.0.1:{port} -> 9180'\n\
         echo 'Handling connection for {port}'\nexec sleep 600\n"
    ));
    let mut watch = Watch::start(&kubectl, &TARGET);
    let line = watch.live();
    assert_eq!(line["pod"], "web-1");
    assert_eq!(line["data"]["published"]["subject"], "Fix");
    watch.stop(Signal::INT, 0);
    kubectl.assert_none_left();
    let calls = kubectl.calls();
    assert!(calls.contains("--namespace prod get deployment web --output json"), "{calls}");
    assert!(calls.contains("get pods --selector app=web --output json"), "{calls}");
    assert!(calls.contains("--namespace prod port-forward --address 127.0.0.1 pod/web-1 :9180"), "{calls}");
}

#[test]
fn a_failing_kubectl_is_quoted_and_tried_again_until_it_works() {
    let fake = Fake::local("web-1");
    let kubectl = Kubectl::new();
    kubectl.forward(
        "echo \"E1122 12:03:58.123456 321 memcache.go:265] couldn't get current server API group list\" >&2\n\
         echo 'error: You must be logged in to the server (Unauthorized)' >&2\nexit 1\n",
    );
    let mut watch = Watch::start(&kubectl, &TARGET);
    for attempt in 1..=2 {
        let lost = watch.lost();
        assert_eq!(lost["reason"], "kubectl: error: You must be logged in to the server (Unauthorized)");
        assert!(lost["hint"].as_str().unwrap().contains("log in again"));
        assert_eq!(lost["attempt"], attempt);
    }
    kubectl.forward_to(&fake);
    watch.live();
    watch.stop(Signal::TERM, 143);
    kubectl.assert_none_left();
}

#[test]
fn a_flood_on_stderr_does_not_stop_the_link() {
    let fake = Fake::local("web-1");
    let kubectl = Kubectl::new();
    let port = fake.address.port();
    // More than a pipe holds, before and after it is ready: an undrained pipe would block it.
    kubectl.forward(&format!(
        "head -c 100000 /dev/zero | tr '\\0' 'x' | fold -w 100 >&2\necho 'Forwarding from 127.0.0.1:{port} -> 9180'\n\
         head -c 1000000 /dev/zero | tr '\\0' 'y' >&2\nhead -c 1000000 /dev/zero | tr '\\0' 'z'\ntouch \"$D/flooded\"\nexec sleep 600\n"
    ));
    let mut watch = Watch::start(&kubectl, &TARGET);
    watch.live();
    eventually_for("the flood is drained", || kubectl.path().join("flooded").exists());
    fake.publish("9f3c2ab", "after the flood");
    watch.expect("an event after the flood", |line| {
        line["event"] == "sync_finished" && line["data"]["commits"]["subject"] == "after the flood"
    });
    assert!(watch.seen.iter().filter(|line| line["event"] == "kubectl").count() <= 50);
    watch.stop(Signal::HUP, 129);
    kubectl.assert_none_left();
}

#[test]
fn silence_of_a_link_that_seems_to_stand_means_starting_over() {
    let fake = Fake::local("web-1");
    fake.inner().heartbeat = None;
    let kubectl = Kubectl::new();
    kubectl.forward_to(&fake);
    let mut watch = Watch::start(&kubectl, &TARGET);
    watch.live();
    let lost = watch.lost();
    assert!(lost["reason"].as_str().unwrap().contains("no heartbeat for 25 s"), "{lost}");
    watch.live();
    assert_eq!(kubectl.port_forwards(), 2);
    watch.stop(Signal::INT, 0);
    kubectl.assert_none_left();
}

#[test]
fn a_rollout_to_new_pods_is_followed() {
    let fake = Fake::local("web");
    let kubectl = Kubectl::new();
    kubectl.forward_to(&fake);
    let mut watch = Watch::start(&kubectl, &TARGET);
    watch.expect("the old pod", |line| line["event"] == "snapshot" && line["pod"] == "web-1");
    kubectl.pods(&["web-2"]);
    watch.expect("the new pod", |line| line["event"] == "snapshot" && line["pod"] == "web-2");
    watch.stop(Signal::INT, 0);
    kubectl.assert_none_left();
}

#[test]
fn a_child_that_dies_or_will_not_die_is_handled() {
    let fake = Fake::local("web-1");
    let kubectl = Kubectl::new();
    let port = fake.address.port();
    kubectl.forward(&format!(
        "echo 'Forwarding from 127.0.0.1:{port} -> 9180'\nsleep 1\necho 'error: lost connection to pod' >&2\nexit 1\n"
    ));
    let mut watch = Watch::start(&kubectl, &TARGET);
    watch.live();
    assert_eq!(watch.lost()["reason"], "kubectl: error: lost connection to pod");
    kubectl.forward(&format!(
        "trap '' TERM HUP INT\necho 'Forwarding from 127.0.0.1:{port} -> 9180'\nwhile :; do sleep 1; done\n"
    ));
    watch.live();
    watch.stop(Signal::TERM, 143);
    kubectl.assert_none_left();
}

#[test]
fn a_snapshot_that_is_older_than_the_stream_does_not_take_it_back_in_time() {
    let fake = Fake::local("web-1");
    fake.publish("9f3c2ab", "Before");
    let kubectl = Kubectl::new();
    kubectl.forward_to(&fake);
    let mut watch = Watch::start(&kubectl, &TARGET);
    watch.live();
    let old = fake.inner().full();
    fake.publish("feedbee", "After");
    let mut inner = fake.inner();
    inner.stale = Some(old);
    inner.send(|_| pushsync::api::Event::Reset);
    drop(inner);
    let snapshot = watch.live();
    assert_eq!(snapshot["data"]["published"]["subject"], "After");
    assert!(fake.inner().stale.is_none(), "the older one was read");
    watch.stop(Signal::INT, 0);
    kubectl.assert_none_left();
}

#[test]
fn the_admin_port_is_looked_for_in_its_range() {
    let fake = Fake::local("web-1");
    let kubectl = Kubectl::new();
    // On 9180 nobody listens; the sidecar took the third port.
    kubectl.forward(&format!(
        "case \"$*\" in\n*:9182) echo 'Forwarding from 127.0.0.1:{} -> 9182' ;;\n*) echo 'Forwarding from 127.0.0.1:1 -> 9180' ;;\nesac\nexec sleep 600\n",
        fake.address.port()
    ));
    let mut watch = Watch::start(&kubectl, &TARGET);
    watch.live();
    assert!(kubectl.calls().contains("pod/web-1 :9182"));
    assert!(!kubectl.calls().contains("pod/web-1 :9183"));
    watch.stop(Signal::INT, 0);
    kubectl.assert_none_left();
}

#[test]
fn a_cluster_that_cannot_be_asked_is_plain_text_and_exit_2() {
    let kubectl = Kubectl::new();
    kubectl.forward("exit 1\n");
    fs::write(kubectl.path().join("kubectl"), "#!/bin/sh\necho 'error: no context' >&2\nexit 1\n").unwrap();
    let check = kubectl.command(&["deploy/web", "--check"]).output().unwrap();
    assert_eq!(check.status.code(), Some(2), "nothing is reachable");
    let output = kubectl.command(&TARGET).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let json = kubectl.command(&["deploy/web", "--once", "-o", "json"]).output().unwrap();
    assert_eq!(json.status.code(), Some(2));
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&document["in_sync"], &document["verdict"]), (&Value::from(false), &Value::from("unreachable")));
    assert!(document["problem"]["reason"].as_str().unwrap().contains("kubectl"), "{document}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("error: no context") && said.contains("cannot list the pods"), "{said}");
}

#[test]
fn the_last_resort_kills_also_while_a_panic_unwinds() {
    use pushsync::dashboard::children::{Children, Reaper};
    use std::os::unix::process::CommandExt;
    let mut child = Command::new("sh").args(["-c", "trap '' TERM; sleep 600; :"]).process_group(0).spawn().unwrap();
    let children = Children::default();
    children.add(child.id());
    let reaper = Reaper(children.clone());
    let outcome = std::thread::spawn(move || {
        let _reaper = reaper;
        panic!("meant to happen");
    })
    .join();
    assert!(outcome.is_err());
    assert_eq!(children.count(), 0);
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
}
