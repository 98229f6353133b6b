//! The position of the cursor on each screen, the selected item, and its movements.
//!
//! Part of `update`: pure. Cursors of lists are ids, because rows move.

use super::commits::{self, standing, standing::OnReplica};
use super::fleet;
use super::model::{Loaded, Model, Pane, Pod, PodId, SyncRow, View};
use super::verdict;

/// Returns roughly how many rows fit a list: the step of a page key.
#[must_use]
pub(crate) fn page(model: &Model) -> isize {
    isize::try_from(model.size.1.saturating_sub(9)).unwrap_or(10).max(2)
}

/// Moves by so many rows, as far as there are any.
pub(crate) fn move_by(model: &mut Model, step: isize) {
    // `G` goes on to the end while older pages arrive. A step upwards means that the user does not want that any more.
    if step < 0 {
        model.to_end = false;
    }
    let count = isize::try_from(count(model)).unwrap_or(isize::MAX);
    let at = isize::try_from(position(model)).unwrap_or(0);
    let to = at.saturating_add(step).clamp(0, (count - 1).max(0));
    select(model, usize::try_from(to).unwrap_or(0));
}

/// Rows of the focused list.
fn count(model: &Model) -> usize {
    match &model.view {
        View::Commits if model.at_sources() => model.sources.len(),
        View::Commits => model.commit_rows.len(),
        View::Commit(_) if model.detail_pane == Pane::First => on_replicas(model).len(),
        View::Fleet if model.fleet_pane == Pane::First => fleet::in_order(model).len(),
        View::Fleet => model.fleet_rows.len(),
        View::History(_) => model.history_rows.len(),
        View::Commit(_) | View::Detail(..) => detail_lines(model).len(),
        View::Events => model.events.len(),
        View::Log(_) => model.log.lines.len(),
    }
}

/// The row of the focused list that is selected.
fn position(model: &Model) -> usize {
    match &model.view {
        View::Commits if model.at_sources() => model.source_row,
        View::Commits => commits::position(&model.commit_rows, model.commit_cursor.as_ref()),
        View::Commit(_) if model.detail_pane == Pane::First => {
            let rows = on_replicas(model);
            model.commit_pod.as_ref().and_then(|id| rows.iter().position(|it| it.pod.id == *id)).unwrap_or(0)
        }
        View::Fleet if model.fleet_pane == Pane::First => {
            let order = fleet::in_order(model);
            model.fleet_pod.as_ref().and_then(|id| order.iter().position(|pod| pod.id == *id)).unwrap_or(0)
        }
        View::Fleet => fleet::position(&model.fleet_rows, model.fleet_cursor.selected.as_ref()),
        View::History(_) => fleet::position(&model.history_rows, model.history_cursor.selected.as_ref()),
        View::Commit(_) | View::Detail(..) => model.detail_row,
        View::Events => model.events_row,
        View::Log(_) => model.log.position(),
    }
}

/// Selects a row of the focused list. On the first row of a list of syncs or commits the newest stays selected.
fn select(model: &mut Model, to: usize) {
    match &model.view {
        View::Commits if model.at_sources() => model.source_row = to,
        View::Commits => {
            let row = model.commit_rows.get(to).filter(|_| to > 0);
            model.commit_cursor = row.map(|row| row.commit.clone());
        }
        View::Commit(_) if model.detail_pane == Pane::First => {
            let chosen = on_replicas(model).get(to).map(|it| it.pod.id.clone());
            model.commit_pod = chosen;
        }
        View::Fleet if model.fleet_pane == Pane::First => {
            let chosen = fleet::in_order(model).get(to).map(|pod| pod.id.clone());
            model.fleet_pod = chosen;
        }
        View::Fleet => {
            model.fleet_cursor.selected = row_id(&model.fleet_rows, to).filter(|_| to > 0);
            model.fleet_cursor.follow = to == 0;
        }
        View::History(_) => {
            model.history_cursor.selected = row_id(&model.history_rows, to).filter(|_| to > 0);
            model.history_cursor.follow = to == 0;
        }
        View::Commit(_) | View::Detail(..) => model.detail_row = to,
        View::Events => model.events_row = to,
        View::Log(_) => model.log.select(to),
    }
}

/// Moves the history's cursor to the oldest loaded row.
pub(crate) fn select_last(model: &mut Model) {
    let last = model.history_rows.len().saturating_sub(1);
    model.history_cursor.selected = row_id(&model.history_rows, last);
    model.history_cursor.follow = false;
}

fn row_id(rows: &[SyncRow], at: usize) -> Option<(PodId, String)> {
    rows.get(at).map(|row| (row.pod.clone(), row.record.id.clone()))
}

/// Gives the keys to the next pane of the screen.
pub(crate) fn next_pane(model: &mut Model) {
    if model.view == View::Fleet {
        model.fleet_pane = if model.fleet_pane == Pane::First { Pane::Second } else { Pane::First };
        return;
    }
    model.detail_pane = match model.detail_pane {
        Pane::First => Pane::Second,
        Pane::Second => Pane::Third,
        Pane::Third => Pane::First,
    };
    model.detail_row = 0;
    model.diffstat = false;
}

/// Moves to the next row, or the previous one, that matches the search. In a list that hides other rows each row matches.
pub(crate) fn next_match(model: &mut Model, forward: bool) {
    if matches!(model.view, View::Commits | View::Fleet | View::History(_)) {
        if model.filter.is_empty() {
            model.say("no search text: press / and type a word", false);
            return;
        }
        move_by(model, if forward { 1 } else { -1 });
        return;
    }
    let word = model.search.to_lowercase();
    if word.is_empty() {
        model.say("no search text: press / and type a word", false);
        return;
    }
    // Rows are compared as text, because these screens hide no rows: the cursor goes to the match.
    let lines = lines(model);
    let (count, at) = (lines.len(), position(model));
    // Without rows this is never called, so there is no division by zero.
    let after = |step: usize| if forward { (at + step) % count } else { (at + count - step % count) % count };
    // The selected row is the last candidate, so a word that is only there is found and not reported as missing.
    match (1..=count).map(after).find(|row| lines[*row].to_lowercase().contains(&word)) {
        Some(row) => select(model, row),
        None => model.say(format!("no line contains {}", model.search), true),
    }
}

/// The text of each row of the focused list that can be looked through.
fn lines(model: &Model) -> Vec<String> {
    match &model.view {
        View::Commit(_) if model.detail_pane == Pane::First => {
            let words = |it: &OnReplica<'_>| format!("{} {} {}", it.pod.name, it.standing.word(), it.standing.words());
            on_replicas(model).iter().map(words).collect()
        }
        View::Commit(_) | View::Detail(..) => detail_lines(model),
        View::Events => {
            model.events.iter().map(|entry| format!("{} {} {}", entry.pod, entry.kind, entry.text)).collect()
        }
        View::Log(_) => model.log.lines.iter().cloned().collect(),
        _ => Vec::new(),
    }
}

/// The lines of the focused pane of a sync's details.
fn detail_lines(model: &Model) -> Vec<String> {
    // One line for each entry of `view/panes.rs`, in the same order: the cursor's number is an index of both.
    let Some(row) = current_record(model) else { return Vec::new() };
    let Some(Loaded::Here(detail)) = model.detail(&row.pod, &row.record.id) else { return Vec::new() };
    match model.detail_pane {
        Pane::First => {
            detail.detail.commits.iter().map(|it| format!("{} {} {}", it.commit, it.author, it.subject)).collect()
        }
        Pane::Second => detail.detail.files.iter().map(|file| file.path.clone()).collect(),
        Pane::Third => detail.detail.log.iter().map(|line| format!("{} {}", line.level, line.message)).collect(),
    }
}

/// The rows of a commit's screen, worst first; empty on other screens.
#[must_use]
pub(crate) fn on_replicas(model: &Model) -> Vec<OnReplica<'_>> {
    match &model.view {
        View::Commit(commit) => standing::all(model, &verdict::judge(model), commit),
        _ => Vec::new(),
    }
}

/// Returns the selected replica. On the list of commits it is the best connected one, which represents all.
#[must_use]
pub(crate) fn current_pod(model: &Model) -> Option<&Pod> {
    match &model.view {
        View::Commits if model.at_sources() => None,
        View::Commits => {
            let order = fleet::worst_first(model);
            order.iter().rev().find(|pod| pod.live()).or(order.last()).copied()
        }
        View::Commit(_) => {
            let rows = on_replicas(model);
            let chosen = model.commit_pod.as_ref().and_then(|id| rows.iter().find(|it| it.pod.id == *id));
            chosen.or(rows.first()).and_then(|it| model.pod(&it.pod.id))
        }
        View::Fleet if model.fleet_pane == Pane::First => fleet::selected_pod(model),
        View::Fleet => current_record(model).and_then(|row| model.pod(&row.pod)),
        View::History(id) | View::Detail(id, _) | View::Log(id) => model.pod(id),
        View::Events => fleet::selected_pod(model),
    }
}

/// Returns the selected commit, where a list or a screen is about commits.
#[must_use]
pub(crate) fn current_commit(model: &Model) -> Option<String> {
    match &model.view {
        View::Commits if !model.at_sources() => commits::selected(model).map(|row| row.commit.clone()),
        View::Commit(commit) => Some(commit.clone()),
        _ => None,
    }
}

/// Returns the selected sync; none while the cursor is among the replicas.
#[must_use]
pub(crate) fn current_record(model: &Model) -> Option<SyncRow> {
    let (rows, cursor) = match &model.view {
        View::Commits => return current_commit(model).and_then(|commit| record_of(model, &commit)),
        View::Commit(commit) => {
            let rows = on_replicas(model);
            let chosen = model.commit_pod.as_ref().and_then(|id| rows.iter().find(|it| it.pod.id == *id));
            let of_row = chosen
                .or(rows.first())
                .and_then(|it| Some(SyncRow { pod: it.pod.id.clone(), record: it.record?.clone() }));
            return of_row.or_else(|| record_of(model, commit));
        }
        View::Fleet if model.fleet_pane == Pane::First => return None,
        View::Fleet => (&model.fleet_rows, &model.fleet_cursor),
        View::History(_) => (&model.history_rows, &model.history_cursor),
        View::Detail(pod, id) => {
            let record = model.pod(pod)?.records.get(id)?.clone();
            return Some(SyncRow { pod: pod.clone(), record });
        }
        View::Events | View::Log(_) => return None,
    };
    rows.get(fleet::position(rows, cursor.selected.as_ref())).cloned()
}

/// Returns the most informative sync of a commit: one that a webhook triggered, else any.
fn record_of(model: &Model, commit: &str) -> Option<SyncRow> {
    let mine = || {
        model.pods.iter().filter(|pod| model.in_scope(pod)).flat_map(|pod| {
            let of_commit = pod.records.iter().take(1000).filter(|record| record.new.as_deref() == Some(commit));
            of_commit.map(|record| SyncRow { pod: pod.id.clone(), record: record.clone() })
        })
    };
    mine().find(|row| row.record.trigger.delivery.is_some()).or_else(|| mine().next())
}
