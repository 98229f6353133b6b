//! Text that nobody meant as keys: pastes with and without marks, and escape sequences in pieces, in a real terminal.
//!
//! No request that changes anything may reach a replica, whatever screen or dialog is open.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use pushsync::dashboard::bursts::{GAP, SETTLE};

use super::fake::Fake;
use super::keyboard::{burst, paste, press};
use super::places::{PLACES, Place};
use super::sample::fleet;
use crate::support::pty::Pty;
use crate::support::{PATIENCE, eventually_for, skip};

/// After this, a key is one that a person pressed, whatever came before it.
const PAUSE: Duration = SETTLE.saturating_add(GAP);

/// What people have in their clipboards. Each is sent as it is, and once more between the marks of a bracketed paste.
const PASTES: &[&str] = &[
    "Python fix",
    "PAy",
    "Ay",
    "Sy",
    "SPAUB",
    "SAVE YOUR PASSWORD",
    "quick question",
    "Please Pause\ryes\r",
    "poll\rquit\rPAy\r",
    "Pause\t\r",
    "y\r",
    "\ryes\ry\r",
    "B41d07be\r",
    "000000b000\r",
    "kubectl -n Prod get Pods\r",
    "diff --git a/A b/B\r+++ b/Search\r-yes\r",
    "Päusé ✓ 你好 y\r",
    "\x1b[31mPAy\x1b[0m\r",
];

/// Sequences in pieces, which a slow line may bring tens of milliseconds apart.
const PIECES: &[&[&str]] = &[
    &["\x1b", "[A"],
    &["\x1b[", "A"],
    &["\x1b", "[", "B"],
    &["\x1b", "OA"],
    &["\x1bO", "B"],
    &["\x1bO", "P"],
    &["\x1b", "OS"],
    &["\x1b", "[P"],
    &["\x1b[1;", "3A"],
    &["\x1b[1;3", "B"],
    &["\x1b\x1b", "[A"],
    &["\x1b\x1b[", "B"],
    &["\x1b[15", "~"],
    &["\x1b[", "[A"],
    &["\x1b[M", "SPA"],
    &["\x1b[<0;10;1", "0M"],
    &["\x1b[?64;1", ";2c"],
    &["\x1b", "]11;rgb:ffff/ffff/ffff\x07"],
    &["\x1b[200~PA", "y\r\x1b[201~"],
    &["\x1b[200", "~Python fix\x1b[20", "1~"],
    &["\x1bS"],
    &["\x1bP", "y"],
];

fn urls(fakes: &[Fake]) -> Vec<String> {
    fakes.iter().flat_map(|fake| ["--url".to_owned(), fake.url()]).collect()
}

fn fakes() -> Vec<Fake> {
    ["web-1", "web-2"].map(Fake::local).into_iter().inspect(|fake| fake.fill(60)).collect()
}

fn changes(fakes: &[Fake]) -> Vec<(String, String)> {
    fakes.iter().flat_map(|fake| fake.inner().changes.clone()).collect()
}

/// Waits until everything that was sent has been acted on and drawn: Ctrl-L draws the screen anew wherever the user is. The
/// pause before it is the time in which a key that waits to be alone acts; after the pause behind it, the next key is alone.
fn settle(pty: &mut Pty) {
    std::thread::sleep(PAUSE);
    pty.screen().raw.clear();
    pty.keys("\x0c");
    eventually_for("the screen is drawn anew", || {
        let screen = pty.screen();
        let raw = String::from_utf8_lossy(&screen.raw).into_owned();
        // A frame ends by hiding the cursor.
        let drawn = raw.split_once("\x1b[2J").is_some_and(|(_, after)| after.contains("\x1b[?25l"));
        drawn && !screen.text().trim().is_empty()
    });
    std::thread::sleep(GAP * 2);
}

/// Words of everything that lies on top of a screen or at its foot.
const OVERLAYS: &[&str] = &[
    "FROZEN",
    "asks first",
    "Enter keep",
    "delivery id",
    "Cancel",
    "Type the short sha",
    "Enter runs it",
    "At the forge",
];

fn is_at(pty: &Pty, place: &Place) -> bool {
    let text = pty.text();
    let covered = OVERLAYS.iter().filter(|words| text.contains(**words)).count();
    let own = OVERLAYS.iter().filter(|words| place.covers(words)).count();
    text.contains(place.words) && covered == own
}

/// Goes to a place by way of the first screen, one key at a time, unless it is there. On a busy machine the program may read
/// two keys at once, which is a burst and does nothing; then it goes there again.
fn go(pty: &mut Pty, place: &Place) {
    let end = Instant::now() + PATIENCE;
    while !is_at(pty, place) {
        assert!(Instant::now() < end, "{}:\n{}", place.name, pty.text());
        while let Some(words) = OVERLAYS.iter().rev().find(|words| pty.text().contains(**words)) {
            pty.keys(if *words == "FROZEN" { " " } else { "\x1b" });
            settle(pty);
        }
        press_and_see(pty, "2", &PLACES[0]);
        for (index, key) in place.keys.iter().enumerate() {
            let way = &place.keys[..=index];
            let there = PLACES.iter().find(|place| place.keys == way).expect("each part of a way leads to a place");
            if !press_and_see(pty, key, there) {
                break;
            }
        }
    }
}

/// Presses one key. Returns true if it leads to a place.
fn press_and_see(pty: &mut Pty, key: &str, place: &Place) -> bool {
    pty.keys(key);
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        settle(pty);
        if is_at(pty, place) || Instant::now() >= end {
            return is_at(pty, place);
        }
    }
}

/// Presses one key until it has acted. On a busy machine it may be read together with the one before.
fn press_until(pty: &mut Pty, key: &str, mut acted: impl FnMut(&mut Pty) -> bool) {
    for _ in 0..6 {
        settle(pty);
        pty.keys(key);
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if acted(pty) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    panic!("{key} does nothing:\n{}", pty.text());
}

fn attack(place: &Place) {
    let fakes = fakes();
    let mut pty = Pty::start(110, 36, &urls(&fakes), &[]);
    pty.shows("2/2 replicas");
    let marked: Vec<String> = PASTES.iter().map(|text| format!("\x1b[200~{text}\x1b[201~")).collect();
    let whole = PASTES.iter().copied().chain(marked.iter().map(String::as_str));
    let attacks: Vec<Vec<&str>> = whole.map(|text| vec![text]).chain(PIECES.iter().map(|it| it.to_vec())).collect();
    assert!(attacks.len() >= 40);
    for pieces in attacks {
        go(&mut pty, place);
        for piece in &pieces {
            pty.keys(piece);
            std::thread::sleep(Duration::from_millis(25));
        }
        settle(&mut pty);
        assert_eq!(changes(&fakes), [], "{} and {pieces:?}:\n{}", place.name, pty.text());
    }
    // It still runs, and a key that is meant works. The orders of a link are sent in turn: none is still on its way.
    go(&mut pty, &PLACES[0]);
    press_until(&mut pty, "S", |_| !changes(&fakes).is_empty());
    assert!(changes(&fakes).iter().all(|(change, _)| change == "sync"), "{}: {:?}", place.name, changes(&fakes));
}

/// 58 pastes and split sequences at each of 23 places. All places at the same time: most of it is waiting.
#[test]
fn no_paste_and_no_split_sequence_changes_anything_anywhere() {
    std::thread::scope(|scope| {
        let attacks: Vec<_> = PLACES.iter().map(|place| (place.name, scope.spawn(|| attack(place)))).collect();
        let failed = attacks.into_iter().filter_map(|(name, attack)| attack.join().is_err().then_some(name));
        let failed: Vec<&str> = failed.collect();
        assert_eq!(failed, Vec::<&str>::new());
    });
}

/// The program is stopped between the two keys, as on a machine that is too busy to run it: when it goes on, the second key has
/// been there for long, although it is read only now.
#[test]
fn a_paste_is_a_burst_however_late_its_end_is_read() {
    let fakes = fakes();
    let mut pty = Pty::start(110, 36, &urls(&fakes), &[]);
    pty.shows("2/2 replicas");
    let pid = nix::unistd::Pid::from_raw(pty.pid().try_into().unwrap());
    let mut stopped = 0;
    while stopped < 12 {
        go(&mut pty, &PLACES[0]);
        let pasted = Instant::now();
        pty.keys("P");
        std::thread::sleep(Duration::from_millis(5 + stopped));
        kill(pid, Signal::SIGSTOP).unwrap();
        // Otherwise the key was alone for as long as a press is.
        let in_time = pasted.elapsed() < GAP;
        if in_time {
            pty.keys("y");
        }
        std::thread::sleep(PAUSE);
        kill(pid, Signal::SIGCONT).unwrap();
        if !in_time {
            pty.shows("Pause syncing on");
            continue;
        }
        settle(&mut pty);
        stopped += 1;
        assert_eq!(changes(&fakes), [], "{}", pty.text());
        assert!(!pty.text().contains("Cancel"), "{}", pty.text());
    }
}

#[test]
fn nothing_acts_on_a_screen_that_cannot_be_seen_but_quitting_works() {
    let fakes = fakes();
    for (width, height) in [(39, 30), (100, 5), (20, 3), (1, 1)] {
        let mut pty = Pty::start(width, height, &urls(&fakes), &[]);
        if width > 30 {
            pty.shows("40x6");
            pty.shows("Only q works");
        }
        for keys in ["S", "P", "y", "A", "y", "B", "\r", "\t", "\r", "U", "y", "Python fix", "\x1b[200~PAy\x1b[201~"] {
            pty.keys(keys);
            settle(&mut pty);
        }
        // What was typed there has opened nothing either.
        pty.resize(110, 36);
        pty.shows("LIVE ON");
        assert!(!pty.text().contains("Cancel") && !pty.text().contains("Enter keep"), "{}", pty.text());
        pty.resize(width, height);
        press_until(&mut pty, "q", |pty| pty.child.try_wait().unwrap().is_some());
        assert_eq!(pty.exit(), 0);
        pty.assert_restored();
    }
    assert_eq!(changes(&fakes), []);
}

/// tmux in a folder of its own, with the dashboard in it.
struct Tmux {
    folder: tempfile::TempDir,
}

impl Tmux {
    fn start(fakes: &[Fake]) -> Self {
        let tmux = Self { folder: tempfile::tempdir().unwrap() };
        let mut line = format!("TERM=tmux-256color {} dashboard", env!("CARGO_BIN_EXE_pushsync"));
        for part in urls(fakes) {
            line.extend([" ", &part]);
        }
        tmux.run(&["new-session", "-d", "-x", "110", "-y", "36", &line]);
        tmux
    }

    fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.folder.path().join("socket")).args(["-f", "/dev/null", "-u"]).args(args);
        command.env_remove("TMUX").env("LC_ALL", "C.UTF-8");
        let output = command.output().expect("tmux starts");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn text(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    fn shows(&self, words: &str) {
        eventually_for(words, || self.text().contains(words));
    }

    /// One key, as a person presses it.
    fn press(&self, key: &str) {
        self.run(&["send-keys", key]);
        std::thread::sleep(PAUSE);
    }

    /// Ctrl-L shows nothing that can be captured; the help does.
    fn settle(&self) {
        std::thread::sleep(PAUSE);
        for _ in 0..3 {
            self.press("Escape");
        }
        self.press("1");
        self.press("?");
        self.shows("asks first");
        self.press("q");
        eventually_for("q closes the help", || !self.text().contains("asks first"));
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let socket = self.folder.path().join("socket");
        let _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output();
    }
}

#[test]
fn no_paste_through_tmux_changes_anything() {
    if Command::new("tmux").arg("-V").output().is_err() {
        return skip("tmux");
    }
    let fakes = fakes();
    let tmux = Tmux::start(&fakes);
    tmux.shows("2/2 replicas");
    for (turn, text) in PASTES.iter().filter(|text| !text.contains('\x1b')).enumerate() {
        for way in ["typed", "pasted", "marked"] {
            // A different place each time; one key each, as a person presses them.
            let place = &PLACES[(turn * 3 + way.len()) % PLACES.len()];
            for key in ["2"].iter().chain(place.keys) {
                tmux.run(&["send-keys", "-l", key]);
                std::thread::sleep(PAUSE);
            }
            tmux.shows(place.words);
            tmux.run(&["set-buffer", &text.replace('\r', "\n")]);
            match way {
                "typed" => tmux.run(&["send-keys", "-l", text]),
                "pasted" => tmux.run(&["paste-buffer"]),
                _ => tmux.run(&["paste-buffer", "-p"]),
            };
            tmux.settle();
            if tmux.text().contains("FROZEN") {
                tmux.run(&["send-keys", "-l", " "]);
                eventually_for("the screen goes on", || !tmux.text().contains("FROZEN"));
                std::thread::sleep(PAUSE);
            }
            assert_eq!(changes(&fakes), [], "{} and {text:?}, {way}:\n{}", place.name, tmux.text());
        }
    }
    tmux.run(&["send-keys", "2"]);
    tmux.shows("Syncs on all replicas");
    std::thread::sleep(PAUSE);
    tmux.run(&["send-keys", "S"]);
    eventually_for("the sync that was meant", || !changes(&fakes).is_empty());
    assert!(matches!(&changes(&fakes)[..], [(change, _)] if change == "sync"), "{:?}", changes(&fakes));
}

#[test]
fn ctrl_z_gives_the_terminal_back_and_fg_takes_it_again() {
    if Command::new("tmux").arg("-V").output().is_err() {
        return skip("tmux");
    }
    let fakes = fakes();
    let tmux = Tmux { folder: tempfile::tempdir().unwrap() };
    tmux.run(&["new-session", "-d", "-x", "110", "-y", "36", "PS1='$ ' bash --norc --noprofile -i"]);
    let line = format!("{} dashboard {}", env!("CARGO_BIN_EXE_pushsync"), urls(&fakes).join(" "));
    tmux.run(&["send-keys", "-l", &line]);
    tmux.run(&["send-keys", "Enter"]);
    tmux.shows("2/2 replicas");
    for _ in 0..2 {
        std::thread::sleep(PAUSE);
        tmux.press("C-z");
        tmux.shows("Stopped");
        tmux.run(&["send-keys", "-l", "stty -a | grep -o -- '-*icanon'; echo shell=$((20+3))"]);
        tmux.run(&["send-keys", "Enter"]);
        tmux.shows("shell=23");
        assert!(!tmux.text().contains("-icanon"), "the modes are the shell's: {}", tmux.text());
        tmux.run(&["send-keys", "-l", "fg"]);
        tmux.run(&["send-keys", "Enter"]);
        tmux.shows("2/2 replicas");
        fakes[0].publish("feedbee", "After it went on");
        tmux.shows("After it went on");
        tmux.press("3");
        tmux.shows("Events of this dashboard");
        tmux.press("1");
        tmux.shows("2 replicas");
        fakes[1].publish("feedbee", "After it went on");
        tmux.shows("2/2 replicas");
    }
    tmux.press("q");
    eventually_for("the shell's screen is back", || !tmux.text().contains("2 replicas"));
    tmux.run(&["send-keys", "-l", "echo left=$((40+2))"]);
    tmux.run(&["send-keys", "Enter"]);
    tmux.shows("left=42");
}

/// The same rules without a terminal: what a burst does, and what it does not.
#[test]
fn a_burst_moves_and_fills_text_fields_and_does_nothing_else() {
    for (keys, text) in [("", "Python fix"), ("", "Sy"), ("", "PAy"), ("", "SPAUBq "), ("P", "y\n"), ("P<Tab>", "\n")] {
        let mut model = fleet();
        press(&mut model, keys);
        assert_eq!(burst(&mut model, text), [], "{keys} {text}");
        assert_eq!(model.dialog.is_some(), !keys.is_empty(), "{keys} {text}");
        assert!(!model.frozen && !model.copying && !model.help);
    }
    let mut model = fleet();
    burst(&mut model, "jj");
    assert_eq!(super::keyboard::selected(&model).as_deref(), Some("web-6f9c-4kq2x"));
    burst(&mut model, "/trigger:poll\nquit\nPAy");
    assert_eq!((model.filter_text.as_str(), model.typing), ("trigger:poll", false));
    press(&mut model, "q");
    burst(&mut model, "Sync");
    assert!(model.flash.unwrap().text.contains("press S by itself"));
}

#[test]
fn marked_text_reaches_text_fields_only_and_is_one_clean_line() {
    let mut model = fleet();
    assert_eq!(paste(&mut model, "PAy"), []);
    assert!(model.dialog.is_none() && model.filter_text.is_empty());
    press(&mut model, "/");
    paste(&mut model, "  trigger:poll\r\n\u{1b}[31m\tjj\u{7}\n");
    assert_eq!((model.filter_text.as_str(), model.typing), ("trigger:poll [31m jj", true));
    paste(&mut model, &"x".repeat(1 << 20));
    assert!(model.filter_text.len() <= 200);
    // A hash may be pasted; it answers nothing, and what is not a hash is dropped.
    let mut model = fleet();
    press(&mut model, "jjB");
    paste(&mut model, "git revert 41d07be");
    paste(&mut model, "41D07BE\n");
    assert!(model.dialog.is_some());
    assert_eq!(press(&mut model, "<Enter>").len(), 1);
    // In other dialogs it is dropped.
    let mut model = fleet();
    press(&mut model, "P");
    assert_eq!(paste(&mut model, "y\n"), []);
    assert!(model.dialog.is_some());
}

#[test]
fn keys_with_control_or_alt_are_no_answers() {
    use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    use pushsync::dashboard::message::Msg;
    use pushsync::dashboard::update::update;
    for modifiers in [KeyModifiers::CONTROL, KeyModifiers::ALT] {
        for code in [KeyCode::Char('y'), KeyCode::Char('A'), KeyCode::Enter] {
            let mut model = fleet();
            press(&mut model, "P<Tab>");
            let dialog = model.dialog.clone();
            let now = model.now;
            assert_eq!(update(&mut model, now, Msg::Key(KeyEvent::new(code, modifiers))), [], "{code:?}");
            assert_eq!(model.dialog, dialog, "{code:?}");
        }
    }
}
