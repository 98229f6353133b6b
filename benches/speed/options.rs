//! The selection of measurements, and their duration.

use std::path::PathBuf;

pub const PARTS: [&str; 8] = ["push", "clone", "look", "hook", "fan-out", "start", "memory", "cost"];

pub const USAGE: &str =
    "usage: scripts/bench [--only push,clone,look,hook,fan-out,start,memory,cost] [--quick] [--rounds N] \
                         [--files N,N] [--gaps N,N] [--durability full]
`cost` takes minutes for each row and is measured only if --only names it; --gaps are the seconds between its pushes.
PEER=/path/to/git-sync measures another program with git-sync's flags beside ours,
PUSHSYNC=/path/to/pushsync another build of ours, such as the static one.
BENCH_DIR=/var/tmp puts repositories and trees there instead of into memory.";

pub struct Options {
    only: Vec<String>,
    /// Fewer rounds, and no repository of 100,000 files.
    pub quick: bool,
    rounds: Option<usize>,
    files: Vec<usize>,
    gaps: Vec<usize>,
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
                "--gaps" => options.gaps = value()?.split(',').map(number).collect::<Result<_, _>>()?,
                _ => return Err(format!("unknown option {flag}")),
            }
        }
        match options.only.iter().find(|part| !PARTS.contains(&part.as_str())) {
            Some(part) => Err(format!("there is no part {part}")),
            None => Ok(options),
        }
    }

    pub fn has(&self, part: &str) -> bool {
        (self.only.is_empty() && part != "cost") || self.only.iter().any(|only| only == part)
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

    /// Seconds between two pushes whose whole cost is measured. The longer ones take half an hour for each row.
    pub fn gaps(&self) -> Vec<u64> {
        let gaps = self.gaps.iter().filter_map(|gap| u64::try_from(*gap).ok().filter(|gap| *gap > 0));
        if self.gaps.is_empty() { vec![3] } else { gaps.collect() }
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
