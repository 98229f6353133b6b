//! A real proxy: plain, by CONNECT, with a login, for the crate's own client and for libgit2.

use pushsync::git::{Network, Proxies, RemoteOptions, SettingValue};

use super::tls::everywhere;
use super::{Volume, options, sync, synced};
use crate::support::git_http::{GitHttp, Mode};
use crate::support::proxy::Proxy;
use crate::support::repo::Repo;
use crate::support::tls::{Authority, TlsFront, VALID};

const PASSWORD: &str = "proxy-password-1843";

fn through(url: &str, variables: &[(&str, String)], more: Network) -> RemoteOptions {
    let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
    let proxies = Proxies::read(find, |name, wrong| panic!("{name}: {wrong}"));
    let mut remote = options(url);
    remote.network = Network { proxies, ..more };
    remote
}

#[tokio::test]
async fn plain_requests_go_through_the_proxy_with_its_login() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let proxy = Proxy::start(server.address(), Some(("ada", PASSWORD))).await;
    let with = |password: &str| ("http_proxy", format!("http://ada:{password}@{}", proxy.address));
    let url = "http://git.test/site.git";

    synced(&Volume::new().engine(through(url, &[with(PASSWORD)], Network::default())), &repo.head(), "one").await;
    assert_eq!(proxy.log(), ["POST http://git.test/site.git/git-upload-pack HTTP/1.1"], "one connection, kept");

    // A server with an older protocol is reached through it as well.
    server.set(Mode::OldProtocol);
    let old = through(url, &[with(PASSWORD)], Network::default());
    synced(&Volume::new().engine(old), &repo.head(), "one").await;
    assert!(server.seen().iter().any(|seen| seen.method == "GET") && proxy.log().len() == 2, "{:?}", proxy.log());
    server.set(Mode::Serve);

    let before = server.requests();
    let refused = through(url, &[with("wrong-password")], Network::default());
    let error = sync(&Volume::new().engine(refused)).await.unwrap_err();
    let words = format!("{error} {error:?}");
    assert_eq!(error.kind().as_str(), "proxy", "{words}");
    assert!(words.contains(&proxy.url()) && !words.contains("wrong-password") && !words.contains("ada"), "{words}");
    assert!(error.hint().unwrap().contains("no_proxy"));
    assert_eq!(server.requests(), before);
}

#[tokio::test]
async fn tls_goes_through_the_proxy_unseen() {
    let (repo, volume) = (Repo::new(), Volume::new());
    let server = GitHttp::start(&repo.root());
    let authority = Authority::new();
    let front = TlsFront::start(server.address(), authority.identity("git.test", VALID)).await;
    let proxy = Proxy::start(front.address, Some(("ada", PASSWORD))).await;
    let ca = volume.0.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let with = |password: &str| ("https_proxy", format!("ada:{password}@{}", proxy.address));
    let url = "https://git.test/site.git";
    let trust = || everywhere(vec![SettingValue::CaFile(ca.clone())]);

    synced(&volume.engine(through(url, &[with(PASSWORD)], trust())), &repo.head(), "one").await;
    assert_eq!(proxy.log(), ["CONNECT git.test:443 HTTP/1.1"]);
    let headers = server.seen().into_iter().flat_map(|seen| seen.headers);
    assert!(
        headers.clone().all(|(name, _)| name != "proxy-authorization"),
        "the server must not see the proxy's login"
    );

    let error = sync(&Volume::new().engine(through(url, &[with("wrong-password")], trust()))).await.unwrap_err();
    assert_eq!(error.kind().as_str(), "proxy", "{error:?}");
    // The server's certificate is checked behind the proxy as well.
    let error = sync(&Volume::new().engine(through(url, &[with(PASSWORD)], Network::default()))).await.unwrap_err();
    assert_eq!(error.kind().as_str(), "tls", "{error:?}");
}

#[tokio::test]
async fn exceptions_go_straight_and_a_dead_proxy_is_named() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let proxy = Proxy::start(server.address(), None).await;
    let dead = ("all_proxy", "http://127.0.0.1:1".to_owned());
    let url = server.url("site.git");

    let straight = through(&url, &[dead.clone(), ("NO_PROXY", "10.0.0.0/8,127.0.0.1".into())], Network::default());
    synced(&Volume::new().engine(straight), &repo.head(), "one").await;
    let error = sync(&Volume::new().engine(through(&url, std::slice::from_ref(&dead), Network::default()))).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind().as_str(), "proxy", "{error:?}");
    assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");

    // `http.proxy` takes precedence over the environment.
    let setting = pushsync::git::ProxyAddress::parse(&proxy.url()).unwrap();
    let configured = everywhere(vec![SettingValue::Proxy(Some(setting))]);
    synced(&Volume::new().engine(through(&url, &[dead], configured)), &repo.head(), "one").await;
    assert_eq!(proxy.log().len(), 1);
}
