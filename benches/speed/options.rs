//! The selection of measurements, and their duration.

use std::path::PathBuf;

pub const PARTS: [&str; 9] = ["push", "clone", "look", "hook", "fan-out", "start", "memory", "cost", "limit"];

/// Parts that take long, and are measured only if `--only` names them.
const LONG: [&str; 2] = ["cost", "limit"];

pub const USAGE: &str =
    "usage: scripts/bench [--only push,clone,look,hook,fan-out,start,memory,cost,limit] [--quick] [--rounds N] \
                         [--files N,N] [--changed N,N] [--gaps N,N/N] [--durability full]
`cost` (the whole cost of a push) and `limit` (pushes under a CPU limit of 100m, root only) take minutes for each row and are
measured only if --only names them. --gaps are the seconds between the pushes of `cost`, each with the grace of replaced trees
behind a slash if that is not 60; --changed is how many files they change.
PEER=/path/to/git-sync measures another program with git-sync's flags beside ours,
PUSHSYNC=/path/to/pushsync another build of ours, such as the static one.
BENCH_DIR=/var/tmp puts repositories and trees there instead of into memory.";

/// The grace of replaced trees, as it is by default.
const GRACE: u64 = 60;

/// Seconds between two pushes and the grace of replaced trees.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub gap: u64,
    pub grace: u64,
}

impl Pace {
    fn parse(text: &str) -> Result<Self, String> {
        let (gap, grace) = text.split_once('/').unwrap_or((text, "60"));
        let number = |text: &str| text.parse().ok().filter(|number| *number > 0);
        let pace = number(gap).zip(number(grace)).map(|(gap, grace)| Self { gap, grace });
        pace.ok_or_else(|| format!("{text} is no number of seconds, or two with a slash between them"))
    }
}

pub struct Options {
    only: Vec<String>,
    /// Fewer rounds, and no repository of 100,000 files.
    pub quick: bool,
    rounds: Option<usize>,
    files: Vec<usize>,
    gaps: Vec<Pace>,
    changed: Vec<usize>,
    /// What the program whose pushes are measured is told, if not its default.
    durability: Option<String>,
    /// Another program that takes git-sync's flags.
    pub peer: Option<PathBuf>,
}

impl Options {
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let peer = std::env::var_os("PEER").map(PathBuf::from);
        let mut options = Self {
            only: Vec::new(),
            quick: false,
            rounds: None,
            files: Vec::new(),
            gaps: Vec::new(),
            changed: Vec::new(),
            durability: None,
            peer,
        };
        let mut args = args.peekable();
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or(format!("{flag} needs a value"));
            match flag.as_str() {
                // cargo's own.
                "--bench" => {}
                "--quick" => options.quick = true,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--durability" => options.durability = Some(format!("--durability={}", value()?)),
                "--rounds" => options.rounds = Some(number(&value()?)?.max(1)),
                "--files" => options.files = value()?.split(',').map(number).collect::<Result<_, _>>()?,
                "--changed" => options.changed = value()?.split(',').map(number).collect::<Result<_, _>>()?,
                "--gaps" => options.gaps = value()?.split(',').map(Pace::parse).collect::<Result<_, _>>()?,
                _ => return Err(format!("unknown option {flag}")),
            }
        }
        match options.only.iter().find(|part| !PARTS.contains(&part.as_str())) {
            Some(part) => Err(format!("there is no part {part}")),
            None => Ok(options),
        }
    }

    pub fn has(&self, part: &str) -> bool {
        (self.only.is_empty() && !LONG.contains(&part)) || self.only.iter().any(|only| only == part)
    }

    /// Flags of ours that are not the usual ones.
    pub fn flags(&self) -> Vec<&str> {
        self.durability.as_deref().into_iter().collect()
    }

    /// As many as asked for, else `usual`, or fewer if it is to be quick.
    pub fn rounds(&self, usual: usize) -> usize {
        self.rounds.unwrap_or(if self.quick { usual.div_ceil(3) } else { usual })
    }

    /// The sizes that were asked for, else the usual ones.
    pub fn files_or(&self, usual: &[usize]) -> Vec<usize> {
        if self.files.is_empty() { usual.to_vec() } else { self.files.clone() }
    }

    /// The paces of pushes whose whole cost is measured. Pushes 90 s apart take half an hour for each row.
    pub fn gaps(&self) -> Vec<Pace> {
        if self.gaps.is_empty() {
            vec![Pace { gap: 3, grace: GRACE }, Pace { gap: 7, grace: 4 }]
        } else {
            self.gaps.clone()
        }
    }

    /// How many files such a push changes.
    pub fn changed(&self) -> Vec<usize> {
        if self.changed.is_empty() { vec![1, 100] } else { self.changed.clone() }
    }

    /// How many files the repositories have that pushes go into.
    pub fn files(&self) -> Vec<usize> {
        match (&self.files[..], self.quick) {
            ([], true) => vec![100, 20_000],
            ([], false) => vec![100, 20_000, 100_000],
            (files, _) => files.to_vec(),
        }
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}
