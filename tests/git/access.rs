//! Authentication over HTTP: accounts by address, askpass, cookies, headers, a GitHub App.

use std::sync::{Arc, Mutex};

use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use pushsync::git::{
    Account, AppKey, Askpass, Call, Error, GithubApp, Password, RemoteOptions, Rewrite, Scope, SettingValue,
};
use pushsync::secret::Secret;
use url::Url;

use super::tls::everywhere;
use super::{Volume, options, sync, synced};
use crate::support::git_http::{GitHttp, Mode};
use crate::support::github_app::github;
use crate::support::repo::Repo;
use crate::support::stub::{Stub, answer};

fn account(scope: &str, username: Option<&str>, password: Password) -> Account {
    Account { scope: Scope::parse(scope).unwrap(), username: username.map(str::to_owned), password }
}

fn value(text: &str) -> Password {
    Password::Value(Secret::new(text))
}

/// The calls to credential services, with their success.
type Calls = Arc<Mutex<Vec<(Call, bool)>>>;

fn counting(remote: &mut RemoteOptions) -> Calls {
    let calls = Calls::default();
    let log = Arc::clone(&calls);
    remote.credentials.observer = Some(Arc::new(move |call, worked| log.lock().unwrap().push((call, worked))));
    calls
}

#[tokio::test]
async fn each_address_is_shown_its_own_account_only() {
    let repo = Repo::new();
    let (one, two) = (GitHttp::start(&repo.root()), GitHttp::start(&repo.root()));
    one.require(Some(("ada", "password-of-one")));
    two.require(Some(("bob", "password-of-two")));
    let mut remote = options(&one.url("site.git"));
    remote.credentials.accounts = vec![
        account(&two.url("site"), Some("bob"), value("password-of-two")),
        account(&one.url("other"), Some("eve"), value("password-of-other")),
        account(&one.url(""), Some("ada"), value("password-of-one")),
    ];
    synced(&Volume::new().engine(remote.clone()), &repo.head(), "one").await;
    // The options for a submodule: the same ones, at another address, after `insteadOf`.
    let rewrite = Rewrite { base: Secret::new(two.url("")), start: "git@git.test:".into() };
    remote.network.rewrites.push(rewrite);
    let submodule = remote.at("git@git.test:site.git").unwrap();
    synced(&Volume::new().engine(submodule), &repo.head(), "one").await;
    let stranger = GitHttp::start(&repo.root());
    stranger.require(Some(("ada", "password-of-one")));
    let error = sync(&Volume::new().engine(remote.at(&stranger.url("site.git")).unwrap())).await.unwrap_err();
    assert!(matches!(error, Error::NoCredentials { .. }), "{error:?}");
    assert!(stranger.seen().iter().all(|seen| !seen.credentials));
}

#[tokio::test]
async fn the_askpass_service_is_asked_before_each_look_and_its_failure_is_the_syncs() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    server.require(Some(("ada", "password-by-askpass")));
    let said = Arc::new(Mutex::new((200, "username=ada\npassword=password-by-askpass\n")));
    let says = Arc::clone(&said);
    let service = Stub::start(move |_| {
        let (status, body) = *says.lock().unwrap();
        async move {
            if status == 0 {
                tokio::time::sleep(std::time::Duration::from_secs(5)).await;
            }
            let mut response = answer(if status == 0 { 200 } else { status }, body);
            response.headers_mut().insert("location", "/elsewhere".parse().unwrap());
            response
        }
    })
    .await;
    let url = format!("http://{}/ask?token=hidden-token", service.address);
    for mode in [Mode::Serve, Mode::OldProtocol] {
        server.set(mode);
        *said.lock().unwrap() = (200, "username=ada\npassword=password-by-askpass\n");
        let mut remote = options(&server.url("site.git"));
        let password = Password::Askpass(Askpass::new(Url::parse(&url).unwrap()));
        remote.credentials.accounts = vec![account(&server.url(""), None, password)];
        let calls = counting(&mut remote);
        let before = service.asked().len();
        let engine = Volume::new();
        let engine = (engine.engine(remote), engine);
        synced(&engine.0, &repo.head(), "one").await;
        assert_eq!(service.asked().len() - before, 1, "once for a look and the fetch that follows");
        engine.0.ls_remote().await.unwrap();
        assert_eq!(service.asked().len() - before, 2);
        for (status, body) in
            [(500, "no"), (302, "username=ada\npassword=password-by-askpass\n"), (200, "username=ada"), (0, "")]
        {
            *said.lock().unwrap() = (status, body);
            let error = engine.0.ls_remote().await.unwrap_err();
            let words = format!("{error} {error:?}");
            assert!(matches!(error, Error::Askpass { .. }) && error.kind().as_str() == "auth", "{words}");
            assert!(!words.contains("hidden-token") && words.contains(&service.address.to_string()), "{words}");
        }
        let worked: Vec<bool> = calls
            .lock()
            .unwrap()
            .iter()
            .map(|(call, worked)| {
                assert_eq!(*call, Call::Askpass);
                *worked
            })
            .collect();
        assert_eq!(worked, [true, true, false, false, false, false]);
    }
    assert!(service.asked().iter().all(|asked| asked.method == "GET" && !asked.target.contains("elsewhere")));
}

#[tokio::test]
async fn cookies_and_headers_reach_our_server_by_both_clients_and_no_other() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let file = volume.0.path().join("cookies");
    let write = |value: &str| {
        let lines =
            format!("127.0.0.1\tFALSE\t/site.git\tFALSE\t0\to\t{value}\nother.test\tFALSE\t/\tFALSE\t0\tx\tnot-ours\n");
        std::fs::write(&file, lines).unwrap();
    };
    let mut remote = options(&server.url("site.git"));
    let header = SettingValue::Header(Some(("X-Extra".into(), Secret::new("extra header"))));
    remote.network = everywhere(vec![SettingValue::CookieFile(file.clone()), header]);
    for (mode, cookie) in [(Mode::Serve, "first-cookie"), (Mode::OldProtocol, "second-cookie")] {
        server.set(mode);
        write(cookie);
        let before = server.requests();
        synced(&Volume::new().engine(remote.clone()), &repo.head(), "one").await;
        for seen in &server.seen()[before..] {
            if seen.headers.is_empty() || seen.target == "/" {
                continue;
            }
            let shows = |name: &str, value: &str| seen.headers.contains(&(name.to_owned(), value.to_owned()));
            assert!(shows("cookie", &format!("o={cookie}")) && shows("x-extra", "extra header"), "{seen:?}");
        }
    }
    server.set(Mode::Serve);
    std::fs::write(&file, "Set-Cookie: o=third-cookie\n").unwrap();
    let error = sync(&Volume::new().engine(remote.clone())).await.unwrap_err();
    assert_eq!(
        (error.kind().as_str(), error.to_string().contains("line 1 of the cookie file")),
        ("auth", true),
        "{error}"
    );
    // A cookie was sent and refused, so the error is not "none are configured".
    write("fourth-cookie");
    server.require(Some(("ada", "nobody-knows-it")));
    let error = sync(&Volume::new().engine(remote.clone())).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");

    let elsewhere = GitHttp::start(&repo.root());
    server.require(None);
    server.set(Mode::Redirect(format!("http://{}", elsewhere.address())));
    let error = sync(&Volume::new().engine(remote)).await.unwrap_err();
    assert_eq!((error.kind().as_str(), elsewhere.requests()), ("redirect", 0), "{error:?}");
}

#[tokio::test]
async fn a_github_app_gets_a_token_and_a_new_one_before_it_ends() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let (key, other) = (Rsa::generate(2048).unwrap(), Rsa::generate(2048).unwrap());
    let public = key.public_key_to_pem().unwrap();
    let volume = Volume::new();
    let file = volume.0.path().join("key.pem");
    std::fs::write(&file, key.private_key_to_pem().unwrap()).unwrap();
    let remote = |api: &Stub| {
        let base = Url::parse(&format!("http://{}/api/v3", api.address)).unwrap();
        let app = GithubApp::new(AppKey::File(file.clone()), "12345".into(), 77, base);
        let mut remote = options(&server.url("site.git"));
        remote.credentials.accounts = vec![account(&server.url(""), None, Password::GithubApp(app))];
        remote
    };

    let api = github(public.clone(), 3600).await;
    server.require(Some(("-", "installation-token-0")));
    let engine = volume.engine(remote(&api));
    synced(&engine, &repo.head(), "one").await;
    engine.ls_remote().await.unwrap();
    assert_eq!(api.asked().len(), 1, "a token that lives is used again");
    // A revoked token is not used, however long it would have been valid.
    server.require(Some(("-", "installation-token-1")));
    let error = engine.ls_remote().await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    engine.ls_remote().await.unwrap();
    assert_eq!(api.asked().len(), 2);
    server.require(Some(("-", "installation-token-0")));

    // 29 seconds are too few for a fetch; 31 are enough.
    for (lives, asked) in [(29, 2), (40, 1)] {
        let api = github(public.clone(), lives).await;
        let mut remote = remote(&api);
        let calls = counting(&mut remote);
        let engine = Volume::new().engine(remote);
        server.require(None);
        engine.ls_remote().await.unwrap();
        engine.ls_remote().await.unwrap();
        assert_eq!(api.asked().len(), asked, "{lives}");
        assert_eq!(*calls.lock().unwrap(), vec![(Call::AppToken, true); asked]);
    }

    // The key is read again. One that is not the App's is refused, and the error shows nothing of it.
    server.require(Some(("-", "installation-token-0")));
    std::fs::write(&file, other.private_key_to_pem().unwrap()).unwrap();
    let api = github(public.clone(), 3600).await;
    let mut wrong = remote(&api);
    let calls = counting(&mut wrong);
    let engine = Volume::new().engine(wrong);
    let error = engine.ls_remote().await.unwrap_err();
    let words = format!("{error} {error:?}");
    assert!(matches!(error, Error::AppToken { .. }) && words.contains("could not be decoded"), "{words}");
    std::fs::write(&file, "no key at all").unwrap();
    let error = engine.ls_remote().await.unwrap_err();
    assert!(format!("{error:?}").contains("no RSA key") && error.kind().as_str() == "auth", "{error:?}");
    for encrypted in [
        key.private_key_to_pem_passphrase(Cipher::aes_128_cbc(), b"secret").unwrap(),
        PKey::from_rsa(key.clone())
            .unwrap()
            .private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), b"secret")
            .unwrap(),
    ] {
        std::fs::write(&file, encrypted).unwrap();
        let error = engine.ls_remote().await.unwrap_err();
        assert!(format!("{error:?}").contains("encrypted with a passphrase"), "{error:?}");
    }
    std::fs::write(&file, PKey::from_rsa(key).unwrap().private_key_to_pem_pkcs8().unwrap()).unwrap();
    engine.ls_remote().await.unwrap();
    let worked: Vec<bool> = calls.lock().unwrap().iter().map(|(_, worked)| *worked).collect();
    assert_eq!(worked, [false, false, false, false, true]);
}
