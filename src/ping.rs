//! `pushsync ping`: signs a delivery as GitHub would, sends it, and explains the response.
//!
//! It uses only the network and knows nothing of the sidecar's code, so it tests what a forge depends on: names,
//! routes, TLS, the secret.

mod answer;
mod arguments;
mod options;
mod payload;
mod probe;

use std::ffi::OsString;
use std::io::Write;
use std::time::{Duration, Instant};

pub use arguments::command;

use crate::log::printable;
use crate::proxy::Proxies;
use crate::secret::{Secret, scrub};
use crate::secret_file;
use crate::signature::{PING, PING_HEADER, Signer, sign};

use answer::HookAnswer;
use arguments::PingCommand;
use options::PingOptions;

/// GitHub's own timeout for deliveries.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many bytes of the response are shown.
const MOST_SHOWN: usize = 4096;

/// Runs `pushsync ping` with the arguments after that word. The response is written to `output`, errors in the
/// arguments to `complaints`. Returns the exit code: 0 if a pushsync accepted the delivery, 2 for an unknown flag,
/// else 1.
///
/// # Errors
/// Only if one of the two writers fails.
pub async fn run(
    arguments: Vec<OsString>,
    output: &mut impl Write,
    complaints: &mut impl Write,
) -> std::io::Result<u8> {
    match arguments::parse(arguments) {
        Ok(PingCommand::Send(options)) => send(&options, output).await,
        Ok(PingCommand::Print(text)) => write!(output, "{text}").map(|()| 0),
        Err(exit) => write!(complaints, "{}", exit.text).map(|()| exit.code),
    }
}

async fn send(options: &PingOptions, output: &mut impl Write) -> std::io::Result<u8> {
    let secret = match secret_file::read(&options.secret_file) {
        Ok(secret) => secret,
        Err(wrong) => {
            writeln!(output, "The secret file {wrong}.")?;
            return Ok(1);
        }
    };
    if let Some(odd) = secret_file::oddity(&secret) {
        writeln!(output, "Warning: {odd}.")?;
    }
    let event = if options.push.is_some() { "push" } else { "ping" };
    let body = payload::of(options).to_string();
    let delivery = payload::delivery_id();
    let builder = reqwest::Client::builder()
        .timeout(DEADLINE)
        // Forges do not follow redirects either.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("pushsync-ping/", env!("CARGO_PKG_VERSION")));
    let proxies = Proxies::of_environment();
    // The probe of the port below goes without a proxy, so it says nothing about a request that went through one.
    let straight = matches!(proxies.choose(&options.url), Ok(None));
    let builder = match proxies.apply(builder, &options.url) {
        Ok(builder) => builder,
        Err(wrong) => {
            writeln!(output, "{}.", printable(&scrub(&wrong)))?;
            return Ok(1);
        }
    };
    let client = match builder.build() {
        Ok(client) => client,
        Err(error) => {
            writeln!(output, "TLS cannot be set up: {}", printable(&scrub(&answer::chain(&error))))?;
            return Ok(1);
        }
    };
    let request = client
        .post(options.url.clone())
        .header("Content-Type", "application/json")
        .header("X-GitHub-Event", event)
        .header("X-GitHub-Delivery", &delivery)
        .header("X-Hub-Signature-256", sign(&secret, body.as_bytes()))
        .header(PING_HEADER, proof(&secret, body.as_bytes()))
        .body(body);

    writeln!(output, "Sending a signed {event} ({delivery}) to {}", printable(&scrub(options.url.as_str())))?;
    let start = Instant::now();
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => {
            let after = start.elapsed().as_millis();
            writeln!(output, "No answer after {after} ms: {}", printable(&scrub(&answer::chain(&error))))?;
            // A proxy's answer would say nothing about the port behind it.
            let spoken = if answer::may_speak_otherwise(&error) && straight {
                probe::detect_protocol(&options.url).await
            } else {
                None
            };
            writeln!(output, "{}", answer::explain_failure(&error, spoken))?;
            return Ok(1);
        }
    };
    let status = response.status();
    let asks_for_login = response.headers().contains_key(reqwest::header::WWW_AUTHENTICATE);
    writeln!(output, "{status} after {} ms", start.elapsed().as_millis())?;
    let mut shown = Vec::new();
    // If the body breaks off, the status has been received, and only the status decides.
    while let Ok(Some(chunk)) = response.chunk().await {
        shown.extend_from_slice(&chunk);
        // A server of any kind may be at that address, and some send without end.
        if shown.len() > MOST_SHOWN {
            shown.truncate(MOST_SHOWN);
            break;
        }
    }
    let text = String::from_utf8_lossy(&shown);
    let answer = HookAnswer::read(status, asks_for_login, &text);
    let text = scrub(text.trim());
    if !text.is_empty() {
        writeln!(output, "{}", printable(&text))?;
    }
    if let Some(words) = answer.explain() {
        writeln!(output, "{words}")?;
    }
    Ok(u8::from(!answer.is_taken()))
}

/// Returns the second signature, whose header differs from `X-Hub-Signature-256`, so that the receiver can report
/// that the first one was lost.
fn proof(secret: &Secret, body: &[u8]) -> String {
    let mut signer = Signer::derived(secret, PING);
    signer.update(body);
    signer.header()
}
