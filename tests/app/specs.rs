//! The containers of `support::specs`, run: each of them publishes the commit that it asks for, against git's own server, a
//! real sshd, and the services that it names. Only names, hosts, ports and folders are replaced.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use openssl::rsa::Rsa;
use rustix::process::Signal;
use tempfile::TempDir;

use super::site::{assert_same, published};
use crate::support::git_http::GitHttp;
use crate::support::repo::Repo;
use crate::support::sidecar::Sidecar;
use crate::support::specs::{self, Spec};
use crate::support::sshd::Sshd;
use crate::support::stub::{Stub, answer};
use crate::support::tls::{Authority, TlsFront, VALID};
use crate::support::{PATIENCE, copy_program, eventually, skip};

const TOKEN: &str = "a-token-4711";
/// In the address of one spec.
const TOKEN_AS_USER: &str = "ghp_a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8";
/// As `support::github_app` knows it.
const APP_TOKEN: &str = "installation-token-0";

/// What stands in for the forge, the cluster and the node of one container.
struct World {
    repo: Repo,
    remote: GitHttp,
    /// What the container mounts, and its root folder.
    folder: TempDir,
    authority: Authority,
    front: TlsFront,
    /// The askpass service and whatever a webhook reaches.
    service: Stub,
    github: Stub,
    ssh: Arc<Option<Sshd>>,
}

impl World {
    async fn new(ssh: Arc<Option<Sshd>>) -> Self {
        let repo = Repo::new();
        repo.write("dags/one.py", "one\n");
        repo.write("other/two.py", "two\n");
        repo.push_file("README", "read\n", "Two folders");
        for branch in ["master", "feature/test-provisioning", "deploy/swarm"] {
            repo.branch(branch);
            repo.push_file("dags/one.py", branch, branch);
            repo.checkout("main");
        }
        repo.branch("change");
        let change = repo.push_file("dags/one.py", "a change", "A change");
        repo.bare_git(&["update-ref", "refs/pull/7/head", &change]);
        repo.checkout("main");
        repo.tag("v1.7.2");
        repo.push_file("README", "after the tag\n", "After the tag");
        for folder in ["acme", "~bot"] {
            fs::create_dir(repo.root().join(folder)).unwrap();
        }
        for name in ["acme/dags.git", "acme/dags", "~bot/my dags.git"] {
            symlink("../site.git", repo.root().join(name)).unwrap();
        }
        let remote = GitHttp::start(&repo.root());
        let authority = Authority::new();
        let front = TlsFront::start(remote.address(), authority.identity("127.0.0.1", VALID)).await;
        let service = Stub::start(|asked| async move {
            match asked.target.as_str() {
                "/git_askpass" => answer(200, format!("username=bot\npassword={TOKEN}\n")),
                "/api/admin/reload" => answer(204, ""),
                _ => answer(200, ""),
            }
        })
        .await;
        let key = Rsa::generate(2048).unwrap();
        let github = crate::support::github_app::github(key.public_key_to_pem().unwrap(), 3600).await;
        let folder = tempfile::tempdir().unwrap();
        let world = Self { repo, remote, folder, authority, front, service, github, ssh };
        world.mount(&key.private_key_to_pem().unwrap());
        world
    }

    fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    fn mount(&self, key: &[u8]) {
        let files = self.files();
        fs::create_dir(&files).unwrap();
        let cookie = "127.0.0.1\tFALSE\t/\tFALSE\t0\to\tvalue-4711\n";
        let hook = format!("#!/bin/sh\necho \"$GITSYNC_HASH\" >> '{}'\n", files.join("ran").display());
        let (ssh, known) = (*self.ssh)
            .as_ref()
            .map_or((Vec::new(), String::new()), |ssh| (fs::read(ssh.key()).unwrap(), ssh.known_hosts()));
        for (name, content) in [
            ("password", format!("{TOKEN}\n\n").into_bytes()),
            ("ssh", ssh),
            ("known_hosts", known.into_bytes()),
            ("cookie_file", cookie.as_bytes().to_vec()),
            ("ca.pem", self.authority.pem()),
            ("key", key.to_vec()),
            ("sparse", b"/dags/\n".to_vec()),
            ("hook", hook.into_bytes()),
        ] {
            fs::write(files.join(name), content).unwrap();
        }
        fs::set_permissions(files.join("ssh"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(files.join("hook"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The container's root folder is a folder of ours.
    fn inside(&self, path: &str) -> PathBuf {
        self.folder.path().join("container").join(path.trim_start_matches('/'))
    }

    fn expected(&self, reference: &str) -> String {
        match reference {
            "HEAD" | "COMMIT" => self.repo.head(),
            name => self.repo.bare_git(&["rev-parse", name]),
        }
    }

    /// Puts our names, hosts and ports in the place of a spec's.
    fn replaced(&self, text: &str, spec: &Spec) -> String {
        let needs_tls = spec.args.iter().chain(spec.env.iter().map(|(_, value)| value));
        let needs_tls = needs_tls.clone().any(|text| text.contains("ca.pem") || text.contains("sslVerify"));
        let forge = if needs_tls {
            ("https", self.front.address.to_string())
        } else {
            ("http", self.remote.address().to_string())
        };
        let mut text = text.replace("COMMIT", &self.repo.head());
        text = text.replace("https://api.git.test/", &format!("http://{}/api/v3/", self.github.address));
        for host in ["http://localhost:9102", "http://localhost:9090", "http://localhost:9300", "http://127.0.0.1:8080"]
        {
            text = text.replace(host, &format!("http://{}", self.service.address));
        }
        text = text.replace("http://localhost/hooks", &format!("http://{}/hooks", self.service.address));
        text = text.replace("git.test:3000", "git.test");
        // With and without an account before the host.
        for scheme in ["https://", "http://"] {
            if let Some((start, rest)) = text.split_once(scheme)
                && let Some((account, end)) = rest.split_once("git.test")
                && !account.contains('/')
            {
                text = format!("{start}{}://{account}{}{end}", forge.0, forge.1);
            }
        }
        if let Some(ssh) = &*self.ssh {
            let start = ssh.url(&self.repo.root());
            for host in
                ["ssh://git@git.test:7999", "ssh://git@git.test:10022", "ssh://git@git.test:22", "ssh://git@git.test"]
            {
                text = text.replace(host, &start);
            }
            text = text.replace("git@git.test:", &format!("{start}/"));
        }
        let key = String::from_utf8(fs::read(self.files().join("key")).unwrap()).unwrap();
        text.replace("FILES", &self.files().display().to_string()).replace("PRIVATE KEY", &key)
    }

    fn arguments(&self, spec: &Spec) -> Vec<String> {
        let mut before = "";
        let replaced = spec.args.iter().map(|text| {
            let place = |path: &str| self.inside(path).display().to_string();
            let new = match text.split_once('=') {
                Some(("--root", path)) => format!("--root={}", place(path)),
                Some(("--http-bind", _)) => "--http-bind=127.0.0.1:0".to_owned(),
                None if before == "--root" => place(text),
                _ => self.replaced(text, spec),
            };
            before = text;
            new
        });
        replaced.collect()
    }

    fn environment(&self, spec: &Spec) -> Vec<(&'static str, String)> {
        let replaced = spec.env.iter().map(|(name, value)| {
            let new = if name.ends_with("_ROOT") || value.starts_with('/') {
                self.inside(value).display().to_string()
            } else if name.ends_with("HTTP_BIND") {
                "127.0.0.1:0".to_owned()
            } else {
                self.replaced(value, spec)
            };
            (*name, new)
        });
        replaced.collect()
    }

    /// Lets in only those whom the spec has an account for.
    fn guard(&self, spec: &Spec) {
        let said = |what: &str| spec.args.iter().any(|text| text.contains(what));
        let given = |end: &str| spec.env.iter().find(|(name, value)| name.ends_with(end) && !value.is_empty());
        let login = if said(TOKEN_AS_USER) {
            Some((TOKEN_AS_USER, ""))
        } else if said("oauth2:") {
            Some(("oauth2", TOKEN))
        } else if given("GITHUB_APP_PRIVATE_KEY").is_some() {
            Some(("-", APP_TOKEN))
        } else if let Some((_, user)) = given("SYNC_USERNAME") {
            Some((*user, TOKEN))
        } else if said("--username=bot")
            || said("--credential")
            || said(r#""username":"bot""#)
            || given("ASKPASS_URL").is_some()
        {
            Some(("bot", TOKEN))
        } else {
            None
        };
        self.remote.require(login);
    }
}

fn mentions(spec: &Spec, what: &str) -> bool {
    spec.args.iter().chain(spec.env.iter().flat_map(|(name, value)| [name, value])).any(|text| text.contains(what))
}

/// Runs one container to its publish, and on for as long as it says.
async fn run(spec: Spec, ssh: Arc<Option<Sshd>>) -> Option<String> {
    let over_ssh = spec.repo.contains("git@");
    if over_ssh && ssh.is_none() {
        return None;
    }
    let world = World::new(ssh).await;
    world.guard(&spec);
    let (arguments, environment) = (world.arguments(&spec), world.environment(&spec));
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let root = world.inside(spec.root);
    let link = if spec.link.starts_with('/') { world.inside(spec.link) } else { root.join(spec.link) };
    let commit = world.expected(spec.reference);
    let failed = |what: &str, sidecar: &Sidecar| format!("{}: {what}\n{}", spec.of, sidecar.log().join("\n"));

    let mut sidecar = Sidecar::start_with(&arguments, &environment);
    let end = std::time::Instant::now() + PATIENCE;
    while published(&link).as_deref() != Some(&*commit) {
        let over = spec.one_time && !sidecar.is_running();
        if std::time::Instant::now() > end
            || !spec.one_time && !sidecar.is_running()
            || over && published(&link).is_none()
        {
            return Some(failed("did not publish", &sidecar));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if mentions(&spec, "FILES/sparse") {
        assert!(link.join("dags/one.py").exists() && !link.join("other").exists(), "{}", spec.of);
    } else {
        assert_same(&link, &world.repo, &commit);
    }
    if mentions(&spec, "FILES/hook") {
        let ran = world.files().join("ran");
        eventually(PATIENCE, || fs::read_to_string(&ran).is_ok_and(|text| text.contains(&commit))).await;
    }
    if mentions(&spec, "--webhook-url") {
        let told = |request: &crate::support::stub::Asked| {
            request.method == "POST" && request.header("gitsync-hash") == commit
        };
        eventually(PATIENCE, || world.service.asked().iter().any(told)).await;
    }
    if mentions(&spec, "FILES/cookie_file") {
        let cookie = ("cookie".to_owned(), "o=value-4711".to_owned());
        assert!(world.remote.seen().iter().any(|seen| seen.headers.contains(&cookie)), "{}", spec.of);
    }
    for (file, there) in [("touched", true), ("interlock", true), ("error.json", false)] {
        assert!(!mentions(&spec, file) || root.join(file).exists() == there, "{}: {file}", spec.of);
    }
    if spec.one_time {
        if !sidecar.exited(PATIENCE).await.success() {
            return Some(failed("ended with a failure", &sidecar));
        }
        // A second run finds all in place.
        let mut again = Sidecar::start_with(&arguments, &environment);
        if !again.exited(PATIENCE).await.success() {
            return Some(failed("the second run failed", &again));
        }
    } else {
        let signal = [("SIGHUP", Signal::HUP), ("HUP", Signal::HUP), ("SIGUSR1", Signal::USR1)];
        let signal = signal
            .into_iter()
            .find(|(name, _)| mentions(&spec, "ync") && mentions(&spec, name) && mentions_signal(&spec));
        if matches!(spec.reference, "main" | "HEAD") && (signal.is_some() || spec.period <= 5) {
            let next = world.repo.push_file("dags/one.py", "two\n", "One more");
            if let Some((_, signal)) = signal {
                sidecar.signal(signal);
            }
            let turned = || published(&link).as_deref() == Some(&*next);
            eventually(PATIENCE, turned).await;
        }
        sidecar.terminate();
        let status = sidecar.exited(PATIENCE).await;
        if status.code() != Some(143) {
            return Some(failed(&format!("ended with {status:?}"), &sidecar));
        }
    }
    let log = sidecar.log().join("\n");
    let leaked = [TOKEN, TOKEN_AS_USER, APP_TOKEN, "value-4711"].into_iter().find(|secret| log.contains(secret));
    leaked.map(|secret| failed(&format!("shows {secret}"), &sidecar))
}

fn mentions_signal(spec: &Spec) -> bool {
    mentions(spec, "--sync-on-signal") || mentions(spec, "SYNC_ON_SIGNAL")
}

/// On threads of its own, because git runs in between, and the servers must answer meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 12)]
async fn every_spec_that_people_use_publishes_what_it_asks_for() {
    let ssh = Arc::new(Sshd::start());
    let all: Vec<Spec> = specs::all().collect();
    let number = all.len();
    let runs = all.into_iter().map(|spec| {
        let ssh = Arc::clone(&ssh);
        async move { tokio::spawn(run(spec, ssh)).await.unwrap() }
    });
    // Most of a container's time is the drain at its end.
    let wrong: Vec<String> = stream::iter(runs).buffer_unordered(8).filter_map(async |wrong| wrong).collect().await;
    println!("{} of {number} specs publish what they ask for", number - wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A container of a chart as Kubernetes starts it: another user, a volume of the group, no home, nothing else to write to.
#[tokio::test]
async fn containers_of_charts_run_as_the_user_of_their_security_context() {
    if !rustix::process::geteuid().is_root() {
        return skip("to be root, to run the program as another user");
    }
    let world = World::new(Arc::new(None)).await;
    fs::set_permissions(world.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = world.folder.path().join("pushsync");
    copy_program(&program);
    for spec in specs::all().filter(|spec| spec.of.contains("chart") && !spec.repo.contains("git@")) {
        world.guard(&spec);
        let root = world.inside(spec.root);
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        // What kubelet makes of `fsGroup`.
        std::os::unix::fs::chown(&root, None, Some(65533)).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o2775)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65533", "--regid", "65533", "--clear-groups", "--inh-caps=-all"]);
        command.arg(&program).args(world.arguments(&spec)).env_clear().envs(world.environment(&spec));
        let mut sidecar = Sidecar::spawn(command);
        let (link, commit) = (root.join(spec.link), world.expected(spec.reference));
        eventually(PATIENCE, || published(&link).as_deref() == Some(&*commit)).await;
        assert!(is_readable_by_others(&link.join("dags/one.py")), "{}", spec.of);
        if spec.one_time {
            assert!(sidecar.exited(PATIENCE).await.success(), "{}", sidecar.log().join("\n"));
        } else {
            sidecar.terminate();
            assert_eq!(sidecar.exited(PATIENCE).await.code(), Some(143), "{}", spec.of);
        }
    }
}

fn is_readable_by_others(file: &Path) -> bool {
    fs::metadata(file).unwrap().permissions().mode() & 0o004 != 0
}
