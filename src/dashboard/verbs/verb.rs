//! The words of the command line that ask or change replicas, with the texts of their help.

/// The verbs of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Status,
    Wait,
    Sync,
    Pause,
    Resume,
    Pin,
    Unpin,
}

impl Verb {
    pub const ALL: [Self; 7] =
        [Self::Status, Self::Wait, Self::Sync, Self::Pause, Self::Resume, Self::Pin, Self::Unpin];

    /// The verb of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.word() == word)
    }

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Wait => "wait",
            Self::Sync => "sync",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Pin => "pin",
            Self::Unpin => "unpin",
        }
    }

    #[must_use]
    pub fn changes(self) -> bool {
        !matches!(self, Self::Status | Self::Wait)
    }

    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Status => "Prints the replicas and whether the newest commit is live on all of them",
            Self::Wait => "Waits until the newest commit, or the one of --commit, is live on all replicas",
            Self::Sync => "Makes replicas fetch and publish what the remote has now",
            Self::Pause => "Pauses replicas: pushes and polls publish nothing until the pause ends by itself",
            Self::Resume => "Ends the pause of replicas, and makes them sync",
            Self::Pin => "Publishes one commit on replicas and keeps it there: a rollback",
            Self::Unpin => "Lets pinned replicas follow their ref again, and makes them sync",
        }
    }

    #[must_use]
    pub(super) fn examples(self) -> &'static str {
        match self {
            Self::Status => {
                "Examples:\n  kubectl pushsync status deploy/web -n prod\n  \
                 pushsync status --url :9180 -o json"
            }
            Self::Wait => {
                "Examples:\n  kubectl pushsync wait deploy/web -n prod --commit \"$(git rev-parse HEAD)\"\n  \
                 pushsync wait --url :9180 --timeout 30s"
            }
            Self::Sync => {
                "Examples:\n  kubectl pushsync sync deploy/web -n prod --all\n  \
                 kubectl pushsync sync pod/web-6f9c-4kq2x"
            }
            Self::Pause => {
                "Examples:\n  kubectl pushsync pause deploy/web -n prod --all --for 2h\n  \
                 kubectl pushsync pause pod/web-6f9c-4kq2x"
            }
            Self::Resume => "Examples:\n  kubectl pushsync resume deploy/web -n prod --all",
            Self::Pin => {
                "Examples:\n  kubectl pushsync pin deploy/web c69507e -n prod --all\n  \
                 pushsync pin --url :9180 c69507e"
            }
            Self::Unpin => "Examples:\n  kubectl pushsync unpin deploy/web -n prod --all",
        }
    }

    #[must_use]
    pub(super) fn explanation(self) -> &'static str {
        match self {
            Self::Status | Self::Wait => {
                "The last line is the verdict. Exit codes: 0 live everywhere, 2 not reachable, 3 not live everywhere or \
                 unknown, 1 a bad command line."
            }
            Self::Pin => {
                "New pushes are fetched and not published until `unpin`. The pin is on the volume of each replica; with \
                 --peers a new replica takes it over from the others. docs/reliability.md says what each kind of \
                 rollback survives.\n\nExit codes: 0 every replica did it, 2 none could be reached, 3 at least one did \
                 not, 1 a bad command line."
            }
            Self::Sync | Self::Pause | Self::Resume | Self::Unpin => {
                "Each replica's answer is one line. A replica counts when its sync has ended, not when it accepted the \
                 request. `resume` of a replica that is not paused and `unpin` of one that is not pinned count as \
                 done.\n\nExit codes: 0 every replica did it, 2 none could be reached, 3 at least one did not, 1 a bad \
                 command line."
            }
        }
    }
}
