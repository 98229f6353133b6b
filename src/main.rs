//! The story of the process (for trying the dashboard; the lead's main.rs replaces it).

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let plugin = std::path::Path::new(&name).file_name().is_some_and(|name| name == "kubectl-pushsync");
    if !plugin {
        // The word `dashboard`.
        args.next();
    }
    ExitCode::from(pushsync::dashboard::main(args.collect(), plugin))
}
