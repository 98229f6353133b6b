//! The story of the process.

use std::io::{self, Write as _};
use std::process::ExitCode;

use pushsync::config::{Invocation, parse};
use pushsync::{log, ping};

fn main() -> ExitCode {
    // A reader who has gone away is no reason to panic, as print! would: `pushsync --help | head -1`.
    match parse(std::env::args_os().skip(1), std::env::vars_os()) {
        Err(exit) => {
            let _ = io::stderr().write_all(exit.text.as_bytes());
            ExitCode::from(exit.code)
        }
        Ok(Invocation::Print(text)) => {
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Invocation::Ping(arguments)) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let (mut output, mut complaints) = (io::stdout(), io::stderr());
            let sent = runtime.and_then(|runtime| runtime.block_on(ping::run(arguments, &mut output, &mut complaints)));
            sent.map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Ok(Invocation::Run(config)) => {
            log::init(config.log);
            for warning in &config.warnings {
                tracing::warn!("{warning}");
            }
            ExitCode::SUCCESS
        }
    }
}
