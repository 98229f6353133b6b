//! Names of the cluster for the completion: what `kubectl get -o name` prints, within two seconds.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::complete::Query;

/// A shell waits for no longer than this.
const LIMIT: Duration = Duration::from_secs(2);
/// More names than this are of no help.
const MOST: usize = 500;

/// Asks kubectl. Returns nothing if that fails or takes too long.
pub(super) fn list(query: &Query) -> Vec<String> {
    let mut command = Command::new("kubectl");
    match query.kind.as_str() {
        "contexts" => command.args(["config", "get-contexts", "--output=name"]),
        kind => command.args(["get", kind, "--output=name", "--request-timeout=2s"]),
    };
    for (flag, value) in &query.flags {
        command.arg(format!("--{flag}={value}"));
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = child else { return Vec::new() };
    let Some(mut output) = child.stdout.take() else { return Vec::new() };
    let (answer, answered) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = output.read_to_string(&mut text);
        // The receiver is gone if it took too long.
        let _ = answer.send(text);
    });
    let text = answered.recv_timeout(LIMIT).unwrap_or_default();
    // Both fail if it has ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    // `deployment.apps/web`. The name of a context may have slashes of its own.
    let bare = |line: &'_ str| match query.kind.as_str() {
        "contexts" => line.to_owned(),
        _ => line.rsplit('/').next().unwrap_or_default().to_owned(),
    };
    text.lines().map(bare).filter(|name| !name.is_empty()).take(MOST).collect()
}
