//! The screen as ratatui's backend: crossterm's, without the queries that would read from the terminal.
//!
//! crossterm queries the position of the cursor, and starts `tput` to get the size. The reader thread owns the terminal's
//! input, so the first query would never be answered. It knows sizes and sequences, not what is drawn.

use std::io::{self, BufWriter, Stdout, Write};

use crossterm::terminal;
use ratatui::backend::{Backend, ClearType, CrosstermBackend, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};

/// The size that is used if a terminal reports none.
const USUAL: (u16, u16) = (80, 24);

/// Standard output as a screen.
pub(crate) struct Output(CrosstermBackend<BufWriter<Stdout>>);

impl Output {
    #[must_use]
    pub(crate) fn new() -> Self {
        // A frame of a large terminal fits the buffer. Sent in one write, it flickers less than in many.
        Self(CrosstermBackend::new(BufWriter::with_capacity(1 << 16, io::stdout())))
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

/// The size of the terminal: what the kernel knows, else `COLUMNS` and `LINES`, else 80x24. A serial line has no size.
#[must_use]
pub(crate) fn size() -> (u16, u16) {
    // Not `terminal::size`, which starts `tput` where this fails.
    let known = terminal::window_size().map_or((0, 0), |size| (size.columns, size.rows));
    complete(known, |name| std::env::var(name).ok())
}

fn complete(known: (u16, u16), environment: impl Fn(&str) -> Option<String>) -> (u16, u16) {
    let one = |known: u16, name: &str, usual: u16| {
        let told = || environment(name)?.parse().ok().filter(|size| *size > 0);
        if known > 0 { known } else { told().unwrap_or(usual) }
    };
    (one(known.0, "COLUMNS", USUAL.0), one(known.1, "LINES", USUAL.1))
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Write::flush(&mut self.0)
    }
}

impl Backend for Output {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        self.0.draw(content)
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.0.hide_cursor()
    }

    /// Never fails: ratatui shows the cursor when the screen is dropped, and prints a failure to stderr. On a terminal that
    /// is gone that would be a panic.
    fn show_cursor(&mut self) -> io::Result<()> {
        let _ = self.0.show_cursor();
        Ok(())
    }

    /// The cursor is hidden, and every draw sets its position.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        self.0.set_cursor_position(position)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.0.clear()
    }

    fn clear_region(&mut self, region: ClearType) -> io::Result<()> {
        self.0.clear_region(region)
    }

    fn size(&self) -> io::Result<Size> {
        Ok(size().into())
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: size().into(), pixels: Size::ZERO })
    }

    fn flush(&mut self) -> io::Result<()> {
        Backend::flush(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_without_a_size_has_that_of_the_environment_or_the_usual_one() {
        let told = |name: &str| (name == "COLUMNS").then(|| "132".to_owned());
        assert_eq!(complete((100, 30), told), (100, 30));
        assert_eq!(complete((0, 0), told), (132, 24));
        assert_eq!(complete((0, 0), |_| Some("0".to_owned())), (80, 24));
        assert_eq!(complete((0, 0), |_| Some("many".to_owned())), (80, 24));
    }
}
