//! The list of commits and what leads on from it: questions, scopes, sorting, commands, the log.

use std::time::Duration;

use jiff::SignedDuration;
use pushsync::api::{CommitHow, CommitStatus, Event, Head, State};
use pushsync::dashboard::commits::{self, standing};
use pushsync::dashboard::fleet as facts;
use pushsync::dashboard::message::{Change, Effect, Msg, News, Order};
use pushsync::dashboard::model::{Link, Model, PodId, Problem, View};
use pushsync::dashboard::theme::Theme;
use pushsync::dashboard::update::{settle, update};
use pushsync::dashboard::verdict::{self, Kind, words};

use super::keyboard::{burst, paste, press};
use super::sample::{self, ago, record, sha, snapshot, tell};
use super::scenes::{arriving, failing, fifty, healthy, paused, pinned, several};
use super::screens::render;

fn lines(model: &Model) -> Vec<String> {
    let row = commits::selected(model).expect("a commit");
    standing::lacking(model, &verdict::judge(model), row)
}

fn text(model: &Model) -> String {
    let buffer = render(model, &Theme::new(true, false), 160, 40);
    buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect()
}

#[test]
fn all_replicas_with_one_commit_are_one_row() {
    let model = healthy();
    let commits: Vec<(&str, usize, usize)> =
        model.commit_rows.iter().map(|row| (&row.commit[..7], row.live, row.had)).collect();
    assert_eq!(commits, [("475b7a7", 8, 8), ("41d07be", 0, 8), ("c0ffee1", 0, 8), ("77aa120", 0, 8)]);
    let newest = &model.commit_rows[0];
    assert!(newest.newest && !newest.announced);
    assert_eq!((newest.first_ms, newest.last_ms), (Some(88), Some(312)));
    assert_eq!(newest.how.words(), "webhook+peers");
    assert!(model.commit_rows[2].how.missed);
    assert_eq!(lines(&model), Vec::<String>::new());
}

#[test]
fn nothing_counts_as_live_once_its_link_is_lost_or_its_last_visit_is_long_ago() {
    let shown = |model: &Model| (model.commit_rows[0].live, model.commit_rows[0].last_known);
    let mut model = healthy();
    model.setup.kubernetes = false;
    let lost = News::Lost { problem: Problem::new("x"), attempt: 1, retry_in: Duration::from_secs(1) };
    tell(&mut model, "web-6f9c-zz81t", lost);
    assert_eq!(shown(&model), (7, 1));
    tell(&mut model, "web-6f9c-zz81t", News::Connecting);
    assert_eq!(shown(&model), (7, 1));
    // A visit counts for a while after it has ended.
    let visited = PodId::new("web-6f9c-4kq2x");
    let pod = model.pod_mut(&visited).unwrap();
    (pod.link, pod.visited) = (Link::Idle, true);
    for (seconds, expected) in [(50, (7, 1)), (70, (6, 2))] {
        let later = sample::now() + SignedDuration::from_secs(seconds);
        let _ = update(&mut model, later, Msg::Tick);
        let _ = settle(&mut model);
        assert_eq!(shown(&model), expected, "after {seconds} s");
    }
}

#[test]
fn those_that_lack_the_selected_commit_are_told_with_the_reason() {
    let told = lines(&failing());
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("not on zz81t: cannot write assets/hero@2x.png: no space left"), "{told:?}");
    let told = lines(&arriving());
    assert_eq!(told, ["not on 9x2mm, c7f3d, h5k8w: a sync is running"].map(|_| told[0].clone()));
    assert!(told[0].ends_with(": a sync is running"), "{told:?}");
    let told = lines(&pinned());
    assert!(told.iter().any(|line| line.contains("8d7vm: pinned at 41d07be by ada@laptop")), "{told:?}");
    // What is announced and published nowhere is a row, too.
    let model = paused();
    let newest = &model.commit_rows[0];
    assert_eq!((&newest.commit, newest.announced, newest.live), (&sha("ab12cd3"), true, 0));
    // An older commit: replaced, told once for all.
    let mut model = healthy();
    press(&mut model, "j");
    assert_eq!(lines(&model), ["replaced by 475b7a7 on 8 of 8 replicas"]);
}

#[test]
fn a_hash_asks_whether_it_is_live_and_where_not() {
    let mut model = healthy();
    // Known and replaced: the records say so at once, and the replicas are asked whether what is live contains it.
    let asked = press(&mut model, "/41d07be<Enter>");
    assert_eq!(asked.len(), 8);
    assert!(
        asked.iter().all(|effect| matches!(effect, Effect::Order(_, Order::Commit(commit)) if commit == "41d07be"))
    );
    assert_eq!(verdict::judge(&model).asked.as_deref(), Some("41d07be"));
    let names: Vec<String> = model.pods.iter().map(|pod| pod.id.to_string()).collect();
    for name in &names {
        let status = CommitStatus {
            schema: 1,
            now: sample::now(),
            commit: sha("41d07be"),
            live: true,
            contained: Some(true),
            how: CommitHow::Contained,
            last_published_at: None,
            replaced_at: None,
            published: Some(sha("475b7a7")),
        };
        tell(&mut model, name, News::Commit(Ok(Box::new(status))));
    }
    let verdict = verdict::judge(&model);
    assert_eq!(verdict.kind(), Kind::Live);
    let line = words::line(&verdict);
    assert!(line.starts_with("LIVE EVERYWHERE  41d07be Bump node to 24.3  8 of 8"), "{line}");
    assert!(line.contains("(the newest is 475b7a7)"), "{line}");
    press(&mut model, "<Enter>");
    assert!(text(&model).contains("contained in 475b7a7, which is live"));
    // Escape: back to the list, then back to the newest commit.
    press(&mut model, "<Esc><Esc>");
    assert!(model.question.is_none() && model.filter.is_empty());
    assert_eq!(model.view, View::Commits);
    assert!(verdict::judge(&model).asked.is_none());
    // Letters that are no hash are only a filter.
    assert_eq!(press(&mut model, "/bump<Enter>"), []);
    assert!(model.question.is_none() && model.commit_rows.len() == 1);
    // One that nobody knows is asked for as well, and the screen says so.
    press(&mut model, "<Esc>");
    assert_eq!(press(&mut model, "/feedbee<Enter>").len(), 8);
    assert!(text(&model).contains("the replicas"));
}

#[test]
fn several_repositories_are_rows_of_their_own_and_never_added_up() {
    let mut model = several();
    assert!(model.at_sources());
    assert_eq!(model.sources.len(), 3);
    let shown = text(&model);
    for words in [
        "github.com/acme/site @ main",
        "github.com/acme/site @ next",
        "github.com/acme/docs @ main",
        "4 of 4",
        "1 of 2",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(shown.contains("2 of 3 repositories and refs"), "{shown}");
    // Nothing changes a replica before one is chosen.
    assert_eq!(press(&mut model, "SPBAU"), []);
    assert!(model.dialog.is_none());
    press(&mut model, "jj<Enter>");
    assert_eq!(model.commit_rows[0].total, 2);
    let verdict = verdict::judge(&model);
    assert_eq!((verdict.groups.len(), verdict.total, verdict.kind()), (1, 2, Kind::NotLive));
    // A change is about the replicas of the choice only.
    press(&mut model, "P");
    let told = press(&mut model, "y");
    assert_eq!(told.len(), 2, "{told:?}");
    press(&mut model, "<Esc>");
    assert!(model.at_sources());
}

#[test]
fn a_rollback_from_the_list_is_about_all_and_offers_the_selected_commit() {
    let mut model = healthy();
    press(&mut model, "jjB");
    let dialog = model.dialog.clone().expect("it asks");
    assert!(dialog.all);
    let told = press(&mut model, "c0ffee1<Enter>");
    assert_eq!(told.len(), 8);
    let pin = Change::Pin { commit: sha("c0ffee1") };
    assert!(told.iter().all(|effect| matches!(effect, Effect::Order(_, Order::Change(change)) if *change == pin)));
    // A sync of all asks first.
    let mut model = healthy();
    assert_eq!(press(&mut model, "S"), []);
    assert_eq!(press(&mut model, "y").len(), 8);
    // Where all are paused the key resumes; where some are, it pauses.
    assert!(
        text(&{
            let mut model = paused();
            press(&mut model, "P");
            model
        })
        .contains("Pause syncing on ALL 8")
    );
}

#[test]
fn the_list_of_commands_does_what_the_keys_do_and_no_paste_chooses() {
    let mut model = healthy();
    press(&mut model, ":replicas<Enter>");
    assert_eq!(model.view, View::Fleet);
    press(&mut model, ":roll<Enter>");
    assert!(model.dialog.is_some());
    press(&mut model, "<Esc>:");
    assert_eq!(burst(&mut model, "sync\n"), []);
    assert!(model.palette.is_some(), "a burst chooses nothing");
    assert_eq!(press(&mut model, "<Enter>").len(), 1, "the key by itself does");
    press(&mut model, ":");
    paste(&mut model, "quit\n");
    assert_eq!(model.palette.as_ref().map(|palette| palette.text.as_str()), Some("quit"));
    press(&mut model, "<Esc>q");
    assert!(model.palette.is_none());
    press(&mut model, ":nonsense<Enter>");
    assert!(model.flash.as_ref().unwrap().text.contains("no command"));
}

#[test]
fn lists_are_sorted_by_other_things_and_say_so() {
    let mut model = healthy();
    press(&mut model, ">");
    assert!(text(&model).contains("slowest first"));
    assert_eq!(model.commit_rows[0].last_ms, Some(1900).max(model.commit_rows[0].last_ms));
    press(&mut model, "<");
    press(&mut model, "2>");
    let names: Vec<&str> = facts::in_order(&model).iter().map(|pod| pod.name.as_str()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(names, sorted);
    assert!(text(&model).contains("by name"));
}

#[test]
fn the_next_match_is_found_where_nothing_is_hidden() {
    let mut model = failing();
    press(&mut model, "3");
    for word in ["alpha", "beta", "alpha again"] {
        tell(&mut model, "web-6f9c-zz81t", News::Line(word.to_owned()));
    }
    press(&mut model, "/alpha<Enter>");
    let at = |model: &Model| model.events[model.events_row].text.clone();
    assert_eq!(at(&model), "alpha");
    press(&mut model, "n");
    assert_eq!(at(&model), "alpha again");
    press(&mut model, "N");
    assert_eq!(at(&model), "alpha");
    press(&mut model, "/nothing<Enter>");
    assert!(model.flash.as_ref().unwrap().text.contains("no line contains nothing"));
}

#[test]
fn the_log_is_followed_and_ends_with_its_screen() {
    let mut model = failing();
    let effects = press(&mut model, "2L");
    let [Effect::OpenLog { id, namespace, pod, container }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((namespace.as_str(), pod.as_str(), container.as_deref()), ("prod", "web-6f9c-zz81t", Some("poll")));
    let id = id.clone();
    let now = model.now;
    let line = r#"{"ts":"2026-11-22T12:04:31.000Z","level":"error","msg":"build failed","phase":"build"}"#;
    let _ = update(&mut model, now, Msg::LogLine(id.clone(), line.to_owned()));
    let _ = update(&mut model, now, Msg::LogLine(PodId::new("another"), "not this one".to_owned()));
    let shown = text(&model);
    assert!(shown.contains("build failed") && shown.contains("phase=build") && !shown.contains("not this one"));
    // A line that is wider than the screen is shown as a whole while it is selected.
    let long = format!("a long line {} and its-end", "word ".repeat(60));
    for line in [long.as_str(), "the newest line"] {
        let _ = update(&mut model, now, Msg::LogLine(id.clone(), line.to_owned()));
    }
    assert!(!text(&model).contains("its-end"));
    press(&mut model, "k");
    let shown = text(&model);
    assert!(shown.contains("The whole line") && shown.contains("its-end"), "{shown}");
    press(&mut model, "G");
    assert!(!text(&model).contains("The whole line"));
    let _ = update(&mut model, now, Msg::LogEnded(id, "the container has ended".to_owned()));
    assert!(text(&model).contains("ended: the container has ended"));
    assert_eq!(press(&mut model, "<Esc>"), [Effect::CloseLog]);
    assert_eq!(model.view, View::Fleet);
}

#[test]
fn the_page_at_the_forge_is_shown_and_copied() {
    let mut model = healthy();
    let address = format!("https://github.com/acme/site/commit/{}", sha("475b7a7"));
    assert_eq!(press(&mut model, "o"), [Effect::Copy(address)]);
    assert!(text(&model).contains("At the forge"));
    press(&mut model, "x");
    assert!(model.address.is_none());
}

#[test]
fn the_diffstat_counts_by_folder_and_goes_back() {
    let mut model = failing();
    press(&mut model, "D");
    let detail = pushsync::api::SyncDetail {
        schema: 1,
        record: record(411, 38, "41d07be", "475b7a7", "x"),
        detail: sample::detail(),
    };
    let pod = model.pods[0].id.to_string();
    for name in [pod.as_str(), "web-6f9c-zz81t"] {
        tell(&mut model, name, News::Detail("411".to_owned(), Ok(Box::new(detail.clone()))));
    }
    let shown = text(&model);
    assert!(shown.contains("Diffstat") && shown.contains("assets/") && shown.contains("pages/index.html"), "{shown}");
    press(&mut model, "<Esc>");
    assert!(!model.diffstat && matches!(model.view, View::Commit(_)));
}

#[test]
fn the_wheel_moves_and_changes_nothing_in_a_dialog() {
    let mut model = healthy();
    let now = model.now;
    let _ = update(&mut model, now, Msg::Wheel(3));
    assert_eq!(model.commit_cursor, Some(sha("77aa120")));
    press(&mut model, "P");
    let _ = update(&mut model, now, Msg::Wheel(-3));
    assert_eq!(model.commit_cursor, Some(sha("77aa120")));
    assert!(model.dialog.is_some());
}

/// The processor time of this process, which does not depend on what else the machine does.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

/// Fifty replicas, 200 events in each second for a minute: how long the update and twenty frames a second take. Run it with
/// `--release --ignored --nocapture`; a minute has to be enough.
#[test]
#[ignore = "a measurement"]
fn twelve_thousand_events_are_taken_without_lag() {
    let mut model = fifty();
    let theme = Theme::new(true, false);
    let names: Vec<String> = model.pods.iter().map(|pod| pod.id.to_string()).collect();
    let start = processor_time();
    for number in 0..12_000u32 {
        let name = &names[number as usize % 45];
        let mut next = record(1000 + number, 0, "475b7a7", &format!("{:07x}", 0xabc_0000 + number / 90), "A change");
        next.finished_at = sample::now() + SignedDuration::from_millis(i64::from(number) * 5);
        next.started_at = next.finished_at - SignedDuration::from_millis(90);
        let at = next.finished_at;
        let event = News::Event(Event::SyncFinished(Box::new(next)));
        let _ = update(&mut model, at, Msg::Link(PodId::new(name), event));
        // Twenty frames a second at most.
        if number % 10 == 0 {
            let _ = settle(&mut model);
            let _ = render(&model, &theme, 120, 32);
        }
    }
    let took = processor_time().saturating_sub(start);
    println!("12,000 events of 50 replicas and 1,200 frames: {took:?} of processor time");
    assert!(model.events.len() <= 500 && model.commit_rows.len() <= 500);
    assert!(took < Duration::from_secs(60), "{took:?}");
}

/// The processor time of an idle dashboard: one tick and one frame a second. Run it as the measurement above.
#[test]
#[ignore = "a measurement"]
fn an_idle_frame_of_fifty_replicas_costs_little() {
    let mut model = fifty();
    let theme = Theme::new(true, false);
    let frames = 200u32;
    let start = processor_time();
    for second in 0..frames {
        let at = sample::now() + SignedDuration::from_secs(i64::from(second % 50));
        let _ = update(&mut model, at, Msg::Tick);
        let _ = render(&model, &theme, 120, 32);
    }
    let each = processor_time().saturating_sub(start) / frames;
    println!("one tick and one frame of 50 replicas: {each:?} of processor time, once a second");
    assert!(each < Duration::from_millis(10), "{each:?}");
}

/// A day of pushes and heartbeats by virtual clock.
#[test]
fn a_day_does_not_grow_the_model() {
    let mut model = healthy();
    let names: Vec<String> = model.pods.iter().map(|pod| pod.id.to_string()).collect();
    let mut id = 1000u32;
    for minute in 0..24 * 60i64 {
        let at = sample::now() + SignedDuration::from_mins(minute);
        let _ = update(&mut model, at, Msg::Tick);
        if minute % 60 == 0 {
            let _ = settle(&mut model);
        }
        for name in &names {
            let _ = update(&mut model, at, Msg::Link(PodId::new(name), News::Heartbeat));
        }
        // A push every two minutes, and a link that breaks every ten.
        if minute % 2 == 0 {
            id += 1;
            for name in &names {
                let mut next = record(id, 0, "475b7a7", &format!("{id:07x}"), "A change");
                (next.started_at, next.finished_at) = (at, at);
                let _ = update(
                    &mut model,
                    at,
                    Msg::Link(PodId::new(name), News::Event(Event::SyncFinished(Box::new(next)))),
                );
            }
        }
        if minute % 10 == 0 {
            let problem = pushsync::dashboard::model::Problem::new(format!("lost at {minute}"));
            let lost = News::Lost { problem, attempt: 1, retry_in: Duration::from_secs(1) };
            let _ = update(&mut model, at, Msg::Link(PodId::new(&names[0]), lost));
            let mut back = snapshot(&names[0], "475b7a7", Vec::new());
            back.now = at;
            back.recent = model.pods[0].records.iter().take(50).map(|record| (**record).clone()).collect();
            let _ = update(&mut model, at, Msg::Link(PodId::new(&names[0]), News::Snapshot(Box::new(back))));
        }
    }
    let _ = settle(&mut model);
    let records = model.pods.iter().map(|pod| pod.records.len()).max().unwrap();
    assert!(records <= 800, "720 pushes: {records}");
    assert!(model.events.len() <= 500 && model.details.len() <= 16 && model.held.is_empty());
    assert!(model.commit_rows.len() <= 500 && model.fleet_rows.len() <= 1000);
    assert!(model.pods.iter().all(|pod| pod.refused.is_empty()));
}

/// A replica whose first syncs fail says why on the first screen.
#[test]
fn an_empty_list_of_commits_says_why_nothing_is_published() {
    let mut model = sample::model_of(&["web-1"]);
    let mut new = snapshot("web-1", "475b7a7", Vec::new());
    (new.published, new.head, new.state, new.failures_in_row) = (None, None, State::Failed, 3);
    new.last_error = Some(sample::error());
    tell(&mut model, "web-1", News::Snapshot(Box::new(new)));
    let screen = text(&sample::at_home(model));
    assert!(screen.contains("nothing is published yet on web-1: the last 3 syncs failed: cannot write"), "{screen}");
    assert!(!screen.contains("no sync yet"), "{screen}");
}

/// The newest commit that a replica sees stays the first row, whatever its time.
#[test]
fn the_head_is_the_first_row_even_after_a_push_back_to_an_older_commit() {
    let mut model = healthy();
    for pod in model.pods.clone() {
        let name = pod.id.to_string();
        let recent = pod.records.iter().map(|record| (**record).clone()).collect();
        let mut back = snapshot(&name, "475b7a7", recent);
        back.head = Some(Head { commit: sha("c0ffee1"), seen_at: ago(1) });
        back.state = State::Behind;
        tell(&mut model, &name, News::Snapshot(Box::new(back)));
    }
    assert_eq!(model.commit_rows[0].commit, sha("c0ffee1"));
    assert!(model.commit_rows[0].newest);
}
