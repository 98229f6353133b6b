//! Prometheus metrics: git-sync's names where it has the same metric, our own names otherwise.
//!
//! `sync` and `server` count, the http listener renders. Names and labels are an interface, so that dashboards and
//! alerts for git-sync keep working.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::api::{Outcome, Record, Snapshot, State};
use crate::clock::Clock;

/// Bucket bounds in seconds: a poll without changes takes milliseconds, the first clone of a large repository takes
/// minutes.
const SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HookRun {
    name: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeliveryResult {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseName {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MetricKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateName {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    kind: String,
    phase: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommitName {
    commit: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct About {
    version: String,
    repo: String,
    r#ref: String,
}

/// The states by the names that the API has for them.
const STATES: [(State, &str); 8] = [
    (State::Starting, "starting"),
    (State::InSync, "in_sync"),
    (State::Syncing, "syncing"),
    (State::Behind, "behind"),
    (State::Failed, "failed"),
    (State::Paused, "paused"),
    (State::Pinned, "pinned"),
    (State::Standby, "standby"),
];

type Histograms<Labels> = Family<Labels, Histogram, fn() -> Histogram>;
type Seconds = Gauge<f64, AtomicU64>;

/// All metrics. Thread-safe; every method is cheap.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    clock: Clock,
    syncs: Family<Status, Counter>,
    fetches: Counter,
    /// A histogram where git-sync has a summary without quantiles. `_sum` and `_count` are the same.
    durations: Histograms<Status>,
    hook_runs: Family<HookRun, Counter>,
    /// Gauges that only increase, because git-sync's two names lack `_total`, which a counter would add.
    askpass_calls: Family<Status, Gauge>,
    app_tokens: Family<Status, Gauge>,
    published: Family<CommitName, Gauge>,
    last_success: Seconds,
    last_attempt: Seconds,
    deliveries: Family<DeliveryResult, Counter>,
    missed: Counter,
    received_to_published: Histogram,
    phases: Histograms<PhaseName>,
    fetched_bytes: Counter,
    peer_messages: Family<DeliveryResult, Counter>,
    volume_bytes: Family<MetricKind, Gauge>,
    /// Without labels; a family, so that the series is absent without a limit.
    volume_limit: Family<[(&'static str, &'static str); 0], Gauge>,
    state: Family<StateName, Gauge>,
    behind: Gauge,
    failures_in_a_row: Gauge,
    last_error: Family<ErrorLabels, Gauge>,
    paused: Gauge,
    pinned: Gauge,
    records_waiting: Gauge,
    records_dropped: Counter,
    /// git-sync counts the first successful sync as a sync and as a fetch, even if it found no change.
    succeeded: AtomicBool,
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(env!("CARGO_PKG_VERSION"), "", "")
    }
}

impl Metrics {
    /// `repo` must be redacted.
    #[must_use]
    pub fn new(version: &str, repo: &str, reference: &str) -> Self {
        let about = About { version: version.to_owned(), repo: repo.to_owned(), r#ref: reference.to_owned() };
        let mut metrics = Self {
            registry: Registry::default(),
            clock: Clock::real(),
            syncs: Family::default(),
            fetches: Counter::default(),
            durations: Family::new_with_constructor(seconds),
            hook_runs: Family::default(),
            askpass_calls: Family::default(),
            app_tokens: Family::default(),
            published: Family::default(),
            last_success: Gauge::default(),
            last_attempt: Gauge::default(),
            deliveries: Family::default(),
            missed: Counter::default(),
            received_to_published: seconds(),
            phases: Family::new_with_constructor(seconds),
            fetched_bytes: Counter::default(),
            peer_messages: Family::default(),
            volume_bytes: Family::default(),
            volume_limit: Family::default(),
            state: Family::default(),
            behind: Gauge::default(),
            failures_in_a_row: Gauge::default(),
            last_error: Family::default(),
            paused: Gauge::default(),
            pinned: Gauge::default(),
            records_waiting: Gauge::default(),
            records_dropped: Counter::default(),
            succeeded: AtomicBool::new(false),
        };
        metrics.register(about);
        // Create the series at the start, so that the first failure is an increase from 0 and not a new series.
        for status in ["success", "error", "noop"] {
            drop(metrics.syncs.get_or_create(&Status { status }));
        }
        for result in ["queued", "ignored", "pong", "bad_signature", "malformed", "too_large", "timeout"] {
            drop(metrics.deliveries.get_or_create(&DeliveryResult { result }));
        }
        metrics
    }

    /// Registers all metrics. Counters are registered without `_total`, which the exposition adds.
    fn register(&mut self, about: About) {
        let all = &mut self.registry;
        all.register("git_sync_count", "Syncs by status", self.syncs.clone());
        all.register("git_fetch_count", "Fetches that brought something", self.fetches.clone());
        all.register("git_sync_duration_seconds", "How long syncs took", self.durations.clone());
        all.register("git_sync_hook_run_count", "Runs of hooks by status", self.hook_runs.clone());
        all.register("git_sync_askpass_calls", "Calls of the askpass URL", self.askpass_calls.clone());
        all.register("git_sync_refresh_github_app_token_count", "GitHub app tokens asked for", self.app_tokens.clone());
        all.register("pushsync", "The version and build of pushsync", Info::new(about));
        all.register("pushsync_published_info", "The commit that is published", self.published.clone());
        let name = "pushsync_last_success_timestamp_seconds";
        all.register(name, "When a sync last succeeded, changed or not", self.last_success.clone());
        let name = "pushsync_last_attempt_timestamp_seconds";
        all.register(name, "The end of the last sync, successful or not", self.last_attempt.clone());
        all.register("pushsync_webhook_deliveries", "Webhook requests by result", self.deliveries.clone());
        all.register("pushsync_missed_webhooks", "Commits that no webhook announced", self.missed.clone());
        let name = "pushsync_received_to_published_seconds";
        all.register(name, "From a webhook's first byte to the published tree", self.received_to_published.clone());
        all.register("pushsync_phase_duration_seconds", "How long each phase took", self.phases.clone());
        all.register("pushsync_fetch_bytes", "Bytes received by fetches", self.fetched_bytes.clone());
        all.register("pushsync_peer_messages", "Messages to other replicas by result", self.peer_messages.clone());
        all.register("pushsync_volume_bytes", "Bytes on the volume", self.volume_bytes.clone());
        all.register("pushsync_volume_limit_bytes", "The most that the volume may take", self.volume_limit.clone());
        all.register("pushsync_state", "1 for the replica's state, 0 for all others", self.state.clone());
        all.register("pushsync_behind", "1 while a newer commit is known than the published one", self.behind.clone());
        let name = "pushsync_failures_in_a_row";
        all.register(name, "Failed syncs since the last one that succeeded", self.failures_in_a_row.clone());
        all.register("pushsync_last_error_info", "Why the last sync failed, while it did", self.last_error.clone());
        all.register("pushsync_paused", "1 while paused", self.paused.clone());
        all.register("pushsync_pinned", "1 while pinned to a commit", self.pinned.clone());
        let name = "pushsync_history_waiting";
        all.register(name, "Records that the history's disk has not taken yet", self.records_waiting.clone());
        let name = "pushsync_history_dropped";
        all.register(name, "Records lost because too many waited for the disk", self.records_dropped.clone());
    }

    /// A sync ended with a record: published, failed, refused, or unchanged after a trigger other than a poll.
    pub fn record(&self, record: &Record) {
        let status = match record.outcome {
            Outcome::Published => {
                self.succeeded.store(true, Ordering::Relaxed);
                "success"
            }
            Outcome::Unchanged => self.unchanged_is(),
            Outcome::Failed | Outcome::Refused | Outcome::Unknown => "error",
        };
        // The difference is negative if the clock went backwards in between.
        let took = Duration::try_from(record.finished_at.duration_since(record.started_at)).unwrap_or_default();
        self.ended(status, took);
        let bytes = record.bytes.unwrap_or(0);
        // git-sync counts each change of the published commit, even if the commit was in the store already.
        if bytes > 0 || record.outcome == Outcome::Published {
            self.fetches.inc();
        }
        self.fetched_bytes.inc_by(bytes);
        if record.missed_webhook {
            self.missed.inc();
        }
        if let Some(millis) = record.received_to_published_ms {
            self.received_to_published.observe(Duration::from_millis(millis).as_secs_f64());
        }
        let phases = &record.phases;
        for (phase, millis) in [
            ("queue", phases.queue_ms),
            ("fetch", phases.fetch_ms),
            ("build", phases.build_ms),
            ("gate", phases.gate_ms),
            ("publish", phases.publish_ms),
        ] {
            if let Some(millis) = millis {
                let seconds = Duration::from_millis(millis).as_secs_f64();
                self.phases.get_or_create(&PhaseName { phase }).observe(seconds);
            }
        }
    }

    /// A poll found no change.
    pub fn unchanged(&self, took: Duration) {
        self.ended(self.unchanged_is(), took);
    }

    /// Returns the status of a sync without changes: the first one counts as success, as in git-sync.
    fn unchanged_is(&self) -> &'static str {
        if self.succeeded.swap(true, Ordering::Relaxed) {
            return "noop";
        }
        self.fetches.inc();
        "success"
    }

    /// A poll failed like the one before it, so that it left no record.
    pub fn failed(&self, took: Duration) {
        self.ended("error", took);
    }

    fn ended(&self, status: &'static str, took: Duration) {
        self.syncs.get_or_create(&Status { status }).inc();
        self.durations.get_or_create(&Status { status }).observe(took.as_secs_f64());
        let now = Duration::try_from(self.clock.now().as_duration()).unwrap_or_default().as_secs_f64();
        self.last_attempt.set(now);
        if status != "error" {
            self.last_success.set(now);
        }
    }

    /// A webhook request was answered: `queued`, `ignored`, `pong`, `bad_signature`, `malformed`, `too_large`, `timeout`.
    pub fn delivery(&self, result: &'static str) {
        self.deliveries.get_or_create(&DeliveryResult { result }).inc();
    }

    /// A message to another replica was sent or abandoned.
    pub fn peer_message(&self, result: &'static str) {
        self.peer_messages.get_or_create(&DeliveryResult { result }).inc();
    }

    /// A hook ran (`success` or `error`).
    pub fn hook_run(&self, name: &str, status: &'static str) {
        self.hook_runs.get_or_create(&HookRun { name: name.to_owned(), status }).inc();
    }

    /// The askpass URL was called.
    pub fn askpass_call(&self, status: &'static str) {
        self.askpass_calls.get_or_create(&Status { status }).inc();
    }

    /// A GitHub App token was requested.
    pub fn github_app_token(&self, status: &'static str) {
        self.app_tokens.get_or_create(&Status { status }).inc();
    }

    /// Sets the published commit.
    pub fn published(&self, commit: &str) {
        // One series only: over months the commits would become thousands.
        self.published.clear();
        self.published.get_or_create(&CommitName { commit: commit.to_owned() }).set(1);
    }

    /// Sets the limit of the volume in bytes, if there is one.
    pub fn volume_limit(&self, limit: Option<u64>) {
        if let Some(limit) = limit {
            self.volume_limit.get_or_create(&[]).set(i64::try_from(limit).unwrap_or(i64::MAX));
        }
    }

    /// Sets the metrics that show the current state. To be called before each [`Self::render`], so that a scrape shows the
    /// state of its own moment.
    pub fn state(&self, now: &Snapshot) {
        // One series for each state, so that an alert can name the one that it is about (OpenMetrics, "StateSet").
        for (state, name) in STATES {
            self.state.get_or_create(&StateName { state: name }).set(i64::from(now.state == state));
        }
        let published = now.published.as_ref().map(|published| &published.commit);
        let is_newer = now.head.as_ref().is_some_and(|head| Some(&head.commit) != published);
        self.behind.set(i64::from(is_newer || now.announced.is_some()));
        self.failures_in_a_row.set(now.failures_in_row.into());
        // An earlier error must not stay beside the current one.
        self.last_error.clear();
        if let Some(error) = &now.last_error {
            let labels = ErrorLabels { kind: error.kind.clone(), phase: error.phase.to_string() };
            self.last_error.get_or_create(&labels).set(1);
        }
    }

    pub fn paused(&self, paused: bool) {
        self.paused.set(i64::from(paused));
    }

    /// Sets how many records wait for the disk, and adds the records lost since the last call.
    pub fn history(&self, waiting: u64, lost: u64) {
        self.records_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.records_dropped.inc_by(lost);
    }

    pub fn pinned(&self, pinned: bool) {
        self.pinned.set(i64::from(pinned));
    }

    /// Sets the bytes on the volume. `kind` is `store`, `trees` or `lfs`.
    pub fn volume_bytes(&self, kind: &'static str, bytes: u64) {
        self.volume_bytes.get_or_create(&MetricKind { kind }).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Returns the exposition (`OpenMetrics` 1.0) for `GET /metrics`.
    #[must_use]
    pub fn render(&self) -> String {
        let mut exposition = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut exposition, &self.registry);
        exposition
    }
}
