//! The text that `y` copies, and the address that `o` shows.
//!
//! Part of `update`: pure.

use crossterm::event::{KeyCode, KeyEvent};

use super::cursor::{current_commit, current_pod, current_record};
use super::forge;
use super::message::Effect;
use super::model::Model;
use super::text;

/// Handles the key after `y`: the sha, the delivery id, the error.
pub(crate) fn copy(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let record = current_record(model);
    let pod = current_pod(model);
    let found = match key.code {
        KeyCode::Char('s') => commit(model).ok_or("no commit here"),
        KeyCode::Char('d') => {
            record.and_then(|row| row.record.trigger.delivery.clone()).ok_or("no webhook delivery triggered this sync")
        }
        KeyCode::Char('e') => {
            let of_record = record.and_then(|row| row.record.error.as_ref().map(|error| error.message.clone()));
            let of_pod = || pod.and_then(|pod| pod.snapshot.as_ref()?.last_error.as_ref().map(|it| it.message.clone()));
            of_record.or_else(of_pod).ok_or("no error here")
        }
        KeyCode::Esc => return Vec::new(),
        _ => Err("copy what? y, then s = sha, d = delivery id, e = error"),
    };
    match found {
        // An error text comes from outside and may be pasted into a shell, where a line feed in it would run a command.
        Ok(text) => vec![Effect::Copy(text::clean(&text).into_owned())],
        Err(why) => {
            model.say(why, true);
            Vec::new()
        }
    }
}

/// Returns the selected commit: that of the row, else the one that the replica publishes.
fn commit(model: &Model) -> Option<String> {
    let of_record = || current_record(model).and_then(|row| row.record.new.clone());
    let of_pod = || {
        let snapshot = current_pod(model)?.snapshot.as_ref()?;
        snapshot.published.as_ref().map(|it| it.commit.clone())
    };
    // On a list of syncs the row decides: its commit may not be the one that the replica publishes now.
    current_commit(model).or_else(of_record).or_else(of_pod)
}

/// Shows the page of the commit at its forge, and copies its address.
pub(crate) fn address(model: &mut Model) -> Vec<Effect> {
    let remote = current_pod(model).and_then(|pod| pod.snapshot.as_ref()).map(|snapshot| snapshot.repo.clone());
    let Some((remote, commit)) = remote.zip(commit(model)) else {
        model.say("no commit here", true);
        return Vec::new();
    };
    if let Some(address) = forge::commit_page(&remote, &commit) {
        model.address = Some(address.clone());
        vec![Effect::Copy(address)]
    } else {
        model.say(format!("{} is not the address of a forge", text::clean(&remote)), true);
        Vec::new()
    }
}
