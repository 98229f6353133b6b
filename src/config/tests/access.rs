//! Ways to be let in, from words to accounts: what fits together, what does not, and that no secret is repeated.

use crate::git::SettingValue;

use super::*;

fn account_for(config: &Config, url: &str) -> Option<(Option<String>, Password)> {
    let account = config.remote.credentials.for_url(&crate::remote_url::RemoteUrl::parse(url).unwrap())?;
    Some((account.username, account.password))
}

fn user_for(config: &Config, url: &str) -> Option<String> {
    account_for(config, url)?.0
}

#[test]
fn accounts_for_addresses_are_objects_or_lists_and_beat_the_global_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = secret_file(&folder, "password", "token-in-a-file");
    let one = format!(r#"{{"url":"https://git.test/acme","username":"acme","password-file":"{file}"}}"#);
    let list = r#"[{"url":"https://other.test:8443","username":"o,ther","password":"token-in-a-list"}]"#;
    let both = with(&["--credential", &one, "--credential", list, "--username", "me", "--password-file", &file]);
    let config = run(&both, &[]);
    assert_eq!(user_for(&config, "https://git.test/acme/site.git").as_deref(), Some("acme"));
    assert_eq!(user_for(&config, "https://git.test/else").as_deref(), Some("me"));
    assert_eq!(user_for(&config, "https://other.test:8443/x").as_deref(), Some("o,ther"));
    // A `.gitmodules` file may name any server, and none of them must get these credentials.
    assert_eq!(user_for(&config, "https://evil.test/acme"), None, "the global account is for its own server");
    assert!(config.warnings.iter().any(|warning| warning.contains("every process of the machine can read arguments")));

    for variable in ["PUSHSYNC_CREDENTIAL", "GITSYNC_CREDENTIAL"] {
        let config = run(&with(&[]), &[(variable, list)]);
        assert_eq!(user_for(&config, "https://other.test:8443/x").as_deref(), Some("o,ther"), "{variable}");
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}

#[test]
fn a_bad_account_is_reported_without_its_password() {
    let hidden = r#""password":"never-to-be-shown""#;
    let cases = [
        (format!("{{{hidden}"), "is not JSON"),
        // A misspelled field is not ignored: the message lists the right ones.
        (format!(r#"{{"url":"https://git.test","user":"me",{hidden}}}"#), "is not JSON with these fields"),
        (format!("{{{hidden}}}"), "number 1 has no url"),
        (format!(r#"{{"url":"git.test","username":"me",{hidden}}}"#), "number 1 has a url that cannot be used"),
        (format!(r#"{{"url":"https://me@git.test","username":"me",{hidden}}}"#), "names a user"),
        (format!(r#"{{"url":"https://git.test",{hidden}}}"#), "has no username"),
        (r#"{"url":"https://git.test","username":"me"}"#.to_owned(), "has neither password nor password-file"),
        (
            format!(r#"{{"url":"https://git.test","username":"me",{hidden},"password-file":"/x"}}"#),
            "has both password and password-file",
        ),
        (
            format!(
                r#"[{{"url":"https://a.test","username":"me",{hidden}}},{{"url":"https://a.test/","username":"you",{hidden}}}]"#
            ),
            "number 2 has the same url",
        ),
        (
            r#"{"url":"https://git.test","username":"me","password-file":"/nowhere"}"#.to_owned(),
            "`/nowhere` cannot be read",
        ),
    ];
    for (value, expected) in cases {
        let exit = refused(&with(&["--credential", &value]), &[]);
        assert!(exit.text.contains(expected), "{expected}: {}", exit.text);
        assert!(!exit.text.contains("never-to-be-shown"), "{}", exit.text);
    }
}

#[test]
fn askpass_and_github_apps_are_for_the_repositorys_server_and_exclude_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (key, file) = (secret_file(&folder, "key", "a key"), secret_file(&folder, "password", "token-in-a-file"));
    let askpass = ["--askpass-url", "http://127.0.0.1:1234/ask"];
    let config = run(&with(&askpass), &[]);
    assert!(matches!(account_for(&config, "https://git.test/x"), Some((None, Password::Askpass(_)))));
    assert!(account_for(&config, "https://evil.test/x").is_none());

    let app = ["--github-app-client-id", "Iv1.abc", "--github-app-installation-id", "7"];
    for variable in ["PUSHSYNC_GITHUB_APP_PRIVATE_KEY", "GITSYNC_GITHUB_APP_PRIVATE_KEY"] {
        let config = run(&with(&app), &[(variable, "-----BEGIN")]);
        assert!(matches!(account_for(&config, "https://git.test/x"), Some((None, Password::GithubApp(_)))));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
    let in_file = [&app[..], &["--github-app-private-key-file", &key]].concat();
    run(&with(&in_file), &[]);
    let cases: [(Vec<&str>, &str); 8] = [
        (
            [&askpass[..], &["--username=me", "--password-file", &file]].concat(),
            "--askpass-url: is given together with a password",
        ),
        ([&askpass[..], &in_file].concat(), "--askpass-url: is given together with a GitHub App"),
        (vec!["--askpass-url", "ftp://x"], "--askpass-url: is neither http"),
        (app.to_vec(), "--github-app-private-key-file: is missing"),
        (
            vec!["--github-app-private-key-file", &key, "--github-app-installation-id=7"],
            "--github-app-application-id: is missing",
        ),
        (
            vec!["--github-app-private-key-file", &key, "--github-app-application-id=7"],
            "--github-app-installation-id: is missing",
        ),
        ([&in_file[..], &["--github-app-application-id=7"]].concat(), "given together with --github-app-client-id"),
        ([&in_file[..], &["--github-base-url", "nonsense"]].concat(), "--github-base-url: is not a URL"),
    ];
    for (more, expected) in cases {
        let exit = refused(&with(&more), &[]);
        assert!(exit.text.contains(expected), "{more:?}: {}", exit.text);
    }
    let ssh = ["--repo=git@git.test:a/b", "--root=/git", "--ssh-known-hosts=false", "--ssh-key-file", &key];
    let told = run(&[&ssh[..], &askpass, &["--username=ada"]].concat(), &[]).warnings;
    for name in ["--askpass-url", "--username"] {
        let said = format!("{name}: has no effect: it is for http(s)");
        assert!(told.iter().any(|warning| warning.starts_with(&said)), "{told:?}");
    }
}

#[test]
fn git_settings_with_an_effect_are_read_and_others_are_reported() {
    let repo = ["--repo=https://git.test/acme/site.git", "--root=/git"];
    let settings = r#""url.https://mirror.test/".insteadOf:x"#;
    assert!(refused(&[&repo[..], &["--git-config", settings]].concat(), &[]).text.contains("entry 1"));

    let settings = r#""url.https://me:token-of-mirror@mirror.test/.insteadOf":"https://git.test/",gc.auto:0,http.extraHeader:"X: one""#;
    let more = ["--git-config", settings, "--git-config-add", "http.extraHeader:Y: two,credential.helper:store"];
    let config = run(&[&repo[..], &more].concat(), &[]);
    assert_eq!(config.remote.url.to_string(), "https://mirror.test/acme/site.git");
    // A webhook names the repository at the forge and not its mirror.
    assert_eq!(config.sync.repo, "https://git.test/acme/site.git", "what is followed is what was written");
    assert!(matches!(account_for(&config, "https://mirror.test/x"), Some((Some(user), _)) if user == "me"));
    assert_eq!(config.remote.rewrite("https://git.test/sub.git"), "https://me:token-of-mirror@mirror.test/sub.git");
    assert_eq!(config.remote.network.settings.len(), 2);
    assert!(
        config
            .remote
            .network
            .settings
            .iter()
            .all(|setting| { setting.scope.as_ref().is_some_and(|scope| scope.covers(&config.remote.url)) }),
        "a header is for the repository's server"
    );
    assert!(
        config.warnings.iter().any(|warning| warning.ends_with("have no effect: gc.auto, credential.helper")),
        "{:?}",
        config.warnings
    );

    let replaced = run(
        &[&repo[..], &["--git-config", "http.extraHeader:A: 1", "--git-config", "http.extraheader:B: 2"]].concat(),
        &[],
    );
    // Names of settings have no case in git, so the second flag replaces the first.
    assert_eq!(replaced.remote.network.settings.len(), 1);
    let careless = run(&[&repo[..], &["--git-config", "http.sslVerify:false"]].concat(), &[]);
    assert!(careless.warnings[0].contains("http.sslVerify is off"));
    for (settings, expected) in [
        ("http.sslVerify:maybe", "http.sslverify is neither true nor false"),
        ("http.sslCAInfo:/nowhere", "`/nowhere` cannot be read"),
        ("http.extraHeader:never shown", "http.extraheader is not a header"),
        ("http.proxy:socks5://x", "http.proxy cannot be used: `socks5://` is no proxy"),
        (r#""http.ssh://x.proxy":y"#, "http.<url>.proxy has a url that cannot be used"),
        (r#""url.x.insteadOf":"""#, "insteadOf has no value"),
    ] {
        let exit = refused(&[&repo[..], &["--git-config", settings]].concat(), &[]);
        assert!(exit.text.contains(expected) && !exit.text.contains("never shown"), "{settings}: {}", exit.text);
    }
}

#[test]
fn the_cookie_file_is_a_switch_or_a_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = secret_file(&folder, "cookies", "");
    let argument = format!("--cookie-file={file}");
    assert_eq!(run(&with(&[&argument]), &[]).remote.network.settings.len(), 1);
    assert!(run(&with(&["--cookie-file=false"]), &[]).remote.network.settings.is_empty());
    for form in ["--cookie-file", "--cookie-file=true"] {
        let exit = refused(&with(&[form]), &[]);
        assert!(exit.text.contains("`/etc/git-secret/cookie_file` cannot be read"), "{}", exit.text);
    }
    assert!(refused(&with(&["--cookie-file=a-cookie"]), &[]).text.contains("not shown: it may be a cookie"));
}

/// A certificate in PEM form that signs itself.
fn certificate() -> Vec<u8> {
    let key = openssl::pkey::PKey::generate_ed25519().unwrap();
    let mut builder = openssl::x509::X509::builder().unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&openssl::asn1::Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&openssl::asn1::Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.sign(&key, openssl::hash::MessageDigest::null()).unwrap();
    builder.build().to_pem().unwrap()
}

#[test]
fn git_variables_with_an_effect_are_read_and_others_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("ca.pem");
    std::fs::write(&bundle, "certificates").unwrap();
    let text = bundle.display().to_string();
    let exit = refused(&with(&[]), &[("GIT_SSL_CAINFO", &text)]);
    assert!(exit.text.contains("holds no certificate in PEM form"), "{}", exit.text);
    std::fs::write(&bundle, certificate()).unwrap();
    let bundle = bundle.display().to_string();
    // The variable beats settings for certificates only; another setting of the flag stays in force.
    let config = run(&with(&["--git-config=http.sslVerify:true"]), &[("GIT_SSL_CAINFO", &bundle)]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let last = |config: &Config| config.remote.network.settings.last().map(|setting| setting.value.clone());
    assert!(matches!(last(&config), Some(SettingValue::CaFile(path)) if path == Path::new(&bundle)));
    let nearer = [r#"--git-config="http.https://git.test/.sslVerify":true"#];
    let careless = run(&with(&nearer), &[("GIT_SSL_NO_VERIFY", ""), ("GIT_SSL_CAINFO", "/nowhere")]);
    assert_eq!(careless.remote.network.settings.len(), 1, "not even for a nearer address");
    assert!(matches!(last(&careless), Some(SettingValue::Verify(false))), "as for git, what it says does not matter");
    assert!(careless.warnings[0].starts_with("GIT_SSL_NO_VERIFY: certificates are not checked"));

    let nowhere = [("GIT_SSL_CAINFO", "/nowhere")];
    assert!(refused(&with(&[]), &nowhere).text.contains("GIT_SSL_CAINFO: `/nowhere` cannot be read"));
    // Certificates are not needed for a local repository, so it is only a warning.
    let local = run(&["--repo=/srv/site.git", "--root=/git"], &nowhere);
    assert!(local.warnings.iter().any(|warning| warning.starts_with("GIT_SSL_CAINFO: `/nowhere` cannot be read")));
    for name in ["GIT_SSH", "GIT_SSH_COMMAND", "GIT_CONFIG_COUNT", "GIT_CONFIG_SYSTEM", "GIT_ASKPASS", "GIT_SSL_CERT"] {
        let told = run(&with(&[]), &[(name, "anything")]).warnings;
        assert!(
            told[0].starts_with(&format!("{name}: has no effect, because pushsync runs no git program")),
            "{told:?}"
        );
    }
}

#[test]
fn an_unusable_proxy_is_refused_and_not_bypassed() {
    let hidden = ("https_proxy", "socks5h://me:never-to-be-shown@proxy.test:1080");
    let exit = refused(&with(&[]), &[hidden]);
    assert!(exit.text.contains("https_proxy: is not a proxy that can be used: `socks5h://`"), "{}", exit.text);
    assert!(!exit.text.contains("never-to-be-shown"), "{}", exit.text);
    let local = run(&["--repo=/srv/site.git", "--root=/git"], &[hidden]);
    assert!(local.warnings.iter().any(|warning| warning.starts_with("https_proxy: ")));
    run(&with(&[]), &[("http_proxy", "http://proxy.test:3128"), ("no_proxy", "localhost")]);
}

#[test]
fn submodules_over_ssh_have_their_hosts_checked_though_the_repository_is_not_over_ssh() {
    let config = run(&with(&[]), &[]);
    let known = Path::new("/etc/git-secret/known_hosts");
    assert_eq!(config.remote.credentials.ssh_known_hosts.as_deref(), Some(known), "none would mean unchecked");
    assert_eq!(config.remote.credentials.ssh_keys, [Path::new("/etc/git-secret/ssh")], "as git-sync passes it to ssh");
    assert!(config.remote.credentials.ssh_keys_assumed && config.warnings.is_empty(), "{:?}", config.warnings);
    let given = run(&with(&["--ssh-key-file=/later/key"]), &[]);
    assert_eq!(given.remote.credentials.ssh_keys, [Path::new("/later/key")]);
    assert!(!given.remote.credentials.ssh_keys_assumed);
    assert!(given.warnings[0].contains("is used for submodules only"), "{:?}", given.warnings);
    assert_eq!(run(&with(&["--ssh-known-hosts=false"]), &[]).remote.credentials.ssh_known_hosts, None);
}
