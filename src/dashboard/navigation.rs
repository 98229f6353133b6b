//! Changes screens: opening a row, going back, the same screen of another replica.
//!
//! Part of `update`: pure.

use super::commits;
use super::cursor;
use super::fleet;
use super::lists;
use super::message::Effect;
use super::model::{Link, Loaded, Model, Pane, PodId, Presence, View};
use super::turns;
use super::typing;

/// Shows one of the three lists.
pub(crate) fn go(model: &mut Model, view: View) {
    if view == View::Fleet {
        model.fleet_pane = Pane::First;
    }
    if model.view == view {
        return;
    }
    // The three lists are side by side. From each of them Escape leads to the first, however often they were switched.
    model.trail = if view == View::Commits { Vec::new() } else { vec![View::Commits] };
    show(model, view);
}

/// Shows a screen from which Escape leads back here.
fn enter(model: &mut Model, view: View) {
    let from = model.view.clone();
    model.trail.push(from);
    show(model, view);
}

fn show(model: &mut Model, view: View) {
    if let View::History(_) = view {
        model.history_cursor.selected = None;
        model.history_cursor.follow = true;
    }
    if !matches!(view, View::Events | View::Log(_)) {
        model.search.clear();
    }
    model.to_end = false;
    model.diffstat = false;
    model.detail_pane = Pane::First;
    model.detail_row = 0;
    model.commit_pod = None;
    model.view = view;
    lists::refresh(model);
}

/// Handles Escape: clears the filter first, then goes one screen back; on the first screen it says how to quit.
pub(crate) fn back(model: &mut Model) -> Vec<Effect> {
    if std::mem::take(&mut model.diffstat) || typing::clear(model) {
        return Vec::new();
    }
    let closes = matches!(model.view, View::Log(_));
    match model.trail.pop() {
        Some(view) => {
            // The selection there has not changed.
            let pod = model.commit_pod.clone();
            show(model, view);
            model.commit_pod = pod;
        }
        None if model.view != View::Commits => show(model, View::Commits),
        None if model.scope.is_some() => {
            model.scope = None;
            model.commit_cursor = None;
            lists::refresh(model);
        }
        None => model.say("q quits", false),
    }
    if closes {
        model.log.pod = None;
        return vec![Effect::CloseLog];
    }
    Vec::new()
}

/// Opens the selected row.
pub(crate) fn open(model: &mut Model) -> Vec<Effect> {
    match model.view.clone() {
        View::Commits if model.at_sources() => {
            model.scope = model.sources.get(model.source_row).cloned();
            model.commit_cursor = None;
            lists::refresh(model);
        }
        View::Commits => {
            if let Some(commit) = commits::selected(model).map(|row| row.commit.clone()) {
                enter(model, View::Commit(commit));
            } else if let Some(commit) = model.question.clone() {
                enter(model, View::Commit(commit));
            }
        }
        View::Commit(_) if model.detail_pane == Pane::First => open_on_replica(model),
        View::Fleet if model.fleet_pane == Pane::First => {
            let Some(pod) = fleet::selected_pod(model) else { return Vec::new() };
            let (id, attached, running) = (pod.id.clone(), pod.attached(), pod.presence == Presence::Running);
            if !attached && running {
                return swap_link(model, &id);
            }
            enter(model, View::History(id));
        }
        View::Fleet | View::History(_) => {
            if let Some(row) = cursor::current_record(model) {
                open_detail(model, row.pod, row.record.id.clone(), false);
            }
        }
        View::Commit(_) | View::Detail(..) | View::Events | View::Log(_) => {}
    }
    Vec::new()
}

/// Opens the sync of the selected replica, or its history if it has none.
fn open_on_replica(model: &mut Model) {
    let rows = cursor::on_replicas(model);
    let chosen = model.commit_pod.as_ref().and_then(|id| rows.iter().find(|it| it.pod.id == *id)).or(rows.first());
    let Some((pod, sync)) = chosen.map(|it| (it.pod.id.clone(), it.record.map(|record| record.id.clone()))) else {
        return;
    };
    model.commit_pod = Some(pod.clone());
    match sync {
        Some(sync) => open_detail(model, pod, sync, false),
        None => enter(model, View::History(pod)),
    }
}

/// Connects a replica that has no link, instead of the one that needs watching least.
fn swap_link(model: &mut Model, id: &PodId) -> Vec<Effect> {
    // A replica at the end of this order is the least likely to need attention.
    let victim = fleet::worst_first(model).iter().rev().find(|pod| pod.attached()).map(|pod| pod.id.clone());
    let mut effects = Vec::new();
    if let Some(pod) = victim.and_then(|victim| model.pod_mut(&victim)) {
        pod.link = Link::Idle;
        effects.push(Effect::Detach(pod.id.clone()));
    }
    effects.extend(turns::attach(model, id));
    effects
}

fn open_detail(model: &mut Model, pod: PodId, id: String, replace: bool) {
    let selected = model.commit_pod.clone();
    let view = View::Detail(pod.clone(), id.clone());
    if replace {
        show(model, view);
    } else {
        enter(model, view);
    }
    model.commit_pod = selected;
    // Details that could not be read the last time are requested again, by the end of this update.
    model
        .details
        .retain(|((owner, sync), loaded)| *owner != pod || *sync != id || !matches!(loaded, Loaded::Failed(_)));
}

/// Shows the changed files of the current commit or sync over the whole screen, or no longer.
pub(crate) fn diffstat(model: &mut Model) {
    match model.view.clone() {
        View::Commit(_) | View::Detail(..) => {}
        View::Commits => match cursor::current_commit(model) {
            Some(commit) => enter(model, View::Commit(commit)),
            None => return,
        },
        _ => {
            if let Some(row) = cursor::current_record(model) {
                open_detail(model, row.pod, row.record.id.clone(), false);
            } else {
                model.say("choose a sync first (Tab)", true);
                return;
            }
        }
    }
    model.diffstat = !model.diffstat;
    model.detail_pane = if model.diffstat { Pane::Second } else { Pane::First };
    model.detail_row = 0;
}

/// Follows the log of the sidecar in the current replica.
pub(crate) fn log(model: &mut Model) -> Vec<Effect> {
    let Some(pod) = cursor::current_pod(model) else {
        model.say("no replica is selected", true);
        return Vec::new();
    };
    if pod.namespace.is_none() {
        model.say("the log of a replica behind a URL is not available here; use kubectl logs", true);
        return Vec::new();
    }
    let id = pod.id.clone();
    let container = pod.sidecar.clone();
    let (found_name, namespace) = (pod.found_name.clone(), pod.namespace.clone().unwrap_or_default());
    model.log.open(id.clone());
    let selected = model.commit_pod.clone();
    enter(model, View::Log(id.clone()));
    model.commit_pod = selected;
    vec![Effect::OpenLog { id, namespace, pod: found_name, container }]
}

/// The same screen of the replica before or after, in the order of names; in a detail the same commit there.
pub(crate) fn other_replica(model: &mut Model, step: isize) {
    // In the order of names, because the order by state may change while a person steps through it.
    let mut order: Vec<(&str, &PodId)> = model.pods.iter().map(|pod| (pod.name.as_str(), &pod.id)).collect();
    order.sort_unstable();
    let current = match &model.view {
        View::History(id) | View::Detail(id, _) => id.clone(),
        _ => return,
    };
    let Some(at) = order.iter().position(|(_, id)| **id == current) else { return };
    let count = isize::try_from(order.len()).unwrap_or(1).max(1);
    let at = isize::try_from(at).unwrap_or(0);
    // `rem_euclid`, because `%` of a negative number is negative: before the first one is the last.
    let next = order[usize::try_from((at + step).rem_euclid(count)).unwrap_or(0)].1.clone();
    if next == current {
        model.say("there is no other pod", false);
        return;
    }
    let View::Detail(_, sync) = model.view.clone() else {
        show(model, View::History(next));
        return;
    };
    let commit = model.pod(&current).and_then(|pod| pod.records.get(&sync)).and_then(|record| record.new.clone());
    let same = commit.and_then(|commit| {
        let pod = model.pod(&next)?;
        pod.records.iter().find(|record| record.new.as_deref() == Some(commit.as_str())).map(|record| record.id.clone())
    });
    if let Some(id) = same {
        open_detail(model, next, id, true);
        return;
    }
    let name = model.pod(&next).map(|pod| pod.name.clone()).unwrap_or_default();
    model.say(format!("{name} has no sync of this commit among those loaded"), true);
}
