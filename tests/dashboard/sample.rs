//! Records, snapshots and models with fixed ids and times, for screens and servers of tests.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use pushsync::api::{
    Change, Commit, Commits, Detail, ErrorInfo, FileChange, Files, Head, LogLine, Outcome, Phase, Phases, Poll,
    Published, Record, Replica, SCHEMA, Snapshot, State, Trigger, TriggerKind, Webhook,
};
use pushsync::dashboard::message::{Msg, News};
use pushsync::dashboard::model::{Found, Model, PodId, Presence, Setup, View};
use pushsync::dashboard::update::{settle, update};

/// 2026-11-22 12:04:31 UTC: the moment at which every screen is looked at.
pub fn now() -> Timestamp {
    "2026-11-22T12:04:31Z".parse().unwrap()
}

pub fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

/// A full hash that begins with the given digits.
pub fn sha(short: &str) -> String {
    format!("{short:0<40}")
}

pub fn record(id: u32, seconds_ago: i64, old: &str, new: &str, subject: &str) -> Record {
    let finished_at = ago(seconds_ago);
    Record {
        schema: SCHEMA,
        id: id.to_string(),
        started_at: finished_at - SignedDuration::from_millis(1900),
        finished_at,
        trigger: Trigger {
            kind: TriggerKind::Webhook,
            delivery: Some("7f1c9a60-5d1e-11f1-8b2e-3f2a9b1c77d0".to_owned()),
            event: Some("push".to_owned()),
            secret: Some("current".to_owned()),
            redelivered: false,
            merged: 1,
            action: None,
            by: None,
        },
        old: Some(sha(old)),
        new: Some(sha(new)),
        outcome: Outcome::Published,
        commits: Some(Commits { count: Some(1), subject: subject.to_owned(), author: "author 1".to_owned() }),
        files: Some(Files { added: 2, modified: 3, deleted: 1 }),
        bytes: Some(482_911),
        objects: Some(31),
        phases: Phases {
            queue_ms: Some(4),
            fetch_ms: Some(907),
            build_ms: Some(880),
            gate_ms: None,
            publish_ms: Some(9),
        },
        received_to_published_ms: Some(1900),
        held_ms: None,
        chased: 0,
        missed_webhook: false,
        ignored_webhook: None,
        rewritten: false,
        fast_forward: None,
        pinned: None,
        withheld: None,
        peers: Vec::new(),
        error: None,
    }
}

pub fn failed(id: u32, seconds_ago: i64, old: &str, new: &str) -> Record {
    Record {
        outcome: Outcome::Failed,
        commits: None,
        files: None,
        phases: Phases { queue_ms: Some(0), fetch_ms: Some(307), build_ms: Some(61), gate_ms: None, publish_ms: None },
        received_to_published_ms: None,
        error: Some(error()),
        ..record(id, seconds_ago, old, new, "")
    }
}

pub fn error() -> ErrorInfo {
    ErrorInfo {
        phase: Phase::Build,
        kind: "disk_full".to_owned(),
        message: "cannot write assets/hero@2x.png: no space left on device (os error 28): checkout of 9f3c2ab into \
                  .worktrees failed after 211 of 240 files"
            .to_owned(),
        hint: Some(
            "The volume is full; the old commit stays published. Free space or enlarge the emptyDir; it retries by itself."
                .to_owned(),
        ),
    }
}

pub fn detail() -> Detail {
    let file = |path: &str, change: Change| FileChange { path: path.to_owned(), change };
    let line = |millis: i64, level: &str, message: &str| LogLine {
        at: ago(38) + SignedDuration::from_millis(millis),
        level: level.to_owned(),
        message: message.to_owned(),
    };
    Detail {
        commits: vec![Commit {
            commit: sha("9f3c2ab"),
            subject: "Fix pricing table on mobile".to_owned(),
            author: "author 1".to_owned(),
            committed_at: Some(ago(180)),
        }],
        files: vec![
            file("assets/hero@2x.png", Change::Added),
            file("assets/hero.webp", Change::Added),
            file("css/pricing.css", Change::Modified),
            file("pages/pricing.html", Change::Modified),
            file("pages/index.html", Change::Modified),
            file("assets/hero.png", Change::Deleted),
        ],
        files_total: 6,
        log: vec![
            line(214, "INFO", "webhook accepted delivery.id=7f1c9a60 ref=refs/heads/main"),
            line(221, "INFO", "fetch new=9f3c2ab objects=31 bytes=482911 duration_ms=307"),
            line(588, "ERROR", "checkout failed error=\"no space left on device\" retry_in_ms=60000"),
        ],
    }
}

pub fn snapshot(name: &str, published: &str, recent: Vec<Record>) -> Snapshot {
    let subject = recent.iter().find_map(|record| record.commits.as_ref()).map(|it| it.subject.clone());
    Snapshot {
        schema: SCHEMA,
        now: now(),
        replica: Replica { name: name.to_owned(), version: "0.1.0".to_owned(), started_at: ago(300_000) },
        repo: "https://github.com/acme/site.git".to_owned(),
        reference: "main".to_owned(),
        published: Some(Published {
            commit: sha(published),
            subject: subject.unwrap_or_default(),
            author: "author 1".to_owned(),
            committed_at: Some(ago(180)),
            published_at: recent.iter().find(|it| it.outcome == Outcome::Published).map(|it| it.finished_at),
        }),
        head: Some(Head { commit: sha("9f3c2ab"), seen_at: ago(39) }),
        announced: None,
        state: State::InSync,
        running: None,
        failures_in_row: 0,
        last_error: None,
        webhook: Webhook {
            enabled: true,
            last_delivery_at: Some(ago(38)),
            last_event: Some("push".to_owned()),
            last_result: Some("queued".to_owned()),
            last: None,
            received: 40,
            bad_signature: 0,
            missed: 0,
            missed_pushes: Vec::new(),
            day: pushsync::api::DayCounts { received: 17, bad_signature: 0, missed: 0 },
        },
        poll: Poll { period_ms: 60_000, last_at: Some(ago(12)), next_at: Some(ago(-48)), unchanged: 90 },
        paused_until: None,
        paused_by: None,
        pinned: None,
        pinned_by: None,
        peers: Some(true),
        standby: None,
        recent,
        history: pushsync::api::HistoryState::default(),
        seq: 100,
    }
}

pub fn setup() -> Setup {
    Setup {
        subject: "prod/web".to_owned(),
        read_only: false,
        max_links: 12,
        longest_visit: SignedDuration::from_secs(10),
        commit: None,
        kubernetes: true,
        by_address: false,
    }
}

pub fn empty_model() -> Model {
    let mut model = home();
    model.view = View::Fleet;
    model.trail = vec![View::Commits];
    model
}

/// A model at its first screen.
pub fn home() -> Model {
    Model::new(setup(), now(), TimeZone::fixed(jiff::tz::offset(2)))
}

/// Shows the first screen of a model.
pub fn at_home(mut model: Model) -> Model {
    model.view = View::Commits;
    model.trail.clear();
    model
}

pub fn found(name: &str) -> Found {
    Found {
        id: PodId::new(name),
        name: name.to_owned(),
        namespace: Some("prod".to_owned()),
        presence: Presence::Running,
        container: None,
        advice: None,
        sidecar: Some("poll".to_owned()),
    }
}

pub fn tell(model: &mut Model, pod: &str, news: News) {
    let now = model.now;
    let _ = update(model, now, Msg::Link(PodId::new(pod), news));
    let _ = settle(model);
}

/// Replicas with these names, all being connected.
pub fn model_of(names: &[&str]) -> Model {
    let mut model = empty_model();
    let _ = update(&mut model, now(), Msg::Pods(Ok(names.iter().map(|name| found(name)).collect())));
    model.events.clear();
    model
}

pub const OLDER: [(u32, i64, &str, &str, &str); 3] = [
    (410, 7_860, "c0ffee1", "41d07be", "Bump node to 24.3"),
    (409, 10_920, "77aa120", "c0ffee1", "Add robots.txt"),
    (408, 20_400, "9d00f3e", "77aa120", "Revert \"New hero image\""),
];

pub fn older() -> Vec<Record> {
    let mut records: Vec<Record> =
        OLDER.iter().map(|&(id, at, old, new, subject)| record(id, at, old, new, subject)).collect();
    records[1].trigger = Trigger { kind: TriggerKind::Poll, ..Trigger::default() };
    records[1].missed_webhook = true;
    records[1].received_to_published_ms = None;
    records[2].trigger = Trigger { kind: TriggerKind::Manual, ..Trigger::default() };
    records
}

fn with(first: Record) -> Vec<Record> {
    std::iter::once(first).chain(older()).collect()
}

/// The fleet of DASHBOARD.md: one failed, one syncing, two in sync.
pub fn fleet() -> Model {
    let names = ["web-6f9c-zz81t", "web-6f9c-p2lzn", "web-6f9c-4kq2x", "web-6f9c-8d7vm"];
    let mut model = model_of(&names);
    let subject = "Fix pricing table on mobile";
    let mut broken = snapshot(names[0], "41d07be", with(failed(412, 38, "41d07be", "9f3c2ab")));
    broken.state = State::Failed;
    broken.failures_in_row = 3;
    broken.last_error = Some(error());
    let mut busy = snapshot(names[1], "41d07be", older());
    busy.state = State::Syncing;
    busy.running = Some(pushsync::api::Running {
        id: "413".to_owned(),
        trigger: TriggerKind::Webhook,
        phase: Phase::Fetch,
        started_at: ago(9),
    });
    busy.webhook.day.missed = 1;
    let good = snapshot(names[2], "9f3c2ab", with(record(411, 38, "41d07be", "9f3c2ab", subject)));
    let mut rung = record(411, 37, "41d07be", "9f3c2ab", subject);
    rung.trigger = Trigger { kind: TriggerKind::Peer, ..Trigger::default() };
    rung.received_to_published_ms = Some(2200);
    let mut peer = snapshot(names[3], "9f3c2ab", with(rung));
    peer.webhook.last_delivery_at = None;
    for (name, snapshot) in names.into_iter().zip([broken, busy, good, peer]) {
        tell(&mut model, name, News::Snapshot(Box::new(snapshot)));
    }
    model
}
