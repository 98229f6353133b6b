//! Tables of (model, message) -> effects, and what the model remembers.

use std::time::Duration;

use jiff::SignedDuration;
use pushsync::api::{Accepted, Event, Refusal, State};
use pushsync::dashboard::fleet as facts;
use pushsync::dashboard::message::{Change, Effect, Msg, News, Order};
use pushsync::dashboard::model::{Found, Link, Model, PodId, Presence, Problem, View};
use pushsync::dashboard::update::update;

use super::keyboard::{press, selected};
use super::sample::{self, ago, fleet, found, model_of, now, record, sha, snapshot, tell};

const BROKEN: &str = "web-6f9c-zz81t";
const BUSY: &str = "web-6f9c-p2lzn";
const GOOD: &str = "web-6f9c-4kq2x";

fn order(pod: &str, order: Order) -> Effect {
    Effect::Order(PodId::new(pod), order)
}

fn change(pod: &str, change: Change) -> Effect {
    order(pod, Order::Change(change))
}

/// Each key sequence in a fresh fleet, and what it asks of the outside.
#[test]
fn keys_and_their_effects() {
    let pin = || Change::Pin { commit: sha("c0ffee1") };
    let table: Vec<(&str, Vec<Effect>)> = vec![
        ("q", vec![Effect::Quit]),
        ("?q", vec![]),
        ("?qq", vec![Effect::Quit]),
        ("jkgGtw31?x", vec![]),
        ("S", vec![change(BROKEN, Change::Sync)]),
        ("jS", vec![change(BUSY, Change::Sync)]),
        ("A<Enter>", vec![]),
        ("A<Esc>", vec![]),
        ("An", vec![]),
        ("jP<Enter>", vec![]),
        ("jP<Tab><Enter>", vec![change(BUSY, Change::Pause { minutes: 60 })]),
        ("jPlly", vec![change(BUSY, Change::Pause { minutes: 240 })]),
        ("jPhhhhy", vec![change(BUSY, Change::Pause { minutes: 15 })]),
        // Not pinned: nothing to unpin.
        ("U", vec![]),
        // The sync of the second row failed and began from what is still live: the commit before it is offered. Half a sha
        // confirms nothing.
        ("<Tab>jBc0ff<Enter>", vec![]),
        ("<Tab>jBc0ffee1<Enter>", vec![change(BROKEN, pin())]),
        ("<Tab>jBc0ffee2<Enter>", vec![]),
        ("<Tab>jBc0ffee2<Backspace>1<Enter>", vec![change(BROKEN, pin())]),
        // The selected replica's newest sync is opened and its details asked for, once.
        (
            "<Enter><Enter>",
            vec![order(BROKEN, Order::Page { before: Some("408".into()) }), order(BROKEN, Order::Detail("412".into()))],
        ),
        ("<Enter>", vec![order(BROKEN, Order::Page { before: Some("408".into()) })]),
        ("<Tab><Enter><Esc><Enter>", vec![order("web-6f9c-8d7vm", Order::Detail("411".into()))]),
        ("r", vec![Effect::ListPods]),
        ("ys", vec![Effect::Copy(sha("41d07be"))]),
        ("yx", vec![]),
        ("<Tab>ys", vec![Effect::Copy(sha("9f3c2ab"))]),
        ("<Tab>jyd", vec![Effect::Copy("7f1c9a60-5d1e-11f1-8b2e-3f2a9b1c77d0".into())]),
        // In a filter, letters are letters.
        ("/qSPB<Enter>", vec![]),
    ];
    for (keys, expected) in table {
        let mut model = fleet();
        assert_eq!(press(&mut model, keys), expected, "{keys}");
    }
}

#[test]
fn all_replicas_means_those_that_are_connected() {
    let mut model = fleet();
    let problem = Problem::new("gone");
    tell(&mut model, BUSY, News::Lost { problem, attempt: 1, retry_in: Duration::from_secs(1) });
    let mut told: Vec<Effect> = press(&mut model, "Ay");
    told.sort_by_key(|effect| format!("{effect:?}"));
    let expected = ["web-6f9c-4kq2x", "web-6f9c-8d7vm", BROKEN].map(|pod| change(pod, Change::Sync));
    assert_eq!(told, expected);
    assert!(model.events.iter().any(|entry| entry.text.contains("1 not connected and not told")));
    let widened = press(&mut fleet(), "jPAy");
    assert_eq!(widened.len(), 4);
}

#[test]
fn what_cannot_be_done_says_why() {
    let mut read_only = fleet();
    read_only.setup.read_only = true;
    let mut lost = fleet();
    tell(&mut lost, BROKEN, News::Lost { problem: Problem::new("x"), attempt: 1, retry_in: Duration::from_secs(1) });
    let mut paused = fleet();
    let mut state = snapshot(BROKEN, "41d07be", sample::older());
    state.state = State::Paused;
    state.paused_until = Some(ago(-3000));
    tell(&mut paused, BROKEN, News::Snapshot(Box::new(state)));
    paused.fleet_pod = Some(PodId::new(BROKEN));
    for (mut model, key, words) in [
        (read_only, "S", "read-only"),
        (lost, "S", "not connected"),
        (paused.clone(), "S", "resume first"),
        (fleet(), "U", "not pinned"),
    ] {
        assert_eq!(press(&mut model, key), [], "{words}");
        let flash = model.flash.map(|flash| flash.text).unwrap_or_default();
        assert!(flash.contains(words), "{flash}");
        assert!(model.dialog.is_none());
    }
    assert_eq!(press(&mut paused, "Py"), [change(BROKEN, Change::Resume)]);
}

#[test]
fn the_cursor_stays_on_its_replica_when_the_order_changes() {
    let mut model = fleet();
    press(&mut model, "jj");
    let chosen = selected(&model).unwrap();
    assert_eq!(chosen, GOOD);
    let mut bad = snapshot(GOOD, "41d07be", vec![]);
    bad.state = State::Failed;
    bad.failures_in_row = 9;
    tell(&mut model, GOOD, News::Snapshot(Box::new(bad)));
    assert_eq!(facts::worst_first(&model)[0].name, GOOD);
    assert_eq!(selected(&model).unwrap(), GOOD);
}

#[test]
fn the_cursor_stays_on_its_sync_when_newer_ones_arrive() {
    let mut model = fleet();
    press(&mut model, "<Enter>jj");
    let chosen = model.history_cursor.selected.clone().unwrap();
    for id in 500..520 {
        let finished = record(id, 1, "a", "b", "newer");
        tell(&mut model, BROKEN, News::Event(Event::SyncFinished(Box::new(finished))));
    }
    let at = facts::position(&model.history_rows, model.history_cursor.selected.as_ref());
    assert_eq!((model.history_rows[at].pod.clone(), model.history_rows[at].record.id.clone()), chosen);
    press(&mut model, "g");
    tell(&mut model, BROKEN, News::Event(Event::SyncFinished(Box::new(record(900, 0, "a", "b", "newest")))));
    assert!(model.history_cursor.follow);
    assert_eq!(model.history_rows[0].record.id, "900");
}

#[test]
fn escape_goes_one_step_back_at_a_time() {
    let mut model = fleet();
    press(&mut model, "<Enter>/poll<Enter><Enter>");
    assert!(matches!(model.view, View::Detail(..)));
    press(&mut model, "?<Esc>");
    assert!(matches!(model.view, View::Detail(..)), "only the help closes");
    press(&mut model, "<Esc>");
    assert!(matches!(model.view, View::History(_)));
    press(&mut model, "<Esc>");
    assert!(model.filter.is_empty() && matches!(model.view, View::History(_)), "the filter goes first");
    press(&mut model, "<Esc>");
    assert_eq!(model.view, View::Fleet);
    press(&mut model, "<Esc>");
    assert_eq!(model.view, View::Commits);
    press(&mut model, "<Esc>");
    assert_eq!(model.flash.as_ref().unwrap().text, "q quits");
}

#[test]
fn a_lost_link_keeps_the_rows_and_asks_for_the_pods() {
    let mut model = fleet();
    let rows = model.fleet_rows.len();
    let lost =
        News::Lost { problem: Problem::new("lost connection to pod"), attempt: 1, retry_in: Duration::from_secs(2) };
    let time = model.now;
    let effects = update(&mut model, time, Msg::Link(PodId::new(BROKEN), lost));
    assert_eq!(effects, [Effect::ListPods]);
    assert_eq!(model.fleet_rows.len(), rows);
    let pod = model.pod(&PodId::new(BROKEN)).unwrap();
    assert!(matches!(&pod.link, Link::Retry { at, .. } if *at == now() + SignedDuration::from_secs(2)));
    assert!(pod.snapshot.is_some());
}

#[test]
fn a_detail_that_was_never_answered_is_asked_for_again() {
    let mut model = fleet();
    press(&mut model, "<Enter><Enter>");
    let lost = News::Lost { problem: Problem::new("x"), attempt: 1, retry_in: Duration::from_secs(1) };
    tell(&mut model, BROKEN, lost);
    let time = model.now;
    let recent = std::iter::once(sample::failed(412, 38, "41d07be", "9f3c2ab")).chain(sample::older()).collect();
    let back = News::Snapshot(Box::new(snapshot(BROKEN, "41d07be", recent)));
    let effects = update(&mut model, time, Msg::Link(PodId::new(BROKEN), back));
    assert_eq!(effects, [order(BROKEN, Order::Detail("412".into()))]);
}

#[test]
fn the_same_failure_again_and_again_is_one_note() {
    let mut model = fleet();
    let before = model.events.len();
    for attempt in 1..20 {
        tell(&mut model, BROKEN, News::Connecting);
        let lost = News::Lost { problem: Problem::new("refused"), attempt, retry_in: Duration::from_secs(1) };
        tell(&mut model, BROKEN, lost);
    }
    assert_eq!(model.events.len(), before + 1);
}

#[test]
fn a_rollout_brings_new_pods_and_the_old_ones_fade_after_a_minute() {
    let mut model = model_of(&["web-1", "web-2"]);
    for name in ["web-1", "web-2"] {
        tell(&mut model, name, News::Snapshot(Box::new(snapshot(name, "9f3c2ab", sample::older()))));
    }
    let starting = Found { presence: Presence::NotReady("Pending".into()), ..found("web-3") };
    let effects = update(&mut model, now(), Msg::Pods(Ok(vec![found("web-2"), starting])));
    assert_eq!(effects, [Effect::Detach(PodId::new("web-1"))]);
    assert!(model.pod(&PodId::new("web-1")).unwrap().gone());
    let effects = update(&mut model, now(), Msg::Pods(Ok(vec![found("web-2"), found("web-3")])));
    assert_eq!(effects, [Effect::Attach(found("web-3"))]);
    // What the stopped link still says is too late.
    tell(&mut model, "web-1", News::Connecting);
    assert!(model.pod(&PodId::new("web-1")).unwrap().gone());
    let _ = update(&mut model, now() + SignedDuration::from_secs(59), Msg::Tick);
    assert_eq!(model.pods.len(), 3);
    let _ = update(&mut model, now() + SignedDuration::from_secs(60), Msg::Tick);
    assert_eq!(model.pods.len(), 2);
}

#[test]
fn more_pods_than_links_attach_when_asked_for() {
    let mut model = sample::empty_model();
    model.setup.max_links = 2;
    let effects = update(&mut model, now(), Msg::Pods(Ok(vec![found("a"), found("b"), found("c")])));
    assert_eq!(effects, [Effect::Attach(found("a")), Effect::Attach(found("b"))]);
    model.fleet_pod = Some(PodId::new("c"));
    let effects = press(&mut model, "<Enter>");
    assert_eq!(effects.len(), 2);
    assert!(matches!(&effects[0], Effect::Detach(_)));
    assert_eq!(effects[1], Effect::Attach(found("c")));
}

#[test]
fn ages_follow_the_clock_of_the_replica() {
    let mut model = model_of(&["web-1"]);
    let mut skewed = snapshot("web-1", "9f3c2ab", vec![record(1, 0, "a", "b", "x")]);
    // Its clock is an hour ahead of ours: what it did a second ago is not in our future.
    skewed.now = now() + SignedDuration::from_hours(1);
    tell(&mut model, "web-1", News::Snapshot(Box::new(skewed)));
    let pod = model.pod(&PodId::new("web-1")).unwrap();
    let at = now() + SignedDuration::from_hours(1) - SignedDuration::from_secs(1);
    assert_eq!(facts::age(&model, pod, at).as_secs(), 1);
}

#[test]
fn in_sync_means_the_newest_head_that_any_replica_knows() {
    let mut model = fleet();
    let id = PodId::new(GOOD);
    assert_eq!(facts::state(&model, model.pod(&id).unwrap()), facts::Shown::InSync);
    let mut ahead = snapshot(BUSY, "41d07be", vec![]);
    ahead.head = Some(pushsync::api::Head { commit: sha("abc1234"), seen_at: ago(1) });
    tell(&mut model, BUSY, News::Snapshot(Box::new(ahead)));
    assert_eq!(facts::state(&model, model.pod(&id).unwrap()), facts::Shown::Behind);
    // Another repository's head says nothing about ours.
    let mut other = snapshot(BUSY, "41d07be", vec![]);
    other.repo = "https://github.com/acme/other.git".into();
    other.head = Some(pushsync::api::Head { commit: sha("abc1234"), seen_at: ago(1) });
    tell(&mut model, BUSY, News::Snapshot(Box::new(other)));
    assert_eq!(facts::state(&model, model.pod(&id).unwrap()), facts::Shown::InSync);
}

#[test]
fn the_subject_of_the_head_is_found_behind_looks_that_changed_nothing() {
    let mut unchanged = record(12, 1, "abc1234", "abc1234", "");
    unchanged.outcome = pushsync::api::Outcome::Unchanged;
    unchanged.commits = None;
    let published = record(11, 9, "41d07be", "abc1234", "Add robots.txt");
    // Somebody pinned the older commit since.
    let mut pinned = snapshot(GOOD, "41d07be", vec![unchanged, published]);
    pinned.head = Some(pushsync::api::Head { commit: sha("abc1234"), seen_at: ago(9) });
    let mut model = model_of(&[GOOD]);
    tell(&mut model, GOOD, News::Snapshot(Box::new(pinned)));
    let head = facts::head(&model).unwrap();
    assert_eq!((head.commit, head.subject.as_deref()), (sha("abc1234"), Some("Add robots.txt")));
}

#[test]
fn a_finished_sync_is_live_before_the_state_that_says_so_arrives() {
    let mut model = fleet();
    let id = PodId::new(BUSY);
    assert_eq!(facts::state(&model, model.pod(&id).unwrap()), facts::Shown::Syncing);
    let finished = record(999, 0, "41d07be", "9f3c2ab", "Fix pricing table on mobile");
    tell(&mut model, BUSY, News::Event(Event::SyncFinished(Box::new(finished))));
    let pod = model.pod(&id).unwrap();
    assert_eq!(facts::state(&model, pod), facts::Shown::InSync);
    assert_eq!(pod.snapshot.as_ref().unwrap().published.as_ref().unwrap().commit, sha("9f3c2ab"));
    // A failure swaps nothing.
    tell(&mut model, BUSY, News::Event(Event::SyncFinished(Box::new(sample::failed(1000, 0, "9f3c2ab", "abc1234")))));
    let published = model.pod(&id).unwrap().snapshot.as_ref().unwrap().published.clone();
    assert_eq!(published.unwrap().commit, sha("9f3c2ab"));
}

#[test]
fn addresses_with_one_port_are_told_apart_by_their_hosts() {
    let mut model = sample::empty_model();
    let addresses = ["127.0.77.1:9180", "127.0.77.2:9180"];
    let found = addresses.map(|address| Found { namespace: None, ..found(address) });
    let _ = update(&mut model, now(), Msg::Pods(Ok(found.to_vec())));
    for address in addresses {
        tell(&mut model, address, News::Snapshot(Box::new(snapshot("one-host", "9f3c2ab", vec![]))));
    }
    let names: Vec<_> = model.pods.iter().map(|pod| (pod.name.as_str(), pod.short.as_str())).collect();
    assert_eq!(names, [("127.0.77.1:9180", "127.0.77.1"), ("127.0.77.2:9180", "127.0.77.2")]);
}

#[test]
fn the_plain_table_says_what_to_do_about_a_replica_that_cannot_be_reached() {
    let mut model = fleet();
    let problem = Problem::new("the replica requires a token").hint("give it with --token-file");
    for pod in [BROKEN, GOOD] {
        let lost = News::Lost { problem: problem.clone(), attempt: 1, retry_in: Duration::from_millis(500) };
        tell(&mut model, pod, lost);
    }
    let mut out = Vec::new();
    let verdict = pushsync::dashboard::verdict::judge(&model);
    pushsync::dashboard::plain::table::table(&model, &verdict, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert_eq!(out.matches("hint: give it with --token-file").count(), 1, "{out}");
}

#[test]
fn a_frozen_screen_stands_still_and_catches_up() {
    let mut model = fleet();
    press(&mut model, " ");
    let rows = model.fleet_rows.len();
    let later = now() + SignedDuration::from_secs(30);
    let finished = News::Event(Event::SyncFinished(Box::new(record(999, 0, "a", "b", "while frozen"))));
    let _ = update(&mut model, later, Msg::Link(PodId::new(GOOD), finished));
    let _ = update(&mut model, later, Msg::Tick);
    assert_eq!((model.fleet_rows.len(), model.now), (rows, now()));
    press(&mut model, " ");
    assert_eq!((model.fleet_rows.len(), model.now), (rows + 1, later));
    // It cannot be made to remember without end.
    press(&mut model, " ");
    for _ in 0..300 {
        let _ = update(&mut model, later, Msg::Link(PodId::new(GOOD), News::Line("flood".into())));
    }
    assert!(!model.frozen && model.held.is_empty());
}

#[test]
fn answers_are_told_and_remembered() {
    let mut model = fleet();
    let accepted =
        Accepted { schema: 1, sync: Some("413".into()), state: State::InSync, paused_until: None, pinned: None };
    tell(&mut model, GOOD, News::Answer(Change::Sync, Ok(accepted)));
    assert_eq!(model.flash.as_ref().unwrap().text, "4kq2x: sync now -> #413 accepted");
    let refusal = Refusal { code: "x".into(), message: "no such commit".into(), hint: Some("fetch first".into()) };
    tell(&mut model, GOOD, News::Answer(Change::Pin { commit: sha("9f3c2ab") }, Err(refusal)));
    assert_eq!(model.events[0].text, "pin 9f3c2ab refused: no such commit (fetch first)");
    let _ = update(&mut model, now() + SignedDuration::from_secs(7), Msg::Tick);
    assert!(model.flash.is_none());
}

#[test]
fn another_version_of_the_api_is_named_not_shown() {
    let mut model = model_of(&["web-1"]);
    let mut newer = snapshot("web-1", "9f3c2ab", vec![]);
    newer.schema = 2;
    tell(&mut model, "web-1", News::Snapshot(Box::new(newer)));
    let pod = model.pod(&PodId::new("web-1")).unwrap();
    assert!(pod.snapshot.is_none());
    assert!(matches!(&pod.link, Link::Retry { problem, .. } if problem.reason.contains("version 2")));
}

/// Loads 10,000 records page by page and walks through them.
fn ten_thousand() -> Model {
    let mut model = model_of(&["web-1"]);
    let all: Vec<_> =
        (1..=10_000u32).rev().map(|id| record(id, i64::from(10_001 - id) * 60, "a", "b", "a change")).collect();
    tell(&mut model, "web-1", News::Snapshot(Box::new(snapshot("web-1", "b", all[..50].to_vec()))));
    let mut effects = press(&mut model, "<Enter>G");
    let mut served = 50;
    while let Some(Effect::Order(_, Order::Page { before })) = effects.first() {
        assert_eq!(before.as_deref(), Some(all[served - 1].id.as_str()));
        let page = all[served..(served + 500).min(all.len())].to_vec();
        served += page.len();
        let time = model.now;
        effects = update(&mut model, time, Msg::Link(PodId::new("web-1"), News::Page(Ok(page))));
    }
    model
}

#[test]
fn the_last_key_loads_the_whole_history() {
    let model = ten_thousand();
    assert_eq!(model.history_rows.len(), 10_000);
    assert_eq!(model.history_cursor.selected.as_ref().unwrap().1, "1");
    assert!(model.pods[0].records.complete);
}

#[test]
fn ten_thousand_records_scroll_without_a_pause() {
    use pushsync::dashboard::theme::Theme;
    use ratatui::{Terminal, backend::TestBackend};
    let mut model = ten_thousand();
    let theme = Theme::new(true, false);
    let mut terminal = Terminal::new(TestBackend::new(120, 32)).unwrap();
    let start = std::time::Instant::now();
    for _ in 0..200 {
        press(&mut model, "k");
        terminal.draw(|frame| pushsync::dashboard::view::draw(frame, &model, &theme)).unwrap();
    }
    let each = start.elapsed() / 200;
    println!("a step through 10,000 records and its frame: {each:?}");
    // Unoptimised and on a loaded machine; people see 100 ms.
    assert!(each < Duration::from_millis(100), "{each:?}");
}
