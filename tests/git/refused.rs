//! Error responses over HTTP: their kind, their words, and the time of the next attempt.

use std::error::Error as _;
use std::time::Duration;

use axum::response::Response;
use pushsync::error::Retry;
use pushsync::git::Error;

use super::{Volume, options};
use crate::support::stub::{Stub, answer};

fn with(status: u16, headers: &[(&str, &str)], body: &'static str) -> Response {
    let mut response = answer(status, body);
    for (name, value) in headers {
        let name: axum::http::HeaderName = name.parse().unwrap();
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

/// Resolves the ref at a server that gives this response to every request.
async fn refusal(login: &str, status: u16, headers: &'static [(&str, &str)], body: &'static str) -> Error {
    let stub = Stub::start(move |_| async move { with(status, headers, body) }).await;
    let url = format!("http://{login}{}/site.git", stub.address);
    Volume::new().engine(options(&url)).ls_remote().await.unwrap_err()
}

const TEXT: (&str, &str) = ("content-type", "text/plain; charset=utf-8");

#[tokio::test]
async fn text_schemes_and_pause_of_an_error_response_are_reported() {
    let error =
        refusal("", 401, &[("www-authenticate", "Basic realm=\"git\""), ("www-authenticate", "Bearer")], "").await;
    assert_eq!(error.kind().as_str(), "auth");
    assert!(error.to_string().contains("asks for credentials (Basic, Bearer)"), "{error}");
    let error = refusal("ada:secret-1843@", 401, &[("www-authenticate", "Negotiate")], "").await;
    assert!(error.source().unwrap().to_string().contains("it takes Negotiate"), "{error:?}");
    let error = refusal("a-token-in-place-of-a-user@", 401, &[], "").await;
    assert!(error.source().unwrap().to_string().contains("with an empty password"), "{error:?}");
    let error = refusal("", 403, &[TEXT], "Your account is suspended.\nAsk support.\n").await;
    assert_eq!(error.kind().as_str(), "auth");
    let words = error.source().unwrap().to_string();
    assert_eq!(words, "it answered 403 Forbidden: Your account is suspended. Ask support.");
    let error = refusal("", 404, &[TEXT], "Repository not found.").await;
    assert!(
        error.kind().as_str() == "not_found" && error.source().unwrap().to_string().contains("Repository not found.")
    );
    for status in [429, 503] {
        let error = refusal("", status, &[("retry-after", "90")], "").await;
        assert_eq!((error.kind().as_str(), error.retry()), ("server_error", Retry::After(Duration::from_secs(90))));
    }
    let error = refusal("", 500, &[("content-type", "text/html")], "<h1>secret page</h1>").await;
    assert!(!format!("{error:?}").contains("secret page"), "{error:?}");
}

#[tokio::test]
async fn the_words_of_an_error_packet_decide_its_kind() {
    for (words, kind) in [
        ("ERR Repository not found.", "not_found"),
        ("ERR access denied", "auth"),
        ("ERR storage quota exceeded", "server_error"),
    ] {
        let packet = format!("{:04x}{words}", words.len() + 4);
        let stub = Stub::start(move |asked| {
            let packet = packet.clone();
            async move {
                let kind = if asked.method == "GET" { "advertisement" } else { "result" };
                let kind = format!("application/x-git-upload-pack-{kind}");
                Response::builder().header("content-type", kind).body(packet.into()).unwrap()
            }
        })
        .await;
        let error =
            Volume::new().engine(options(&format!("http://{}/site.git", stub.address))).ls_remote().await.unwrap_err();
        assert_eq!(error.kind().as_str(), kind, "{words}: {error:?}");
        assert!(words.ends_with(&error.source().unwrap().to_string()), "{error:?}");
    }
}
