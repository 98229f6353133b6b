//! The colors and glyphs of the screen, which no other module knows.
//!
//! Each text has a role; a role becomes one of the 16 ANSI foreground colors and modifiers, never a background: the
//! terminal's own palette decides, so light and solarized themes stay readable. Color is a third signal after the glyph and
//! the word; without colors only modifiers remain.

use ratatui::style::{Color, Modifier, Style};

/// The role of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Plain,
    /// Secondary: labels, units, old data.
    Dim,
    /// Titles and important text.
    Strong,
    Good,
    /// A good verdict, the only green line.
    Success,
    Busy,
    Warn,
    Bad,
    /// Commits and keys.
    Accent,
}

impl Role {
    pub const ALL: [Self; 9] = [
        Self::Plain,
        Self::Dim,
        Self::Strong,
        Self::Good,
        Self::Success,
        Self::Busy,
        Self::Warn,
        Self::Bad,
        Self::Accent,
    ];

    /// One letter, for tests that print which role each cell has.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Plain => '.',
            Self::Dim => 'd',
            Self::Strong => 'b',
            Self::Good => 'g',
            Self::Success => 'G',
            Self::Busy => 'c',
            Self::Warn => 'w',
            Self::Bad => 'e',
            Self::Accent => 'a',
        }
    }
}

/// The terminal's background, if known. Some of the 16 colors are not readable on some backgrounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Background {
    #[default]
    Dark,
    Light,
    /// Only colors that are readable on both are used.
    Unknown,
}

/// The colors and glyphs of one run.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    pub color: bool,
    pub background: Background,
    pub glyphs: &'static Glyphs,
}

impl Theme {
    #[must_use]
    pub fn new(color: bool, ascii: bool) -> Self {
        Self { color, background: Background::default(), glyphs: if ascii { &ASCII } else { &UNICODE } }
    }

    /// The same theme on another background.
    #[must_use]
    pub fn on(self, background: Background) -> Self {
        Self { background, ..self }
    }

    /// True if only ASCII characters may reach the terminal.
    #[must_use]
    pub fn ascii(&self) -> bool {
        self.glyphs.ellipsis.is_ascii()
    }

    /// Returns the style of a role. It is complete: it replaces the whole style of a cell.
    #[must_use]
    pub fn style(&self, role: Role) -> Style {
        // Yellow and cyan are too pale for a light background, blue is too dark for a dark one.
        let (warn, accent) = match self.background {
            Background::Dark => (Color::Yellow, Some(Color::Cyan)),
            Background::Light => (Color::Magenta, Some(Color::Blue)),
            Background::Unknown => (Color::Magenta, None),
        };
        let (color, modifier) = match role {
            Role::Plain => (None, Modifier::empty()),
            Role::Dim => (None, Modifier::DIM),
            Role::Strong => (None, Modifier::BOLD),
            Role::Good => (Some(Color::Green), Modifier::empty()),
            Role::Success => (Some(Color::Green), Modifier::BOLD),
            Role::Busy => (accent, Modifier::BOLD),
            Role::Warn => (Some(warn), Modifier::BOLD),
            Role::Bad => (Some(Color::Red), Modifier::BOLD),
            Role::Accent => (accent, Modifier::empty()),
        };
        // ratatui adds a style to that of the cell. From `reset`, nothing of the previous one remains.
        let style = Style::reset().add_modifier(modifier);
        match color {
            Some(color) if self.color => style.fg(color),
            _ => style,
        }
    }

    /// Returns the style of every cell of the selected row. It works without colors and on every background, and replaces
    /// the colors of the cells: reversed, each color would become a different background.
    #[must_use]
    pub fn selected(&self) -> Style {
        Style::reset().add_modifier(Modifier::REVERSED)
    }
}

/// Characters with an ASCII alternative. Each is one column wide, except arrows and the ellipsis in ASCII.
#[derive(Debug)]
pub struct Glyphs {
    pub in_sync: &'static str,
    /// In front of a good verdict.
    pub success: &'static str,
    pub syncing: &'static str,
    pub behind: &'static str,
    pub failed: &'static str,
    pub paused: &'static str,
    pub pinned: &'static str,
    pub starting: &'static str,
    pub unknown: &'static str,
    pub unchanged: &'static str,
    pub arrow: &'static str,
    pub rewritten: &'static str,
    pub ellipsis: &'static str,
    pub dash: &'static str,
    pub dot: &'static str,
    pub crumb: &'static str,
    pub times: &'static str,
    pub rule: &'static str,
    pub bar: &'static str,
    pub corners: [&'static str; 4],
    pub axis: &'static str,
    pub tick: &'static str,
    pub origin: &'static str,
    /// Eight heights, then the signs for a failure and a gap.
    pub levels: [&'static str; 8],
    pub lost: &'static str,
    /// The filled and the other part of a bar. A full block would look like a hole in the selected row.
    pub full: &'static str,
    pub empty: &'static str,
    pub up_down: &'static str,
    pub left_right: &'static str,
}

// Some of these have an ambiguous width (UAX #11): a terminal that is set up for Chinese or Japanese may draw them two
// columns wide. `--ascii` avoids that.
static UNICODE: Glyphs = Glyphs {
    in_sync: "●",
    success: "✓",
    syncing: "◐",
    behind: "▲",
    failed: "✗",
    paused: "‖",
    pinned: "◆",
    starting: "○",
    unknown: "○",
    unchanged: "=",
    arrow: "→",
    rewritten: "⇢",
    ellipsis: "…",
    dash: "—",
    dot: "·",
    crumb: "›",
    times: "×",
    rule: "─",
    bar: "│",
    corners: ["┌", "┐", "└", "┘"],
    axis: "│",
    tick: "┤",
    origin: "└",
    levels: ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    lost: "×",
    full: "■",
    empty: "□",
    up_down: "↑↓",
    left_right: "←/→",
};

static ASCII: Glyphs = Glyphs {
    in_sync: "*",
    success: "+",
    syncing: "~",
    behind: "^",
    failed: "x",
    paused: "=",
    pinned: "@",
    starting: "o",
    unknown: "?",
    unchanged: "=",
    arrow: "->",
    rewritten: "=>",
    ellipsis: "..",
    dash: "-",
    dot: "-",
    crumb: ">",
    times: "x",
    rule: "-",
    bar: "|",
    corners: ["+", "+", "+", "+"],
    axis: "|",
    tick: "+",
    origin: "+",
    // ASCII has fewer heights than eight, so two of them have two levels.
    levels: ["_", "_", ".", ".", "-", "=", "+", "#"],
    lost: "x",
    full: "#",
    empty: ".",
    up_down: "up/down",
    left_right: "</>",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_only_modifiers_remain_and_no_role_has_a_background() {
        for role in Role::ALL {
            assert_eq!(Theme::new(false, false).style(role).fg, Some(Color::Reset), "{role:?}");
            assert_eq!(Theme::new(true, false).style(role).bg, Some(Color::Reset), "{role:?}");
        }
        assert_eq!(Theme::new(false, false).selected().add_modifier, Modifier::REVERSED);
    }

    #[test]
    fn no_colour_is_pale_on_a_light_background_or_dark_on_a_dark_one() {
        let pale = [Color::Yellow, Color::Cyan, Color::White, Color::Gray];
        let dark = [Color::Blue, Color::Black, Color::DarkGray];
        for role in Role::ALL {
            let on = |background| Theme::new(true, false).on(background).style(role).fg.unwrap_or_default();
            assert!(!pale.contains(&on(Background::Light)), "{role:?}");
            assert!(!dark.contains(&on(Background::Dark)), "{role:?}");
            assert!(!pale.contains(&on(Background::Unknown)) && !dark.contains(&on(Background::Unknown)), "{role:?}");
        }
    }

    #[test]
    fn the_glyphs_of_ascii_are_ascii() {
        let all = format!("{ASCII:?}");
        assert!(all.is_ascii(), "{all}");
    }
}
