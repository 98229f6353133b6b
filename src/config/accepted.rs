//! Flags of git-sync that have no effect here. Their values are checked, and a warning at the start explains why they
//! do nothing.
//!
//! There are no options to set, so this module must not know those of other areas.

use super::given::Given;
use super::values;

/// Checks the values and warns about flags that were given.
pub(super) fn read(given: &mut Given) {
    let add_user = given.value("add-user", values::switch);
    if add_user == Some(true) {
        given.warn(
            "add-user",
            "has no effect: pushsync does not look up its user in /etc/passwd, so SSH works with any uid",
        );
    }
    let git = given.text("git");
    if given.is_given("git") && git.is_some() {
        given.warn("git", "has no effect: pushsync runs no git program, so the image needs none");
    }
    let pprof = given.value("http-pprof", values::switch);
    if pprof == Some(true) {
        given.warn(
            "http-pprof",
            "has no effect: there is no Go runtime to profile; /metrics has the duration of each phase",
        );
    }
}
