//! Rolling back from the keyboard: what `B` offers, also the second time and while paused, and how answers are added up.

use jiff::SignedDuration;
use pushsync::api::{Accepted, Event, Refusal, State, Trigger, TriggerKind};
use pushsync::dashboard::act::{Outlasts, outlasts};
use pushsync::dashboard::message::{Change, Effect, Msg, News, Order};
use pushsync::dashboard::model::{Model, PodId, Problem, Question};
use pushsync::dashboard::rollback::earlier;
use pushsync::dashboard::update::update;

use super::keyboard::press;
use super::sample::{self, ago, fleet, model_of, record, sha, snapshot, tell};

const BROKEN: &str = "web-6f9c-zz81t";
const GOOD: &str = "web-6f9c-4kq2x";

fn offered(model: &Model) -> Option<String> {
    match &model.dialog.as_ref()?.question {
        Question::Pin { commit, .. } => Some(commit.clone()),
        _ => None,
    }
}

fn choose(model: &mut Model, pod: &str) {
    model.fleet_pod = Some(PodId::new(pod));
}

/// A replica carries out a pin as the real one does: a manual sync, then the state that says so.
fn pinned(model: &mut Model, pod: &str, id: u32, old: &str, new: &str) {
    let mut back = record(id, 0, old, new, "the commit before");
    back.trigger = Trigger { kind: TriggerKind::Manual, ..Trigger::default() };
    back.rewritten = true;
    tell(model, pod, News::Event(Event::SyncFinished(Box::new(back))));
    let mut state = snapshot(pod, new, Vec::new());
    state.state = State::Pinned;
    state.pinned = Some(sha(new));
    tell(model, pod, News::Event(Event::State(Box::new(state))));
}

#[test]
fn rolling_back_again_goes_further_back_and_never_forward() {
    let mut model = fleet();
    choose(&mut model, GOOD);
    let mut live = "9f3c2ab";
    for (turn, next) in ["41d07be", "c0ffee1", "77aa120", "9d00f3e"].into_iter().enumerate() {
        press(&mut model, "B");
        assert_eq!(offered(&model), Some(sha(next)), "back from {live}");
        let effects = press(&mut model, &format!("{next}<Enter>"));
        let pin = Change::Pin { commit: sha(next) };
        assert_eq!(effects, [Effect::Order(PodId::new(GOOD), Order::Change(pin))]);
        pinned(&mut model, GOOD, 500 + u32::try_from(turn).unwrap(), live, next);
        live = next;
    }
    // Nothing was live before the first commit; least of all the newest one.
    press(&mut model, "B");
    assert_eq!(offered(&model), None);
    assert!(model.flash.unwrap().text.contains("no earlier commit"));
}

#[test]
fn what_is_live_is_never_offered_in_any_pane_or_screen() {
    for keys in ["B", "<Tab>B", "<Tab>jB", "<Enter>B", "<Enter>jB", "<Enter><Enter>B", "<Tab>jjjB"] {
        for pod in [BROKEN, GOOD] {
            let mut model = fleet();
            choose(&mut model, pod);
            press(&mut model, keys);
            let dialog = model.dialog.clone().unwrap_or_else(|| panic!("{keys} asks"));
            let replica = model.pod(&dialog.pod).unwrap();
            let live = replica.snapshot.as_ref().unwrap().published.as_ref().unwrap().commit.clone();
            let Question::Pin { choices, .. } = dialog.question else { panic!("{keys}") };
            assert!(!choices.contains(&live), "{keys} on {pod}: {choices:?}");
        }
    }
}

#[test]
fn the_list_is_walked_through_with_the_arrows_and_what_was_typed_is_for_one_commit() {
    let mut model = fleet();
    choose(&mut model, GOOD);
    press(&mut model, "B41d0<Down>");
    assert_eq!(offered(&model), Some(sha("c0ffee1")));
    assert_eq!(press(&mut model, "7be<Enter>"), [], "half of another sha confirms nothing");
    press(&mut model, "<Up><Up><Up>");
    assert_eq!(offered(&model), Some(sha("41d07be")));
    press(&mut model, "jjjjjjjj");
    assert_eq!(offered(&model), Some(sha("9d00f3e")));
    let effects = press(&mut model, "9d00f3e<Enter>");
    let pin = Change::Pin { commit: sha("9d00f3e") };
    assert_eq!(effects, [Effect::Order(PodId::new(GOOD), Order::Change(pin))]);
}

/// A pin is all that is loaded about the commit that is live: what it came from is newer, whatever the order of syncs.
#[test]
fn a_pin_to_a_commit_of_unknown_age_offers_nothing_by_guess() {
    let mut model = model_of(&["web-1"]);
    let started = record(1, 900, "0000000", "bad0001", "Break the checkout page");
    tell(&mut model, "web-1", News::Snapshot(Box::new(snapshot("web-1", "bad0001", vec![started]))));
    pinned(&mut model, "web-1", 2, "bad0001", "41d07be");
    assert_eq!(earlier(&model, &model.pods[0]), Vec::<String>::new());
    press(&mut model, "B");
    assert_eq!(offered(&model), None);
}

#[test]
fn a_new_pod_without_a_history_goes_back_to_what_the_others_had() {
    let mut model = fleet();
    let mut first = record(1, 5, "0000000", "9f3c2ab", "Fix pricing table on mobile");
    first.old = None;
    tell(&mut model, GOOD, News::Snapshot(Box::new(snapshot(GOOD, "9f3c2ab", vec![first]))));
    let pod = model.pod(&PodId::new(GOOD)).unwrap();
    assert_eq!(earlier(&model, pod)[..2], [sha("41d07be"), sha("c0ffee1")]);
    // Of another repository nothing is taken.
    let mut other = snapshot(GOOD, "9f3c2ab", Vec::new());
    other.repo = "https://github.com/acme/other.git".into();
    tell(&mut model, GOOD, News::Event(Event::State(Box::new(other))));
    assert_eq!(earlier(&model, model.pod(&PodId::new(GOOD)).unwrap()), Vec::<String>::new());
}

#[test]
fn a_paused_replica_can_be_rolled_back() {
    let mut model = fleet();
    let mut state = snapshot(GOOD, "9f3c2ab", Vec::new());
    state.state = State::Paused;
    state.paused_until = Some(ago(-3000));
    tell(&mut model, GOOD, News::Event(Event::State(Box::new(state))));
    choose(&mut model, GOOD);
    let effects = press(&mut model, "B41d07be<Enter>");
    let pin = Change::Pin { commit: sha("41d07be") };
    assert_eq!(effects, [Effect::Order(PodId::new(GOOD), Order::Change(pin))]);
}

#[test]
fn the_dialog_says_what_the_pin_outlives_as_far_as_the_replicas_have_peers() {
    let asked = |keys: &str, peers: [Option<bool>; 4]| {
        let mut model = fleet();
        let names: Vec<String> = model.pods.iter().map(|pod| pod.name.clone()).collect();
        for (name, peers) in names.iter().zip(peers) {
            let mut state = model.pod(&PodId::new(name)).unwrap().snapshot.as_deref().unwrap().clone();
            state.peers = peers;
            tell(&mut model, name, News::Event(Event::State(Box::new(state))));
        }
        choose(&mut model, GOOD);
        press(&mut model, keys);
        let dialog = model.dialog.clone().unwrap();
        outlasts(&model, &dialog, &sha("41d07be"))
    };
    let all = [Some(true); 4];
    assert_eq!(asked("BA", all), Outlasts::Pods);
    assert_eq!(asked("B", all), Outlasts::PodsIfShared, "one of four");
    assert_eq!(asked("BA", [Some(false); 4]), Outlasts::Restarts);
    assert_eq!(asked("BA", [Some(true), Some(true), Some(true), None]), Outlasts::Restarts, "an older release");

    // Two of four have the pin already with this one.
    let mut model = fleet();
    pinned(&mut model, BROKEN, 500, "9f3c2ab", "41d07be");
    choose(&mut model, GOOD);
    press(&mut model, "B");
    let dialog = model.dialog.clone().unwrap();
    assert_eq!(outlasts(&model, &dialog, &sha("41d07be")), Outlasts::Pods);
    assert_eq!(outlasts(&model, &dialog, &sha("c0ffee1")), Outlasts::PodsIfShared);
}

fn accepted(sync: Option<&str>) -> Accepted {
    Accepted { schema: 1, sync: sync.map(str::to_owned), state: State::InSync, paused_until: None, pinned: None }
}

fn flash(model: &Model) -> String {
    model.flash.as_ref().map(|flash| flash.text.clone()).unwrap_or_default()
}

#[test]
fn the_answers_of_all_replicas_are_added_up_in_one_line() {
    let mut model = fleet();
    let lost = News::Lost { problem: Problem::new("x"), attempt: 1, retry_in: std::time::Duration::from_secs(1) };
    tell(&mut model, BROKEN, lost);
    choose(&mut model, GOOD);
    let sent = press(&mut model, "BA41d07be<Enter>");
    assert_eq!(sent.len(), 3);
    let change = Change::Pin { commit: sha("41d07be") };
    let [busy, peer] = ["web-6f9c-p2lzn", "web-6f9c-8d7vm"];
    tell(&mut model, GOOD, News::Answer(change.clone(), Ok(accepted(Some("500")))));
    assert_eq!(flash(&model), "rolled back to 41d07be: 0 of 4 ok, 3 still to come   zz81t not connected");
    // Accepted is not done: it counts when its sync has ended.
    pinned(&mut model, GOOD, 500, "9f3c2ab", "41d07be");
    assert_eq!(flash(&model), "rolled back to 41d07be: 1 of 4 ok, 2 still to come   zz81t not connected");
    // The end of a sync may be heard of before the answer that names it.
    pinned(&mut model, busy, 501, "9f3c2ab", "41d07be");
    tell(&mut model, busy, News::Answer(change.clone(), Ok(accepted(Some("501")))));
    let refusal = Refusal { code: "x".into(), message: "no such tree".into(), hint: None };
    tell(&mut model, peer, News::Answer(change, Err(refusal)));
    let sum = "rolled back to 41d07be: 2 of 4 ok   zz81t not connected   8d7vm refused: no such tree";
    assert_eq!(flash(&model), sum);
    assert!(model.flash.as_ref().unwrap().bad);
    assert!(model.events.iter().any(|entry| entry.text == sum && entry.bad), "it is kept in the Events view");
    // A refusal stays longer than other lines.
    let later = model.now + SignedDuration::from_secs(15);
    let _ = update(&mut model, later, Msg::Tick);
    assert_eq!(flash(&model), sum);
}

#[test]
fn a_sync_that_fails_after_it_was_accepted_is_no_success() {
    let mut model = fleet();
    press(&mut model, "Ay");
    let names = ["web-6f9c-zz81t", "web-6f9c-p2lzn", "web-6f9c-4kq2x", "web-6f9c-8d7vm"];
    for (index, name) in names.into_iter().enumerate() {
        tell(&mut model, name, News::Answer(Change::Sync, Ok(accepted(Some(&(600 + index).to_string())))));
    }
    for (id, name) in (600..).zip(names) {
        let ended = if id == 602 { sample::failed(id, 0, "9f3c2ab", "abc1234") } else { record(id, 0, "a", "b", "x") };
        tell(&mut model, name, News::Event(Event::SyncFinished(Box::new(ended))));
    }
    let told = flash(&model);
    assert!(told.starts_with("synced: 3 of 4 ok   4kq2x failed: cannot write assets"), "{told}");
}
