//! The list of all commands that `:` opens: filtered by typed text, selected from, run.
//!
//! It is made from the table of keys. It knows commands by name, not their effects.

use super::keys::{self, Binding, Screen};

/// The most typed characters.
const LENGTH: usize = 40;

/// The open list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Palette {
    pub text: String,
    /// The chosen row among the commands that match.
    pub row: usize,
}

impl Palette {
    /// Adds a character while there is room.
    pub fn push(&mut self, character: char) {
        if self.text.len() < LENGTH && !character.is_control() {
            self.text.push(character);
            // The list is another one now, and Enter must not run a command that happens to be in the old row.
            self.row = 0;
        }
    }

    /// Removes the last character.
    pub fn pop(&mut self) {
        self.text.pop();
        self.row = 0;
    }

    /// Moves the choice.
    pub fn step(&mut self, screen: Screen, by: isize) {
        let last = self.matches(screen).len().saturating_sub(1);
        self.row = self.row.saturating_add_signed(by).min(last);
    }

    /// Returns the commands of a screen that match the typed text: those that begin with it first.
    #[must_use]
    pub fn matches(&self, screen: Screen) -> Vec<&'static Binding> {
        let typed = self.text.trim().to_lowercase();
        let begins = |binding: &&'static Binding| binding.command.starts_with(&typed);
        let mut found: Vec<&'static Binding> = keys::commands(screen).filter(begins).collect();
        let holds = |binding: &&'static Binding| {
            !begins(binding) && (binding.command.contains(&typed) || binding.help.contains(&typed))
        };
        found.extend(keys::commands(screen).filter(holds));
        found
    }

    /// The chosen command.
    #[must_use]
    pub fn chosen(&self, screen: Screen) -> Option<&'static Binding> {
        self.matches(screen).get(self.row).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::keys::Action;

    #[test]
    fn commands_that_begin_with_the_typed_text_come_first() {
        let mut palette = Palette::default();
        let all = palette.matches(Screen::Fleet).len();
        assert!(all > 15, "{all}");
        "re".chars().for_each(|character| palette.push(character));
        let names: Vec<&str> = palette.matches(Screen::Fleet).iter().map(|binding| binding.command).collect();
        assert!(names[0].starts_with("re"), "{names:?}");
        "plicas".chars().for_each(|character| palette.push(character));
        assert_eq!(palette.chosen(Screen::Fleet).map(|binding| binding.action), Some(Action::Fleet));
        palette.step(Screen::Fleet, -1);
        palette.step(Screen::Fleet, 9);
        assert!(palette.chosen(Screen::Fleet).is_some(), "the choice stays among what matches");
        (0..99).for_each(|_| palette.push('x'));
        assert!(palette.text.len() <= LENGTH && palette.chosen(Screen::Fleet).is_none());
    }
}
