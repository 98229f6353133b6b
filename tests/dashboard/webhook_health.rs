//! How the webhook fares over all replicas: what counts, what counts once, and what is news at once.

use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::SignedDuration;
use pushsync::api::{Action, DeliveryResult, Event, LastDelivery, MissedPush, Snapshot, Webhook};
use pushsync::dashboard::fleet;
use pushsync::dashboard::message::{Msg, News};
use pushsync::dashboard::model::{Model, Problem};
use pushsync::dashboard::plain::lines::Lines;
use pushsync::dashboard::theme::Theme;
use pushsync::dashboard::webhooks;
use ratatui::buffer::Cell;

use super::fake::Fake;
use super::sample::{self, ago, sha, tell};
use super::screens::render;

fn of(changes: [&dyn Fn(&mut Snapshot); 2]) -> Model {
    let mut model = sample::model_of(&["web-1", "web-2"]);
    for (name, change) in ["web-1", "web-2"].into_iter().zip(changes) {
        let mut snapshot = sample::snapshot(name, "9f3c2ab", Vec::new());
        change(&mut snapshot);
        tell(&mut model, name, News::Snapshot(Box::new(snapshot)));
    }
    model
}

#[test]
fn one_missed_push_counts_once_however_many_replicas_missed_it() {
    let missed = |commits: &'static [&'static str]| {
        move |snapshot: &mut Snapshot| {
            let push = |commit: &&str| MissedPush { commit: sha(commit), found_at: ago(20) };
            snapshot.webhook.missed_pushes = commits.iter().map(push).collect();
            snapshot.webhook.missed = commits.len() as u64;
            snapshot.webhook.day.missed = commits.len() as u64;
        }
    };
    let model = of([&missed(&["aaaaaaa", "bbbbbbb"]), &missed(&["aaaaaaa", "bbbbbbb"])]);
    let health = webhooks::health(&model);
    assert_eq!((health.missed, health.missed_since), (2, 2));
    let alert = webhooks::alert(&model).unwrap();
    assert_eq!(alert, "WEBHOOKS MISSED: the last 2 commits came by poll. Last delivery 38s ago.");
    // A sidecar of an older release only counts.
    let old = |snapshot: &mut Snapshot| snapshot.webhook.day.missed = 3;
    assert_eq!(webhooks::health(&of([&old, &old])).missed, 3);
}

#[test]
fn refused_signatures_from_before_the_start_are_named_only_beside_a_missed_push() {
    let refused = |snapshot: &mut Snapshot| snapshot.webhook.day.bad_signature = 3;
    assert_eq!(webhooks::alert(&of([&refused, &|_| {}])), None, "anyone in the internet can send those");
    let missed = |snapshot: &mut Snapshot| {
        snapshot.webhook.day.bad_signature = 3;
        snapshot.webhook.missed_pushes = vec![MissedPush { commit: sha("aaaaaaa"), found_at: ago(20) }];
    };
    let alert = webhooks::alert(&of([&missed, &|_| {}])).unwrap();
    assert!(alert.starts_with("WEBHOOKS MISSED: the last commit came by poll."), "{alert}");
    assert!(alert.ends_with(" 3 bad signatures in 24h: wrong secret?"), "{alert}");
}

#[test]
fn an_ignored_delivery_is_not_ok_and_shows_its_reason() {
    let ignored = |snapshot: &mut Snapshot| {
        snapshot.webhook.last = Some(LastDelivery {
            at: ago(5),
            event: "push".to_owned(),
            delivery: None,
            result: DeliveryResult::Ignored,
            reason: Some("it is about refs/heads/next".to_owned()),
        });
    };
    let model = of([&ignored, &|_| {}]);
    assert_eq!(webhooks::alert(&model).as_deref(), Some("WEBHOOK IGNORED: it is about refs/heads/next"));
    // The other way round, the newer delivery is the good one.
    let older = |snapshot: &mut Snapshot| snapshot.webhook.last_result = Some("ignored: another ref".to_owned());
    let newer = |snapshot: &mut Snapshot| snapshot.webhook.last_delivery_at = Some(ago(3));
    assert_eq!(webhooks::alert(&of([&older, &newer])), None);
}

#[test]
fn refused_signatures_are_news_at_once_and_for_two_minutes() {
    let mut model = of([&|_| {}, &|_| {}]);
    assert_eq!(webhooks::alert(&model), None);
    let mut webhook = model.pods[0].snapshot.as_ref().unwrap().webhook.clone();
    webhook.bad_signature += 3;
    webhook.day.bad_signature += 3;
    tell(&mut model, "web-1", News::Event(Event::Delivery(webhook)));
    let alert = webhooks::alert(&model).unwrap();
    assert_eq!(alert, "WEBHOOKS REFUSED: 3 bad signatures in 2 min. Is the secret the one in the forge?");
    // A push that came by poll meanwhile is not hidden by them.
    let mut webhook = model.pods[0].snapshot.as_ref().unwrap().webhook.clone();
    webhook.missed_pushes = vec![MissedPush { commit: sha("aaaaaaa"), found_at: ago(1) }];
    tell(&mut model, "web-1", News::Event(Event::Delivery(webhook)));
    let alert = webhooks::alert(&model).unwrap();
    assert!(
        alert.starts_with("WEBHOOKS REFUSED: 3 bad signatures in 2 min, and the last commit came by poll. "),
        "{alert}"
    );
    model.now += SignedDuration::from_mins(3);
    let alert = webhooks::alert(&model).unwrap();
    assert!(alert.starts_with("WEBHOOKS MISSED: "), "{alert}");
}

fn lose(model: &mut Model, name: &str) {
    let problem = Problem::new("lost connection to pod");
    tell(model, name, News::Lost { problem, attempt: 1, retry_in: Duration::from_secs(1) });
}

#[test]
fn a_replica_that_is_lost_is_not_counted_and_raises_no_alarm() {
    let bad = |snapshot: &mut Snapshot| {
        snapshot.webhook.day.received = 10;
        snapshot.webhook.day.bad_signature = 7;
        snapshot.webhook.day.missed = 1;
        snapshot.webhook.missed_pushes = vec![MissedPush { commit: sha("aaaaaaa"), found_at: ago(20) }];
    };
    let good = |snapshot: &mut Snapshot| {
        snapshot.webhook.day.received = 5;
        snapshot.webhook.day.bad_signature = 0;
    };
    let mut model = of([&bad, &good]);
    assert!(webhooks::alert(&model).unwrap().starts_with("WEBHOOKS MISSED"));
    lose(&mut model, "web-1");
    let health = webhooks::health(&model);
    assert_eq!((health.received, health.bad_signature, health.missed, health.missed_since), (5, 0, 0, 0));
    assert_eq!(webhooks::alert(&model), None);

    // Without any link nothing is healthy either.
    lose(&mut model, "web-2");
    let health = webhooks::health(&model);
    assert_eq!((health.known, health.received), (false, 0));
    let screen = render(&sample::at_home(model), &Theme::new(false, false), 120, 32);
    let rows = screen.content().chunks(120).map(|row| row.iter().map(Cell::symbol).collect::<String>());
    let line = rows.into_iter().find(|row| row.starts_with(" webhook  ")).unwrap();
    assert!(!line.contains("● ok") && line.contains("last delivery 38s ago") && !line.contains("24h"), "{line}");
}

#[test]
fn a_delivery_to_a_replica_that_is_lost_did_arrive() {
    let missed = |snapshot: &mut Snapshot| {
        snapshot.webhook.missed_pushes = vec![MissedPush { commit: sha("aaaaaaa"), found_at: ago(120) }];
        (snapshot.webhook.last_delivery_at, snapshot.webhook.last_result) = (None, None);
    };
    let newer = |snapshot: &mut Snapshot| {
        snapshot.webhook.last_delivery_at = Some(ago(38));
        snapshot.webhook.last_result = Some("ignored: another ref".to_owned());
    };
    let mut model = of([&missed, &newer]);
    assert_eq!(webhooks::alert(&model).as_deref(), Some("WEBHOOK IGNORED: another ref"));
    lose(&mut model, "web-2");
    assert_eq!(webhooks::alert(&model), None, "missed before that delivery, and what was ignored is old news");
}

#[test]
fn the_text_of_watch_says_that_webhooks_arrive_again_only_if_one_did() {
    let missed = |snapshot: &mut Snapshot| {
        snapshot.webhook.missed_pushes = vec![MissedPush { commit: sha("aaaaaaa"), found_at: ago(20) }];
    };
    let mut model = of([&missed, &|_| {}]);
    let mut lines = Lines::default();
    let tick = Msg::Tick;
    let said = |lines: &mut Lines, model: &Model| lines.text(model, model.now, &tick).join("\n");
    assert!(said(&mut lines, &model).contains("WEBHOOKS MISSED: the last commit came by poll."));
    lose(&mut model, "web-1");
    let lost = said(&mut lines, &model);
    assert!(!lost.contains("webhooks arrive"), "{lost}");

    let mut model = of([&missed, &|_| {}]);
    let mut lines = Lines::default();
    assert!(said(&mut lines, &model).contains("WEBHOOKS MISSED"));
    model.now += SignedDuration::from_secs(5);
    let mut webhook = model.pods[1].snapshot.as_ref().unwrap().webhook.clone();
    webhook.last_delivery_at = Some(ago(-4));
    tell(&mut model, "web-2", News::Event(Event::Delivery(webhook)));
    assert!(said(&mut lines, &model).contains("webhooks arrive again"));

    // Refused deliveries that have become old are no delivery that arrived, and none is reported when they are refused.
    let mut model = of([&|_| {}, &|_| {}]);
    let mut lines = Lines::default();
    let id = model.pods[0].id.clone();
    let report = |model: &mut Model, lines: &mut Lines, webhook: &Webhook| {
        let news = || News::Event(Event::Delivery(webhook.clone()));
        tell(model, "web-1", news());
        lines.text(model, model.now, &Msg::Link(id.clone(), news())).join("\n")
    };
    let mut webhook = model.pods[0].snapshot.as_ref().unwrap().webhook.clone();
    let _ = report(&mut model, &mut lines, &webhook);
    let before = model.events.len();
    webhook.bad_signature += 1;
    let refused = report(&mut model, &mut lines, &webhook);
    assert!(refused.contains("web-1 webhook refused: bad signature"), "{refused}");
    assert!(refused.contains("WEBHOOKS REFUSED: 1 bad signature"), "{refused}");
    assert!(!refused.contains("queued"), "{refused}");
    assert_eq!((model.events.len(), model.events[0].text.as_str()), (before + 1, "refused: bad signature"));
    model.now += SignedDuration::from_mins(3);
    assert!(!said(&mut lines, &model).contains("webhooks arrive"));
    webhook.received += 1;
    webhook.last_delivery_at = Some(ago(0));
    let delivered = report(&mut model, &mut lines, &webhook);
    assert!(delivered.contains("web-1 webhook push queued"), "{delivered}");
}

#[test]
fn pins_and_rollbacks_are_no_pushes_in_the_latency() {
    let mut rollback = sample::record(3, 1, "9f3c2ab", "41d07be", "Bump node");
    rollback.trigger.action = Some(Action::Rollback);
    rollback.received_to_published_ms = Some(900_000);
    let push = sample::record(2, 9, "41d07be", "9f3c2ab", "Fix");
    let mut pin = sample::record(1, 60, "41d07be", "41d07be", "Fix");
    pin.trigger.action = Some(Action::Pin);
    let end = push.finished_at;
    let records = [rollback, push, pin];
    let latency = fleet::latency(records.iter(), 40);
    assert_eq!((latency.samples.len(), latency.max), (1, Some(1900)));
    assert_eq!(latency.oldest, Some(end), "the axis begins at the first bar");
}

#[test]
fn who_acts_is_sent_along() {
    let fake = Fake::local("web-1");
    fake.publish("9f3c2ab", "Fix");
    let arguments = ["--url".to_owned(), fake.url()];
    let mut pty = crate::support::pty::Pty::start(120, 32, &arguments, &[("USER", "ada")]);
    pty.shows("LIVE EVERYWHERE");
    pty.press("2");
    pty.shows("Syncs on all replicas");
    pty.press("S");
    crate::support::eventually_for("it is asked", || !fake.inner().changes.is_empty());
    let (path, body) = fake.inner().changes[0].clone();
    let host = Command::new("uname").arg("-n").stderr(Stdio::null()).output().unwrap().stdout;
    let host = String::from_utf8(host).unwrap();
    let host = host.trim().split('.').next().unwrap().to_owned();
    assert_eq!((path.as_str(), body), ("sync", format!("{{\"by\":\"ada@{host}\"}}")));
}
