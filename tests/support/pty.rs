//! A pseudo-terminal with the program in it, and just enough of a terminal to know what is on the screen.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, SlavePty, native_pty_system};
use unicode_width::UnicodeWidthChar;

use super::{PATIENCE, eventually_for};

/// What a terminal shows after the bytes it was sent. It understands what the dashboard uses, nothing else.
pub struct Emulator {
    cells: Vec<Vec<char>>,
    x: usize,
    y: usize,
    pub alternate: bool,
    pub cursor: bool,
    pub colors: bool,
    pub copied: bool,
    pub raw: Vec<u8>,
    rest: Vec<u8>,
}

impl Emulator {
    fn new(width: usize, height: usize) -> Self {
        let cells = vec![vec![' '; width]; height];
        Self {
            cells,
            x: 0,
            y: 0,
            alternate: false,
            cursor: true,
            colors: false,
            copied: false,
            raw: Vec::new(),
            rest: Vec::new(),
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        self.rest.extend_from_slice(bytes);
        while let Some(used) = self.step() {
            self.rest.drain(..used);
        }
    }

    /// Takes one character or sequence from the front, if it is complete.
    fn step(&mut self) -> Option<usize> {
        let rest = self.rest.clone();
        let first = *rest.first()?;
        if first == 0x1b {
            match rest.get(1)? {
                b'[' => {
                    let end = 2 + rest[2..].iter().position(|byte| (0x40..=0x7e).contains(byte))?;
                    let parameters = String::from_utf8_lossy(&rest[2..end]).into_owned();
                    self.control(&parameters, rest[end]);
                    return Some(end + 1);
                }
                b']' => {
                    let end = rest.windows(2).position(|pair| pair == b"\x1b\\" || pair[0] == 7)?;
                    self.copied |= rest.starts_with(b"\x1b]52;");
                    return Some(if rest[end] == 7 { end + 1 } else { end + 2 });
                }
                _ => return Some(2),
            }
        }
        let length = match first {
            0..0x80 => 1,
            0xc0..0xe0 => 2,
            0xe0..0xf0 => 3,
            _ => 4,
        };
        let character = std::str::from_utf8(rest.get(..length)?).ok().and_then(|text| text.chars().next());
        match character {
            Some('\r') => self.x = 0,
            Some('\n') => self.y += 1,
            Some('\u{8}') => self.x = self.x.saturating_sub(1),
            Some(character) if !character.is_control() => {
                if let Some(cell) = self.cells.get_mut(self.y).and_then(|row| row.get_mut(self.x)) {
                    *cell = character;
                }
                self.x += character.width().unwrap_or(0);
            }
            _ => {}
        }
        Some(length)
    }

    fn control(&mut self, parameters: &str, end: u8) {
        let number = |index: usize| parameters.split(';').nth(index).and_then(|it| it.parse::<usize>().ok());
        match (end, parameters) {
            (b'H', _) => {
                self.y = number(0).unwrap_or(1) - 1;
                self.x = number(1).unwrap_or(1) - 1;
            }
            (b'h', "?1049") => self.alternate = true,
            (b'l', "?1049") => self.alternate = false,
            (b'h', "?25") => self.cursor = true,
            (b'l', "?25") => self.cursor = false,
            (b'J', _) => self.cells.iter_mut().for_each(|row| row.fill(' ')),
            (b'm', _) => {
                let color = |code: &str| code.parse().is_ok_and(|code: u8| (30..=38).contains(&code) || code >= 90);
                self.colors |= parameters.split(';').any(color);
            }
            _ => {}
        }
    }

    pub fn text(&self) -> String {
        let lines: Vec<String> =
            self.cells.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned()).collect();
        lines.join("\n")
    }
}

/// The program in its terminal.
pub struct Pty {
    pub child: Box<dyn Child + Send + Sync>,
    master: Option<Box<dyn MasterPty + Send>>,
    /// Kept open, so that the terminal's state can be looked at after the program.
    slave: Option<Box<dyn SlavePty + Send>>,
    writer: Option<Box<dyn Write + Send>>,
    screen: Arc<Mutex<Emulator>>,
    hung_up: Arc<AtomicBool>,
    /// The terminal's modes before the program ran.
    pub before: String,
}

impl Pty {
    pub fn start(width: u16, height: u16, args: &[String], environment: &[(&str, &str)]) -> Self {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_pushsync"));
        command.arg("dashboard");
        command.args(args);
        command.env("TERM", "xterm-256color");
        command.env("LC_ALL", "C.UTF-8");
        command.env_remove("NO_COLOR");
        for (name, value) in environment {
            command.env(name, value);
        }
        Self::run(width, height, command)
    }

    /// Any program, such as a shell.
    pub fn run(width: u16, height: u16, command: CommandBuilder) -> Self {
        let size = PtySize { rows: height, cols: width, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let before = format!("{:?}", pair.master.get_termios());
        let screen = Arc::new(Mutex::new(Emulator::new(width.into(), height.into())));
        let mut reader = pair.master.try_clone_reader().unwrap();
        let shared = Arc::downgrade(&screen);
        let hung_up = Arc::new(AtomicBool::new(false));
        let gone = hung_up.clone();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count) = reader.read(&mut chunk) {
                // The reader holds the terminal open too; the program's next words let it go.
                let Some(screen) = shared.upgrade().filter(|_| count > 0 && !gone.load(Ordering::SeqCst)) else {
                    return;
                };
                screen.lock().unwrap().feed(&chunk[..count]);
            }
        });
        let child = pair.slave.spawn_command(command).unwrap();
        let writer = pair.master.take_writer().unwrap();
        Self {
            child,
            master: Some(pair.master),
            slave: Some(pair.slave),
            writer: Some(writer),
            screen,
            hung_up,
            before,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    pub fn keys(&mut self, keys: &str) {
        let writer = self.writer.as_mut().unwrap();
        writer.write_all(keys.as_bytes()).unwrap();
        writer.flush().unwrap();
    }

    /// One key, as a person presses it: keys that are closer together may be pasted text.
    pub fn press(&mut self, key: &str) {
        std::thread::sleep(Duration::from_millis(100));
        self.keys(key);
    }

    pub fn text(&self) -> String {
        self.screen.lock().unwrap().text()
    }

    pub fn screen(&self) -> std::sync::MutexGuard<'_, Emulator> {
        self.screen.lock().unwrap()
    }

    pub fn shows(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text().contains(words) {
            assert!(Instant::now() < deadline, "{words:?} is not on the screen:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn modes(&self) -> String {
        format!("{:?}", self.master.as_ref().unwrap().get_termios())
    }

    pub fn resize(&self, width: u16, height: u16) {
        *self.screen.lock().unwrap() = Emulator::new(width.into(), height.into());
        let size = PtySize { rows: height, cols: width, pixel_width: 0, pixel_height: 0 };
        self.master.as_ref().unwrap().resize(size).unwrap();
    }

    /// Waits for the program's end and returns its exit code.
    pub fn exit(&mut self) -> u32 {
        let mut status = None;
        eventually_for("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().exit_code()
    }

    /// The modes, the cursor and the main screen are as they were.
    pub fn assert_restored(&self) {
        assert_eq!(self.modes(), self.before);
        eventually_for("the last bytes arrive", || !self.screen().alternate && self.screen().cursor);
    }

    /// What closing the window does.
    pub fn hang_up(&mut self) {
        self.hung_up.store(true, Ordering::SeqCst);
        self.writer = None;
        self.slave = None;
        self.master = None;
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
