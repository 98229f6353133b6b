//! Signed webhook deliveries as GitHub sends them: a push payload, the headers, the HMAC over the raw body.
//!
//! It stands in for the forge's sender; requests that break the rules are made by hand where they are tested.

use std::time::Duration;

use pushsync::secret::Secret;
use pushsync::signature::sign;
use serde_json::json;

/// One delivery; change the fields before sending it.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub event: String,
    pub id: String,
    pub content_type: String,
    pub body: Vec<u8>,
}

/// The receiver's response.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    pub took: Duration,
}

pub const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

impl Delivery {
    /// A push to `full_ref` of the repository at `clone_url`.
    pub fn push(clone_url: &str, full_ref: &str, before: &str, after: &str) -> Self {
        let path = clone_url.splitn(4, '/').nth(3).unwrap_or(clone_url);
        let full_name = path.strip_suffix(".git").unwrap_or(path);
        let name = full_name.rsplit('/').next().unwrap_or(full_name);
        let payload = json!({
            "ref": full_ref,
            "before": before,
            "after": after,
            "created": before == NO_COMMIT,
            "deleted": after == NO_COMMIT,
            "forced": false,
            "repository": {
                "name": name,
                "full_name": full_name,
                "clone_url": clone_url,
                "default_branch": "main",
            },
            "pusher": { "name": "ada", "email": "ada@example.test" },
            "head_commit": { "id": after, "message": "a push" },
        });
        Self::json("push", payload.to_string())
    }

    pub fn ping() -> Self {
        Self::json("ping", json!({ "zen": "Keep it logically awesome.", "hook_id": 1 }).to_string())
    }

    pub fn json(event: &str, body: impl Into<Vec<u8>>) -> Self {
        let id = format!("{:08x}-test", fastrand::u32(..));
        Self { event: event.into(), id, content_type: "application/json".into(), body: body.into() }
    }

    /// Posts it with its signature and waits for the answer.
    pub async fn send(&self, url: &str, secret: &[u8]) -> Answer {
        let signature = sign(&Secret::new(secret), &self.body);
        self.send_signed(url, &signature).await
    }

    /// Posts it with any signature.
    pub async fn send_signed(&self, url: &str, signature: &str) -> Answer {
        let started = std::time::Instant::now();
        let client = reqwest::Client::builder().no_proxy().timeout(super::PATIENCE).build().expect("a client");
        let response = client
            .post(url)
            .header("content-type", &self.content_type)
            .header("user-agent", "GitHub-Hookshot/test")
            .header("x-github-event", &self.event)
            .header("x-github-delivery", &self.id)
            .header("x-hub-signature-256", signature)
            .body(self.body.clone())
            .send()
            .await
            .expect("the receiver answers");
        let status = response.status().as_u16();
        let body = response.text().await.expect("a body");
        Answer { status, body, took: started.elapsed() }
    }
}
