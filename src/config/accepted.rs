//! Flags of git-sync that have nothing to act on here: their values are checked, and the start says why they do nothing.
//!
//! It must not know anybody's options: there are none to set.

use super::given::Given;
use super::values;

/// Checks them and warns of those that were given.
pub(super) fn read(given: &mut Given) {
    let add_user = given.value("add-user", values::switch);
    if add_user == Some(true) {
        given.warn("add-user", "has no effect: nothing here looks its user up in /etc/passwd, so any uid can use SSH");
    }
    let git = given.text("git");
    if given.is_given("git") && git.is_some() {
        given.warn("git", "has no effect: no git program is run, and none need be in the image");
    }
    let pprof = given.value("http-pprof", values::switch);
    if pprof == Some(true) {
        given.warn("http-pprof", "has no effect: there is no Go runtime to profile; /metrics has the phases' times");
    }
}
