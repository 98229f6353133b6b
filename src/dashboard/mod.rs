//! The terminal dashboard: every replica's sync history over port-forwards.
//!
//! It runs on a laptop and knows the sidecar only by its API: of this crate it imports `api`, `clock` and `proxy`, nothing
//! else. Reading order: `model` (the known state), `message`, `update` (its changes), `view` (how it is drawn), `link` (the
//! connections), `screen` (the loop that combines them). `model`, `update` and `view` do no input or output.

pub(crate) mod text;
pub mod theme;

pub(crate) mod decoder;
pub(crate) mod sequence;

pub(crate) mod filter;
pub(crate) mod forge;
pub mod keys;
pub(crate) mod palette;
pub(crate) mod podlog;
pub(crate) mod records;

pub mod message;
pub mod model;

pub mod act;
pub(crate) mod answers;
pub(crate) mod ask;
pub mod bursts;
pub mod commits;
pub(crate) mod copying;
pub(crate) mod cursor;
pub mod fleet;
pub(crate) mod holds;
pub(crate) mod input;
pub(crate) mod lists;
pub(crate) mod names;
pub(crate) mod navigation;
pub(crate) mod pasted;
pub(crate) mod reports;
pub mod rollback;
pub(crate) mod sorting;
pub(crate) mod turns;
pub(crate) mod typing;
pub mod update;
pub mod verdict;
pub mod webhooks;

pub mod view;

pub(crate) mod sse;

pub(crate) mod child;
pub mod children;
pub(crate) mod clipboard;
pub(crate) mod forward;
pub(crate) mod http;
pub(crate) mod kubectl;
pub(crate) mod link;
pub(crate) mod links;
pub(crate) mod listing;
pub(crate) mod person;
pub(crate) mod pods;
pub(crate) mod reach;

pub(crate) mod args;
pub(crate) mod output;
pub mod plain;
pub(crate) mod reader;
pub(crate) mod screen;
pub(crate) mod terminal;
pub(crate) mod verbs;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::future::Future;
use std::io::{self, Write};

use anyhow::Context;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::clock::Clock;

use self::args::{Args, Look, Output};
use self::children::{Children, Reaper};
use self::links::Links;
use self::message::Msg;
use self::model::{Found, Model, Problem, Setup, TimeFormat};
use self::plain::encoding::Encoding;
use self::plain::{Plain, document, table};
use self::theme::Theme;
use self::verbs::args::{Asked, Request};
use self::verdict::{Kind, Verdict};

pub use self::verbs::verb::Verb;

/// How long a replica that is visited in turn stays connected on a screen.
const LONGEST_VISIT: SignedDuration = SignedDuration::from_secs(10);

/// Runs the dashboard with the arguments after its name. Returns the exit code: 0, 1 for a bad command line or a start
/// that failed, with `--check` 2 and 3, 128 + n after a signal.
#[must_use]
pub fn main(args: Vec<OsString>, as_kubectl_plugin: bool) -> u8 {
    if args.first().is_some_and(|first| first == child::STAGE) {
        return child::stage(&args[1..]);
    }
    match Args::read(args, as_kubectl_plugin) {
        Ok(args) => execute(|children| start(args, children)),
        Err(error) => refuse(&error),
    }
}

/// Runs a verb with the arguments after it. Returns the exit code, as [`main`] does.
#[must_use]
pub fn verb(verb: Verb, args: Vec<OsString>, as_kubectl_plugin: bool) -> u8 {
    let called = if as_kubectl_plugin { "kubectl pushsync" } else { "pushsync" };
    match verbs::args::read(verb, args, called) {
        Ok(Asked::Check(args)) => execute(|children| start(*args, children)),
        Ok(Asked::Change(request)) => execute(|children| change(*request, children)),
        Err(error) => refuse(&error),
    }
}

/// Prints the error of the command line, or the requested help.
fn refuse(error: &clap::Error) -> u8 {
    // There is no other way to report that this cannot be printed.
    let _ = error.print();
    u8::from(error.use_stderr())
}

/// Runs a future that may start children, and ends all of them.
fn execute<F: Future<Output = anyhow::Result<u8>>>(work: impl FnOnce(Children) -> F) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal::tell(format_args!("pushsync: no runtime: {error}"));
            return 1;
        }
    };
    let children = Children::default();
    children.die_with_a_panic();
    // Dropped last, also after a panic, so that no kubectl outlives us.
    let _reaper = Reaper(children.clone());
    let outcome = runtime.block_on(work(children));
    // A read of a lost terminal may never return, and must not prevent the exit.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) if broken_pipe(&error) => 0,
        Err(error) => {
            terminal::tell(format_args!("pushsync: {error:#}"));
            1
        }
    }
}

async fn change(request: Request, children: Children) -> anyhow::Result<u8> {
    let begun = Instant::now();
    let signals = terminal::signals(children.clone()).context("cannot wait for signals")?;
    verbs::run(request, children, signals, begun).await
}

/// Returns true if the reader of our output has closed it, which is no error.
fn broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

async fn start(args: Args, children: Children) -> anyhow::Result<u8> {
    let begun = Instant::now();
    let mut signals = terminal::signals(children.clone()).context("cannot wait for signals")?;
    let clock = Clock::real();
    let environment = |name: &str| std::env::var(name).ok();
    let mut screen = terminal::present() && !args.once && !args.watch && !args.check && args.output.is_none();
    if screen && !terminal::capable(environment) {
        let term = environment("TERM").unwrap_or_default();
        terminal::tell(format_args!("pushsync: this terminal (TERM={term}) cannot show a screen"));
        screen = false;
    }
    let source = reach::source(&args.replicas, children.clone());
    let (mut links, messages) = Links::new(source, reach::token(&args.replicas)?, children.clone());
    // Before raw mode, so that a login plugin can ask and a failure is plain text.
    let first = tokio::select! {
        first = first_listing(&mut links, &args, screen, begun) => first,
        code = signals.recv() => return Ok(code.unwrap_or(143)),
    };
    if let Err(problem) = &first {
        let hint = problem.hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
        let words = format!("cannot list the pods: {}{hint}", problem.reason);
        // A screen or a stream without any replica would show nothing. The other modes go on to a verdict and its exit
        // code.
        anyhow::ensure!(!screen && !args.watch, words);
        terminal::tell(format_args!("pushsync: {words}"));
    }
    let setup = Setup {
        subject: args.replicas.subject(),
        read_only: args.read_only,
        max_links: args.replicas.links_at_a_time(),
        longest_visit: if screen || args.watch { LONGEST_VISIT } else { SignedDuration::ZERO },
        kubernetes: args.replicas.url.is_empty(),
        commit: args.commit.clone(),
        by_address: args.watch,
    };
    let mut model = Model::new(setup, clock.now(), TimeZone::system());
    if args.utc {
        model.time_format = TimeFormat::Utc;
    }
    for effect in update::update(&mut model, clock.now(), Msg::Pods(first.clone())) {
        links.carry_out(effect);
    }
    if first.as_ref().is_err_and(|problem| args.wait.is_none() || reach::stays(problem)) {
        return report(&args, &model, &verdict::judge(&model), clock.now());
    }
    links.watch_pods(first);
    if !screen {
        let encoding = Encoding::new(args.ascii);
        let plain = Plain { model, clock, links: &mut links, messages, signals, begun, encoding };
        let outcome = without_screen(&args, plain).await;
        links.close().await;
        return outcome;
    }
    let log = match &args.log_file {
        Some(path) => Some(
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("cannot write the log file {}", path.display()))?,
        ),
        None => None,
    };
    let color = terminal::color(args.color, environment);
    let background = terminal::background(args.theme, environment);
    let theme = Theme::new(color, args.ascii || terminal::ascii(environment)).on(background);
    let panicked = terminal::leave_on_panic();
    let guard = terminal::Guard;
    let taken = terminal::take(args.mouse).context("cannot use this terminal")?;
    model.size = output::size();
    let mut asked = None;
    if color && args.theme == Look::Auto {
        let sent = terminal::ask_background(environment).context("cannot use this terminal")?;
        asked = sent.then(Instant::now);
    }
    let running = screen::Loop {
        screen: taken,
        model,
        theme,
        clock,
        links: &mut links,
        messages,
        signals,
        panicked: &panicked,
        log,
        logged: 0,
        shown: None,
        asked,
    };
    // A terminal that cannot be drawn on is gone. That ends the program, and cannot be reported there.
    let code = running.run().await.unwrap_or(129);
    // The prompt returns at once; the children have their second after that.
    drop(guard);
    links.close().await;
    Ok(code)
}

/// Makes the first listing. Without a screen, the limit of the command line includes it.
async fn first_listing(links: &mut Links, args: &Args, screen: bool, begun: Instant) -> Result<Vec<Found>, Problem> {
    let listing = links.first(reach::terminal());
    if screen { listing.await } else { reach::within(listing, begun, args.wait.unwrap_or(args.timeout)).await }
}

async fn without_screen(args: &Args, mut plain: Plain<'_>) -> anyhow::Result<u8> {
    if args.watch {
        return Ok(plain.watch(args.output == Some(Output::Text), &mut io::stdout().lock()).await?);
    }
    let verdict = match args.wait {
        Some(limit) => plain.wait(limit).await,
        None => plain.gather(args.timeout).await,
    };
    match verdict {
        Ok(verdict) => report(args, &plain.model, &verdict, plain.clock.now()),
        Err(signal) => Ok(signal),
    }
}

/// Prints a verdict and its data. Returns the exit code.
fn report(args: &Args, model: &Model, verdict: &Verdict, now: Timestamp) -> anyhow::Result<u8> {
    let encoding = Encoding::new(args.ascii);
    let mut out = io::stdout().lock();
    if args.output == Some(Output::Json) {
        let document = document::document(model, verdict, now);
        writeln!(out, "{}", encoding.json(&serde_json::to_string_pretty(&document)?))?;
    } else {
        let mut lines = Vec::new();
        table::table(model, verdict, &mut lines)?;
        out.write_all(encoding.lines(&String::from_utf8_lossy(&lines)).as_bytes())?;
    }
    out.flush()?;
    // Without --check the exit code only says whether there was an answer at all.
    let kind = verdict.kind();
    Ok(if args.check || kind == Kind::Unreachable { kind.exit_code() } else { 0 })
}
