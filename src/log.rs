//! Log output: one JSON object per line for machines, or readable text for a terminal, always without secrets.
//!
//! It knows nothing of what is logged. A stderr that is broken or not read never stops the program.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod line;
mod writer;

use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::clock::Clock;

pub use line::printable;

use line::{Fields, LogLine};
use writer::Writer;

/// The format of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Text,
}

/// `--log-format` and `-v`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// `None`: text if stderr is a terminal, else JSON.
    pub format: Option<Format>,
    /// 0 = info, 1 = debug, 2 and above = trace; of this crate only.
    pub verbosity: u8,
}

/// Sends log lines to stderr. Has no effect if the process already has a subscriber.
pub fn init(options: LogOptions) {
    let terminal = std::io::stderr().is_terminal();
    let format = options.format.unwrap_or(if terminal { Format::Text } else { Format::Json });
    // `NO_COLOR` counts if it is not empty (no-color.org).
    let colour =
        terminal && format == Format::Text && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let writer = Writer::start(move |dropped| {
        let mut fields = Fields::default();
        fields.add("message", "log lines were dropped: nothing read standard error".into());
        fields.add("dropped", dropped.into());
        let line = LogLine { at: Clock::real().now(), level: tracing::Level::WARN, fields, outer: Vec::new() };
        render(&line, format, colour)
    });
    let for_layer = writer.clone();
    let layer = Lines::new(format, colour, options.verbosity, Clock::real(), move |line: &str| for_layer.write(line));
    // Fails only if a subscriber exists already, which is then kept.
    if tracing::subscriber::set_global_default(subscriber(layer)).is_ok() {
        let _ = WRITER.set(writer);
        // Log panics like other lines, without blocking: the panicking thread may be the one that answers probes.
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    }
}

/// The writer of [`init`].
static WRITER: OnceLock<Writer> = OnceLock::new();

/// Waits until all lines so far are written, or until `within` has passed. Call it before the process ends.
pub fn flush(within: Duration) {
    if let Some(writer) = WRITER.get() {
        writer.flush(within);
    }
}

fn render(line: &LogLine, format: Format, colour: bool) -> String {
    match format {
        Format::Json => line.json(),
        Format::Text => line.text(colour),
    }
}

fn subscriber<W: Fn(&str) + Send + Sync + 'static>(layer: Lines<W>) -> impl Subscriber + Send + Sync {
    Registry::default().with(layer)
}

/// The layer that writes lines.
struct Lines<W> {
    format: Format,
    colour: bool,
    /// The most verbose level of this crate that is written.
    ours: LevelFilter,
    clock: Clock,
    write: W,
}

impl<W: Fn(&str) + Send + Sync + 'static> Lines<W> {
    fn new(format: Format, colour: bool, verbosity: u8, clock: Clock, write: W) -> Self {
        let ours = match verbosity {
            0 => LevelFilter::INFO,
            1 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        Self { format, colour, ours, clock, write }
    }
}

/// Returns true for a line or span of this crate (the program's own target has the same first part).
fn is_ours(metadata: &Metadata<'_>) -> bool {
    let crate_name = metadata.target().split("::").next().unwrap_or_default();
    crate_name == env!("CARGO_CRATE_NAME")
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: Fn(&str) + Send + Sync + 'static,
{
    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        // Other crates may log only warnings and errors, because their debug lines may contain secrets.
        let limit = if is_ours(metadata) { self.ours } else { LevelFilter::WARN };
        *metadata.level() <= limit
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.ours)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let at = self.clock.now();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        let mut outer = Vec::new();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                outer.push(of_span.clone());
            }
        }
        let line = LogLine { at, level, fields, outer };
        (self.write)(&render(&line, self.format, self.colour));
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field.name(), format!("{value:?}").into());
    }
}

#[cfg(test)]
#[path = "log/tests.rs"]
mod tests;
