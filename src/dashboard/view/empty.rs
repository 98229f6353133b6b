//! What lists say while they are empty: what would fill them.

use super::canvas::Canvas;
use crate::dashboard::model::Model;
use crate::dashboard::text;
use crate::dashboard::theme::Role;

/// Why there are no replicas.
pub fn draw(canvas: &mut Canvas<'_>, y: u16, model: &Model) {
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

/// What an empty list waits for.
#[must_use]
pub fn no_syncs(model: &Model) -> String {
    if !model.filter.is_empty() {
        return match model.question {
            Some(_) => {
                "no loaded sync has this commit; the verdict above is what the replicas say (Enter: each of them)"
            }
            None => "nothing matches the filter (Esc clears it)",
        }
        .to_owned();
    }
    if model.pods.iter().all(|pod| pod.snapshot.is_none()) {
        return "waiting for the first replica to answer".to_owned();
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
