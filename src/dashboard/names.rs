//! Names of replicas on screen: unique, and short where all begin or end alike.

use std::net::{Ipv4Addr, SocketAddr};

use super::model::{Model, Pod};
use super::text;

/// Gives every replica a unique name. Sidecars on one host report the same name, so the address is used then.
pub fn name_pods(model: &mut Model) {
    let by_address = model.setup.by_address && model.pods.len() > 1;
    let reported: Vec<String> = model
        .pods
        .iter()
        .map(|pod| match (&pod.namespace, &pod.snapshot) {
            (None, Some(snapshot)) if !by_address => text::clean(&snapshot.replica.name).into_owned(),
            _ => text::clean(&pod.found_name).into_owned(),
        })
        .collect();
    for (index, pod) in model.pods.iter_mut().enumerate() {
        let twin = reported.iter().enumerate().any(|(other, name)| other != index && *name == reported[index]);
        pod.name = match &pod.namespace {
            Some(namespace) if twin => format!("{namespace}/{}", reported[index]),
            None if twin || reported[index].is_empty() => pod.found_name.clone(),
            _ => reported[index].clone(),
        };
    }
    let names: Vec<&str> = model.pods.iter().filter(|pod| !pod.gone()).map(|pod| pod.name.as_str()).collect();
    let prefix = naming(&names, text::common_prefix(&names));
    let port = shared_port(&names).map(str::to_owned);
    let before: Vec<String> = model.pods.iter().map(|pod| pod.short.clone()).collect();
    for pod in &mut model.pods {
        // Addresses that differ only in the host: the host is the name, and its last number alone would be none.
        if let Some(host) = port.as_ref().and_then(|port| pod.name.strip_suffix(port.as_str())) {
            pod.short = host.to_owned();
            continue;
        }
        let rest = pod.name.strip_prefix(&prefix).unwrap_or(&pod.name);
        // A single replica needs no prefix removed, and users know a pod by the last part of its name.
        let rest = if names_one_pod(&prefix, pod) { last_part(rest) } else { rest };
        pod.short = rest.to_owned();
    }
    // A name that was unique until another replica answered. The list of events shows the present one.
    for (pod, before) in model.pods.iter().zip(before).filter(|(pod, before)| pod.short != *before) {
        let entries = model.events.iter_mut().filter(|entry| !before.is_empty() && entry.pod == before);
        entries.for_each(|entry| entry.pod.clone_from(&pod.short));
    }
}

/// Returns the part of the prefix that may be left out: nothing of addresses. A number alone, as with the pods of a
/// `StatefulSet`, is no name, so they keep the word before it.
fn naming(names: &[&str], prefix: String) -> String {
    if names.iter().any(|name| name.parse::<SocketAddr>().is_ok()) {
        return String::new();
    }
    let is_number = |name: &&str| name[prefix.len()..].bytes().all(|byte| byte.is_ascii_digit());
    if names.len() < 2 || !names.iter().all(is_number) {
        return prefix;
    }
    let word = prefix.trim_end_matches('-').rfind('-').map_or(0, |at| at + 1);
    prefix[..word].to_owned()
}

/// The last part of a name, with the word before it if it is a number.
fn last_part(name: &str) -> &str {
    let before = |end: usize| name[..end].rfind('-').map_or(0, |at| at + 1);
    let last = before(name.len());
    let is_number = name[last..].bytes().all(|byte| byte.is_ascii_digit());
    if is_number && last > 0 { &name[before(last - 1)..] } else { &name[last..] }
}

/// The key that sorts `web-2` before `web-10`: text, and numbers by their value.
#[must_use]
pub fn sorting_key(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest[text..].find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len() - text);
        // A number that is too large for the type is sorted behind all others.
        let number = if digits == 0 { 0 } else { rest[text..text + digits].parse().unwrap_or(u64::MAX) };
        parts.push((rest[..text].to_owned(), number));
        rest = &rest[text + digits..];
    }
    parts
}

/// `:9180` if all names are short IPv4 addresses with this port.
fn shared_port<'a>(names: &[&'a str]) -> Option<&'a str> {
    let port = |name: &'a str| {
        let (host, _) = name.rsplit_once(':')?;
        host.parse::<Ipv4Addr>().ok()?;
        Some(&name[host.len()..])
    };
    let first = port(names.first()?)?;
    (names.len() > 1 && names.iter().all(|name| port(name) == Some(first))).then_some(first)
}

fn names_one_pod(prefix: &str, pod: &Pod) -> bool {
    prefix.is_empty() && pod.namespace.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_never_a_number_alone() {
        let short = |names: &[&str]| {
            let prefix = naming(names, text::common_prefix(names));
            names.iter().map(|name| name[prefix.len()..].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(short(&["web-6f9c-4kq2x", "web-6f9c-8d7vm"]), ["4kq2x", "8d7vm"]);
        assert_eq!(short(&["web-0", "web-1"]), ["web-0", "web-1"]);
        assert_eq!(short(&["shop-web-0", "shop-web-10"]), ["web-0", "web-10"]);
        assert_eq!(short(&["web-7d4b9-00", "web-7d4b9-x1"]), ["00", "x1"]);
        assert_eq!(short(&["127.0.77.1:35109", "127.0.77.2:41"]), ["127.0.77.1:35109", "127.0.77.2:41"]);
        for (name, last) in
            [("web-6f9c-4kq2x", "4kq2x"), ("web-0", "web-0"), ("shop-web-0", "web-0"), ("web", "web"), ("7", "7")]
        {
            assert_eq!(last_part(name), last);
        }
    }

    #[test]
    fn names_are_sorted_by_their_numbers() {
        let mut names =
            ["web-10", "web-2", "web", "web-6f9c-4kq2x", "127.0.77.10:80", "127.0.77.9:80", "b-99999999999999999999"];
        names.sort_by_key(|name| sorting_key(name));
        assert_eq!(
            names,
            ["127.0.77.9:80", "127.0.77.10:80", "b-99999999999999999999", "web", "web-2", "web-6f9c-4kq2x", "web-10"]
        );
    }
}
