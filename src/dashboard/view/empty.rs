//! The text of empty lists.

use super::canvas::Canvas;
use crate::dashboard::model::Model;
use crate::dashboard::text;
use crate::dashboard::theme::Role;

/// Draws the reason why there are no replicas.
pub(crate) fn draw(canvas: &mut Canvas<'_>, y: u16, model: &Model) {
    let (words, hint) = match (&model.listing_problem, model.listed) {
        (Some(problem), _) => (format!("cannot list the pods: {}", problem.reason), problem.hint.clone()),
        (None, false) => (format!("listing the pods of {}", model.setup.subject), None),
        (None, true) => (
            format!("no pods match {}", model.setup.subject),
            Some("they appear here as soon as there are any; is the namespace right (-n, or -A for all)?".to_owned()),
        ),
    };
    let role = if model.listing_problem.is_some() { Role::Bad } else { Role::Plain };
    let width = canvas.area.width.saturating_sub(2);
    let mut y = y;
    for line in text::wrap(&words, usize::from(width)) {
        canvas.put(1, y, width, &line, role);
        y += 1;
    }
    for line in hint.map(|hint| text::wrap(&hint, usize::from(width))).unwrap_or_default() {
        canvas.put(1, y, width, &line, Role::Dim);
        y += 1;
    }
}

/// Returns what an empty list waits for.
#[must_use]
pub(crate) fn no_syncs(model: &Model) -> String {
    if !model.filter.is_empty() {
        return match model.question {
            Some(_) => {
                "no loaded sync has this commit; the verdict above is what the replicas say (Enter: each of them)"
            }
            None => "nothing matches the filter (Esc clears it)",
        }
        .to_owned();
    }
    // Before the other reasons: without an answer it is not known whether there are syncs.
    if model.pods.iter().all(|pod| pod.snapshot.is_none()) {
        return "waiting for the first replica to answer".to_owned();
    }
    // A replica whose syncs fail waits for no push: the next one would fail as well.
    if let Some(words) = failing(model) {
        return words;
    }
    let next = model
        .pods
        .iter()
        .filter_map(|pod| {
            let at = pod.snapshot.as_ref()?.poll.next_at?;
            Some(pod.to_ours(at).duration_since(model.now))
        })
        .min();
    match next {
        Some(wait) => format!("no sync yet: waiting for the first webhook or the poll in {}", text::age(wait)),
        None => "no sync yet: waiting for the first webhook or the next poll".to_owned(),
    }
}

/// A replica that has published nothing because its syncs fail.
fn failing(model: &Model) -> Option<String> {
    model.pods.iter().find_map(|pod| {
        let snapshot = pod.snapshot.as_deref()?;
        let error = snapshot.last_error.as_ref().filter(|_| snapshot.published.is_none())?;
        let syncs = match snapshot.failures_in_row {
            0 | 1 => "the last sync".to_owned(),
            times => format!("the last {times} syncs"),
        };
        let hint = error.hint.as_ref().map(|hint| format!(" Hint: {hint}")).unwrap_or_default();
        let (name, message) = (text::clean(&pod.name), text::clean(&error.message));
        Some(format!("nothing is published yet on {name}: {syncs} failed: {message}.{}", text::clean(&hint)))
    })
}
