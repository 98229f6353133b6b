//! Programs and addresses around a publish, with real programs, a real listener and the real sidecar.

mod after;
mod files;
mod gate;
mod output;
mod processes;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::site::Site;

/// A program that the test wrote. `$HERE` is its folder, for what it leaves behind.
pub struct Script {
    pub path: PathBuf,
    folder: PathBuf,
}

impl Script {
    pub fn new(site: &Site, name: &str, body: &str) -> Self {
        let folder = site.path(&format!("{name}-leaves"));
        fs::create_dir_all(&folder).unwrap();
        let script = Self { path: site.path(name), folder };
        script.become_(body);
        script
    }

    /// From the next run on, it does something else. By rename: a program that runs cannot be written.
    pub fn become_(&self, body: &str) {
        let beside = self.path.with_extension("new");
        fs::write(&beside, format!("#!/bin/sh\nHERE='{}'\n{body}\n", self.folder.display())).unwrap();
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&beside, &self.path).unwrap();
    }

    pub fn command(&self) -> String {
        self.path.display().to_string()
    }

    /// What it wrote into a file of its folder, line by line.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// True while a process with this id is there and not a zombie.
pub fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Lines of the metrics that begin so.
pub async fn metric(site: &Site, start: &str) -> Option<u64> {
    let (_, text) = site.probe("/metrics").await;
    let line = text.lines().find(|line| line.starts_with(start))?.to_owned();
    line.rsplit(' ').next()?.parse().ok()
}

/// A listener that answers each request with the next of these statuses, the last one for ever; keeps the requests.
pub struct Listener {
    pub address: String,
    pub requests: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    pub fn start(statuses: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.77.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, statuses) = (requests.clone(), statuses.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let (mut request, mut part) = (Vec::new(), [0; 1024]);
                while !request.windows(4).any(|four| four == b"\r\n\r\n") {
                    match stream.read(&mut part) {
                        Ok(length) if length > 0 => request.extend_from_slice(&part[..length]),
                        _ => break,
                    }
                }
                let mut kept = kept.lock().unwrap();
                let status = statuses.get(kept.len()).or(statuses.last()).unwrap().clone();
                kept.push(String::from_utf8_lossy(&request).into_owned());
                drop(kept);
                if status == "silence" {
                    // Held open beside the others.
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_secs(10));
                        drop(stream);
                    });
                } else {
                    let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
                }
            }
        });
        Self { address, requests }
    }

    pub fn hashes(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter_map(|request| header(request, "gitsync-hash")).collect()
    }
}

pub fn header(request: &str, name: &str) -> Option<String> {
    request.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}
