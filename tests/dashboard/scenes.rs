//! The situations that people meet, at four sizes, and the pictures of them in the documentation.

use jiff::SignedDuration;
use pushsync::api::{Announcement, Head, MissedPush, Outcome, Phase, Running, State, Trigger, TriggerKind};
use pushsync::dashboard::message::{Msg, News};
use pushsync::dashboard::model::{Model, PodId, Problem};
use pushsync::dashboard::theme::{Role, Theme};
use pushsync::dashboard::update::update;
use ratatui::style::Modifier;
use std::time::Duration;

use super::keyboard::press;
use super::sample::{self, ago, at_home, fleet, model_of, record, sha, snapshot, tell};
use super::screens::{SCENES, snapshots_at};

const NAMES: [&str; 8] = [
    "web-6f9c-4kq2x",
    "web-6f9c-8d7vm",
    "web-6f9c-p2lzn",
    "web-6f9c-zz81t",
    "web-6f9c-9x2mm",
    "web-6f9c-c7f3d",
    "web-6f9c-h5k8w",
    "web-6f9c-m1n6b",
];
const SUBJECT: &str = "Rework the checkout page";

/// What one replica says after a push that reached the first by webhook and the others by peer messages.
fn live(index: usize, name: &str) -> pushsync::api::Snapshot {
    let mut newest = record(411, 38, "41d07be", "475b7a7", SUBJECT);
    newest.received_to_published_ms = Some(88 + 32 * index as u64);
    if index > 0 {
        newest.trigger = Trigger { kind: TriggerKind::Peer, ..Trigger::default() };
    }
    let mut older = sample::older();
    for (record, took) in older.iter_mut().zip([80, 120, 95]) {
        record.received_to_published_ms = record.received_to_published_ms.map(|_| took + index as u64);
    }
    let mut snapshot = snapshot(name, "475b7a7", std::iter::once(newest).chain(older).collect());
    snapshot.head = Some(Head { commit: sha("475b7a7"), seen_at: ago(38) });
    if index > 0 {
        snapshot.webhook.last_delivery_at = None;
        snapshot.webhook.day.received = 0;
    }
    snapshot
}

fn show(model: &mut Model, name: &str, snapshot: pushsync::api::Snapshot) {
    tell(model, name, News::Snapshot(Box::new(snapshot)));
}

/// Eight replicas that publish the newest commit.
pub fn healthy() -> Model {
    let mut model = model_of(&NAMES);
    for (index, name) in NAMES.iter().enumerate() {
        show(&mut model, name, live(index, name));
    }
    at_home(model)
}

/// A push that is live on five and still runs on three.
pub fn arriving() -> Model {
    let mut model = healthy();
    for (index, name) in NAMES.iter().enumerate() {
        let mut next = live(index, name);
        next.head = Some(Head { commit: sha("de93cb7"), seen_at: ago(1) });
        if index < 5 {
            let mut newest = record(412, 0, "475b7a7", "de93cb7", "Fix pricing table on mobile");
            newest.received_to_published_ms = Some(95 + 20 * index as u64);
            if index > 0 {
                newest.trigger = Trigger { kind: TriggerKind::Peer, ..Trigger::default() };
            }
            next.published.as_mut().unwrap().commit = sha("de93cb7");
            "Fix pricing table on mobile".clone_into(&mut next.published.as_mut().unwrap().subject);
            next.recent.insert(0, newest);
        } else {
            next.state = State::Syncing;
            let phase = if index == 7 { Phase::Build } else { Phase::Fetch };
            let started_at = ago(1);
            next.running = Some(Running { id: "412".to_owned(), trigger: TriggerKind::Peer, phase, started_at });
        }
        show(&mut model, name, next);
    }
    model
}

/// One replica whose disk is full.
pub fn failing() -> Model {
    let mut model = healthy();
    let mut broken = live(3, NAMES[3]);
    broken.recent[0] = sample::failed(411, 38, "41d07be", "475b7a7");
    broken.published.as_mut().unwrap().commit = sha("41d07be");
    broken.state = State::Failed;
    broken.failures_in_row = 3;
    broken.last_error = Some(sample::error());
    show(&mut model, NAMES[3], broken);
    model
}

/// Two replicas are paused, and one of them knows that there is something newer.
pub fn paused() -> Model {
    let mut model = healthy();
    for (index, announced) in [(2, true), (5, false)] {
        let mut held = live(index, NAMES[index]);
        held.state = State::Paused;
        held.paused_until = Some(ago(-3540));
        held.paused_by = Some("ada@laptop".to_owned());
        if announced {
            let commit = sha("ab12cd3");
            let seen_at = ago(4);
            held.announced = Some(Announcement { commit, seen_at, delivery: None, source: TriggerKind::Webhook });
        }
        show(&mut model, NAMES[index], held);
    }
    model
}

/// A rollback of two replicas, one of which fails as well.
pub fn pinned() -> Model {
    let mut model = healthy();
    for index in [1, 6] {
        let mut held = live(index, NAMES[index]);
        let mut back = record(413, 12, "475b7a7", "41d07be", "Bump node to 24.3");
        back.trigger = Trigger {
            kind: TriggerKind::Manual,
            action: Some(pushsync::api::Action::Rollback),
            by: Some("ada@laptop".to_owned()),
            ..Trigger::default()
        };
        back.received_to_published_ms = None;
        held.recent.insert(0, back);
        let published = held.published.as_mut().unwrap();
        (published.commit, published.subject) = (sha("41d07be"), "Bump node to 24.3".to_owned());
        held.state = State::Pinned;
        held.pinned = Some(sha("41d07be"));
        held.pinned_by = Some("ada@laptop".to_owned());
        if index == 6 {
            held.state = State::Failed;
            held.failures_in_row = 2;
            held.last_error = Some(sample::error());
        }
        show(&mut model, NAMES[index], held);
    }
    model
}

/// The last two commits came by poll.
pub fn missed() -> Model {
    let mut model = model_of(&NAMES);
    for (index, name) in NAMES.iter().enumerate() {
        let mut late = live(index, name);
        let commits = [(0, "475b7a7", 38), (1, "41d07be", 7_860)];
        for (at, commit, seconds) in commits {
            late.recent[at].trigger = Trigger { kind: TriggerKind::Poll, ..Trigger::default() };
            late.recent[at].missed_webhook = true;
            late.recent[at].received_to_published_ms = None;
            let found_at = ago(seconds);
            late.webhook.missed_pushes.push(MissedPush { commit: sha(commit), found_at });
        }
        late.webhook.last_delivery_at = (index == 0).then(|| ago(10_920));
        show(&mut model, name, late);
    }
    at_home(model)
}

/// Deliveries with a bad signature, a moment ago.
pub fn refused() -> Model {
    let mut model = healthy();
    let mut webhook = live(0, NAMES[0]).webhook;
    webhook.bad_signature += 3;
    webhook.day.bad_signature += 3;
    tell(&mut model, NAMES[0], News::Event(pushsync::api::Event::Delivery(webhook)));
    model
}

/// No replica is reachable any more.
pub fn lost() -> Model {
    let mut model = healthy();
    let problem = Problem::new("kubectl: error: You must be logged in to the server (Unauthorized)").hint(
        "your cluster login expired. Run `kubectl get pods` in another terminal to log in again; this reconnects by itself (r = now)",
    );
    let later = sample::now() + SignedDuration::from_secs(72);
    let _ = update(&mut model, later, Msg::Tick);
    for name in NAMES {
        let lost = News::Lost { problem: problem.clone(), attempt: 6, retry_in: Duration::from_secs(4) };
        tell(&mut model, name, lost);
    }
    model
}

/// Fifty replicas, twelve links: 45 have answered, two of them not with the newest.
pub fn fifty() -> Model {
    let names: Vec<String> = (0..50).map(|index| format!("web-7d4b9-{index:02}")).collect();
    let mut model = sample::empty_model();
    model.setup.max_links = usize::MAX;
    let found = names.iter().map(|name| sample::found(name)).collect();
    let _ = update(&mut model, sample::now(), Msg::Pods(Ok(found)));
    for (index, name) in names.iter().enumerate().take(45) {
        let mut next = live(index.min(7), name);
        if index == 17 || index == 31 {
            next.recent.remove(0);
            next.published.as_mut().unwrap().commit = sha("41d07be");
        }
        show(&mut model, name, next);
    }
    at_home(model)
}

/// Two repositories, one of them on two refs.
pub fn several() -> Model {
    let mut model = model_of(&NAMES);
    for (index, name) in NAMES.iter().enumerate() {
        let mut next = live(index, name);
        match index {
            0..=3 => {}
            4 | 5 => "next".clone_into(&mut next.reference),
            _ => "https://github.com/acme/docs.git".clone_into(&mut next.repo),
        }
        if index == 7 {
            next.recent.remove(0);
            next.published.as_mut().unwrap().commit = sha("41d07be");
        }
        show(&mut model, name, next);
    }
    at_home(model)
}

/// All scenes with their names.
pub fn all() -> Vec<(&'static str, Model)> {
    let mut commit = failing();
    press(&mut commit, "<Enter>");
    let detail = pushsync::api::SyncDetail {
        schema: 1,
        record: sample::failed(411, 38, "41d07be", "475b7a7"),
        detail: sample::detail(),
    };
    tell(&mut commit, NAMES[3], News::Detail("411".to_owned(), Ok(Box::new(detail))));
    let mut diffstat = commit.clone();
    press(&mut diffstat, "D");
    let mut replicas = fleet();
    press(&mut replicas, "2");
    let mut asked = healthy();
    press(&mut asked, "/41d07be<Enter>");
    let mut rollback = healthy();
    press(&mut rollback, "jB41d0");
    let mut palette = failing();
    press(&mut palette, ":pa");
    let mut forge = healthy();
    press(&mut forge, "o");
    vec![
        ("scene_healthy", healthy()),
        ("scene_arriving", arriving()),
        ("scene_failing", failing()),
        ("scene_paused", paused()),
        ("scene_pinned", pinned()),
        ("scene_missed", missed()),
        ("scene_refused", refused()),
        ("scene_lost", lost()),
        ("scene_fifty", fifty()),
        ("scene_several", several()),
        ("scene_commit", commit),
        ("scene_diffstat", diffstat),
        ("scene_asked", asked),
        ("scene_rollback", rollback),
        ("scene_palette", palette),
        ("scene_forge", forge),
    ]
}

#[test]
fn every_scene_at_four_sizes() {
    for (name, model) in all() {
        snapshots_at(name, model, &SCENES);
    }
}

/// The order of the replicas is that inside each repository, and the list says so.
#[test]
fn the_order_of_replicas_of_several_repositories_is_said() {
    let mut model = several();
    press(&mut model, "2");
    for (width, height) in SCENES {
        let now = model.now;
        let _ = update(&mut model, now, Msg::Resize(width, height));
        let buffer = super::screens::render(&model, &Theme::new(true, false), width, height);
        let text: String = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
        assert!(text.contains("by repository, worst first"), "{width}x{height}: {text}");
    }
}

/// Old data keeps its words and loses its colors, in each list.
#[test]
fn without_a_link_no_list_has_colors() {
    let theme = Theme::new(true, false);
    let dim = theme.style(Role::Dim);
    for keys in ["", "2", "2<Tab>", "2<Enter>"] {
        let mut seen = 0;
        for (width, height) in SCENES {
            let mut model = lost();
            let now = model.now;
            let _ = update(&mut model, now, Msg::Resize(width, height));
            press(&mut model, keys);
            let buffer = super::screens::render(&model, &theme, width, height);
            let row = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
            let selected = |y: u16| buffer[(0, y)].modifier.contains(Modifier::REVERSED);
            let subject = |y: u16| ["Rework", "Bump node"].iter().any(|subject| row(y).contains(subject));
            for y in (4..height).filter(|y| subject(*y) && !selected(*y)) {
                seen += 1;
                for x in 1..width {
                    let cell = &buffer[(x, y)];
                    let same = cell.fg == dim.fg.unwrap_or_default() && cell.modifier == dim.add_modifier;
                    assert!(cell.symbol() == " " || same, "{keys} at {width}x{height}: {}", row(y));
                }
            }
        }
        assert!(seen > 3, "{keys}: {seen}");
    }
}

/// Cut texts end with one sign: `…`, and `..` on a screen in ASCII.
#[test]
fn cut_texts_end_with_one_kind_of_ellipsis() {
    let theme = Theme::new(true, false);
    for (name, mut model) in all() {
        for (width, height) in SCENES.into_iter().chain([(72, 18), (48, 14)]) {
            let now = model.now;
            let _ = update(&mut model, now, Msg::Resize(width, height));
            let buffer = super::screens::render(&model, &theme, width, height);
            let text: String = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
            assert!(!text.contains(".."), "{name} at {width}x{height}: {text}");
        }
    }
}

/// In a column that takes the room of the subjects, the first trigger is left out before the user of a rollback.
#[test]
fn who_rolled_back_leaves_room_for_the_subject() {
    let subject = "Bump node to 24.3 and the image to bookworm";
    let mut model = pinned();
    let older = model.commit_rows.iter_mut().find(|row| row.commit == sha("41d07be")).unwrap();
    older.subject = Some(subject.to_owned());
    let buffer = super::screens::render(&model, &Theme::new(true, false), 120, 32);
    let row = |y| (0..120).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    let row = (0..32).map(row).find(|row| row.starts_with(" 41d07be  ")).unwrap();
    assert!(row.contains(&subject[..30]), "{row}");
    assert!(row.contains("rollback by ada@laptop"), "{row}");
}

/// A pause and a pin are said on every screen, also while the replica fails.
#[test]
fn pauses_and_pins_are_told_on_every_screen_whatever_else_is_wrong() {
    let theme = Theme::new(true, false);
    for (model, words) in [(pinned(), "pinned at 41d07be"), (paused(), "paused 59m")] {
        for keys in ["", "<Enter>", "2", "2<Enter>", "2<Enter><Enter>", "3", "2L"] {
            for (width, height) in SCENES {
                let mut model = model.clone();
                let now = model.now;
                let _ = update(&mut model, now, Msg::Resize(width, height));
                press(&mut model, keys);
                let buffer = super::screens::render(&model, &theme, width, height);
                let text: String = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
                assert!(text.contains(words), "{keys} at {width}x{height}: {text}");
            }
        }
    }
    let failing = pinned();
    let pod = failing.pod(&PodId::new(NAMES[6])).unwrap();
    assert_eq!(pod.records.iter().filter(|record| record.outcome == Outcome::Failed).count(), 0);
}
