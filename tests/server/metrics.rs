//! docs/monitoring.md against the metrics that the http listener serves: names, types, labels, and the state's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pushsync::api::{ErrorInfo, Head, Phase};

use super::admin::record;
use super::harness::*;

/// Type and labels by name.
type Families = BTreeMap<String, (String, BTreeSet<String>)>;

/// The table of the document.
fn documented() -> Families {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split_once("\n## Metrics\n").expect("there is a section on metrics").1;
    let rows = section.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| `"));
    let of = |row: &str| {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let labels = cells[3].split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
        (cells[1].clone(), (cells[2].clone(), labels))
    };
    rows.map(of).collect()
}

/// The families of an exposition.
fn served(text: &str) -> Families {
    let mut found = Families::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (sample, labels) = line.split_once('{').map_or((line, ""), |(name, rest)| (name, rest));
        let sample = sample.split(' ').next().unwrap();
        let family = ["", "_total", "_info", "_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|end| sample.strip_suffix(end))
            .find(|name| found.contains_key(*name))
            .unwrap_or_else(|| panic!("{line} belongs to no family"))
            .to_owned();
        let names = labels.split("\",").filter_map(|label| Some(label.split_once("=\"")?.0.to_owned()));
        found.get_mut(&family).unwrap().1.extend(names.filter(|name| name != "le"));
    }
    found
}

#[tokio::test]
async fn the_documentation_lists_each_metric_with_its_type_and_labels() {
    let sidecar = Sidecar::new();
    let metrics = &sidecar.metrics;
    metrics.record(&record("1"));
    metrics.published("aaaa");
    metrics.volume_bytes("store", 1);
    metrics.volume_limit(Some(2));
    metrics.hook_run("exechook", "success");
    metrics.askpass_call("success");
    metrics.github_app_token("error");
    metrics.peer_message("told");
    sidecar.status.change(|snapshot| {
        let (message, hint) = ("cannot reach it".to_owned(), None);
        snapshot.last_error = Some(ErrorInfo { phase: Phase::Fetch, kind: "network".to_owned(), message, hint });
    });
    let answer = get(sidecar.http(), "/metrics").await;
    assert_eq!(served(&answer.body), documented());
}

#[tokio::test]
async fn a_scrape_shows_the_state_of_its_moment() {
    let sidecar = Sidecar::new();
    let scrape = async || get(sidecar.http(), "/metrics").await.body;
    let text = scrape().await;
    for line in ["pushsync_state{state=\"starting\"} 1", "pushsync_behind 0", "pushsync_failures_in_a_row 0"] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    assert!(!text.contains("pushsync_last_error_info{"), "{text}");

    sidecar.status.change(|snapshot| {
        let (message, hint) = ("cannot reach it".to_owned(), None);
        snapshot.last_error = Some(ErrorInfo { phase: Phase::Fetch, kind: "network".to_owned(), message, hint });
        snapshot.failures_in_row = 3;
        snapshot.head = Some(Head { commit: "b".repeat(40), seen_at: noon() });
    });
    let text = scrape().await;
    for line in [
        "pushsync_state{state=\"failed\"} 1",
        "pushsync_state{state=\"starting\"} 0",
        "pushsync_behind 1",
        "pushsync_failures_in_a_row 3",
        "pushsync_last_error_info{kind=\"network\",phase=\"fetch\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("pushsync_state{") && line.ends_with(" 1")).count(), 1);

    sidecar.status.change(|snapshot| (snapshot.last_error, snapshot.failures_in_row) = (None, 0));
    let text = scrape().await;
    assert!(!text.contains("pushsync_last_error_info{"), "a failure that is over: {text}");
}
