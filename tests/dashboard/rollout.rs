//! A whole rollout as a screen reader follows it: `--watch -o text`, with real sidecars behind a kubectl.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::kubectl::running;
use super::verbs::{Fleet, run};
use crate::support::PATIENCE;

/// The program and its lines as they come.
struct Reader {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Reader {
    /// Waits for a line with these words. All lines are text that only grows, each with the time before it.
    fn until(&mut self, words: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let line = self.lines.recv_timeout(end.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("{words:?} was not said:\n{}", self.seen.join("\n")));
            assert!(!line.contains(['\u{1b}', '\r', '\t']), "{line:?}");
            let (time, said) = line.split_once(' ').unwrap();
            assert!(time.len() == 8 && time.bytes().filter(|byte| *byte == b':').count() == 2, "{line}");
            let found = said.contains(words);
            self.seen.push(line);
            if found {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_is_told_from_the_first_new_pod_to_the_last_old_one() {
    let mut fleet = Fleet::start(2, true).await;
    let kubectl = fleet.kubectl();
    let first = fleet.site.repo.head();
    let mut command = kubectl.command(&["deploy/web", "-n", "prod", "--watch", "-o", "text"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (send, lines) = channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    let mut reader = Reader { child, lines, seen: Vec::new() };
    reader.until(&format!("LIVE EVERYWHERE  {} First page  2 of 2", &first[..7]));

    // A new commit is published by one replica, then by the other.
    let second = fleet.site.repo.push_file("a", "2", "New hero image");
    for (number, verdict) in [(1, "NOT LIVE EVERYWHERE"), (2, "LIVE EVERYWHERE")] {
        let address = &fleet.replicas[number - 1].1;
        let synced = tokio::task::block_in_place(|| run(kubectl.program(), &["sync", "--url", address]));
        assert_eq!(synced.code, Some(0), "{}{}", synced.out, synced.err);
        reader.until(&format!("web-{number} published {} New hero image ", &second[..7]));
        reader.until(&format!("{verdict}  {} New hero image  {number} of 2", &second[..7]));
    }

    // Each pod is replaced: the new one is not ready, then runs, then the old one goes.
    for (old, new) in [(1, 3), (2, 4)] {
        let others: Vec<String> = (old..new).map(|number| format!("web-{number}")).collect();
        let pods = || others.iter().map(|name| running(name)).collect::<Vec<_>>();
        let mut waiting = running(&format!("web-{new}"));
        waiting["status"] = serde_json::json!({"phase": "Pending", "initContainerStatuses": [
            {"name": "poll", "state": {"waiting": {"reason": "ContainerCreating"}}}]});
        kubectl.pod_objects([pods(), vec![waiting]].concat());
        reader.until(&format!("web-{new} is new and not ready: ContainerCreating"));
        fleet.add("127.0.0.1").await;
        fleet.forward(&kubectl);
        kubectl.pod_objects([pods(), vec![running(&format!("web-{new}"))]].concat());
        reader.until(&format!("web-{new} is running"));
        reader.until(&format!("web-{new} publishes {} New hero image", &second[..7]));
        let left = others[1..].iter().map(|name| running(name)).chain([running(&format!("web-{new}"))]);
        kubectl.pod_objects(left.collect());
        fleet.remove(old).await;
        reader.until(&format!("web-{old} is gone"));
    }
    reader.until(&format!("LIVE EVERYWHERE  {} New hero image  2 of 2", &second[..7]));
    println!("{}", reader.seen.join("\n"));

    let pid = Pid::from_raw(i32::try_from(reader.child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(reader.child.wait().unwrap().code(), Some(0));
    kubectl.assert_none_left();
}
