//! A real OpenSSH server on a loopback port with keys of its own, for the user that runs the tests.
//!
//! It stands in for a forge's SSH side: the login shell runs `git-upload-pack` as git asks for it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub struct Sshd {
    folder: TempDir,
    child: Child,
    port: u16,
    user: String,
}

impl Sshd {
    /// Starts it, or says that it cannot: `None` skips the test (on CI it panics instead).
    pub fn start() -> Option<Self> {
        let program = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"]
            .into_iter()
            .find(|path| Path::new(path).exists());
        let Some(program) = program else {
            super::skip("sshd");
            return None;
        };
        let folder = TempDir::new().unwrap();
        // Debian's sshd insists on its empty folder when root starts it.
        let _ = fs::create_dir_all("/run/sshd");
        keygen(&folder.path().join("host_ed25519"), "ed25519");
        keygen(&folder.path().join("host_rsa"), "rsa");
        keygen(&folder.path().join("client"), "ed25519");
        keygen(&folder.path().join("stranger"), "ed25519");
        fs::copy(folder.path().join("client.pub"), folder.path().join("authorized")).unwrap();
        // Another process may take the port between our asking and sshd's binding.
        for _ in 0..10 {
            let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
            if let Some(child) = launch(program, folder.path(), port) {
                let user = output(Command::new("id").arg("-un"));
                return Some(Self { folder, child, port, user });
            }
        }
        panic!("sshd did not start: {}", fs::read_to_string(folder.path().join("log")).unwrap_or_default());
    }

    /// `ssh://USER@127.0.0.1:PORT/path`
    pub fn url(&self, repository: &Path) -> String {
        format!("ssh://{}@127.0.0.1:{}{}", self.user, self.port, repository.display())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A private key that is let in.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("client")
    }

    /// A private key that is not.
    pub fn stranger(&self) -> PathBuf {
        self.folder.path().join("stranger")
    }

    /// `[127.0.0.1]:PORT ssh-ed25519 …`, one line for each host key.
    pub fn known_hosts(&self) -> String {
        ["host_ed25519.pub", "host_rsa.pub"]
            .map(|name| format!("[127.0.0.1]:{} {}\n", self.port, self.public(name)))
            .concat()
    }

    /// Type and key of one of `host_ed25519.pub`, `host_rsa.pub`, `client.pub`, `stranger.pub`.
    pub fn public(&self, name: &str) -> String {
        let text = fs::read_to_string(self.folder.path().join(name)).unwrap();
        text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    /// A file in the server's temporary folder with this text.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// From now on a client that is let in gets this shell command's output instead of what it asked for; `None`: what it
    /// asked for.
    pub fn force(&self, command: Option<&str>) {
        let key = fs::read_to_string(self.folder.path().join("client.pub")).unwrap();
        let options = command.map_or(String::new(), |command| format!("command=\"{command}\" "));
        fs::write(self.folder.path().join("authorized"), format!("{options}{key}")).unwrap();
    }

    /// Returns the server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(program: &str, folder: &Path, port: u16) -> Option<Child> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folder = folder.display();
    let config = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host_ed25519\nHostKey {folder}/host_rsa\n\
         AuthorizedKeysFile {folder}/authorized\nPidFile none\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
         SetEnv PATH={path}\nMaxStartups 100\n"
    );
    let config_path = PathBuf::from(format!("{folder}/sshd_config"));
    fs::write(&config_path, config).unwrap();
    let mut child = Command::new(program)
        .arg("-D")
        .arg("-E")
        .arg(format!("{folder}/log"))
        .arg("-f")
        .arg(&config_path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        let log = fs::read_to_string(format!("{folder}/log")).unwrap_or_default();
        if log.contains("Server listening on 127.0.0.1") {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

fn keygen(path: &Path, kind: &str) {
    output(Command::new("ssh-keygen").args(["-q", "-N", "", "-C", "test", "-t", kind, "-f"]).arg(path));
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
