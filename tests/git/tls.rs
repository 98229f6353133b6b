//! TLS: trusted certificates, and the errors for others.

use std::path::PathBuf;

use pushsync::git::{Error, Network, RemoteOptions, Setting, SettingValue};
use pushsync::remote_url::RemoteUrl;

use super::{Volume, options, sync, synced};
use crate::support::git_http::{GitHttp, Mode};
use crate::support::repo::Repo;
use crate::support::skip;
use crate::support::tls::{Authority, TlsFront, VALID};

pub fn everywhere(settings: Vec<SettingValue>) -> Network {
    let settings = settings.into_iter().map(|value| Setting { scope: None, value }).collect();
    Network { settings, ..Network::default() }
}

fn ca_file(volume: &Volume, authority: &Authority) -> PathBuf {
    let path = volume.0.path().join("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    path
}

fn remote(front: &TlsFront, settings: Vec<SettingValue>) -> RemoteOptions {
    let mut remote = options("https://nowhere.test/");
    remote.url = RemoteUrl::parse(&format!("https://{}/site.git", front.address)).unwrap();
    remote.network = everywhere(settings);
    remote
}

async fn refusal(options: RemoteOptions) -> (String, String) {
    let volume = Volume::new();
    let error = sync(&volume.engine(options)).await.unwrap_err();
    assert_eq!(error.kind().as_str(), "tls", "{error:?}");
    let Error::Tls { source, .. } = &error else { panic!("{error:?}") };
    (source.to_string(), error.hint().unwrap().to_owned())
}

#[tokio::test]
async fn only_a_signed_matching_and_valid_certificate_is_accepted() {
    let (repo, volume) = (Repo::new(), Volume::new());
    let server = GitHttp::start(&repo.root());
    let (authority, other) = (Authority::new(), Authority::new());
    let ca = || SettingValue::CaFile(ca_file(&volume, &authority));
    let good = TlsFront::start(server.address(), authority.identity("127.0.0.1", VALID)).await;

    synced(&volume.engine(remote(&good, vec![ca()])), &repo.head(), "one").await;
    assert!(server.seen().iter().all(|seen| seen.protocol.as_deref() == Some("version=2")));
    let before = server.requests();

    let (why, hint) = refusal(remote(&good, vec![])).await;
    assert!(why.contains("certificate verify failed") && hint.contains("SSL_CERT_FILE"), "{why}: {hint}");
    // Another authority with the same name.
    let stranger = TlsFront::start(server.address(), other.identity("127.0.0.1", VALID)).await;
    let (why, hint) = refusal(remote(&stranger, vec![ca()])).await;
    assert!(hint.starts_with("the server's certificate is not signed by a trusted authority"), "{why}: {hint}");
    let misnamed = TlsFront::start(server.address(), authority.identity("git.test", VALID)).await;
    let (why, hint) = refusal(remote(&misnamed, vec![ca()])).await;
    assert!(hint.contains("is for other names"), "{why}: {hint}");
    let expired = TlsFront::start(server.address(), authority.identity("127.0.0.1", 1_000_000_000)).await;
    let (why, hint) = refusal(remote(&expired, vec![ca()])).await;
    assert!(hint.contains("is not valid today"), "{why}: {hint}");
    assert_eq!(server.requests(), before, "nothing was sent to any of them");

    // Without verification any certificate is accepted.
    synced(&Volume::new().engine(remote(&stranger, vec![SettingValue::Verify(false)])), &repo.head(), "one").await;
}

#[tokio::test]
async fn an_intermediate_or_the_servers_own_certificate_is_an_anchor_for_both_clients() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let (root, other) = (Authority::new(), Authority::new());
    let intermediate = root.intermediate();
    let (identity, own) = intermediate.identity_and_pem("127.0.0.1", VALID);
    let front = TlsFront::start(server.address(), identity).await;
    let marked = [b"\xef\xbb\xbf".as_slice(), &own].concat();
    for pem in [intermediate.pem(), own, marked] {
        let volume = Volume::new();
        let path = volume.0.path().join("anchor.pem");
        std::fs::write(&path, &pem).unwrap();
        synced(&volume.engine(remote(&front, vec![SettingValue::CaFile(path)])), &repo.head(), "one").await;
    }
    // Without the intermediate the chain is incomplete, and an unrelated certificate is no anchor.
    for stranger in [root.pem(), other.pem(), other.identity_and_pem("127.0.0.1", VALID).1] {
        let volume = Volume::new();
        let path = volume.0.path().join("anchor.pem");
        std::fs::write(&path, stranger).unwrap();
        refusal(remote(&front, vec![SettingValue::CaFile(path)])).await;
    }
}

#[tokio::test]
async fn libgit2_believes_no_more_than_our_own_client() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    server.set(Mode::OldProtocol);
    let front = TlsFront::start(server.address(), Authority::new().identity("127.0.0.1", VALID)).await;
    refusal(remote(&front, vec![])).await;
    synced(&Volume::new().engine(remote(&front, vec![SettingValue::Verify(false)])), &repo.head(), "one").await;
}

#[tokio::test]
async fn a_redirect_to_https_on_the_same_host_keeps_the_credentials_and_another_host_gets_nothing() {
    use std::net::SocketAddr;

    use pushsync::git::{Account, Password, Scope};
    use pushsync::secret::Secret;

    let (repo, volume) = (Repo::new(), Volume::new());
    let inside = GitHttp::start(&repo.root());
    inside.require(Some(("ada", "analytical-engine")));
    let authority = Authority::new();
    let https = SocketAddr::from(([127, 0, 77, 9], 443));
    let identity = authority.identity("127.0.77.9", VALID);
    let started = TlsFront::start_on(https, inside.address(), identity).await;
    if started.is_err() {
        return skip("to bind port 443");
    }
    let door = GitHttp::start_on(&repo.root(), SocketAddr::from(([127, 0, 77, 9], 0)));
    door.set(Mode::Redirect("https://127.0.77.9".into()));
    let mut remote = options(&door.url("site.git"));
    let scope = Scope::parse(&door.url("")).unwrap();
    let password = Password::Value(Secret::new("analytical-engine"));
    remote.credentials.accounts = vec![Account { scope, username: Some("ada".into()), password }];
    let header = SettingValue::Header(Some(("x-extra".into(), Secret::new("shown-to-our-host"))));
    remote.network = everywhere(vec![SettingValue::CaFile(ca_file(&volume, &authority)), header]);
    synced(&volume.engine(remote.clone()), &repo.head(), "one").await;
    let has = |server: &GitHttp, value: &str| {
        server.seen().iter().any(|seen| seen.headers.iter().any(|(_, shown)| shown.contains(value)))
    };
    assert!(has(&inside, "shown-to-our-host"));

    let elsewhere = GitHttp::start(&repo.root());
    door.set(Mode::Redirect(format!("http://{}", elsewhere.address())));
    let error = sync(&Volume::new().engine(remote)).await.unwrap_err();
    assert_eq!(error.kind().as_str(), "redirect", "{error:?}");
    assert_eq!(elsewhere.requests(), 0);
}
