//! Computes the lists of the model again after a change: names, repositories, commits and syncs.
//!
//! Part of `update`: pure.

use std::cmp::Reverse;
use std::collections::HashMap;

use jiff::Timestamp;

use super::model::rows::Source;
use super::model::{Model, Pod, PodId, SyncRow, View};
use super::{commits, fleet, names, verdict};

/// Rows of the fleet's list of syncs; a replica's own history is not cut.
const FLEET_ROWS: usize = 1000;
/// Syncs in the strip of the fleet's header.
const STRIP: usize = 40;

/// Computes the lists again, if anything has changed.
pub(crate) fn settle(model: &mut Model) {
    if model.stale {
        refresh(model);
    }
}

/// Computes the lists again.
pub(crate) fn refresh(model: &mut Model) {
    model.stale = false;
    model.current = verdict::current(model);
    names::name_pods(model);
    find_sources(model);
    let mut commits = commits::rows(model);
    model.commit_order.sort(&mut commits);
    model.commit_rows = commits.iter().filter(|row| model.filter.commit(row)).cloned().collect();
    model.all_commits = commits;
    let all = merged(model);
    // The header covers all syncs, also those that the filter hides.
    model.fleet_latency = fleet::latency(all.iter().map(|row| row.record.as_ref()), STRIP);
    model.last_missed = all.iter().find(|row| row.record.missed_webhook).cloned();
    let mut rows = filtered(model, all);
    rows.truncate(FLEET_ROWS);
    model.fleet_rows = rows;
    // The details of a sync were opened from a history, which Escape shows again, so its rows stay current meanwhile.
    let owner = std::iter::once(&model.view).chain(model.trail.iter().rev()).find_map(|view| match view {
        View::History(pod) => Some(pod.clone()),
        _ => None,
    });
    model.history_rows = owner.and_then(|id| model.pod(&id)).map(|pod| history_rows(model, pod)).unwrap_or_default();
}

/// Lists the repositories and refs in the order of the replicas. A selected one that is gone is deselected.
fn find_sources(model: &mut Model) {
    let mut sources: Vec<Source> = Vec::new();
    for snapshot in model.pods.iter().filter(|pod| !pod.gone()).filter_map(|pod| pod.snapshot.as_deref()) {
        if !sources.iter().any(|source| source.is_of(snapshot)) {
            sources.push(Source::of(snapshot));
        }
    }
    if model.scope.as_ref().is_some_and(|scope| !sources.contains(scope)) {
        model.scope = None;
    }
    model.source_row = model.source_row.min(sources.len().saturating_sub(1));
    model.sources = sources;
}

fn history_rows(model: &Model, pod: &Pod) -> Vec<SyncRow> {
    let word = fleet::state(model, pod).word();
    pod.records
        .iter()
        .filter(|record| model.filter.is_empty() || model.filter.record(&pod.name, word, record))
        .map(|record| SyncRow { pod: pod.id.clone(), record: record.clone() })
        .collect()
}

/// All replicas' syncs, newest first.
fn merged(model: &Model) -> Vec<SyncRow> {
    let mut rows: Vec<(Timestamp, SyncRow)> = Vec::new();
    for pod in model.pods.iter().filter(|pod| model.in_scope(pod)) {
        rows.extend(
            pod.records.iter().take(FLEET_ROWS).map(|record| {
                (pod.to_ours(record.finished_at), SyncRow { pod: pod.id.clone(), record: record.clone() })
            }),
        );
    }
    rows.sort_by_key(|(at, _)| Reverse(*at));
    rows.into_iter().map(|(_, row)| row).collect()
}

/// The rows that pass the filter, each judged with its replica's name and state.
fn filtered(model: &Model, rows: Vec<SyncRow>) -> Vec<SyncRow> {
    if model.filter.is_empty() {
        return rows;
    }
    let words: HashMap<&PodId, (&str, &str)> =
        model.pods.iter().map(|pod| (&pod.id, (pod.name.as_str(), fleet::state(model, pod).word()))).collect();
    let passes =
        |row: &SyncRow| words.get(&row.pod).is_some_and(|(name, word)| model.filter.record(name, word, &row.record));
    rows.into_iter().filter(passes).collect()
}
