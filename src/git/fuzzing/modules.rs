//! Properties of `.gitmodules`, of the addresses in it, and of `--filter`, for any input (see src/fuzzing.rs).

use crate::git::fuzzing::two_parts;
use crate::git::http::origin::same_origin;
use crate::git::protocol::filter::Filter;
use crate::git::submodules::config::{LARGEST, Module};
use crate::git::submodules::{config, url};
use crate::remote_url::{RemoteUrl, Transport};

const PASSWORD: &str = "hunter2hunter2";

/// Addresses of a submodule's parent.
const PARENTS: [&str; 8] = [
    "https://git.test/acme/site.git",
    "https://git.test:8443/site/",
    "http://git.test",
    "https://me:hunter2hunter2@git.test/acme/site",
    "ssh://git@git.test:2222/acme/site.git",
    "git@git.test:acme/site.git",
    "/srv/git/site.git",
    "file:///srv/git/site.git",
];

/// A file yields modules with distinct names, or an error with its line. Comments and other sections have no effect,
/// and modules that are written again are parsed as the same.
pub(crate) fn gitmodules(data: &[u8]) {
    if data.len() > LARGEST {
        return;
    }
    let modules = match config::parse(data) {
        Ok(modules) => modules,
        Err(wrong) => {
            let lines = data.split(|byte| *byte == b'\n').count();
            assert!((1..=lines).contains(&wrong.line), "{wrong:?} of {lines}");
            return;
        }
    };
    for (at, module) in modules.iter().enumerate() {
        assert!(modules[..at].iter().all(|other| other.name != module.name), "two of one name");
        assert!(!module.name.contains(&b'\n'), "a name of two lines");
        let climbs = module.name.windows(2).any(|two| two == b"..");
        assert!(climbs || module.name.is_empty() || !module.has_odd_name());
    }
    let again = config::parse(&written(&modules));
    assert_eq!(again.as_deref(), Ok(modules.as_slice()), "written and read again");
    // A backslash at the very end continues on the next line, and the last byte of a value may be part of a Windows
    // line ending.
    if !data.ends_with(b"\\") && !data.ends_with(b"\r") {
        let more = [data, b"\n# path = x\n; url = y\n[core]\n\tpath = z\n[include]\n\tpath = /etc/passwd\n"].concat();
        assert_eq!(config::parse(&more).as_ref(), Ok(&modules), "what is none of ours");
        // The fuzzer can guess the name.
        let known = modules.iter().any(|module| module.name == b"one more, of the fuzzer");
        let more = [data, b"\n[submodule \"one more, of the fuzzer\"]\n\turl = u\n"].concat();
        let more = config::parse(&more).expect("a section is a section");
        assert_eq!(more.len(), modules.len() + usize::from(!known));
        assert!(known || more[..modules.len()] == modules);
    }
}

fn written(modules: &[Module]) -> Vec<u8> {
    let mut text = Vec::new();
    for Module { name, path, url, update } in modules {
        text.extend(b"[submodule \"");
        for &byte in name {
            text.extend((matches!(byte, b'"' | b'\\')).then_some(b'\\'));
            text.push(byte);
        }
        text.extend(b"\"]\n");
        for (key, value) in [("path", path), ("url", url), ("update", update)] {
            text.extend(key.as_bytes());
            text.extend(b" = \"");
            for &byte in value {
                match byte {
                    b'"' | b'\\' => text.extend([b'\\', byte]),
                    b'\n' => text.extend(b"\\n"),
                    byte => text.push(byte),
                }
            }
            text.extend(b"\"\n");
        }
    }
    text
}

/// An address names a server or is refused: no program, no option, no file of this machine unless the parent is one,
/// and the parent's password goes to no other server and is never shown.
pub(crate) fn module_url(data: &[u8]) {
    let (&first, text) = data.split_first().unwrap_or((&0, &[]));
    let parent = RemoteUrl::parse(PARENTS[usize::from(first) % PARENTS.len()]).expect("they are good");
    // The first thing in a file is not always its first byte.
    let text = text.strip_prefix(b"\n").unwrap_or(text);
    let url = match url::resolve(text, &parent, &parent, str::to_owned) {
        Ok(url) => url,
        Err(refusal) => {
            let named = String::from_utf8_lossy(text).to_ascii_lowercase().contains(PASSWORD);
            assert!(!refusal.is_empty() && (named || !refusal.contains(PASSWORD)), "{refusal}");
            return;
        }
    };
    let bare = url.bare();
    assert!(!bare.chars().any(char::is_control), "{bare:?}");
    assert!(!bare.starts_with('-'), "{bare:?}");
    let shown = format!("{url} {url:?} {bare}");
    // Text that the file contains is no secret.
    let written = String::from_utf8_lossy(text).to_lowercase().contains("hunter2");
    assert!(written || !shown.contains(PASSWORD), "{shown}");
    let local = |url: &RemoteUrl| url.transport() == Transport::Local;
    assert!(!local(&url) || (local(&parent) && bare.starts_with('/')), "{bare:?} for {parent}");
    if let Some((host, path)) = url.repository() {
        assert!(!host.starts_with('-') && !path.starts_with('-'), "{host:?} {path:?}");
    }
    let relative = text.starts_with(b"./") || text.starts_with(b"../");
    if relative {
        let host = |url: &RemoteUrl| url.repository().map(|(host, _)| host.to_owned());
        assert_eq!(url.transport(), parent.transport(), "{bare:?} for {parent}");
        if let (Some(host), Some(of_parent)) = (host(&url), host(&parent)) {
            assert_eq!(host, of_parent, "{bare:?} for {parent}");
        }
    }
    let handed_on = url.password().is_some_and(|password| password.expose() == PASSWORD.as_bytes());
    assert!(!handed_on || written || same_origin(parent.bare(), bare), "{shown}");
}

/// A filter that is parsed and printed is the same again, in the protocol's form.
pub(crate) fn filter_spec(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(two_parts(data).0) else { return };
    match text.parse::<Filter>() {
        Ok(filter) => {
            let printed = filter.to_string();
            assert_eq!(printed.parse(), Ok(filter), "{text:?}");
            assert!(printed == "blob:none" || printed.strip_prefix("blob:limit=").is_some_and(is_number), "{printed}");
            assert!(text.starts_with("blob:"), "{text:?}");
        }
        Err(bad) => assert!(!bad.to_string().is_empty() && text != "blob:none"),
    }
    let size = text.strip_prefix("blob:limit=").filter(|size| size.len() <= 9 && is_number(size));
    if let Some(size) = size {
        assert_eq!(text.parse(), Ok(Filter::Below(size.parse().expect("nine digits"))));
        assert_eq!(format!("{text}K").parse(), Ok(Filter::Below(size.parse::<u64>().expect("nine digits") << 10)));
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
