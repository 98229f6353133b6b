//! Every screen at three sizes, as text and as a grid of roles; and no model at any size panics.

use jiff::SignedDuration;
use proptest::prelude::*;
use pushsync::api::{Detail, Outcome, State, SyncDetail};
use pushsync::dashboard::message::{Msg, News};
use pushsync::dashboard::model::{Found, Model, PodId, Presence, Problem, TimeFormat};
use pushsync::dashboard::theme::{Role, Theme};
use pushsync::dashboard::update::update;
use pushsync::dashboard::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Modifier;
use std::time::Duration;
use unicode_width::UnicodeWidthStr;

use super::keyboard::press;
use super::sample::{self, ago, fleet, model_of, record, sha, tell};

const SIZES: [(u16, u16); 3] = [(120, 32), (80, 24), (60, 16)];
/// The sizes of the scenes in [`scenes`].
pub const SCENES: [(u16, u16); 4] = [(200, 50), (120, 32), (80, 24), (60, 20)];

pub fn render(model: &Model, theme: &Theme, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, model, theme)).unwrap();
    terminal.backend().buffer().clone()
}

/// The text, then one letter for each cell's role: stock snapshots lose the styles.
fn grids(buffer: &Buffer, theme: &Theme) -> String {
    let mut text = String::new();
    let mut roles = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        let mut letters = String::new();
        let mut x = 0;
        while x < buffer.area.width {
            let cell = &buffer[(x, y)];
            // The second half of a wide character is a cell that no terminal draws.
            x += u16::try_from(cell.symbol().width()).unwrap().max(1);
            line.push_str(cell.symbol());
            letters.push(letter(cell, theme));
        }
        text.push_str(line.trim_end());
        text.push('\n');
        roles.push_str(letters.trim_end());
        roles.push('\n');
    }
    format!(
        "{text}\n=== roles: d dim, b strong, g good, G success, c busy, w warn, e bad, a accent, s selected\n{roles}"
    )
}

fn letter(cell: &ratatui::buffer::Cell, theme: &Theme) -> char {
    if cell.modifier.contains(Modifier::REVERSED) {
        return 's';
    }
    if cell.symbol() == " " {
        return ' ';
    }
    let is = |role: &&Role| {
        let style = theme.style(**role);
        style.fg.unwrap_or_default() == cell.fg && style.add_modifier == cell.modifier
    };
    Role::ALL.iter().find(is).map_or('!', |role| role.letter())
}

/// Every cell has the style of exactly one role, and a selected row has one style from edge to edge.
fn assert_styles(buffer: &Buffer, theme: &Theme, name: &str) {
    let style = |x: u16, y: u16| (buffer[(x, y)].fg, buffer[(x, y)].bg, buffer[(x, y)].modifier);
    for y in 0..buffer.area.height {
        let selected = |x: &u16| buffer[(*x, y)].modifier.contains(Modifier::REVERSED);
        let row: Vec<u16> = (0..buffer.area.width).filter(selected).collect();
        for x in &row {
            assert_eq!(style(*x, y), style(row[0], y), "{name}: the selected row is a patchwork at {x},{y}");
        }
        for x in 0..buffer.area.width {
            let cell = &buffer[(x, y)];
            assert_ne!(letter(cell, theme), '!', "{name}: {:?} at {x},{y} mixes roles: {cell:?}", cell.symbol());
        }
    }
}

fn snapshots(name: &str, model: Model) {
    snapshots_at(name, model, &SIZES);
}

/// Compares a model's screen at some sizes with what it was.
pub fn snapshots_at(name: &str, mut model: Model, sizes: &[(u16, u16)]) {
    let theme = Theme::new(true, false);
    for &(width, height) in sizes {
        let now = model.now;
        let _ = update(&mut model, now, Msg::Resize(width, height));
        let buffer = render(&model, &theme, width, height);
        assert_styles(&buffer, &theme, &format!("{name}_{width}x{height}"));
        insta::with_settings!({snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(format!("{name}_{width}x{height}"), grids(&buffer, &theme));
        });
    }
}

#[test]
fn loading() {
    snapshots("loading", sample::empty_model());
}

#[test]
fn no_pods_match() {
    let mut model = sample::empty_model();
    let _ = update(&mut model, sample::now(), Msg::Pods(Ok(Vec::new())));
    snapshots("no_pods", model);
}

#[test]
fn connected_and_nothing_has_happened_yet() {
    let mut model = model_of(&["web-6f9c-zz81t"]);
    let mut snapshot = sample::snapshot("web-6f9c-zz81t", "41d07be", Vec::new());
    snapshot.published = None;
    snapshot.head = None;
    snapshot.state = State::Starting;
    snapshot.webhook.last_delivery_at = None;
    snapshot.poll.next_at = Some(ago(-42));
    tell(&mut model, "web-6f9c-zz81t", News::Snapshot(Box::new(snapshot)));
    snapshots("first_minute", model);
}

#[test]
fn healthy() {
    let mut model = model_of(&["web-6f9c-4kq2x", "web-6f9c-8d7vm"]);
    for name in ["web-6f9c-4kq2x", "web-6f9c-8d7vm"] {
        let newest = record(411, 38, "41d07be", "9f3c2ab", "Fix pricing table on mobile");
        let recent = std::iter::once(newest).chain(sample::older()).collect();
        tell(&mut model, name, News::Snapshot(Box::new(sample::snapshot(name, "9f3c2ab", recent))));
    }
    snapshots("healthy", model);
}

#[test]
fn one_replica_failed() {
    snapshots("fleet", fleet());
}

#[test]
fn links_lost_a_pod_gone_and_one_starting() {
    let mut model = fleet();
    let problem = Problem::new("kubectl: error: You must be logged in to the server (Unauthorized)").hint(
        "your cluster login expired. Run `kubectl get pods` in another terminal to log in again; this reconnects by itself (r = now)",
    );
    let found = |name: &str, presence: Presence| Found { presence, ..sample::found(name) };
    let now = sample::now() + SignedDuration::from_secs(72);
    let listing = vec![
        sample::found("web-6f9c-zz81t"),
        sample::found("web-6f9c-4kq2x"),
        sample::found("web-6f9c-p2lzn"),
        found("web-6f9c-9x2mm", Presence::NotReady("ContainerCreating".to_owned())),
    ];
    let _ = update(&mut model, now, Msg::Pods(Ok(listing)));
    for name in ["web-6f9c-zz81t", "web-6f9c-4kq2x", "web-6f9c-p2lzn"] {
        let lost = News::Lost { problem: problem.clone(), attempt: 6, retry_in: Duration::from_secs(4) };
        tell(&mut model, name, lost);
    }
    snapshots("link_lost", model);
}

#[test]
fn a_filter_is_typed_and_matches() {
    let mut model = fleet();
    press(&mut model, "<Tab>/trigger:poll");
    snapshots("filter", model);
}

#[test]
fn history_of_one_replica() {
    let mut model = model_of(&["web-6f9c-4kq2x"]);
    let mut recent: Vec<_> = (0..40)
        .map(|index| {
            let mut record =
                record(411 - index, 38 + i64::from(index) * 3000, "41d07be", "9f3c2ab", "Fix pricing table");
            record.received_to_published_ms = Some(u64::from(700 + index * 7919 % 4000));
            record
        })
        .collect();
    recent[2].outcome = Outcome::Unchanged;
    recent[2].trigger.redelivered = true;
    recent[3].commits = Some(pushsync::api::Commits { count: Some(3), ..recent[3].commits.clone().unwrap() });
    recent[4].rewritten = true;
    recent[5] = sample::failed(406, 38 + 15_000, "b81f0d2", "5e1b9c4");
    recent[9].received_to_published_ms = None;
    let snapshot = sample::snapshot("web-6f9c-4kq2x", "9f3c2ab", recent);
    tell(&mut model, "web-6f9c-4kq2x", News::Snapshot(Box::new(snapshot)));
    press(&mut model, "<Enter>jj");
    snapshots("history", model);
}

#[test]
fn a_replica_that_is_not_connected_is_not_said_to_be_in_sync() {
    let name = "web-6f9c-4kq2x";
    let mut model = model_of(&[name]);
    let recent = vec![record(411, 38, "41d07be", "9f3c2ab", "Fix pricing table")];
    tell(&mut model, name, News::Snapshot(Box::new(sample::snapshot(name, "9f3c2ab", recent))));
    press(&mut model, "<Enter>");
    let status = |model: &Model| {
        let text = grids(&render(model, &Theme::new(true, false), 120, 32), &Theme::new(true, false));
        text.lines().find(|line| line.contains("in sync at")).unwrap().to_owned()
    };
    assert!(status(&model).contains("● in sync at") && status(&model).contains("next poll in"), "{}", status(&model));
    // It says nothing while it looks, so the time of the next look is over.
    let later = model.now + SignedDuration::from_secs(120);
    let _ = update(&mut model, later, Msg::Tick);
    assert!(status(&model).contains("polling now"), "{}", status(&model));
    let lost = News::Lost { problem: Problem::new("x"), attempt: 1, retry_in: Duration::from_secs(4) };
    tell(&mut model, name, lost);
    assert!(status(&model).contains("last known: in sync at 9f3c2ab"), "{}", status(&model));
    assert!(!status(&model).contains("poll") && !status(&model).contains("lag"), "{}", status(&model));
}

fn detail_model() -> Model {
    let mut model = fleet();
    press(&mut model, "<Enter><Enter>");
    model
}

#[test]
fn detail_of_a_failed_sync() {
    let mut model = detail_model();
    let record = sample::failed(412, 38, "41d07be", "9f3c2ab");
    let detail = SyncDetail { schema: 1, record, detail: sample::detail() };
    tell(&mut model, "web-6f9c-zz81t", News::Detail("412".to_owned(), Ok(Box::new(detail))));
    snapshots("detail", model);
}

#[test]
fn detail_before_it_is_read() {
    snapshots("detail_waiting", detail_model());
}

#[test]
fn detail_of_a_published_sync_with_its_peers() {
    let mut model = fleet();
    press(&mut model, "jj");
    while super::keyboard::selected(&model).as_deref() != Some("web-6f9c-4kq2x") {
        press(&mut model, "j");
    }
    press(&mut model, "<Enter><Enter>");
    let mut record = record(411, 38, "41d07be", "9f3c2ab", "Fix pricing table on mobile");
    record.chased = 2;
    record.peers = vec![pushsync::api::PeerResult { address: "10.1.2.3:8080".to_owned(), result: "ok".to_owned() }];
    let mut detail = sample::detail();
    detail.files = (0..500)
        .map(|index| pushsync::api::FileChange {
            path: format!("pages/{index}.html"),
            change: pushsync::api::Change::Modified,
        })
        .collect();
    detail.files_total = 1200;
    let detail = SyncDetail { schema: 1, record, detail };
    tell(&mut model, "web-6f9c-4kq2x", News::Detail("411".to_owned(), Ok(Box::new(detail))));
    press(&mut model, "<Tab>jjj");
    snapshots("detail_published", model);
}

#[test]
fn events() {
    let mut model = fleet();
    tell(&mut model, "web-6f9c-zz81t", News::Line("error: lost connection to pod".to_owned()));
    let problem = Problem::new("no heartbeat for 25 s: starting over");
    let lost = News::Lost { problem, attempt: 1, retry_in: Duration::from_millis(500) };
    tell(&mut model, "web-6f9c-zz81t", lost);
    press(&mut model, "3");
    snapshots("events", model);
}

#[test]
fn help() {
    let mut model = fleet();
    press(&mut model, "?");
    snapshots("help", model);
}

/// A shallow history cannot tell whether the old commit leads to the new one.
#[test]
fn a_fast_forward_is_claimed_only_if_it_is_known() {
    let theme = Theme::new(true, false);
    for (count, old, known) in [(Some(1), true, true), (None, true, false), (Some(1), false, false)] {
        let mut published = record(1, 38, "41d07be", "9f3c2ab", "Fix pricing table on mobile");
        published.commits.as_mut().unwrap().count = count;
        published.old = published.old.filter(|_| old);
        let mut model = model_of(&["web-6f9c-4kq2x"]);
        let snapshot = sample::snapshot("web-6f9c-4kq2x", "9f3c2ab", vec![published]);
        tell(&mut model, "web-6f9c-4kq2x", News::Snapshot(Box::new(snapshot)));
        press(&mut model, "<Enter><Enter>");
        let screen = grids(&render(&model, &theme, 120, 32), &theme);
        assert!(screen.contains("Fix pricing") || screen.contains("published"), "{screen}");
        assert_eq!(screen.contains("fast-forward"), known, "{screen}");
    }
}

#[test]
fn dialogs() {
    for (name, keys) in
        [("pause", "jjP"), ("pin", "<Tab>B41d0"), ("pin_second", "<Tab>B<Down>"), ("sync_all", "A"), ("unpin", "U")]
    {
        let mut model = fleet();
        if name == "unpin" {
            let mut pinned = sample::snapshot("web-6f9c-zz81t", "41d07be", sample::older());
            pinned.state = State::Pinned;
            pinned.pinned = Some(sha("41d07be"));
            tell(&mut model, "web-6f9c-zz81t", News::Snapshot(Box::new(pinned)));
            model.fleet_pod = Some(PodId::new("web-6f9c-zz81t"));
        }
        press(&mut model, keys);
        assert!(model.dialog.is_some(), "{name} asks");
        snapshots(&format!("dialog_{name}"), model);
    }
}

#[test]
fn wide_and_hostile_subjects() {
    let mut model = model_of(&["web-6f9c-4kq2x"]);
    let subjects = [
        "修正价格表在移动设备上的显示问题",
        "🎉 Release 👨\u{200d}👩\u{200d}👧 party \u{2764}\u{fe0f}",
        &"x".repeat(300),
        "evil \u{1b}[31mred\u{202e}reversed\nsecond line",
    ];
    let recent =
        subjects.iter().zip(400u32..).map(|(subject, id)| record(id, 38, "41d07be", "9f3c2ab", subject)).collect();
    let snapshot = sample::snapshot("web-6f9c-4kq2x", "9f3c2ab", recent);
    tell(&mut model, "web-6f9c-4kq2x", News::Snapshot(Box::new(snapshot)));
    snapshots("subjects", model);
}

#[test]
fn absolute_times_and_a_frozen_read_only_screen() {
    let mut model = fleet();
    model.setup.read_only = true;
    press(&mut model, "tt ");
    assert_eq!(model.time_format, TimeFormat::Local);
    snapshots("frozen", model);
}

#[test]
fn tiny_terminals_get_a_line_a_pod_or_a_sentence() {
    let model = fleet();
    let theme = Theme::new(false, true);
    let mut all = String::new();
    for (width, height) in [(50, 10), (40, 6), (30, 4)] {
        all.push_str(&grids(&render(&model, &theme, width, height), &theme));
    }
    insta::with_settings!({snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("tiny", all);
    });
}

#[test]
fn ascii_means_ascii() {
    let theme = Theme::new(false, true);
    for keys in ["", "<Enter>", "<Enter><Enter>", "3", "?", "P", "1", "1<Enter>", "1<Enter>D", ":", "1o", "<Enter>L"] {
        let mut model = fleet();
        let subject = "Größe “ändern” – 修正价格表 🎉";
        for (id, name) in (700..).zip(["web-6f9c-zz81t", "web-6f9c-4kq2x"]) {
            let finished = record(id, 1, "41d07be", "9f3c2ab", subject);
            tell(&mut model, name, News::Event(pushsync::api::Event::SyncFinished(Box::new(finished))));
        }
        press(&mut model, keys);
        let buffer = render(&model, &theme, 120, 32);
        let text: String = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
        assert!(text.is_ascii(), "{keys}: {:?}", text.chars().find(|character| !character.is_ascii()));
        assert!(!keys.is_empty() || text.contains("Gr??e"), "{keys}: the subject is shown");
    }
}

#[test]
fn without_colours_the_selected_row_is_still_marked() {
    let theme = Theme::new(false, false);
    let buffer = render(&fleet(), &theme, 80, 24);
    assert!(buffer.content().iter().all(|cell| cell.fg == ratatui::style::Color::Reset));
    assert!(buffer.content().iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)));
}

#[test]
fn nothing_has_a_background_and_no_control_character_reaches_a_cell() {
    let theme = Theme::new(true, false);
    for (width, height) in SIZES {
        let mut model = fleet();
        tell(&mut model, "web-6f9c-zz81t", News::Line("\u{1b}]52;c;AAAA\u{7}\u{9b}31m".to_owned()));
        press(&mut model, "3");
        let buffer = render(&model, &theme, width, height);
        for cell in buffer.content() {
            assert_eq!(cell.bg, ratatui::style::Color::Reset);
            assert!(!cell.symbol().chars().any(char::is_control), "{:?}", cell.symbol());
        }
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9 ./:-]{0,40}",
        Just("你好🎉\u{202e}\u{1b}[2J".to_owned()),
        Just("x".repeat(400)),
        proptest::collection::vec(any::<char>(), 0..12).prop_map(|it| it.into_iter().collect()),
    ]
}

prop_compose! {
    fn any_record()(id in 0u32..60, age in -100i64..10_000_000, old in any_text(), new in any_text(), subject in any_text(),
                    kind in 0u8..5, time in proptest::option::of(any::<u64>()), flags in any::<(bool, bool, bool)>()) -> pushsync::api::Record {
        let mut record = if kind == 0 { sample::failed(id, age, "a", "b") } else { record(id, age, "a", "b", &subject) };
        record.old = flags.0.then_some(old);
        record.new = flags.1.then_some(new);
        record.rewritten = flags.2;
        record.received_to_published_ms = time;
        record.phases.fetch_ms = time;
        record.phases.build_ms = time;
        if kind == 1 { record.outcome = Outcome::Unchanged; }
        if kind == 2 { record.outcome = Outcome::Unknown; }
        if let Some(error) = record.error.as_mut() { error.message.clone_from(&subject); error.hint = Some(subject); }
        record
    }
}

prop_compose! {
    fn any_model()(pods in proptest::collection::vec((any_text(), any_text(), proptest::collection::vec(any_record(), 0..12), 0u8..6), 0..7),
                   keys in "[jkgGtwf/y?1234PBAUhl\\[\\] :oDLnN<>]{0,12}", opens in 0usize..3, tabs in 0usize..4, later in -100_000i64..100_000) -> Model {
        let mut model = sample::empty_model();
        let names: Vec<String> = (0..pods.len()).map(|index| format!("{}{index}", pods[index].0)).collect();
        let found = names.iter().map(|name| sample::found(name)).collect();
        let _ = update(&mut model, sample::now(), Msg::Pods(Ok(found)));
        for (name, (_, text, records, kind)) in names.iter().zip(pods) {
            if kind == 0 {
                let lost = News::Lost { problem: Problem::new(text.clone()).hint(text), attempt: 3, retry_in: Duration::from_secs(9) };
                tell(&mut model, name, lost);
                continue;
            }
            let mut snapshot = sample::snapshot(&text, "41d07be", records.clone());
            snapshot.repo.clone_from(&text);
            snapshot.now = ago(later);
            if kind == 1 { snapshot.published = None; snapshot.head = None; }
            if kind == 2 { snapshot.failures_in_row = u32::MAX; snapshot.state = State::Failed; snapshot.last_error = Some(sample::error()); }
            if kind == 3 { snapshot.paused_until = Some(ago(-later)); snapshot.state = State::Paused; }
            if kind == 4 { snapshot.pinned = Some(text.clone()); snapshot.state = State::Pinned; }
            tell(&mut model, name, News::Snapshot(Box::new(snapshot)));
            for record in records {
                let id = record.id.clone();
                let mut detail = Detail { files_total: u64::MAX, ..sample::detail() };
                detail.log[0].message.clone_from(&text);
                tell(&mut model, name, News::Detail(id, Ok(Box::new(SyncDetail { schema: 1, record, detail }))));
            }
        }
        if tabs % 2 == 1 {
            press(&mut model, "1");
        }
        press(&mut model, &"<Tab>".repeat(tabs));
        press(&mut model, &"<Enter>".repeat(opens));
        press(&mut model, &keys);
        model.now = ago(later);
        model
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]
    #[test]
    fn no_model_at_any_size_panics(model in any_model(), width in 1u16..=200, height in 1u16..=60, ascii in any::<bool>()) {
        let theme = Theme::new(true, ascii);
        let buffer = render(&model, &theme, width, height);
        for cell in buffer.content() {
            prop_assert!(!cell.symbol().chars().any(char::is_control));
        }
    }
}
