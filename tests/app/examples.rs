//! The folder `examples` with the real programs: what a push does to Prometheus, nginx and Hugo beside a sidecar that runs with the
//! flags of the example's manifest.
//!
//! Ports and folders differ from the manifests, nothing else. `tests/kubernetes/examples.rs` types the manifests.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pushsync::api::Outcome;
use serde_json::Value;

use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually, skip};

use super::hooks::metric;
use super::site::{Site, client};

fn folder(example: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example)
}

/// The program, also where only root's PATH has it; a loud skip without it.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        skip(name);
    }
    found
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The arguments of the sidecar in the example's manifest that begin so.
fn arguments(example: &str, starts: &[&str]) -> Vec<(String, String)> {
    let text = fs::read_to_string(folder(example).join("deployment.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let pod = &documents.iter().find(|document| document["kind"] == "Deployment").unwrap()["spec"]["template"]["spec"];
    let all = pod["initContainers"][0]["args"].as_array().unwrap();
    let flags = all.iter().filter_map(|argument| argument.as_str()?.strip_prefix("--")?.split_once('='));
    let found: Vec<_> = flags.filter(|(flag, _)| starts.iter().any(|start| flag.starts_with(start))).collect();
    assert!(found.len() >= starts.len(), "{found:?}");
    found.into_iter().map(|(flag, value)| (flag.to_owned(), value.to_owned())).collect()
}

/// A site whose repository holds the example's files, each changed by `adapt`.
fn site(example: &str, adapt: impl Fn(&str) -> String) -> Site {
    let site = Site::new();
    let top = folder(example).join("repository");
    let mut folders = vec![top.clone()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&top).unwrap().to_str().unwrap().to_owned();
                site.repo.write(&name, adapt(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
    site.repo.commit("the example's files");
    site.repo.push();
    site
}

/// A program that is ended with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn body(url: &str) -> String {
    match client().get(url).send().await {
        Ok(response) => response.text().await.unwrap_or_default(),
        Err(error) => error.to_string(),
    }
}

/// Asks until the answer fits.
async fn wait_body(url: &str, fits: impl Fn(&str) -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let answer = body(url).await;
        if fits(&answer) {
            return;
        }
        assert!(std::time::Instant::now() < end, "{url}: {answer}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_has_new_rules_after_a_push_and_the_old_ones_after_a_broken_one() {
    let Some(prometheus) = program("prometheus") else { return };
    let port = free_port();
    let mut site = site("prometheus", |text| text.replace("9090", &port.to_string()));
    for (flag, value) in arguments("prometheus", &["webhook-url", "webhook-timeout"]) {
        site.set(&flag, &value.replace("9090", &port.to_string()));
    }
    site.set("webhook-backoff", "100ms");
    site.start_in_sync().await;
    let _running = Running::start(Command::new(prometheus).args([
        &format!("--config.file={}", site.link().join("prometheus.yml").display()),
        &format!("--storage.tsdb.path={}", site.path("data").display()),
        &format!("--web.listen-address=127.0.0.1:{port}"),
        "--web.enable-lifecycle",
    ]));
    let rules = format!("http://127.0.0.1:{port}/api/v1/rules");
    wait_body(&rules, |rules| rules.contains("TargetDown")).await;

    let rule = |name: &str, expression: &str| {
        format!("groups: [{{name: g, rules: [{{alert: {name}, expr: '{expression}'}}]}}]\n")
    };
    site.push_and_ring("rules/more.yml", &rule("SecondRule", "up == 2")).await;
    wait_body(&rules, |rules| rules.contains("SecondRule") && rules.contains("TargetDown")).await;

    let failures = "git_sync_hook_run_count_total{name=\"webhook\",status=\"error\"}";
    let before = metric(&site, failures).await.unwrap_or_default();
    site.push_and_ring("rules/more.yml", &rule("ThirdRule", "up ==")).await;
    let end = std::time::Instant::now() + PATIENCE;
    while metric(&site, failures).await.unwrap_or_default() == before {
        assert!(std::time::Instant::now() < end, "the refusal is counted");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let now = body(&rules).await;
    assert!(now.contains("SecondRule") && !now.contains("ThirdRule"), "{now}");
}

/// The sidecar with the example's hooks, as the manifest names them, and these variables.
async fn start_with_hooks(site: &mut Site, example: &str, program: &Path, environment: &[(&str, &Path)]) {
    for (flag, value) in arguments(example, &["pre-publish-exechook", "exechook"]) {
        site.set(&flag, &value.replace("/hooks/", &format!("{}/", folder(example).display())));
    }
    site.set("exechook-backoff", "100ms");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushsync"));
    let path = std::env::join_paths(
        std::env::split_paths(&std::env::var_os("PATH").unwrap()).chain([program.parent().unwrap().to_owned()]),
    );
    command.env_clear().env("PATH", path.unwrap()).envs(environment.iter().copied()).args(site.arguments());
    site.started(Sidecar::spawn(command)).await;
    let head = site.repo.head();
    site.wait_published(&head).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_takes_a_new_configuration_and_a_commit_that_it_refuses_is_not_published() {
    let Some(nginx) = program("nginx") else { return };
    let port = free_port();
    let scratch = tempfile::tempdir().unwrap();
    let adapt = |text: &str| {
        text.replace("8000", &port.to_string()).replace("/tmp/", &format!("{}/", scratch.path().display()))
    };
    let mut site = site("nginx", adapt);
    let pid = scratch.path().join("nginx.pid");
    start_with_hooks(&mut site, "nginx", &nginx, &[("TMPDIR", scratch.path()), ("NGINX_PID", &pid)]).await;
    let directives = format!("daemon off; pid {};", pid.display());
    // A master that gets SIGKILL leaves its workers, so it is asked to end.
    let running =
        Running::start(Command::new(&nginx).arg("-c").arg(site.link().join("nginx.conf")).args(["-g", &directives]));
    let page = format!("http://127.0.0.1:{port}/");
    wait_body(&page, |page| page == "first configuration\n").await;

    let first = fs::read_to_string(site.link().join("nginx.conf")).unwrap();
    let good = site.push_and_ring("nginx.conf", &first.replace("first", "second")).await;
    wait_body(&page, |page| page == "second configuration\n").await;

    site.push_and_ring("nginx.conf", &first.replace("return 200", "retrun 200")).await;
    let record = site.wait_record(|record| record.outcome == Outcome::Refused).await;
    let said = format!("{:?}", record.error);
    assert!(said.contains("unknown directive"), "{said}");
    assert_eq!(site.published().as_deref(), Some(good.as_str()));
    assert_eq!(body(&page).await, "second configuration\n");
    let process = rustix::process::Pid::from_child(&running.0);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    eventually(PATIENCE, || !pid.exists()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hugo_builds_before_the_publish_and_what_does_not_build_is_not_published() {
    let Some(hugo) = program("hugo") else { return };
    let mut site = site("hugo", str::to_owned);
    let (scratch, pages) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let variables = [("TMPDIR", scratch.path()), ("SITE", pages.path())];
    start_with_hooks(&mut site, "hugo", &hugo, &variables).await;
    let page = || fs::read_to_string(pages.path().join("current/index.html")).unwrap_or_default();
    eventually(PATIENCE, || page().contains("<h1>First title</h1>")).await;

    let good = site.push_and_ring("content/_index.md", "---\ntitle: Second title\n---\n").await;
    eventually(PATIENCE, || page().contains("<h1>Second title</h1>")).await;
    assert_eq!(fs::read_link(pages.path().join("current")).unwrap(), Path::new(&good), "the build of that commit");
    site.assert_whole(&good);

    site.push_and_ring("layouts/index.html", "{{ .Title").await;
    let record = site.wait_record(|record| record.outcome == Outcome::Refused).await;
    let said = format!("{:?}", record.error);
    assert!(said.contains("parse failed"), "{said}");
    assert_eq!(site.published().as_deref(), Some(good.as_str()));
    assert!(page().contains("Second title"), "{}", page());
}
