//! `kubectl get pods --watch`: changes of pods as they happen.
//!
//! The listing is authoritative: a watch only reports changes sooner.

use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;

use super::object::{Pod, WatchEvent, found, id};
use super::run::Running;
use crate::dashboard::model::{Found, PodId};

/// The longest event that is accepted.
const LONGEST_EVENT: usize = 16 << 20;

/// A running watch.
pub struct Watch {
    /// Ends kubectl when the watch is dropped.
    _running: Running,
    stdout: ChildStdout,
    buffer: Vec<u8>,
}

/// A change that a watch reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Is(Found),
    IsGone(PodId),
}

impl Watch {
    #[must_use]
    pub fn new(running: Running, stdout: ChildStdout) -> Self {
        Self { _running: running, stdout, buffer: Vec::new() }
    }

    /// Returns the next changes, at least one. `None`: the watch has ended, or its output cannot be understood. May be
    /// dropped while it waits, and called again.
    pub async fn next(&mut self) -> Option<Vec<Change>> {
        loop {
            let changes = take(&mut self.buffer)?;
            if !changes.is_empty() {
                return Some(changes);
            }
            if self.buffer.len() > LONGEST_EVENT {
                return None;
            }
            // `read_buf` is cancel safe (tokio): a caller that drops this future in a `select!` loses no bytes.
            match self.stdout.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

/// Takes all complete events from the buffer. `None` if they are not events.
fn take(buffer: &mut Vec<u8>) -> Option<Vec<Change>> {
    let mut events = serde_json::Deserializer::from_slice(buffer).into_iter::<WatchEvent>();
    let mut changes = Vec::new();
    loop {
        match events.next() {
            // For example `410 Gone`, when the server does not keep the changes since then any more. A new listing
            // helps.
            Some(Ok(event)) if event.kind == "ERROR" => return None,
            Some(Ok(event)) => changes.extend(change(event)),
            Some(Err(error)) if error.is_eof() => break,
            Some(Err(_)) => return None,
            None => break,
        }
    }
    let used = events.byte_offset();
    buffer.drain(..used);
    Some(changes)
}

/// Returns the change of an event; `None` for one without a pod.
fn change(event: WatchEvent) -> Option<Change> {
    if !matches!(event.kind.as_str(), "ADDED" | "MODIFIED" | "DELETED") {
        return None;
    }
    let pod: Pod = serde_json::from_value(event.object).ok()?;
    let id = id(&pod);
    Some(match found(pod) {
        // The object of a deletion is the last state of the pod, which may still be Running.
        Some(found) if event.kind != "DELETED" => Change::Is(found),
        _ => Change::IsGone(id),
    })
}

/// Applies changes to a list.
pub(crate) fn apply(list: &mut Vec<Found>, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::Is(found) => match list.iter_mut().find(|known| known.id == found.id) {
                Some(known) => *known = found,
                None => list.push(found),
            },
            Change::IsGone(id) => list.retain(|known| known.id != id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_arrive_in_pieces_are_put_together() {
        let event = |kind: &str, name: &str| {
            format!(
                "{{\n  \"type\": \"{kind}\",\n  \"object\": {{\"metadata\": {{\"name\": \"{name}\", \"uid\": \"{name}\"}}, \
                 \"status\": {{\"phase\": \"Running\"}}}}\n}}\n"
            )
        };
        let bookmark = "{\"type\":\"BOOKMARK\",\"object\":{}}\n";
        let all = [event("ADDED", "a"), event("ADDED", "b"), bookmark.to_owned(), event("DELETED", "a")]
            .concat()
            .into_bytes();
        let mut list = Vec::new();
        let mut buffer = Vec::new();
        for byte in all {
            buffer.push(byte);
            apply(&mut list, take(&mut buffer).expect("good"));
        }
        let names: Vec<&str> = list.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, ["b"]);
        assert!(buffer.iter().all(u8::is_ascii_whitespace));
    }

    #[test]
    fn an_error_or_nonsense_ends_the_watch() {
        assert_eq!(take(&mut b"{\"type\":\"ERROR\",\"object\":{\"code\":410}}".to_vec()), None);
        assert_eq!(take(&mut b"error: no such flag".to_vec()), None);
        assert_eq!(take(&mut b"{\"type\":\"ADD".to_vec()), Some(Vec::new()));
    }
}
