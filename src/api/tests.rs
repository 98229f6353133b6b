//! The enum values on the wire.

use super::*;

#[test]
fn a_value_of_a_newer_version_reads_as_unknown() {
    assert_eq!(serde_json::from_str::<Outcome>("\"postponed\"").expect("a word"), Outcome::Unknown);
    assert_eq!(serde_json::from_str::<State>("\"in_sync\"").expect("a word"), State::InSync);
    assert_eq!(Event::parse("sync_dreamt", "{}").expect("skipped"), None);
}

#[test]
fn values_on_the_wire_and_in_text_are_the_same() {
    for phase in [Phase::Queue, Phase::Look, Phase::Fetch, Phase::Build, Phase::Gate, Phase::Publish, Phase::Record] {
        assert_eq!(serde_json::to_string(&phase).expect("json"), format!("\"{phase}\""));
    }
    for state in
        [State::Starting, State::InSync, State::Behind, State::Failed, State::Paused, State::Pinned, State::Standby]
    {
        assert_eq!(serde_json::to_string(&state).expect("json"), format!("\"{state}\""));
    }
}
