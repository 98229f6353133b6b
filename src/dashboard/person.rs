//! The label of the user at this terminal, which replicas record with each change.
//!
//! It is shown and grants nothing: a client may send any other label.

/// `user@host`, as far as it is known.
#[must_use]
pub fn label() -> Option<String> {
    let user = ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(|name| {
        let value = std::env::var(name).ok()?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    });
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    // `laptop.example.net`: its first part is the usual name.
    let host = host.split('.').next().unwrap_or_default();
    match (user, host) {
        (Some(user), "") => Some(user),
        (Some(user), host) => Some(format!("{user}@{host}")),
        (None, "") => None,
        (None, host) => Some(format!("?@{host}")),
    }
}
