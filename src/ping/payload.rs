//! The JSON of a delivery in GitHub's format, with the fields that receivers read.
//!
//! Source: GitHub docs, "Webhook events and payloads", events `ping` and `push`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::options::{PingOptions, PushOptions};
use crate::clock::Clock;
use crate::remote_url::RemoteUrl;

/// The all-zero hash: the ref did not exist before, or does not exist any more.
pub(super) const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

pub(super) fn of(options: &PingOptions) -> Value {
    let mut payload = match &options.push {
        None => json!({
            "zen": "Approachable is better than simple.",
            "hook_id": 1,
            "hook": {
                "type": "Repository",
                "id": 1,
                "name": "web",
                "active": true,
                "events": ["push"],
                "config": { "content_type": "json", "insecure_ssl": "0" },
            },
        }),
        Some(push) => of_push(push),
    };
    if let Some(repository) = options.repo.as_deref().map(repository) {
        payload["repository"] = repository;
    }
    payload["sender"] = json!({ "login": "pushsync-ping", "id": 1, "type": "User" });
    payload
}

fn of_push(push: &PushOptions) -> Value {
    let deleted = push.after == NO_COMMIT;
    let head = json!({
        "id": push.after,
        "message": "A test delivery of pushsync ping",
        "timestamp": Clock::real().now().to_string(),
        "author": { "name": "pushsync ping", "email": "ping@pushsync.invalid" },
        "added": [], "removed": [], "modified": [],
    });
    json!({
        "ref": push.reference,
        "before": push.before,
        "after": push.after,
        "created": push.before == NO_COMMIT,
        "deleted": deleted,
        "forced": false,
        "commits": if deleted { json!([]) } else { json!([head]) },
        "head_commit": if deleted { Value::Null } else { head },
        "pusher": { "name": "pushsync-ping", "email": "ping@pushsync.invalid" },
    })
}

fn repository(text: &str) -> Value {
    // `owner/name` parses as a local path without a repository, so it is used as GitHub's.
    let parsed = RemoteUrl::parse(text).ok();
    let ours = || ("github.com", text.trim_matches('/').trim_end_matches(".git"));
    let (host, name) = parsed.as_ref().and_then(RemoteUrl::repository).unwrap_or_else(ours);
    let (owner, short) = name.rsplit_once('/').unwrap_or(("", name));
    json!({
        "id": 1,
        "name": short,
        "full_name": name,
        "private": true,
        "owner": { "login": owner },
        "html_url": format!("https://{host}/{name}"),
        "clone_url": format!("https://{host}/{name}.git"),
        "ssh_url": format!("git@{host}:{name}.git"),
        // Receivers use it for `--ref HEAD` until they have asked the remote.
        "default_branch": "main",
    })
}

/// Returns a random UUID, version 4 (RFC 9562, section 5.4). It identifies a delivery and need not be unpredictable.
pub(super) fn delivery_id() -> String {
    let mut bytes = [0_u8; 16];
    fastrand::fill(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_of_version_four() {
        let id = delivery_id();
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        assert!(id.as_bytes()[14] == b'4' && b"89ab".contains(&id.as_bytes()[19]), "{id}");
        assert_ne!(id, delivery_id());
    }

    #[test]
    fn a_repository_is_named_as_the_forge_names_it() {
        let names = |text| {
            let repository = repository(text);
            (repository["full_name"].clone(), repository["clone_url"].clone())
        };
        assert_eq!(names("acme/site"), (json!("acme/site"), json!("https://github.com/acme/site.git")));
        assert_eq!(names("git@git.test:a/b.git"), (json!("a/b"), json!("https://git.test/a/b.git")));
        assert_eq!(names("https://u:p@git.test/g/s/b"), (json!("g/s/b"), json!("https://git.test/g/s/b.git")));
    }

    #[test]
    fn a_deletion_has_no_head_commit() {
        let push = |after: &str| {
            of_push(&PushOptions { reference: "refs/heads/main".into(), before: NO_COMMIT.into(), after: after.into() })
        };
        let deletion = push(NO_COMMIT);
        assert_eq!((&deletion["deleted"], &deletion["head_commit"]), (&json!(true), &Value::Null));
        let id = "757107ea0eb2509fc211221cce984b8a37570b6d";
        assert_eq!(push(id)["head_commit"]["id"], id);
        assert_eq!(push(id)["created"], true);
    }
}
