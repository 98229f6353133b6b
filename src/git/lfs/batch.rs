//! The batch API of LFS: builds requests and parses responses (git-lfs, docs/api/batch.md).
//!
//! Pure. The response is hostile input: objects that were not requested are ignored, and all values are checked here.

use std::collections::HashMap;

use reqwest::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::git::error::Cause;
use crate::lfs::Pointer;

pub(crate) const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";
/// The most objects of one request, as with git-lfs.
pub(crate) const PAGE: usize = 100;
/// The most bytes of a response. Signed addresses take a kilobyte or two each.
pub(crate) const LONGEST: usize = 4 << 20;
/// The most headers for one object. Servers send fewer.
const MOST_HEADERS: usize = 32;

#[derive(Serialize)]
struct BatchRequest<'a> {
    operation: &'static str,
    transfers: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    r#ref: Option<RefName<'a>>,
    objects: Vec<RequestedObject>,
    hash_algo: &'static str,
}

#[derive(Serialize)]
struct RefName<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct RequestedObject {
    oid: String,
    size: u64,
}

#[derive(Deserialize)]
struct BatchResponse {
    transfer: Option<String>,
    hash_algo: Option<String>,
    objects: Vec<ObjectEntry>,
}

#[derive(Deserialize)]
struct ObjectEntry {
    oid: String,
    actions: Option<Actions>,
    error: Option<ObjectError>,
}

#[derive(Deserialize)]
struct Actions {
    download: Option<DownloadAction>,
}

#[derive(Deserialize)]
struct DownloadAction {
    href: String,
    header: Option<HashMap<String, String>>,
    expires_in: Option<i64>,
    expires_at: Option<String>,
}

#[derive(Deserialize)]
struct ObjectError {
    code: i64,
    #[serde(default)]
    message: String,
}

/// The address and the headers for downloading an object.
#[derive(Clone)]
pub(crate) struct Download {
    pub href: Url,
    /// Marked as sensitive. They are not registered with the scrubber, since a server must not choose words that
    /// vanish from logs.
    pub header: Vec<(HeaderName, HeaderValue)>,
    /// The validity in seconds from the response on; `None` if the server does not say.
    pub valid_for: Option<i64>,
}

impl Download {
    pub(crate) fn has_authorization(&self) -> bool {
        self.header.iter().any(|(name, _)| name == reqwest::header::AUTHORIZATION)
    }
}

/// The response about one object.
pub(crate) enum ObjectResponse {
    Download(Download),
    /// The object is not available; the server's words.
    Unavailable(Cause),
}

/// The reason why a response cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MalformedResponse(pub String);

/// Builds the request for these objects.
pub(crate) fn request(pointers: &[Pointer], full_ref: Option<&str>) -> Vec<u8> {
    let wanted = |pointer: &Pointer| RequestedObject { oid: pointer.id.to_string(), size: pointer.size };
    let request = BatchRequest {
        operation: "download",
        // Every server should support `basic` (git-lfs, docs/api/basic-transfers.md).
        transfers: ["basic"],
        r#ref: full_ref.map(|name| RefName { name }),
        objects: pointers.iter().map(wanted).collect(),
        hash_algo: "sha256",
    };
    // Strings and numbers always serialize.
    serde_json::to_vec(&request).unwrap_or_default()
}

/// Parses the response to a request for `pointers` that was sent to `asked` at the time `now` (seconds). Returns one
/// entry for each pointer, in their order.
pub(crate) fn read(
    answer: &[u8],
    pointers: &[Pointer],
    asked: &Url,
    now: i64,
) -> Result<Vec<ObjectResponse>, MalformedResponse> {
    let malformed = |what: &str| MalformedResponse(what.to_owned());
    let answer: BatchResponse = serde_json::from_slice(answer)
        .map_err(|error| MalformedResponse(format!("its answer is not that of an LFS server: {error}")))?;
    // Only `basic` was offered.
    if answer.transfer.is_some_and(|transfer| transfer != "basic") {
        return Err(malformed("it wants another way of transfer than basic, which was asked for"));
    }
    if answer.hash_algo.is_some_and(|hash| hash != "sha256") {
        return Err(malformed("it names objects by another hash than SHA-256"));
    }
    let mut by_name: HashMap<String, ObjectEntry> = HashMap::new();
    for object in answer.objects {
        // The first of two entries counts.
        by_name.entry(object.oid.clone()).or_insert(object);
    }
    pointers
        .iter()
        .map(|pointer| {
            let name = pointer.id.to_string();
            let object = by_name.remove(&name).ok_or_else(|| MalformedResponse(format!("{name} is missing in it")))?;
            if let Some(refusal) = object.error {
                return Ok(ObjectResponse::Unavailable(Cause::new(&format!("{} ({})", refusal.message, refusal.code))));
            }
            let action = object.actions.and_then(|actions| actions.download);
            let action = action.ok_or_else(|| MalformedResponse(format!("it does not say where {name} is")))?;
            download(action, asked, now).map(ObjectResponse::Download)
        })
        .collect()
}

fn download(action: DownloadAction, asked: &Url, now: i64) -> Result<Download, MalformedResponse> {
    let href = link(&action.href, asked).map_err(|why| MalformedResponse(format!("it leads to {why}")))?;
    let mut header = Vec::new();
    for (name, value) in action.header.unwrap_or_default().into_iter().take(MOST_HEADERS) {
        let bad = || MalformedResponse("an invalid header for the download".to_owned());
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| bad())?;
        value.set_sensitive(true);
        // These headers belong to the transport, and the range is chosen here.
        if !matches!(
            name.as_str(),
            "host" | "content-length" | "transfer-encoding" | "connection" | "range" | "accept-encoding"
        ) {
            header.push((name, value));
        }
    }
    let until = action.expires_at.as_deref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    // The number of seconds comes first: it does not depend on the clocks of both sides (git-lfs, docs/api/batch.md).
    let valid_for = action.expires_in.filter(|seconds| *seconds > 0).or_else(|| Some(until?.as_second() - now));
    Ok(Download { href, header, valid_for })
}

/// Parses an address to follow: http or https, and never http from https.
pub(crate) fn link(text: &str, from: &Url) -> Result<Url, &'static str> {
    // `Url::parse` would drop tabs and line breaks without an error.
    if text.chars().any(char::is_control) {
        return Err("an address with a control character");
    }
    let url = Url::parse(text).map_err(|_| "an invalid address")?;
    match url.scheme() {
        "https" => {}
        "http" if from.scheme() == "http" => {}
        "http" => return Err("http, from https: what it hands out would travel in the clear"),
        _ => return Err("an address that is neither http nor https"),
    }
    if url.host_str().is_none_or(str::is_empty) || !url.username().is_empty() || url.password().is_some() {
        return Err("an address without a host, or with a user in it");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lfs::ObjectId;

    fn pointer(digit: &str) -> Pointer {
        Pointer { id: ObjectId::parse(&digit.repeat(64)).unwrap(), size: 5 }
    }

    fn asked() -> Url {
        Url::parse("https://git.test/a.git/info/lfs").unwrap()
    }

    fn one(object: &str) -> Result<ObjectResponse, MalformedResponse> {
        let oid = "1".repeat(64);
        let answer = format!(r#"{{"objects":[{{"oid":"{oid}","size":5,{object}}}]}}"#);
        read(answer.as_bytes(), &[pointer("1")], &asked(), 1_000).map(|mut said| said.remove(0))
    }

    #[test]
    fn a_request_follows_the_specification() {
        let request = String::from_utf8(request(&[pointer("a")], Some("refs/heads/main"))).unwrap();
        let oid = "a".repeat(64);
        let expected = format!(
            r#"{{"operation":"download","transfers":["basic"],"ref":{{"name":"refs/heads/main"}},"objects":[{{"oid":"{oid}","size":5}}],"hash_algo":"sha256"}}"#
        );
        assert_eq!(request, expected);
    }

    #[test]
    fn a_response_is_returned_in_the_order_of_the_request() {
        let (one, two) = ("1".repeat(64), "2".repeat(64));
        let answer = format!(
            r#"{{"transfer":"basic","objects":[
            {{"oid":"{two}","size":5,"error":{{"code":404,"message":"gone"}}}},
            {{"oid":"{}","size":5,"actions":{{}}}},
            {{"oid":"{one}","size":5,"authenticated":true,"actions":{{"download":{{"href":"https://cdn.test/x?sig=1",
              "header":{{"Authorization":"Basic abc","Range":"bytes=0-1"}},"expires_in":60}}}}}}]}}"#,
            "9".repeat(64)
        );
        let said = read(answer.as_bytes(), &[pointer("1"), pointer("2")], &asked(), 0).unwrap();
        let (ObjectResponse::Download(download), ObjectResponse::Unavailable(why)) = (&said[0], &said[1]) else {
            panic!("the other way round")
        };
        assert_eq!((download.href.as_str(), download.valid_for), ("https://cdn.test/x?sig=1", Some(60)));
        assert!(download.has_authorization() && download.header.len() == 1, "a range is ours to ask for");
        assert_eq!(why.to_string(), "gone (404)");
    }

    #[test]
    fn errors_in_a_response_are_named() {
        let action = |href: &str| format!(r#""actions":{{"download":{{"href":"{href}"}}}}"#);
        for (object, why) in [
            (r#""x":1"#.to_owned(), "it does not say where"),
            (action("file:///etc/passwd"), "neither http nor https"),
            (action("http://cdn.test/x"), "http, from https"),
            (action("https://me:secret@cdn.test/x"), "with a user in it"),
            (action("https://cdn.test/x\\ny"), "control character"),
            (action("/relative"), "an invalid address"),
            (
                r#""actions":{"download":{"href":"https://cdn.test/","header":{"a b":"c"}}}"#.to_owned(),
                "an invalid header",
            ),
            (
                r#""actions":{"download":{"href":"https://cdn.test/","header":{"a":"c\r\nd: e"}}}"#.to_owned(),
                "an invalid header",
            ),
        ] {
            let Err(MalformedResponse(said)) = one(&object) else { panic!("{object} was taken") };
            assert!(said.contains(why), "{said}");
        }
        for answer in ["", "[]", "{}", "<html>", r#"{"objects":[]}"#, r#"{"objects":[],"transfer":"tus"}"#] {
            assert!(read(answer.as_bytes(), &[pointer("1")], &asked(), 0).is_err(), "{answer}");
        }
        assert!(read(br#"{"objects":[],"hash_algo":"sha512"}"#, &[], &asked(), 0).is_err());
    }

    #[test]
    fn the_validity_is_given_in_seconds_or_as_a_time() {
        let valid_for =
            |when: &str| match one(&format!(r#""actions":{{"download":{{"href":"https://a.test/",{when}}}}}"#)) {
                Ok(ObjectResponse::Download(download)) => download.valid_for,
                _ => panic!("{when}"),
            };
        assert_eq!(valid_for(r#""expires_in":30,"expires_at":"1970-01-01T00:00:00Z""#), Some(30));
        assert_eq!(valid_for(r#""expires_at":"1970-01-01T00:30:00Z""#), Some(800));
        assert_eq!(valid_for(r#""expires_at":"1970-01-01T00:00:00Z""#), Some(-1_000));
        assert_eq!(valid_for(r#""expires_at":"soon""#), None);
    }
}
