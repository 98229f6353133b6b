//! Targets for the leaf modules: signatures, URLs, the scrubber, the wire types.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{self, Accepted, Event, HistoryPage, PauseRequest, PinRequest, Refusal, Snapshot, SyncDetail};
use crate::lfs::{ObjectId, Pointer};
use crate::remote_url::{BadUrl, RemoteUrl, Transport};
use crate::secret::{self, Secret};
use crate::signature::{Signer, parse_header, sign};

const SECRET: &str = "a secret that only fuzzers know";

/// A written header is parsed as the same value, and only that form is accepted. No input is a signature of itself.
pub(super) fn signature_header(data: &[u8]) {
    let shaped = data.strip_prefix(b"sha256=").filter(|hex| hex.len() == 64 && hex.iter().all(u8::is_ascii_hexdigit));
    let parsed = parse_header(data);
    assert_eq!(parsed.is_some(), shaped.is_some(), "only one form is valid");
    if let (Some(mac), Some(hex)) = (parsed, shaped) {
        for (byte, digits) in mac.iter().zip(hex.chunks(2)) {
            assert!(digits.eq_ignore_ascii_case(format!("{byte:02x}").as_bytes()));
        }
    }
    let secret = Secret::new(SECRET);
    let header = sign(&secret, data);
    let mac = parse_header(header.as_bytes()).expect("our own header is read");
    let signer = |body: &[u8]| {
        let mut signer = Signer::new(&secret);
        let (head, tail) = body.split_at(body.len() / 2);
        signer.update(head);
        signer.update(tail);
        signer
    };
    assert!(signer(data).verify(&mac), "a streamed body has the signature of the whole");
    assert!(!signer(&[data, b"x"].concat()).verify(&mac));
    assert!(!Signer::derived(&secret, b"another purpose").verify(&mac));
    assert!(parsed.is_none_or(|stranger| !signer(data).verify(&stranger)), "a stranger's header was taken");
}

/// No password is printed, not even in errors. The printed form names the same remote. The name of the link is a
/// single path component.
pub(super) fn remote_url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    check_url(text);
    // The same with credentials, which must not be printed.
    let (user, password) = ("fuzz-user", "hunter2hunter2");
    if let Some((scheme, rest)) = text.split_once("://") {
        let show = |url: &Result<RemoteUrl, BadUrl>| match url {
            Ok(url) => format!("{url} {url:?} {} {:?}", url.bare(), url.repository()),
            Err(bad) => format!("{bad} {bad:?}"),
        };
        let url = RemoteUrl::parse(&format!("{scheme}://{user}:{password}@{rest}"));
        let shown = show(&url);
        let taken_as_path = url.as_ref().is_ok_and(|url| url.transport() == Transport::Local);
        // Host names are normalized, which removes invisible characters. Therefore the text without credentials may
        // already show the password.
        let in_rest = text.to_lowercase().contains(password)
            || rest.contains(user)
            || shown.contains("xn--")
            || show(&RemoteUrl::parse(text)).contains(password);
        // Without a valid scheme before the colon, as in `host:://x`, the text is the path of an scp-like address.
        let is_scheme = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        assert!(!shown.contains(password) || taken_as_path || in_rest || !is_scheme, "`{text}` shows it: {shown}");
    }
}

fn check_url(text: &str) {
    let url = match RemoteUrl::parse(text) {
        Ok(url) => url,
        Err(bad) => {
            assert!(!bad.to_string().contains(char::is_control), "{bad:?}");
            return;
        }
    };
    assert!(!url.bare().contains(char::is_control));
    assert_eq!((url.to_string(), format!("{url:?}")), (url.bare().to_owned(), format!("RemoteUrl({})", url.bare())));
    if let Some(leaf) = url.leaf() {
        assert!(!leaf.is_empty() && leaf != "." && leaf != ".." && !leaf.contains('/'), "the leaf `{leaf}`");
    }
    if matches!(url.transport(), Transport::Http | Transport::Https) {
        let printed = url::Url::parse(url.bare()).expect("what is printed is a URL");
        assert!(printed.username().is_empty() && printed.password().is_none(), "{url}");
    }
    if let Some((host, path)) = url.repository() {
        assert!(!host.is_empty(), "`{text}` has an empty host");
        assert!(!path.starts_with('/') && !path.ends_with('/'), "{path}");
    }
    let again = RemoteUrl::parse(url.bare()).expect("what is printed is read");
    assert_eq!(again.bare(), url.bare());
    assert_eq!(again.repository(), url.repository(), "`{text}` and its printed form name different repositories");
    assert!(again.password().is_none());
}

/// A known secret is never printed, nor is the password of a URL. Text without secrets is unchanged.
pub(super) fn scrub(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let secret = Secret::new(SECRET);
    let (before, after) = text.split_at((0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
    let laced = format!("{before}{}{after}", secret.expose_str().unwrap_or_default());
    let clean = secret::scrub(&laced);
    assert!(!clean.contains(SECRET), "{clean:?}");
    assert_no_password(&clean);
    assert_eq!(secret::scrub(&clean), clean, "twice is once");
    assert_no_password(&secret::scrub(&text));
}

fn assert_no_password(clean: &str) {
    for (at, _) in clean.match_indices("://") {
        let rest = &clean[at + 3..];
        let end = rest.find(|c: char| c == '/' || c == '?' || c == '#' || c.is_whitespace()).unwrap_or(rest.len());
        if let Some((user, _)) = rest[..end].rsplit_once('@') {
            assert!(!user.contains(':'), "a password is left in {clean:?}");
        }
    }
}

/// Every document of the admin API and every event: a parsed value, written and parsed again, is the same.
pub(super) fn api_json(data: &[u8]) {
    same::<Snapshot>(data);
    same::<HistoryPage>(data);
    same::<SyncDetail>(data);
    same::<api::Record>(data);
    same::<Accepted>(data);
    same::<Refusal>(data);
    same::<PauseRequest>(data);
    same::<PinRequest>(data);
    same::<api::ChangeRequest>(data);
    same::<api::CommitStatus>(data);
    // An event is its name, a line break, and its data.
    let (name, json) = two_parts(data);
    let (Ok(name), Ok(json)) = (std::str::from_utf8(name), std::str::from_utf8(json)) else { return };
    if let Ok(Some(event)) = Event::parse(name, json) {
        assert_eq!(event.name(), name);
        let printed = event.data().expect("it can be written");
        assert!(!printed.contains(['\n', '\r']), "one line of an event stream");
        assert_eq!(Event::parse(name, &printed).ok().flatten(), Some(event));
    }
}

fn same<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(data: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(data) else { return };
    let written = serde_json::to_vec(&read).expect("it can be written");
    // serde_json writes no raw control characters except DEL (RFC 8259, section 7), and DEL only if the input
    // contained it.
    let had_del = data.contains(&0x7f) || data.to_ascii_lowercase().windows(6).any(|escape| escape == br"\u007f");
    let is_raw = |byte: &u8| byte.is_ascii_control() && !(had_del && *byte == 0x7f);
    assert!(!written.iter().any(is_raw), "JSON has no raw control characters");
    assert_eq!(serde_json::from_slice::<T>(&written).expect("our own JSON"), read);
}

/// Splits at the first line break.
fn two_parts(data: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// A pointer is shorter than a kilobyte, contains a hash and a size, and equals the pointer that git-lfs would write.
/// With an additional line it is invalid.
pub(super) fn lfs_pointer(data: &[u8]) {
    let Some(pointer) = Pointer::parse(data) else { return };
    assert!(data.len() < crate::lfs::LONGEST_POINTER);
    assert_eq!(ObjectId::parse(&pointer.id.to_string()), Some(pointer.id));
    let Pointer { id, size } = pointer;
    let plain = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{id}\nsize {size}\n");
    assert_eq!(Pointer::parse(plain.as_bytes()), Some(pointer));
    assert_eq!(Pointer::parse(plain.replace('\n', "\r\n").as_bytes()), Some(pointer));
    assert_eq!(Pointer::parse(format!("{plain}more 1\n").as_bytes()), None);
    assert_eq!(Pointer::parse(format!("x {plain}").as_bytes()), None);
}
