//! The table of refusals in docs/credentials.md: what servers answer, and what the operator reads of it. Made by the real
//! program against real servers, and scripted ones where no real one can be made to answer so.
//!
//! `UPDATE=1` writes the table.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use axum::response::Response;

use super::site::Site;
use crate::support::git_http::Mode;
use crate::support::proxy::Proxy;
use crate::support::repo::{Repo, run_git};
use crate::support::sshd::Sshd;
use crate::support::stub::{Stub, answer};
use crate::support::tls::{Authority, TlsFront, VALID};

const BEGIN: &str = "<!-- refusals: made by tests/app/refusals.rs -->\n";
const END: &str = "<!-- end of refusals -->\n";
const TEXT: (&str, &str) = ("content-type", "text/plain");

/// One row: what the server does, and what the program makes of it.
struct Row {
    what: &'static str,
    kind: String,
    message: String,
    hint: String,
}

/// What the program says of a remote. Names that differ from run to run are replaced.
async fn told(site: &mut Site, what: &'static str, environment: &[(&str, &str)]) -> Row {
    let sidecar = crate::support::sidecar::Sidecar::start_with(site.arguments(), environment);
    site.started(sidecar).await;
    let record = site.wait_record(|record| record.error.is_some()).await;
    let error = record.error.unwrap();
    assert!(site.published().is_none(), "{what}");
    site.sidecar().kill();
    let mut message = error.message;
    if error.kind == "timeout" {
        // The sync and its fetch have the same limit, and either may be the first to say so.
        assert!(message.contains("within"), "{message}");
        "not done within --sync-timeout".clone_into(&mut message);
    }
    for (name, instead) in
        [(site.repo.root().display().to_string(), "/srv"), (site.folder.path().display().to_string(), "/tmp")]
    {
        message = message.replace(&name, instead);
    }
    Row { what, kind: error.kind, message: without_ports(&message), hint: error.hint.unwrap_or_default() }
}

/// Ports, users and fingerprints are of this run only.
fn without_ports(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let _ = write!(clean, "git.test{}", part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    clean.replace(&format!("ssh://{}@", user.trim()), "ssh://git@").replace("127.0.0.1", "git.test")
}

fn response(status: u16, headers: &[(&str, &str)], body: &'static str) -> Response {
    let mut response = answer(status, body);
    for (name, value) in headers {
        let name: axum::http::HeaderName = name.parse().unwrap();
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

/// Every request to this address is answered so.
async fn scripted(
    what: &'static str,
    login: &str,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
) -> Row {
    let stub = Stub::start(move |_| async move { response(status, headers, body) }).await;
    let mut site = Site::new();
    site.set("repo", &format!("http://{login}{}/site.git", stub.address));
    told(&mut site, what, &[]).await
}

async fn error_packet(what: &'static str, words: &'static str) -> Row {
    let stub = Stub::start(move |asked| async move {
        let kind = if asked.method == "GET" { "advertisement" } else { "result" };
        let kind = format!("application/x-git-upload-pack-{kind}");
        let packet = format!("{:04x}ERR {words}", words.len() + 8);
        Response::builder().header("content-type", kind).body(packet.into()).unwrap()
    })
    .await;
    let mut site = Site::new();
    site.set("repo", &format!("http://{}/site.git", stub.address));
    told(&mut site, what, &[]).await
}

async fn over_ssh(sshd: &Sshd, what: &'static str, command: Option<&str>, path: &str, key: std::path::PathBuf) -> Row {
    sshd.force(command);
    let mut site = Site::new();
    let known = sshd.file("known", &sshd.known_hosts());
    site.set("repo", &sshd.url(std::path::Path::new(path)));
    site.set("ssh-key-file", &key.display().to_string());
    site.set("ssh-known-hosts-file", &known.display().to_string()).set("hook-repo", "acme/site");
    told(&mut site, what, &[]).await
}

async fn all(sshd: &Sshd) -> Vec<Row> {
    let mut rows = vec![
        scripted(
            "401, `WWW-Authenticate: Basic`; nothing is configured",
            "",
            401,
            &[("www-authenticate", "Basic realm=\"x\"")],
            "",
        )
        .await,
        scripted(
            "401 to a password, `WWW-Authenticate: Negotiate, NTLM`",
            "ada:secret-1843@",
            401,
            &[("www-authenticate", "Negotiate"), ("www-authenticate", "NTLM")],
            "",
        )
        .await,
        scripted(
            "401 to `https://TOKEN@host/…`",
            "a-token-in-place-of-a-user@",
            401,
            &[TEXT],
            "Invalid username or token.",
        )
        .await,
        scripted("403, text \"Your account is suspended.\"", "", 403, &[TEXT], "Your account is suspended.").await,
        scripted(
            "403, `Retry-After: 60`, text about a rate limit",
            "",
            403,
            &[TEXT, ("retry-after", "60")],
            "You have exceeded a secondary rate limit.",
        )
        .await,
        scripted("404, text \"Repository not found.\"", "", 404, &[TEXT], "Repository not found.").await,
        scripted("402, text about a quota", "", 402, &[TEXT], "The bandwidth quota of this repository is used up.")
            .await,
        scripted("429, `Retry-After: 120`", "", 429, &[("retry-after", "120")], "").await,
        scripted("451, text", "", 451, &[TEXT], "Repository unavailable due to DMCA takedown.").await,
        scripted("500, a page in HTML", "", 500, &[("content-type", "text/html")], "<h1>Oops</h1>").await,
        scripted("502, text", "", 502, &[TEXT], "no healthy upstream").await,
        scripted(
            "503, `Retry-After: 30`, text",
            "",
            503,
            &[TEXT, ("retry-after", "30")],
            "GitLab is down for maintenance.",
        )
        .await,
        scripted("200, a login page in HTML", "", 200, &[("content-type", "text/html")], "<form>Sign in</form>").await,
        scripted("302 to another host", "", 302, &[("location", "https://login.test/")], "").await,
        error_packet("the packet `ERR Repository not found.`", "Repository not found.").await,
        error_packet("the packet `ERR access denied`", "access denied or repository not exported: /site.git").await,
        error_packet("the packet `ERR …quota…`", "storage quota exceeded").await,
        over_ssh(
            sshd,
            "ssh: \"Repository not found.\"",
            Some("echo 'ERROR: Repository not found.' >&2; exit 1"),
            "/srv/x.git",
            sshd.key(),
        )
        .await,
        over_ssh(
            sshd,
            "ssh: single sign-on is enforced",
            Some("echo 'ERROR: The acme organization has enabled or enforced SAML SSO.' >&2; exit 1"),
            "/srv/x.git",
            sshd.key(),
        )
        .await,
        over_ssh(
            sshd,
            "ssh: \"Repository access denied.\"",
            Some("echo 'conq: repository access denied.' >&2; exit 1"),
            "/srv/x.git",
            sshd.key(),
        )
        .await,
        over_ssh(
            sshd,
            "ssh: no `git-upload-pack` there",
            Some("echo 'git-upload-pack: command not found' >&2; exit 127"),
            "/srv/x.git",
            sshd.key(),
        )
        .await,
        over_ssh(sshd, "ssh: a path where nothing is", None, "/srv/nothing.git", sshd.key()).await,
        over_ssh(sshd, "ssh: the key is not let in", None, "/srv/x.git", sshd.stranger()).await,
    ];
    let mut site = Site::new();
    site.set("repo", &format!("http://127.0.0.1:{}/site.git", closed_port()));
    rows.push(told(&mut site, "the port is closed", &[]).await);
    let mut site = Site::new();
    site.remote.set(Mode::Silent);
    site.set("sync-timeout", "2s");
    rows.push(told(&mut site, "nothing at all, for `--sync-timeout 2s`", &[]).await);
    let mut site = Site::new();
    let proxy = Proxy::start(site.remote.address(), Some(("eve", "password-of-proxy"))).await;
    site.set("repo", "http://git.test/site.git");
    let address = format!("http://{}", proxy.address);
    rows.push(told(&mut site, "a proxy that wants a login (407)", &[("http_proxy", &address)]).await);
    let mut site = Site::new();
    let front = TlsFront::start(site.remote.address(), Authority::new().identity("127.0.0.1", VALID)).await;
    site.set("repo", &format!("https://{}/site.git", front.address));
    rows.push(told(&mut site, "a certificate that no trusted authority has signed", &[]).await);
    let mut site = Site::new();
    site.repo.bare_git(&["config", "core.repositoryFormatVersion", "1"]);
    site.repo.bare_git(&["config", "extensions.refStorage", "reftable"]);
    let address = site.repo.file_url();
    site.set("repo", &address).set("hook-repo", "acme/site");
    rows.push(told(&mut site, "a path with a repository that stores refs as reftable", &[]).await);
    let mut site = Site::new();
    let hashes = site.repo.root().join("sha256.git");
    run_git(
        &site.repo.root(),
        &site.repo.root(),
        &["init", "--quiet", "--bare", "--object-format=sha256", hashes.to_str().unwrap()],
    );
    let address = site.remote.url("sha256.git");
    site.set("repo", &address);
    rows.push(told(&mut site, "a repository with SHA-256 names", &[]).await);
    let mut site = Site::new();
    site.repo = Repo::empty();
    site.remote = crate::support::git_http::GitHttp::start(&site.repo.root());
    let address = site.remote.url("site.git");
    site.set("repo", &address);
    rows.push(told(&mut site, "a repository without a commit", &[]).await);
    rows
}

fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn every_refusal_is_told_as_the_documentation_says() {
    let Some(sshd) = Sshd::start() else { return };
    let rows = all(&sshd).await;
    assert!(rows.len() >= 20);
    for row in &rows {
        let is_of_the_way = ["network", "timeout", "proxy", "tls"].contains(&row.kind.as_str());
        let is_answer =
            !["the port", "nothing at all", "a proxy", "a certificate"].iter().any(|start| row.what.starts_with(start));
        assert_ne!(is_of_the_way, is_answer, "{}: {}", row.what, row.kind);
        assert!(!row.hint.is_empty() && !row.message.contains("secret-1843"), "{}", row.what);
    }
    let mut table = "| the remote answers | kind | message | hint |\n| --- | --- | --- | --- |\n".to_owned();
    for Row { what, kind, message, hint } in &rows {
        let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
        let _ = writeln!(table, "| {} | `{kind}` | {} | {} |", cell(what), cell(message), cell(hint));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/credentials.md");
    let text = fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the page has a place for the table");
    let (written, after) = rest.split_once(END).expect("and an end of it");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    for (now, then) in table.lines().zip(written.lines()) {
        assert_eq!(now, then, "UPDATE=1 writes the table");
    }
    assert_eq!(table.lines().count(), written.lines().count());
}
