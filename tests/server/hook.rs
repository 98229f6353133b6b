//! The effects of authentic deliveries, and the absence of effects of others.

use std::time::Duration;

use pushsync::api::TriggerKind;
use pushsync::server::{Audience, Repository};
use pushsync::sync::Followed;
use serde_json::{Value, json};

use super::harness::*;

#[tokio::test]
async fn the_vector_that_github_publishes_is_accepted_by_the_listener() {
    let sidecar = Sidecar::new();
    let vector = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let post = Post::new("ping", "Hello, World!").with("X-Hub-Signature-256", vector);
    let answer = sidecar.post(&post).await;
    assert_eq!((answer.status, answer.reason().as_str()), (200, "pong"), "{answer:?}");
    assert!(sidecar.rung().is_none());
    assert_eq!(sidecar.status.snapshot().webhook.last_event.as_deref(), Some("ping"));
}

#[tokio::test]
async fn a_push_to_our_ref_is_queued_before_it_is_answered() {
    let sidecar = Sidecar::new();
    let started = tokio::time::Instant::now();
    let answer = sidecar.post(&Post::push(&payload())).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json()["queued"], true);
    assert_eq!(answer.json()["delivery"], DELIVERY);

    let request = sidecar.rung().expect("queued");
    assert_eq!(request.newest_announced().expect("announced").to_string(), COMMIT);
    assert!(request.received >= started && request.received <= tokio::time::Instant::now());
    assert!(request.received_at <= noon());
    let trigger = request.trigger;
    assert_eq!(trigger.kind, TriggerKind::Webhook);
    assert_eq!(trigger.delivery.as_deref(), Some(DELIVERY));
    assert_eq!(trigger.event.as_deref(), Some("push"));
    assert_eq!(trigger.secret.as_deref(), Some("current"));
    assert!(!trigger.redelivered);
    assert_eq!(trigger.merged, 1);

    let webhook = sidecar.status.snapshot().webhook;
    assert_eq!((webhook.received, webhook.last_result.as_deref()), (1, Some("queued")));

    // A redelivery has the same id; it rings all the same and is only labelled.
    assert_eq!(sidecar.post(&Post::push(&payload())).await.status, 202);
    assert!(sidecar.rung().expect("queued").trigger.redelivered);
    assert_eq!(sidecar.metric("pushsync_webhook_deliveries_total{result=\"queued\"}"), Some(2.0));
}

#[tokio::test]
async fn unsigned_requests_get_one_uniform_answer_and_are_counted() {
    let sidecar = Sidecar::new();
    let good = Post::push(&payload());
    let signature = good.headers.iter().find(|(name, _)| name == "X-Hub-Signature-256").unwrap().1.clone();
    let hex = &signature["sha256=".len()..];
    let is = |value: &str| good.clone().with("X-Hub-Signature-256", value);
    let mut changed = good.clone();
    changed.body.push(b' ');
    let cases = [
        ("missing", is("")),
        ("another secret", good.clone().signed("not the secret at all")),
        ("an empty secret", good.clone().signed("")),
        ("changed body", changed),
        ("twice the right one", good.clone().and("X-Hub-Signature-256", &signature)),
        ("right and wrong", good.clone().and("X-Hub-Signature-256", &format!("sha256={}", "0".repeat(64)))),
        ("wrong and right", is(&format!("sha256={}", "0".repeat(64))).and("X-Hub-Signature-256", &signature)),
        ("bare hex", is(hex)),
        ("a list", is(&format!("{signature},{signature}"))),
        ("nothing behind (Gitea without a secret)", is("sha256=")),
        ("63 digits", is(&signature[..signature.len() - 1])),
        ("65 digits", is(&format!("{signature}0"))),
        ("no hex", is(&format!("sha256={}g", &hex[1..]))),
        ("SHA-1 only", is("").and("X-Hub-Signature", "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59")),
        ("SHA-1 here", is("sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59")),
        ("SHA-512 by name", is(&format!("sha512={hex}{hex}"))),
        ("upper-case prefix", is(&format!("SHA256={hex}"))),
        ("Gitea's header", is("").and("X-Gitea-Signature", hex)),
        ("GitLab's token", is("").and("X-Gitlab-Token", SECRET)),
        ("the secret in the URL", Post { path: format!("/webhook?secret={SECRET}").replace(' ', "%20"), ..is("") }),
        ("garbage", Post { body: vec![0xff; 3000], ..is("sha256=zz") }),
        ("ping", Post::new("ping", "{}").signed("not the secret at all")),
    ];
    let count = u32::try_from(cases.len()).unwrap();
    let mut bodies = std::collections::BTreeSet::new();
    for (name, post) in cases {
        let answer = sidecar.post(&post).await;
        assert_eq!(answer.status, 401, "{name}: {answer:?}");
        bodies.insert(answer.body);
        assert!(sidecar.rung().is_none(), "{name} rang");
    }
    assert_eq!(bodies.len(), 1, "the answers differ: {bodies:?}");
    let snapshot = sidecar.status.snapshot();
    assert_eq!((snapshot.webhook.received, snapshot.webhook.bad_signature), (0, u64::from(count)));
    assert_eq!((snapshot.webhook.last_event, snapshot.seq), (None, 0), "strangers left a trace");
    assert!(sidecar.history.page(None, 10).is_empty());
    assert_eq!(sidecar.metric("pushsync_webhook_deliveries_total{result=\"bad_signature\"}"), Some(f64::from(count)));

    // Hexadecimal digits have no case.
    let upper = is(&format!("sha256={}", hex.to_uppercase()));
    assert_eq!(sidecar.post(&upper).await.status, 202);
}

#[tokio::test]
async fn a_deletion_of_our_ref_rings_so_that_it_is_recorded_and_announces_nothing() {
    let sidecar = Sidecar::new();
    for deleted in [Some(true), None] {
        let mut gone = payload();
        gone["after"] = json!("0".repeat(40));
        gone["head_commit"] = Value::Null;
        if let Some(deleted) = deleted {
            gone["deleted"] = json!(deleted);
        }
        let answer = sidecar.post(&Post::push(&gone)).await;
        assert_eq!((answer.status, answer.reason().starts_with("the followed ref was deleted")), (202, true));
        assert!(sidecar.rung().expect("queued").newest_announced().is_none());
    }
}

#[tokio::test]
async fn what_is_not_ours_is_acknowledged_with_the_reason() {
    let sidecar = Sidecar::new();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut payload = payload();
        change(&mut payload);
        Post::push(&payload)
    };
    let cases = [
        ("another event", Post::new("issues", "{}"), "another event: issues"),
        ("an event that is no JSON", Post::new("star", "x"), "another event: star"),
        ("another branch", with(&|p| p["ref"] = json!("refs/heads/dev")), "another ref: refs/heads/dev"),
        ("a branch that ends alike", with(&|p| p["ref"] = json!("refs/heads/x/main")), "another ref"),
        ("a tag", with(&|p| p["ref"] = json!("refs/tags/v1")), "another ref"),
        (
            "another owner",
            with(&|p| {
                p["repository"]["clone_url"] = json!("https://github.com/evil/site.git");
                p["repository"]["ssh_url"] = json!("git@github.com:evil/site.git");
            }),
            "another repository: github.com/evil/site, followed is github.com/acme/site",
        ),
        (
            "another host",
            with(&|p| {
                p["repository"]["clone_url"] = json!("https://github.com.evil.test/acme/site.git");
                p["repository"]["ssh_url"] = json!("git@github.com.evil.test:acme/site.git");
            }),
            "another repository",
        ),
    ];
    for (number, (name, post, reason)) in cases.into_iter().enumerate() {
        let answer = sidecar.post(&post).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert_eq!(answer.json()["queued"], false, "{name}");
        assert!(answer.reason().starts_with(reason), "{name}: {answer:?}");
        assert!(answer.json()["hint"].is_string(), "{name}: {answer:?}");
        assert!(sidecar.rung().is_none(), "{name} rang");
        let webhook = sidecar.status.snapshot().webhook;
        assert_eq!(webhook.received, number as u64 + 1, "{name}");
        assert!(webhook.last_result.unwrap().starts_with(&format!("ignored: {reason}")), "{name}");
    }
}

#[tokio::test]
async fn the_followed_ref_decides_once_it_is_known() {
    let sidecar = Sidecar::new();
    let push = |reference: &str| {
        let mut payload = payload();
        payload["ref"] = json!(reference);
        Post::push(&payload)
    };
    // There was no sync yet, so the name may be a branch or a tag.
    assert_eq!(sidecar.post(&push("refs/heads/main")).await.status, 202);
    assert_eq!(sidecar.post(&push("refs/tags/main")).await.status, 202);
    sidecar.status.set_followed(Followed { full_ref: Some("refs/tags/main".into()), hash: false });
    assert_eq!(sidecar.post(&push("refs/heads/main")).await.status, 200);
    assert_eq!(sidecar.post(&push("refs/tags/main")).await.status, 202);
    sidecar.status.set_followed(Followed { full_ref: None, hash: true });
    assert_eq!(sidecar.post(&push("refs/tags/main")).await.status, 200);
}

#[tokio::test]
async fn the_ssh_address_and_the_address_that_the_remote_redirects_to_count() {
    let sidecar = Sidecar::new();
    let at = |clone_url: &str, ssh_url: &str| {
        let mut payload = payload();
        payload["repository"]["clone_url"] = json!(clone_url);
        payload["repository"]["ssh_url"] = json!(ssh_url);
        Post::push(&payload)
    };
    let by_ssh = at("https://web.test/acme/site.git", "ssh://git@ssh.github.com:443/acme/site.git");
    assert_eq!(sidecar.post(&by_ssh).await.status, 202);
    let renamed = at("https://github.com/acme-inc/website.git", "git@github.com:acme-inc/website.git");
    assert_eq!(sidecar.post(&renamed).await.status, 200);
    sidecar.status.set_moved_to(Some("https://github.com/acme-inc/website.git".into()));
    assert_eq!(sidecar.post(&renamed).await.status, 202);
    assert_eq!(sidecar.post(&Post::push(&payload())).await.status, 202, "the old name counts on");
    sidecar.status.set_moved_to(None);
    assert_eq!(sidecar.post(&renamed).await.status, 200);
}

#[tokio::test]
async fn the_audience_may_be_an_alias_or_any_repository() {
    let alias = Some(Repository { host: None, name: "ACME/site".into() });
    for (repository, expected) in [(alias, 202), (None, 202)] {
        let audience = Audience { repository, reference: "HEAD".into() };
        let sidecar = Setup { audience, ..Setup::default() }.start();
        let mut payload = payload();
        payload["repository"]["clone_url"] = json!("ssh://git@mirror.test:2222/x/y.git");
        assert_eq!(sidecar.post(&Post::push(&payload)).await.status, expected);
    }
}

#[tokio::test]
async fn authentic_nonsense_is_the_senders_fault_and_rings_nothing() {
    let sidecar = Sidecar::new();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut payload = payload();
        change(&mut payload);
        Post::push(&payload)
    };
    let without = |field: &'static str| {
        with(&move |p| {
            p.as_object_mut().unwrap().remove(field);
        })
    };
    let text = payload().to_string();
    let twice = |field: &str| format!("{{\"{field}\":{},{}", payload()[field], &text[1..]);
    let form = |body: &str| {
        Post { body: body.into(), ..Post::new("push", "") }
            .with("Content-Type", "application/x-www-form-urlencoded")
            .signed(SECRET)
    };
    let cases = [
        ("no JSON", 400, Post::new("push", "ref=main")),
        ("nothing", 400, Post::new("push", "")),
        ("null", 400, Post::new("push", "null")),
        ("a list", 400, Post::new("push", "[]")),
        ("half", 400, Post::new("push", &text[..text.len() / 2])),
        ("two documents", 400, Post::new("push", format!("{text}{text}"))),
        ("not UTF-8", 400, Post::new("push", text.clone().into_bytes().into_iter().chain([0xff]).collect::<Vec<_>>())),
        ("deep", 400, Post::new("push", "[".repeat(100_000))),
        ("deeper, in a field", 400, Post::new("push", format!("{{\"x\":{}", "{\"a\":".repeat(100_000)))),
        ("ref is missing", 400, without("ref")),
        ("after is missing", 400, without("after")),
        ("repository is missing", 400, without("repository")),
        ("repository is empty", 400, with(&|p| p["repository"] = json!({}))),
        ("ref is a number", 400, with(&|p| p["ref"] = json!(7))),
        ("repository is text", 400, with(&|p| p["repository"] = json!("acme/site"))),
        ("clone_url is a list", 400, with(&|p| p["repository"]["clone_url"] = json!([]))),
        ("ref twice", 400, Post::new("push", twice("ref"))),
        ("repository twice", 400, Post::new("push", twice("repository"))),
        ("ref is short", 422, with(&|p| p["ref"] = json!("main"))),
        ("after is no hash", 422, with(&|p| p["after"] = json!("../../etc/passwd"))),
        ("after is short", 422, with(&|p| p["after"] = json!("0123"))),
        ("clone_url is none", 422, with(&|p| p["repository"]["clone_url"] = json!("nonsense"))),
        ("another type", 415, Post::push(&payload()).with("Content-Type", "text/plain")),
        ("no type", 415, Post::push(&payload()).with("Content-Type", "")),
        ("two types", 400, Post::push(&payload()).and("Content-Type", "application/json")),
        ("no event", 400, Post::push(&payload()).with("X-GitHub-Event", "")),
        ("two events", 400, Post::push(&payload()).and("X-GitHub-Event", "push")),
        ("a form without payload", 400, form("x=1")),
        ("a form with two", 400, form("payload=%7B%7D&payload=%7B%7D")),
        ("a form of no JSON", 400, form("payload=hello")),
    ];
    for (name, status, post) in cases {
        let answer = sidecar.post(&post).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert!(answer.body.len() < 1000, "{name}: {} bytes", answer.body.len());
        assert!(sidecar.rung().is_none(), "{name} rang");
    }
    assert!(sidecar.status.snapshot().webhook.last_result.unwrap().starts_with("malformed: "));
}

#[tokio::test]
async fn a_form_is_signed_as_it_was_sent() {
    let sidecar = Sidecar::new();
    let json = payload().to_string();
    let body: String = form_urlencoded::Serializer::new(String::new()).append_pair("payload", &json).finish();
    let form = Post::new("push", body.clone()).with("Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
    assert_eq!(sidecar.post(&form).await.status, 202);
    assert_eq!(sidecar.rung().expect("queued").newest_announced().expect("read").to_string(), COMMIT);
    // Gitea signs the JSON inside instead; that is not the contract here.
    let mut gitea = Post::new("push", json).with("Content-Type", "application/x-www-form-urlencoded");
    gitea.body = body.into_bytes();
    assert_eq!(sidecar.post(&gitea).await.status, 401);
}

#[tokio::test]
async fn one_path_and_one_method_exist() {
    let sidecar = Sidecar::new();
    for path in [
        "/",
        "/webhook/",
        "/webhook/peers",
        "/webhook/peer/",
        "/Webhook",
        "/webhook%2f",
        "//webhook",
        "/webhook/../webhook",
    ] {
        let post = Post { path: path.into(), ..Post::push(&payload()) };
        assert_eq!(sidecar.post(&post).await.status, 404, "{path}");
    }
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "post", "BREW"] {
        let request = format!("{method} /webhook HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = exchange(sidecar.hook(), request.as_bytes()).await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.to_lowercase().contains("\r\nallow: post"), "{answer:?}");
    }
    assert!(sidecar.rung().is_none());
    // GitHub lets a URL have a query; it means nothing here.
    let post = Post { path: "/webhook?team=web&ref=evil".into(), ..Post::push(&payload()) };
    assert_eq!(sidecar.post(&post).await.status, 202);
}

#[tokio::test]
async fn secrets_rotate_without_a_restart() {
    let sidecar = Sidecar::new();
    let answer = sidecar.post(&Post::push(&payload()).signed(OLD_SECRET)).await;
    assert_eq!(answer.status, 202);
    assert_eq!(sidecar.rung().unwrap().trigger.secret.as_deref(), Some("previous"));

    // An unusable file keeps the old secret in force.
    std::fs::write(sidecar.secret_path("current"), "").unwrap();
    // A check of the file is valid for a second.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(sidecar.post(&Post::push(&payload())).await.status, 202);

    std::fs::write(sidecar.secret_path("current"), "a brand new secret, long enough").unwrap();
    std::fs::remove_file(sidecar.secret_path("previous")).unwrap();
    let new = Post::push(&payload()).signed("a brand new secret, long enough");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while sidecar.post(&new).await.status != 202 {
        assert!(tokio::time::Instant::now() < deadline, "the new secret was never read");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let old = Post::push(&payload()).signed(OLD_SECRET);
    while sidecar.post(&old).await.status != 401 {
        assert!(tokio::time::Instant::now() < deadline, "the withdrawn secret still rings");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(sidecar.post(&Post::push(&payload())).await.status, 401, "the replaced secret still rings");
}

#[tokio::test]
async fn a_tag_announces_its_commit_and_a_sha256_push_rings_without_one() {
    let audience = Audience { repository: None, reference: "refs/tags/v1".into() };
    let sidecar = Setup { audience, ..Setup::default() }.start();
    let mut tag = payload();
    tag["ref"] = json!("refs/tags/v1");
    tag["after"] = json!("a".repeat(40));
    assert_eq!(sidecar.post(&Post::push(&tag)).await.status, 202);
    assert_eq!(sidecar.rung().unwrap().newest_announced().unwrap().to_string(), COMMIT);

    tag["head_commit"]["id"] = json!("b".repeat(64));
    tag["after"] = json!("a".repeat(64));
    assert_eq!(sidecar.post(&Post::push(&tag)).await.status, 202);
    assert!(sidecar.rung().unwrap().newest_announced().is_none());
}

#[tokio::test]
async fn an_odd_delivery_id_is_not_shown() {
    let sidecar = Sidecar::new();
    for id in ["x".repeat(65), "a b".to_owned()] {
        assert_eq!(sidecar.post(&Post::push(&payload()).with("X-GitHub-Delivery", &id)).await.status, 202);
        assert_eq!(sidecar.rung().unwrap().trigger.delivery, None, "{id}");
    }
}

#[tokio::test]
async fn a_pull_request_that_is_followed_is_triggered_by_its_own_events() {
    let audience = Audience { reference: "pull/7/head".into(), ..Setup::default().audience };
    let sidecar = Setup { audience, ..Setup::default() }.start();
    let event = |action: &str, number: u64| {
        let mut payload = payload();
        let fields = payload.as_object_mut().unwrap();
        for push_only in ["ref", "after", "commits", "head_commit", "deleted", "forced"] {
            fields.remove(push_only);
        }
        fields.insert("action".into(), json!(action));
        fields.insert("number".into(), json!(number));
        fields.insert("pull_request".into(), json!({"number": number, "head": {"ref": "feature", "sha": COMMIT}}));
        Post::new("pull_request", payload.to_string())
    };
    for action in ["opened", "synchronize", "reopened"] {
        let answer = sidecar.post(&event(action, 7)).await;
        assert_eq!(answer.status, 202, "{action}: {answer:?}");
        let rung = sidecar.rung().expect("rung");
        assert_eq!(rung.newest_announced().map(|commit| commit.to_string()).as_deref(), Some(COMMIT), "{action}");
    }
    for (post, reason) in [
        (event("closed", 7), "another action: closed"),
        (event("labeled", 7), "another action: labeled"),
        (event("synchronize", 8), "another ref: refs/pull/8/head"),
        (Post::push(&payload()), "another ref: refs/heads/main"),
    ] {
        let answer = sidecar.post(&post).await;
        assert!(answer.status == 200 && answer.reason().starts_with(reason), "{answer:?}");
        assert!(sidecar.rung().is_none());
    }
    let other = Sidecar::new().post(&event("synchronize", 7)).await;
    assert!(other.status == 200 && other.reason().starts_with("another event: pull_request"), "{other:?}");
}
