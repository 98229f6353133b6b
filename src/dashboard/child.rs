//! Starts a program that ends with this one and cannot write to the user's terminal.
//!
//! Safe code cannot do the necessary steps between fork and exec (a session of its own, SIGKILL when the parent ends). So
//! this executable is started once more, does them in [`stage`], and becomes the program by exec. It must not know the
//! program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// The first argument of the intermediate stage, after `dashboard`. Not for people, so not in the help.
pub(crate) const STAGE: &str = "__child";

/// Whether the program may use the user's terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// It may: a login plugin has to ask for a password. It stays in our process group and gets Ctrl-C as well.
    Shared,
    /// It runs in a session of its own, without a controlling terminal.
    None,
}

/// A call of `program`, whose arguments are to be added. It gets SIGKILL when the thread that starts it ends (Linux), so
/// it has to be started by a thread that lives as long as this process wants it to.
#[must_use]
pub(crate) fn command(program: &str, terminal: Terminal) -> Command {
    let mut command = Command::new(executable());
    let session = match terminal {
        Terminal::Shared => "shared",
        Terminal::None => "own",
    };
    command.arg0("pushsync").args(["dashboard", STAGE, &std::process::id().to_string(), session, program]);
    command
}

/// This executable. On Linux the link leads to it even after the file was replaced by a newer release.
fn executable() -> PathBuf {
    if cfg!(target_os = "linux") {
        PathBuf::from("/proc/self/exe")
    } else {
        std::env::current_exe().unwrap_or_else(|_| PathBuf::from("pushsync"))
    }
}

/// True if there is a file with this name on the PATH.
#[must_use]
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The intermediate stage: `PARENT SESSION PROGRAM ARGUMENTS`. Returns an exit code only if the program cannot run.
#[must_use]
#[expect(clippy::print_stderr, reason = "stderr is where the parent reads why it did not work")]
pub(crate) fn stage(args: &[OsString]) -> u8 {
    let [parent, session, program, rest @ ..] = args else {
        eprintln!("pushsync: {STAGE} is for internal use");
        return 1;
    };
    if session == "own"
        && let Err(error) = rustix::process::setsid()
    {
        eprintln!("pushsync: no session of its own for {}: {error}", program.display());
        return 126;
    }
    if !follow(parent) {
        return 1;
    }
    let error = Command::new(program).args(rest).exec();
    eprintln!("error: {} cannot be started: {error}", program.display());
    127
}

/// Arranges to be killed when the parent ends. Returns false if it has ended already.
fn follow(parent: &OsString) -> bool {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)) {
        // Every orderly end still takes the child along.
        let _ = error;
    }
    // The parent may have ended before the kernel was asked.
    let now = rustix::process::getppid().map(|id| id.as_raw_nonzero().to_string());
    now.is_some_and(|now| parent.to_str() == Some(now.as_str()))
}
