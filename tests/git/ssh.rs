//! A real OpenSSH server. One test, because libgit2 has one place per process for preferred host keys.

use pushsync::git::{Error, RemoteOptions};

use super::{Volume, options, sync, synced};
use crate::support::repo::Repo;
use crate::support::sshd::Sshd;

async fn failure(options: RemoteOptions) -> Error {
    let error = sync(&Volume::new().engine(options)).await.unwrap_err();
    assert!(error.hint().is_some());
    error
}

#[tokio::test]
async fn keys_host_keys_and_their_errors() {
    let Some(sshd) = Sshd::start() else { return };
    let repo = Repo::new();
    let url = sshd.url(&repo.bare());
    let with = |keys: Vec<std::path::PathBuf>, known: Option<&str>| {
        let mut options = options(&url);
        options.credentials.ssh_keys = keys;
        options.credentials.ssh_known_hosts = known.map(|text| sshd.file("known", text));
        options
    };
    let known = sshd.known_hosts();
    let ours = format!("[127.0.0.1]:{}", sshd.port());

    let volume = Volume::new();
    let engine = volume.engine(with(vec![sshd.key()], Some(&known)));
    synced(&engine, &repo.head(), "one").await;
    let second = repo.push_file("index.html", "two\n", "Second");
    synced(&engine, &second, "two").await;
    let let_in = || sshd.log().matches("Accepted publickey").count();
    let before = let_in();
    engine.ls_remote().await.unwrap();
    assert_eq!(let_in() - before, 1, "a look is one connection");
    repo.write("index.html", "amended\n");
    let amended = repo.amend("Second, again");
    repo.force_push();
    synced(&engine, &amended, "amended").await;

    // Keys are tried in turn; a server with several host keys is asked for the known one.
    synced(&Volume::new().engine(with(vec![sshd.stranger(), sshd.key()], Some(&known))), &amended, "amended").await;
    let rsa_only = format!("{ours} {}\n", sshd.public("host_rsa.pub"));
    synced(&Volume::new().engine(with(vec![sshd.key()], Some(&rsa_only))), &amended, "amended").await;
    synced(&Volume::new().engine(with(vec![sshd.key()], None)), &amended, "amended").await;

    // Names that ssh-keygen hashed.
    let path = sshd.file("hashed", &known);
    assert!(
        std::process::Command::new("ssh-keygen").arg("-q").arg("-H").arg("-f").arg(&path).status().unwrap().success()
    );
    let hashed = std::fs::read_to_string(&path).unwrap();
    assert!(hashed.starts_with("|1|"), "{hashed}");
    synced(&Volume::new().engine(with(vec![sshd.key()], Some(&hashed))), &amended, "amended").await;

    let refused = failure(with(vec![sshd.stranger()], Some(&known))).await;
    assert_eq!(refused.kind().as_str(), "auth", "{refused:?}");
    let none = failure(with(vec![], Some(&known))).await;
    assert_eq!(none.kind().as_str(), "auth", "{none:?}");
    let absent = failure(with(vec!["/nowhere/key".into()], Some(&known))).await;
    assert!(absent.kind().as_str() == "auth" && absent.to_string().contains("/nowhere/key"), "{absent:?}");
    // As with ssh, a missing key is skipped if there is another.
    synced(&Volume::new().engine(with(vec!["/nowhere/key".into(), sshd.key()], Some(&known))), &amended, "amended")
        .await;
    // So are a key with a passphrase and a file without a key.
    let locked = sshd.key().with_file_name("locked");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "open sesame", "-f"])
        .arg(&locked)
        .status();
    assert!(made.unwrap().success());
    let garbage = sshd.file("garbage", "not a key\n");
    // OpenSSL reads this key, but SSH does not support it.
    let other = openssl::pkey::PKey::generate_x25519().unwrap().private_key_to_pem_pkcs8().unwrap();
    let other = sshd.file("x25519", std::str::from_utf8(&other).unwrap());
    let whole = std::fs::read_to_string(sshd.key()).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let cut = [&lines[..lines.len() - 2], &lines[lines.len() - 1..]].concat().join("\n");
    let cut = sshd.file("cut", &cut);
    let keys = vec![locked.clone(), garbage.clone(), other.clone(), cut.clone(), sshd.key()];
    synced(&Volume::new().engine(with(keys, Some(&known))), &amended, "amended").await;
    for (key, why) in [(locked, "passphrase"), (garbage, "no private key"), (other, "not supported"), (cut, "key")] {
        let useless = failure(with(vec![key], Some(&known))).await;
        let Error::CredentialFile { source, .. } = &useless else { panic!("{useless:?}") };
        assert!(source.to_string().contains(why) && useless.kind().as_str() == "auth", "{useless:?}");
    }
    // Common mistakes that break a key; the error names each.
    let spoilt = [
        (whole.replace('\n', " "), "on one line"),
        (whole.replace('\n', "\\n"), "written as `\\n`"),
        (format!("    {}\n", whole.trim_end().replace('\n', "\n    ")), "are indented"),
    ];
    for (text, why) in spoilt {
        let useless = failure(with(vec![sshd.file("spoilt", &text)], Some(&known))).await;
        let Error::CredentialFile { source, .. } = &useless else { panic!("{useless:?}") };
        assert!(source.to_string().contains(why), "{useless:?}");
    }
    // Like ssh, lines that cannot be parsed are skipped; libssh2 never sees them.
    let odd = format!("garbage\n{ours} ssh-ed25519 no!base64\n|1|x\n@cert-authority *\nhost\n{known}");
    synced(&Volume::new().engine(with(vec![sshd.key()], Some(&odd))), &amended, "amended").await;
    let latin = with(vec![sshd.key()], Some(&known));
    let mut bytes = b"h\xf6st ssh-ed25519 AAAA\n".to_vec();
    bytes.extend(known.as_bytes());
    std::fs::write(latin.credentials.ssh_known_hosts.as_ref().unwrap(), bytes).unwrap();
    synced(&Volume::new().engine(latin), &amended, "amended").await;
    // The path of the address is percent-decoded, as git does it.
    let blank = repo.root().join("my site#1.git");
    std::fs::rename(repo.bare(), &blank).unwrap();
    let mut encoded = with(vec![sshd.key()], Some(&known));
    encoded.url = options(&sshd.url(&blank).replace(' ', "%20").replace('#', "%23")).url;
    synced(&Volume::new().engine(encoded), &amended, "amended").await;
    std::fs::rename(&blank, repo.bare()).unwrap();
    // The error shows a server's message before it closes the connection.
    for (words, kind) in [
        ("ERROR: Repository not found.", "not_found"),
        ("ERROR: The acme organization has enabled or enforced SAML SSO.", "auth"),
        ("ERROR: Your account is suspended.", "auth"),
        ("ERROR: This repository is over its data quota.", "server_error"),
        ("ERROR: something else", "server_error"),
    ] {
        sshd.force(Some(&format!("echo '{words}' >&2; exit 1")));
        let told = failure(with(vec![sshd.key()], Some(&known))).await;
        let source = std::error::Error::source(&told).map(ToString::to_string).unwrap_or_default();
        assert!(told.kind().as_str() == kind && source.contains(words), "{words}: {told:?}");
    }
    sshd.force(None);
    let shallow = repo.shallow_copy(1);
    let mut from_shallow = with(vec![sshd.key()], Some(&known));
    from_shallow.url = options(&sshd.url(&shallow)).url;
    let odd = failure(from_shallow).await;
    assert!(odd.kind().as_str() == "repository_format" && odd.to_string().contains("over http(s) only"), "{odd:?}");

    let mut assumed = with(vec!["/nowhere/key".into()], Some(&known));
    assumed.credentials.ssh_keys_assumed = true;
    let assumed = failure(assumed).await;
    assert!(matches!(assumed, Error::NoCredentials { .. }), "{assumed:?}");
    assert!(assumed.hint().unwrap().contains("--ssh-key-file"), "{assumed:?}");

    let listed = std::process::Command::new("ssh-keygen")
        .arg("-l")
        .arg("-f")
        .arg(sshd.key().with_file_name("host_ed25519.pub"))
        .output()
        .unwrap();
    let fingerprint = String::from_utf8(listed.stdout).unwrap().split_whitespace().nth(1).unwrap().to_owned();
    let ed25519 = sshd.public("host_ed25519.pub");
    let unknown = failure(with(vec![sshd.key()], Some(&format!("other.test {ed25519}\n")))).await;
    assert!(matches!(unknown, Error::HostKeyUnknown { .. }), "{unknown:?}");
    assert_eq!(unknown.kind().as_str(), "host_key");
    let changed = failure(with(vec![sshd.key()], Some(&format!("{ours} {}\n", sshd.public("stranger.pub"))))).await;
    assert!(matches!(changed, Error::HostKeyChanged { .. }), "{changed:?}");
    assert!(changed.to_string().contains(&fingerprint), "{changed} lacks {fingerprint}");
    let revoked = failure(with(vec![sshd.key()], Some(&format!("{ours} {ed25519}\n@revoked * {ed25519}\n")))).await;
    assert!(matches!(revoked, Error::HostKeyRevoked { .. }), "{revoked:?}");

    let mut nowhere = with(vec![sshd.key()], Some(&known));
    nowhere.url = options(&sshd.url(&repo.root().join("nothing.git"))).url;
    let nowhere = failure(nowhere).await;
    assert_eq!(nowhere.kind().as_str(), "not_found", "{nowhere:?}");
}
