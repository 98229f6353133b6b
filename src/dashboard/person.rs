//! The label of the user at this terminal, which replicas record with each change.
//!
//! It is shown and grants nothing: a client may send any other label.

use std::fs;

/// The file with the names of local users (passwd(5)).
const USERS: &str = "/etc/passwd";

/// Returns `user@host`. Without a variable that names the user, as in a container or a cron job, the name is looked up by
/// the user's number; a user who is in no local file, such as one from a directory service, is shown as `uid 1000@host`.
#[must_use]
pub(crate) fn label() -> String {
    let named = ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(|name| {
        let value = std::env::var(name).ok()?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    });
    let user = named.unwrap_or_else(|| {
        let uid = rustix::process::getuid().as_raw();
        fs::read_to_string(USERS).ok().and_then(|users| name_of(uid, &users)).unwrap_or_else(|| format!("uid {uid}"))
    });
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    // `laptop.example.net`: its first part is the usual name.
    match host.split('.').next().unwrap_or_default() {
        "" => user,
        host => format!("{user}@{host}"),
    }
}

/// Finds a user in the lines `name:password:uid:gid:...`.
fn name_of(uid: u32, users: &str) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let users =
            "# users\nroot:x:0:0:root:/root:/bin/sh\n:x:7:7::/:\n\nada:x:1000:1000:Ada,,,:/home/ada:/bin/bash\nbad:x\n";
        assert_eq!(name_of(1000, users).as_deref(), Some("ada"));
        assert_eq!(name_of(0, users).as_deref(), Some("root"));
        assert_eq!(name_of(7, users), None);
        assert_eq!(name_of(100, users), None);
    }
}
