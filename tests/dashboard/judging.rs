//! The verdict as a pure function: each state of a replica, with and without a commit that was asked for.

use std::time::Duration;

use jiff::SignedDuration;
use pushsync::api::{Announcement, CommitHow, CommitStatus, Event, Head, Running, Snapshot, State, TriggerKind};
use pushsync::dashboard::message::{Effect, Msg, News, Order};
use pushsync::dashboard::model::{Found, Model, PodId, Presence, Problem};
use pushsync::dashboard::update::update;
use pushsync::dashboard::verdict::{self, Kind, Why, words};

use super::sample::{self, ago, now, sha, tell};

const NEW: &str = "9f3c2ab";
const OLD: &str = "41d07be";

/// One replica that publishes `published`, while the newest commit is [`NEW`].
fn one(published: &str, change: impl FnOnce(&mut Snapshot)) -> Model {
    let mut model = sample::model_of(&["web-1"]);
    let mut snapshot = sample::snapshot("web-1", published, Vec::new());
    change(&mut snapshot);
    tell(&mut model, "web-1", News::Snapshot(Box::new(snapshot)));
    model
}

/// Kind and last line, without a commit and with [`OLD`] or [`NEW`] asked for.
fn judged(model: &Model, asked: Option<&str>) -> (Kind, String) {
    let mut model = model.clone();
    model.setup.commit = asked.map(str::to_owned);
    let verdict = verdict::judge(&model);
    (verdict.kind(), words::line(&verdict))
}

#[test]
fn each_state_has_one_verdict() {
    let paused = |snapshot: &mut Snapshot| {
        snapshot.state = State::Paused;
        snapshot.paused_until = Some(now() + SignedDuration::from_mins(59));
    };
    let failed = |snapshot: &mut Snapshot| {
        snapshot.state = State::Failed;
        snapshot.failures_in_row = 3;
        snapshot.last_error = Some(sample::error());
    };
    let pinned = |commit: &'static str| {
        move |snapshot: &mut Snapshot| {
            snapshot.state = State::Pinned;
            snapshot.pinned = Some(sha(commit));
        }
    };
    let syncing = |snapshot: &mut Snapshot| {
        let trigger = TriggerKind::Webhook;
        let phase = pushsync::api::Phase::Look;
        snapshot.state = State::Syncing;
        snapshot.running = Some(Running { id: "9".to_owned(), trigger, phase, started_at: ago(1) });
    };
    let empty = |snapshot: &mut Snapshot| {
        snapshot.state = State::Starting;
        snapshot.published = None;
    };
    let strange = |snapshot: &mut Snapshot| snapshot.state = State::Unknown;
    let nothing = |_: &mut Snapshot| {};
    let stuck = |snapshot: &mut Snapshot| {
        failed(snapshot);
        pinned(OLD)(snapshot);
    };
    let held = |snapshot: &mut Snapshot| {
        pinned(OLD)(snapshot);
        paused(snapshot);
    };
    // State, model, the newest, NEW asked for, words of the first.
    let table: Vec<(&str, Model, Kind, Kind, &str)> = vec![
        ("in sync", one(NEW, nothing), Kind::Live, Kind::Live, "1 of 1"),
        ("behind", one(OLD, nothing), Kind::NotLive, Kind::Unknown, "0 of 1  1 behind"),
        ("syncing, newest heard of", one(NEW, syncing), Kind::Unknown, Kind::Live, "1 of 1  1 syncing"),
        ("syncing, behind", one(OLD, syncing), Kind::NotLive, Kind::Unknown, "0 of 1  1 syncing"),
        ("paused", one(NEW, paused), Kind::Unknown, Kind::Live, "1 of 1  1 paused (59m)"),
        ("paused with news", one(OLD, paused), Kind::NotLive, Kind::NotLive, "1 paused (59m, a newer commit is known)"),
        ("pinned at head", one(NEW, pinned(NEW)), Kind::Live, Kind::Live, "1 of 1"),
        ("pinned elsewhere", one(OLD, pinned(OLD)), Kind::NotLive, Kind::NotLive, "1 pinned at 41d07be"),
        ("failed", one(NEW, failed), Kind::Unknown, Kind::Live, "1 of 1  1 failed"),
        ("failed and behind", one(OLD, failed), Kind::NotLive, Kind::NotLive, "0 of 1  1 failed"),
        ("failed and pinned elsewhere", one(OLD, stuck), Kind::NotLive, Kind::NotLive, "1 failed, pinned at 41d07be"),
        (
            "paused and pinned elsewhere",
            one(OLD, held),
            Kind::NotLive,
            Kind::NotLive,
            "0 of 1  1 paused (59m), pinned at 41d07be",
        ),
        ("starting", one(OLD, empty), Kind::NotLive, Kind::NotLive, "0 of 1  1 starting"),
        ("a state of a newer release", one(NEW, strange), Kind::Unknown, Kind::Live, "1 cannot say"),
    ];
    for (name, model, newest, asked, expected) in table {
        let (kind, line) = judged(&model, None);
        assert_eq!(kind, newest, "{name}: {line}");
        assert!(line.contains(expected), "{name}: {line}");
        let (kind, line) = judged(&model, Some(NEW));
        assert_eq!(kind, asked, "{name}, with --commit: {line}");
        assert!(line.contains(NEW), "{name}, with --commit: {line}");
    }
}

#[test]
fn a_pin_is_named_also_where_syncs_fail() {
    let failed = |pinned: Option<&str>| Why::Failed {
        times: 4,
        message: "Connection refused".to_owned(),
        pinned: pinned.map(str::to_owned),
    };
    assert_eq!(words::sentence(&failed(None)), "the last 4 syncs failed: Connection refused");
    let held = words::sentence(&failed(Some(&sha(OLD))));
    assert_eq!(held, "pinned at 41d07be, and the last 4 syncs failed: Connection refused");
}

#[test]
fn a_pin_is_named_also_where_syncs_are_paused() {
    let paused = |pinned: Option<&str>| Why::Paused {
        left: Some(SignedDuration::from_mins(59)),
        by: Some("ada".to_owned()),
        news: true,
        pinned: pinned.map(str::to_owned),
    };
    assert_eq!(words::sentence(&paused(None)), "paused by ada, 59m left: a newer commit is known");
    let held = words::sentence(&paused(Some(&sha(OLD))));
    assert_eq!(held, "paused by ada, 59m left, and pinned at 41d07be: a newer commit is known");
}

#[test]
fn before_a_replica_has_looked_at_its_remote_a_pin_is_named_and_nothing_is_claimed() {
    let blind = |change: &dyn Fn(&mut Snapshot)| {
        let mut model = one(OLD, |_| {});
        let mut snapshot = model.pods[0].snapshot.as_deref().unwrap().clone();
        snapshot.head = None;
        change(&mut snapshot);
        tell(&mut model, "web-1", News::Snapshot(Box::new(snapshot)));
        judged(&model, None)
    };
    let pinned = |snapshot: &mut Snapshot| snapshot.pinned = Some(sha(OLD));
    let expected = "UNKNOWN  the newest commit is not known yet  0 of 1  1 pinned at 41d07be";
    assert_eq!(blind(&pinned), (Kind::Unknown, expected.to_owned()));
    let (kind, line) = blind(&|_| {});
    assert_eq!((kind, line.contains("0 of 1  1 cannot say")), (Kind::Unknown, true), "{line}");
    let failing = |snapshot: &mut Snapshot| {
        (snapshot.published, snapshot.failures_in_row) = (None, 3);
        snapshot.last_error = Some(sample::error());
    };
    let (kind, line) = blind(&failing);
    assert_eq!((kind, line.contains("0 of 1  1 failed")), (Kind::NotLive, true), "{line}");
    let (kind, line) = blind(&|snapshot| snapshot.published = None);
    assert_eq!((kind, line.contains("0 of 1  1 starting")), (Kind::NotLive, true), "{line}");
}

#[test]
fn a_replica_that_is_not_there_now_is_never_green() {
    let mut model = one(NEW, |_| {});
    let problem = Problem::new("nothing answers");
    tell(&mut model, "web-1", News::Lost { problem, attempt: 1, retry_in: Duration::from_secs(1) });
    assert_eq!(judged(&model, None).0, Kind::Unreachable);
    assert_eq!(judged(&model, Some(NEW)).0, Kind::Unreachable);
    // While it is connected again, the old snapshot is still old.
    tell(&mut model, "web-1", News::Connecting);
    assert_eq!(judged(&model, None).0, Kind::Unreachable);
    assert_eq!(judged(&sample::empty_model(), None).0, Kind::Unreachable);

    let mut two = sample::model_of(&["web-1", "web-2"]);
    tell(&mut two, "web-1", News::Snapshot(Box::new(sample::snapshot("web-1", NEW, Vec::new()))));
    let (kind, line) = judged(&two, None);
    assert_eq!((kind, line.contains("1 of 2  1 without an answer yet")), (Kind::Unknown, true), "{line}");
    let starting = Found { presence: Presence::NotReady("ImagePullBackOff".into()), ..sample::found("web-3") };
    let found = vec![sample::found("web-1"), sample::found("web-2"), starting];
    let _ = update(&mut two, now(), Msg::Pods(Ok(found)));
    let (kind, line) = judged(&two, None);
    assert_eq!((kind, line.contains("1 not ready (ImagePullBackOff)")), (Kind::NotLive, true), "{line}");
}

#[test]
fn repositories_and_refs_are_judged_apart() {
    let mut model = sample::model_of(&["web-1", "web-2", "web-3"]);
    for (name, reference, published, head) in
        [("web-1", "main", NEW, NEW), ("web-2", "main", NEW, NEW), ("web-3", "next", OLD, "abcdef0")]
    {
        let mut snapshot = sample::snapshot(name, published, Vec::new());
        snapshot.reference = reference.to_owned();
        snapshot.head = Some(Head { commit: sha(head), seen_at: ago(10) });
        tell(&mut model, name, News::Snapshot(Box::new(snapshot)));
    }
    let verdict = verdict::judge(&model);
    assert_eq!(verdict.kind(), Kind::NotLive);
    let groups: Vec<_> = verdict.groups.iter().map(|group| (group.kind(), group.live, group.total)).collect();
    assert_eq!(groups, [(Kind::Live, 2, 2), (Kind::NotLive, 0, 1)]);
    assert!(words::line(&verdict).contains("1 of 2 repositories and refs"), "{}", words::line(&verdict));
    assert!(words::group_line(&verdict.groups[1]).contains("@ next: NOT LIVE EVERYWHERE  abcdef0  0 of 1"));
    // The other group has green replicas, but a question about everything is not green.
    assert_ne!(judged(&model, Some(NEW)).0, Kind::Live);
}

#[test]
fn what_was_just_published_is_the_newest_until_the_state_says_so() {
    let mut model = one(OLD, |snapshot| snapshot.head = Some(Head { commit: sha(OLD), seen_at: ago(500) }));
    assert_eq!(judged(&model, None).0, Kind::Live);
    let record = sample::record(500, 0, OLD, "feedbee", "Just now");
    tell(&mut model, "web-1", News::Event(pushsync::api::Event::SyncFinished(Box::new(record))));
    let (kind, line) = judged(&model, Some("feedbee"));
    assert_eq!(kind, Kind::Live, "{line}");
    let verdict = verdict::judge(&model);
    let mut out = Vec::new();
    pushsync::dashboard::plain::table::table(&model, &verdict, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("head feedbee Just now (live on 1 of 1)") && !out.contains("behind"), "{out}");
    let pod = model.pod(&PodId::new("web-1")).unwrap();
    assert!(pushsync::dashboard::fleet::has_newest(&model, pod));
}

#[test]
fn an_announced_commit_is_the_newest_and_no_replica_has_it() {
    for (state, paused) in [(State::Paused, true), (State::Behind, false)] {
        let model = one(NEW, |snapshot| {
            snapshot.state = state;
            snapshot.paused_until = paused.then(|| now() + SignedDuration::from_mins(59));
            snapshot.paused_by = paused.then(|| "ada@laptop".to_owned());
            let source = TriggerKind::Webhook;
            snapshot.announced = Some(Announcement { commit: sha("abcdef0"), seen_at: ago(3), delivery: None, source });
        });
        let (kind, line) = judged(&model, None);
        assert_eq!(kind, Kind::NotLive, "{line}");
        assert!(line.contains("abcdef0 (announced by a webhook, not seen yet)  0 of 1"), "{line}");
        let pod = model.pod(&PodId::new("web-1")).unwrap();
        assert!(pushsync::dashboard::fleet::lag(&model, pod).is_some(), "LAG is not 0");
        if paused {
            let lines = words::lacking(&verdict::judge(&model)).join("\n");
            assert!(lines.contains("not on web-1: paused by ada@laptop, 59m left: a newer commit is known"), "{lines}");
        }
    }
}

/// A replica that publishes [`NEW`] and was asked about [`OLD`], with its answer.
fn answered(how: CommitHow, live: bool) -> Model {
    let mut model = sample::model_of(&["web-1"]);
    model.setup.commit = Some(OLD.to_owned());
    let snapshot = Box::new(sample::snapshot("web-1", NEW, Vec::new()));
    let effects = update(&mut model, now(), Msg::Link(PodId::new("web-1"), News::Snapshot(snapshot)));
    let order = Effect::Order(PodId::new("web-1"), Order::Commit(OLD.to_owned()));
    assert!(effects.contains(&order), "it is asked: {effects:?}");
    assert_eq!(verdict::judge(&model).kind(), Kind::Unknown, "until the answer is here");
    let status = CommitStatus {
        schema: 1,
        now: now(),
        commit: sha(OLD),
        live,
        contained: Some(live),
        how,
        last_published_at: None,
        replaced_at: None,
        published: Some(sha(NEW)),
    };
    tell(&mut model, "web-1", News::Commit(Ok(Box::new(status))));
    model
}

#[test]
fn what_contains_the_commit_is_asked_of_the_replica() {
    let table = [
        (CommitHow::Contained, true, Kind::Live, "1 of 1"),
        (CommitHow::ForcePushedAway, false, Kind::NotLive, "41d07be was taken back by a force push"),
        (CommitHow::Replaced, false, Kind::NotLive, "41d07be was replaced by a commit that does not contain it"),
        (CommitHow::NotPublished, false, Kind::NotLive, "1 behind"),
        (CommitHow::NeverSeen, false, Kind::NotLive, "1 never saw it"),
        (CommitHow::Unknown, false, Kind::Unknown, "1 cannot say"),
    ];
    for (how, live, kind, says) in table {
        let model = answered(how, live);
        let verdict = verdict::judge(&model);
        let line = words::line(&verdict);
        assert_eq!(verdict.kind(), kind, "{how}: {line}");
        assert!(line.contains(says) && line.contains(OLD), "{how}: {line}");
    }
    // An answer holds for what was published then.
    let mut model = answered(CommitHow::Contained, true);
    let record = sample::record(500, 0, NEW, "feedbee", "Forced");
    tell(&mut model, "web-1", News::Event(Event::SyncFinished(Box::new(record))));
    assert_eq!(verdict::judge(&model).kind(), Kind::Unknown);
    // A sidecar of an older release has no answer.
    let mut model = answered(CommitHow::Unknown, false);
    tell(&mut model, "web-1", News::Commit(Err(Problem::new("older release"))));
    assert_eq!(verdict::judge(&model).kind(), Kind::Unknown);
}
