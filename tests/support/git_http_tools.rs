//! Small parts of the test server: git's CGI program, a copy of a folder, a login's letters, the plainest answers.
//!
//! It knows no requests.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::CONTENT_TYPE;
use hyper::{Response, StatusCode};

use super::Body;

/// The CGI program itself, as web servers run it: by way of `git` each request would start one program more.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let told = std::process::Command::new("git").arg("--exec-path").output().expect("the git program starts");
        Path::new(String::from_utf8_lossy(&told.stdout).trim()).join("git-http-backend")
    })
}

/// RFC 4648, section 4: enough for a login, so no dependency.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > group.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder for the copy");
    for entry in std::fs::read_dir(from).expect("the served folder is readable") {
        let entry = entry.expect("the served folder is readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a kind").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a file is copied");
        }
    }
}

pub fn whole(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

pub fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = code;
    response
}

/// A false answer to a fetch, whose second part is repeated without end if there is one.
pub fn lie(answer: &[u8], endless: &[u8]) -> Response<Body> {
    let (answer, endless) = (Bytes::copy_from_slice(answer), Bytes::copy_from_slice(endless));
    let times = if endless.is_empty() { 0 } else { usize::MAX };
    let tail = stream::repeat_with(move || Ok(Frame::data(endless.clone()))).take(times);
    let body = StreamBody::new(stream::iter([Ok(Frame::data(answer))]).chain(tail)).boxed_unsync();
    let mut response = Response::new(body);
    let kind = "application/x-git-upload-pack-result".parse().expect("a type");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
