//! Pins and pauses, the names of repositories, numbers and a selected event are shown whole on a narrow screen.

use pushsync::dashboard::commits::{self, standing};
use pushsync::dashboard::message::News;
use pushsync::dashboard::model::{Model, Problem};
use pushsync::dashboard::theme::Theme;
use pushsync::dashboard::update::settle;
use pushsync::dashboard::verdict;

use super::keyboard::press;
use super::sample::{self, tell};
use super::scenes::{healthy, pinned, several};
use super::screens::render;

fn rows(model: &Model, width: u16) -> Vec<String> {
    let buffer = render(model, &Theme::new(true, false), width, 24);
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..24).map(row).collect()
}

#[test]
fn a_pin_is_in_front_of_what_a_commit_was_replaced_by() {
    let mut model = pinned();
    // The commit before the one that is pinned.
    press(&mut model, "jj<Enter>");
    for width in [60, 80] {
        let rows = rows(&model, width);
        let pinned: Vec<&String> =
            rows.iter().filter(|row| row.contains("replaced") && row.contains("pinned")).collect();
        assert!(!pinned.is_empty(), "{width}: {}", rows.join("\n"));
        assert!(pinned.iter().all(|row| row.contains("pinned at 41d07be") && !row.contains("replaced by 41d07be")));
    }
}

#[test]
fn repositories_and_refs_can_be_told_apart() {
    let mut model = several();
    for pod in &mut model.pods {
        let snapshot = pod.snapshot.as_mut().unwrap();
        snapshot.repo = snapshot.repo.replace("github.com/acme", "git.internal.example.com:8443");
    }
    model.stale = true;
    settle(&mut model);
    for keys in ["", "2"] {
        press(&mut model, keys);
        let shown = rows(&model, 80).join("\n");
        for name in [" site @ main ", " site @ next ", " docs @ main "] {
            assert!(shown.contains(name), "{keys:?} {name}\n{shown}");
        }
    }
}

#[test]
fn replicas_at_one_address_can_be_told_apart() {
    let names = ["127.0.0.1:29180", "127.0.0.1:29181"];
    let mut model = sample::model_of(&names);
    model.setup.by_address = true;
    for name in names {
        let records = vec![sample::record(1, 38, "41d07be", "9f3c2ab", "Fix pricing table on mobile")];
        tell(&mut model, name, News::Snapshot(Box::new(sample::snapshot("vm", "9f3c2ab", records))));
    }
    press(&mut model, "2");
    for width in [60, 80, 99] {
        let shown = rows(&model, width).join("\n");
        for port in [":29180 ", ":29181 "] {
            assert!(shown.matches(port).count() >= 2, "{width} {port}\n{shown}");
        }
    }
}

#[test]
fn the_selected_event_is_shown_as_a_whole() {
    let mut model = healthy();
    let name = model.pods[0].name.clone();
    let reason = "nothing answers at this address, and the last words of this long reason are its-end";
    tell(
        &mut model,
        &name,
        News::Lost { problem: Problem::new(reason), attempt: 1, retry_in: std::time::Duration::ZERO },
    );
    press(&mut model, "3");
    let shown = rows(&model, 80).join("\n");
    assert!(shown.contains("The whole line") && shown.contains("its-end"), "{shown}");
    press(&mut model, "j");
    assert!(!rows(&model, 200).join("\n").contains("The whole line"));
}

#[test]
fn a_replica_that_cannot_be_reached_may_have_the_commit() {
    let mut model = healthy();
    let names: Vec<String> = model.pods.iter().map(|pod| pod.name.clone()).collect();
    for name in names {
        let problem = Problem::new("nothing answers");
        tell(&mut model, &name, News::Lost { problem, attempt: 1, retry_in: std::time::Duration::ZERO });
    }
    settle(&mut model);
    let row = commits::selected(&model).unwrap();
    let lacking = standing::lacking(&model, &verdict::judge(&model), row);
    assert_eq!(lacking, ["not sure of 8 of 8 replicas: cannot be reached: nothing answers"]);
    assert!(rows(&model, 80).join("\n").contains(", r: now"));
}

#[test]
fn the_times_of_a_syncs_phases_are_not_cut() {
    let mut model = healthy();
    press(&mut model, "<Enter><Enter>");
    let buffer = render(&model, &Theme::new(true, false), 60, 20);
    let text: String = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
    let phases = text.split("phase ").nth(1).unwrap_or_else(|| panic!("{text}"));
    let phases = phases.split('─').next().unwrap_or_default();
    assert!(phases.contains("publish") && !phases.contains('…'), "{phases}");
}
