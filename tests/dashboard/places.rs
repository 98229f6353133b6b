//! The screens and dialogs at which text is pasted, and the keys that lead there.

/// A place to be at: its name, the keys that lead there from the first screen, and words that are only there.
pub struct Place {
    pub name: &'static str,
    pub keys: &'static [&'static str],
    pub words: &'static str,
}

impl Place {
    /// Whether some words of an overlay belong to this place.
    pub fn covers(&self, words: &str) -> bool {
        let own: &[&str] = match self.keys.last() {
            Some(&"?") => &["asks first"],
            Some(&"/") => &["Enter keep"],
            Some(&"y") => &["delivery id"],
            Some(&" ") => &["FROZEN"],
            Some(&"B") => &["Type the short sha"],
            Some(&":") => &["Enter runs it"],
            Some(&"o") => &["At the forge"],
            Some(_) if ["Pause ", "Sync ALL", "> Sync <"].iter().any(|words| self.words.contains(words)) => &["Cancel"],
            _ => &[],
        };
        own.contains(&words)
    }
}

const fn place(name: &'static str, keys: &'static [&'static str], words: &'static str) -> Place {
    Place { name, keys, words }
}

pub const PLACES: &[Place] = &[
    place("fleet", &[], "Syncs on all replicas"),
    place("commits", &["1"], "2 replicas"),
    place("commit", &["1", "\r"], "live on"),
    place("commits, filter", &["1", "/"], "Enter keep"),
    place("commits, rollback dialog", &["1", "B"], "Type the short sha"),
    place("commits, pause dialog", &["1", "P"], "Pause syncing on ALL"),
    place("list of commands", &[":"], "Enter runs it"),
    place("address", &["\t", "o"], "At the forge"),
    place("fleet, second pane", &["\t"], "Syncs on all replicas"),
    place("history", &["\r"], "History"),
    place("detail", &["\r", "\r"], "Commits ("),
    place("events", &["3"], "Events of this dashboard"),
    place("help", &["?"], "CHANGE (asks first)"),
    place("filter", &["/"], "Enter keep"),
    place("copy", &["y"], "delivery id"),
    place("frozen", &[" "], "FROZEN"),
    place("pause dialog", &["P"], "Pause syncing on"),
    place("pause dialog, armed", &["P", "\t"], "> Pause 1h <"),
    place("pause dialog, all", &["P", "A"], "Pause syncing on ALL"),
    place("sync dialog", &["A"], "Sync ALL"),
    place("sync dialog, armed", &["A", "\t"], "> Sync <"),
    place("rollback dialog", &["B"], "Type the short sha"),
    place("rollback dialog in the history", &["\r", "B"], "Type the short sha"),
];
