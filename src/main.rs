//! The life of the process: parse, validate, listen, sync until a signal, drain.

use std::ffi::OsString;
use std::io::{self, Write as _, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use pushsync::clock::Clock;
use pushsync::config::{self, Config, Invocation};
use pushsync::error::NO_THREAD_HINT;
use pushsync::metrics::Metrics;
use pushsync::notices::Notice;
use pushsync::{cli, dashboard, git, init, log, notices, ping, publish, server, signals, sync};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// After `--drain`, the exit takes at most two seconds: this much for the sync loop, then the listeners.
const RECORD: Duration = Duration::from_millis(800);
const DRAIN: Duration = Duration::from_secs(1);
/// How long reading the files that flags name may take.
const CONFIG: Duration = Duration::from_secs(30);
/// How long writing the error file may take when the process cannot start.
const LAST_NOTICE: Duration = Duration::from_secs(2);
/// Like the usual stack of the first thread.
const STACK: usize = 8 << 20;
/// The stack of a thread that only waits.
const SMALL_STACK: usize = 64 << 10;
/// The threads that the process begins with: tokio's worker, and the one that starts the listeners.
const FIRST_THREADS: usize = 2;
/// How long writing the last log lines may take.
const LAST_LINES: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let called_as = args.next().unwrap_or_default();
    let args: Vec<OsString> = args.collect();
    // kubectl finds its plugins by name: `kubectl pushsync deploy/web` runs `kubectl-pushsync deploy/web`.
    let plugin = Path::new(&called_as).file_stem().is_some_and(|name| name == "kubectl-pushsync");
    let args = match cli::run(&called_as, args, plugin) {
        Ok(code) => return ExitCode::from(code),
        Err(args) => args,
    };
    let word = args.first().and_then(|first| first.to_str());
    if let Some(verb) = word.and_then(dashboard::Verb::of) {
        return ExitCode::from(dashboard::verb(verb, args.into_iter().skip(1).collect(), plugin));
    }
    if word == Some("init") {
        return ExitCode::from(init::run(&args[1..]));
    }
    let dashboard = word == Some("dashboard");
    if plugin || dashboard {
        let args = args.into_iter().skip(usize::from(dashboard)).collect();
        return ExitCode::from(dashboard::main(args, plugin));
    }
    git::prepare_process();
    let parsed = on_a_thread(CONFIG, || config::parse(args, std::env::vars_os()));
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(not_done) => {
            let words = match not_done {
                NotDone::Late => "reading a file that a flag names takes too long".to_owned(),
                NotDone::NoThread(error) => no_thread(&error),
            };
            let _ = stderr().write_all(format!("pushsync: {words}\n").as_bytes());
            return ExitCode::FAILURE;
        }
    };
    match parsed {
        Ok(Invocation::Run(config)) => run(*config),
        Ok(Invocation::Ping(args)) => send_ping(args),
        // Unlike print!, do not panic if the reader has closed the pipe, as in `pushsync --help | head -1`.
        Ok(Invocation::Print(text)) => {
            let _ = stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(exit) => {
            let _ = stderr().write_all(exit.text.as_bytes());
            let _ = exit.error_file.map(|path| notices::tell_plainly(&path, &exit.text));
            ExitCode::from(exit.code)
        }
    }
}

fn send_ping(args: Vec<OsString>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let sent = runtime.and_then(|runtime| runtime.block_on(ping::run(args, &mut stdout(), &mut stderr())));
    sent.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Why work on a thread of its own has no result.
enum NotDone {
    /// It takes too long; the thread is abandoned.
    Late,
    NoThread(io::Error),
}

/// Runs work that may hang on a disk.
fn on_a_thread<T: Send + 'static>(within: Duration, work: impl FnOnce() -> T + Send + 'static) -> Result<T, NotDone> {
    let (answer, answered) = mpsc::channel();
    let thread = std::thread::Builder::new().name("start".to_owned()).stack_size(STACK);
    thread.spawn(move || answer.send(work())).map_err(NotDone::NoThread)?;
    answered.recv_timeout(within).map_err(|_| NotDone::Late)
}

/// The message for a system that starts no more threads for this process.
fn no_thread(error: &io::Error) -> String {
    format!("the system starts no more threads ({error}): {NO_THREAD_HINT}")
}

/// Fails if the system does not start the threads that `serve` begins with. Tokio would panic.
fn check_threads() -> anyhow::Result<()> {
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let wait = |_| {
        let released = Arc::clone(&released);
        let thread = std::thread::Builder::new().name("start".to_owned()).stack_size(SMALL_STACK);
        // The lock and the channel both end with the sender.
        thread.spawn(move || released.lock().recv().is_ok())
    };
    let started: io::Result<Vec<_>> = (0..FIRST_THREADS).map(wait).collect();
    drop(release);
    match started {
        Ok(threads) => {
            // They have to end, because the real threads need their places.
            for thread in threads {
                let _ = thread.join();
            }
            Ok(())
        }
        Err(error) => Err(anyhow::anyhow!(no_thread(&error))),
    }
}

/// Runs a sidecar until it ends.
fn run(config: Config) -> ExitCode {
    log::init(config.log);
    config.volume.checkout.set_umask();
    let no_volume = publish::warn_of_no_volume(&config.volume.root);
    config.warnings.iter().chain(&no_volume).for_each(|warning| tracing::warn!("{warning}"));
    let (root, error_file) = (config.volume.root.clone(), config.sync.notices.error.clone());
    // One worker is enough: blocking and long computations have their own threads, and two workers would mostly wake
    // each other.
    let build = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = check_threads().and_then(|()| build().context("no threads or timers are available"));
    let served = runtime.and_then(|runtime| {
        let served = runtime.block_on(serve(config));
        // A git thread that hangs in a read must not delay the exit.
        runtime.shutdown_background();
        served
    });
    let code = served.unwrap_or_else(|error| {
        tracing::error!("cannot start: {error:#}");
        // If another process owns the root, the error file belongs to that one.
        let notice = Notice::new("cannot start", format!("{error:#}"));
        let told = on_a_thread(LAST_NOTICE, move || {
            if let Some(path) = error_file.filter(|_| !publish::has_owner(&root)) {
                let _ = notices::tell(&path, &notice);
            }
        });
        // The log has said it already.
        drop(told);
        1
    });
    log::flush(LAST_LINES);
    ExitCode::from(code)
}

async fn serve(config: Config) -> anyhow::Result<u8> {
    let mut endings = signals::Endings::catch().context("cannot catch signals")?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), &config.sync.repo, &config.sync.reference));
    let engine = sync::engine(config.remote, &config.volume.root, &metrics);
    let (on_signal, drain) = (config.sync.sync_on_signal, config.drain);
    let (handle, sync_loop) = sync::prepare(config.sync, engine, config.volume, metrics, Clock::real());
    // Start the listeners first, because a port-forward to a closed port fails.
    let (answer, opened) = oneshot::channel();
    let (options, for_servers, runtime) = (config.server, handle.clone(), tokio::runtime::Handle::current());
    let started = std::thread::Builder::new().name("start".to_owned()).spawn(move || {
        let _within = runtime.enter();
        // The receiver is gone if the process was stopped in the meantime.
        let _ = answer.send(server::start(&options, &for_servers));
    });
    started.map_err(|error| anyhow::anyhow!(no_thread(&error)))?;
    // The start reads secrets from disks that may hang.
    let servers = tokio::select! {
        code = endings.received() => return Ok(code),
        servers = opened => servers.context("the listeners could not be started")??,
    };
    if let Some(number) = on_signal {
        tokio::spawn(signals::ring_on(number, handle));
    }
    let stop = CancellationToken::new();
    let mut syncing = tokio::spawn(sync_loop.run(servers.start_delay(), servers.inherited(), stop.clone()));

    let code = tokio::select! {
        code = endings.received() => {
            keep_serving(drain, &servers, &mut endings, &mut syncing).await;
            tracing::info!("stopping: the published tree stays");
            stop.cancel();
            // If the link has been changed already, the sync is recorded before the exit.
            let _ = tokio::time::timeout(RECORD, &mut syncing).await;
            code
        }
        ended = &mut syncing => ended.context("the sync loop panicked")?.exit_code(),
    };
    servers.shutdown(DRAIN).await;
    Ok(code)
}

/// Keeps serving for `drain`, because deliveries arrive until every proxy knows that this replica is stopping.
/// Returns early at a second signal, or when the sync loop ends by itself.
async fn keep_serving(
    drain: Duration,
    servers: &server::Servers,
    endings: &mut signals::Endings,
    syncing: &mut tokio::task::JoinHandle<sync::Ending>,
) {
    if drain.is_zero() {
        return;
    }
    tracing::info!("stopping: webhooks are received for another {drain:?} (--drain)");
    servers.leave();
    tokio::select! {
        () = tokio::time::sleep(drain) => {}
        _ = endings.received() => tracing::info!("second signal: stopping now"),
        () = async { while !syncing.is_finished() { tokio::time::sleep(Duration::from_millis(50)).await; } } => {}
    }
}
