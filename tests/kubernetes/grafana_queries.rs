//! Every query of the Grafana dashboard, run by a real Prometheus that scrapes three real sidecars: with pushes, a webhook
//! with a bad signature, and a commit that one replica's pre-publish hook refuses. Also the fields of their log lines.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::support::delivery::Delivery;
use crate::support::git_http::GitHttp;
use crate::support::repo::Repo;
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, skip};

const SECRET: &str = "a secret that three replicas share";
/// Covers the whole test, so that each increase is seen.
const WINDOW: &str = "10m";

/// The result that a query must have here.
#[derive(Clone, Copy)]
enum Expect {
    /// At least one series above zero.
    Data,
    /// Series, all of them zero, for this reason.
    Zero(&'static str),
}
use Expect::{Data, Zero};

/// Panel, query, and what it returns.
const EXPECTED: [(&str, &str, Expect); 29] = [
    ("Replicas in sync", "A", Data),
    ("Replicas scraped", "A", Data),
    ("Workloads whose replicas differ", "A", Data),
    ("Failing replicas", "A", Data),
    ("Paused or pinned", "A", Zero("no user paused or pinned one")),
    ("Oldest successful sync", "A", Data),
    ("Push to live", "A", Data),
    ("Push to live", "B", Data),
    ("Push to live", "C", Data),
    ("Duration of each phase, p95", "A", Data),
    ("Replicas by published commit", "A", Data),
    ("Replicas by state", "A", Data),
    ("Published commit of each replica", "A", Data),
    ("Replicas behind, paused, pinned", "A", Data),
    ("Replicas behind, paused, pinned", "B", Zero("no user paused one")),
    ("Replicas behind, paused, pinned", "C", Zero("no user pinned one")),
    ("Webhooks by result", "A", Data),
    ("Messages to other replicas by result", "A", Data),
    ("Missed webhooks", "A", Zero("a webhook announced each commit")),
    ("Syncs by status", "A", Data),
    ("Failing replicas by kind", "A", Data),
    ("Failures in a row", "A", Data),
    ("Runs of hooks", "A", Data),
    ("Records that wait for the disk, and lost ones", "A", Zero("the disk takes each record at once")),
    ("Records that wait for the disk, and lost ones", "B", Zero("the disk takes each record at once")),
    ("Duration of syncs, p95", "A", Data),
    ("Received from the remote", "A", Data),
    ("Bytes on the volumes", "A", Data),
    ("Use of each volume's limit", "A", Data),
];

struct Replica {
    sidecar: Sidecar,
    hook: SocketAddr,
    metrics: String,
}

struct Fleet {
    repo: Repo,
    url: String,
    replicas: Vec<Replica>,
    _folder: TempDir,
    _remote: GitHttp,
}

fn listening(line: &str, listener: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["listener"] == listener).then(|| word(&line["address"]).to_owned())
}

impl Fleet {
    async fn start() -> Self {
        let repo = Repo::new();
        let remote = GitHttp::start(&repo.root());
        let url = remote.url("site.git");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        let hook = folder.path().join("refuse");
        std::fs::write(&hook, "#!/bin/sh\ntest ! -e refused\n").unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
        // A network of this process's own: a port that is free on its first address is free on the others.
        let address = |number: u8, port| {
            SocketAddr::from(([127, 91, u8::try_from(std::process::id() % 250).unwrap(), number], port))
        };
        let port = TcpListener::bind(address(1, 0)).unwrap().local_addr().unwrap().port();
        let peers: Vec<String> = (1..=3).map(|number| address(number, port).to_string()).collect();
        let mut replicas = Vec::new();
        for number in 1..=3 {
            let mut arguments = vec![
                format!("--repo={url}"),
                "--ref=main".into(),
                format!("--root={}", folder.path().join(format!("root-{number}")).display()),
                "--link=current".into(),
                "--period=1h".into(),
                "--volume-limit=64Mi".into(),
                // The volume is measured after this time.
                "--stale-worktree-timeout=1s".into(),
                format!("--hook-bind={}", address(number, port)),
                format!("--hook-secret-file={}", folder.path().join("secret").display()),
                format!("--peers={}", peers.join(",")),
                "--exechook-command=true".into(),
                "--http-bind=127.0.0.1:0".into(),
                "--http-metrics".into(),
                "--admin-bind=off".into(),
                "--log-format=json".into(),
            ];
            if number == 3 {
                arguments.push(format!("--pre-publish-exechook-command={}", hook.display()));
            }
            let mut sidecar = Sidecar::start(&arguments);
            let line = sidecar.wait_for_line(PATIENCE, |line| listening(line, "http").is_some()).await;
            let metrics = listening(&line, "http").unwrap();
            replicas.push(Replica { sidecar, hook: address(number, port), metrics });
        }
        Self { repo, url, replicas, _folder: folder, _remote: remote }
    }

    fn config(&self) -> String {
        let targets = self.replicas.iter().enumerate().map(|(number, replica)| {
            serde_json::json!({ "targets": [replica.metrics], "labels": { "namespace": "shop", "pod": format!("web-{}", number + 1) } })
        });
        let job = serde_json::json!({ "job_name": "shop/web", "static_configs": targets.collect::<Vec<_>>() });
        let global = serde_json::json!({ "scrape_interval": "500ms", "scrape_timeout": "500ms" });
        // JSON is YAML.
        serde_json::json!({ "global": global, "scrape_configs": [job] }).to_string()
    }

    /// Pushes a file and delivers the webhook to the first replica.
    async fn push(&self, path: &str, contents: &str) -> String {
        let before = self.repo.head();
        let after = self.repo.push_file(path, contents, "a change");
        let delivery = Delivery::push(&self.url, "refs/heads/main", &before, &after);
        assert_eq!(delivery.send(&self.webhook(), SECRET.as_bytes()).await.status, 202);
        after
    }

    fn webhook(&self) -> String {
        format!("http://{}/webhook", self.replicas[0].hook)
    }
}

struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The labels and the value of one series.
type Series = (BTreeMap<String, String>, f64);

impl Prometheus {
    /// `None` without the program.
    fn start(config: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("prometheus");
        command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        command.arg("--config.file=prometheus.yml").arg("--storage.tsdb.path=data");
        let child = match command.arg(format!("--web.listen-address={address}")).spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("prometheus: {error}"),
        };
        Some(Self { child, address, _folder: folder })
    }

    /// The `data` of an answer of its API.
    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let query: Vec<String> =
            query.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let answer = client.get(format!("http://{}/api/v1/{path}?{}", self.address, query.join("&"))).send().await;
        let text = answer.map_err(|error| error.to_string())?.text().await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        if answer["status"] == "success" { Ok(answer["data"].clone()) } else { Err(text) }
    }

    async fn query(&self, expression: &str) -> Result<Vec<Series>, String> {
        let data = self.ask("query", &[("query", expression)]).await?;
        let series = |one: &Value| {
            let labels = one["metric"].as_object().unwrap().iter();
            let labels = labels.map(|(name, value)| (name.clone(), word(value).to_owned())).collect();
            (labels, word(&one["value"][1]).parse().unwrap())
        };
        Ok(list(&data["result"]).iter().map(series).collect())
    }

    /// Waits until a condition has held at a scrape.
    async fn until(&self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.query(expression).await;
            if answer.as_ref().is_ok_and(|series| !series.is_empty()) {
                return;
            }
            assert!(Instant::now() < end, "{expression}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// As a part of a URL's query.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn fits(answer: &[Series], expected: Expect) -> bool {
    let finite = || answer.iter().map(|(_, value)| *value).filter(|value| value.is_finite());
    match expected {
        Data => finite().any(|value| value > 0.0),
        Zero(_) => finite().count() > 0 && finite().all(|value| value == 0.0),
    }
}

/// The keys in the first column of the documentation's table of log fields.
fn documented_fields() -> BTreeSet<String> {
    let text = text("docs/monitoring.md");
    let section = text.split_once("\n## Log lines\n").expect("there is a section on log lines").1;
    let section = section.split("\n## ").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    cells.flat_map(|cell| cell.split(", ").map(|name| name.replace('`', "")).collect::<Vec<_>>()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_has_an_answer_from_real_sidecars() {
    let fleet = Fleet::start().await;
    let Some(prometheus) = Prometheus::start(&fleet.config()) else { return skip("prometheus") };
    prometheus.until("count(pushsync_published_info) == 3").await;

    // Two pushes with a scrape between them, because a series that appears with its first value has no increase yet.
    for contents in ["two\n", "three\n"] {
        let commit = fleet.push("index.html", contents).await;
        prometheus.until(&format!("count(pushsync_published_info{{commit=\"{commit}\"}}) == 3")).await;
    }
    assert_eq!(Delivery::ping().send_signed(&fleet.webhook(), &format!("sha256={}", "0".repeat(64))).await.status, 401);
    let refused = fleet.push("refused", "").await;
    prometheus.until(&format!("count(pushsync_published_info{{commit=\"{refused}\"}}) == 2")).await;
    prometheus.until("pushsync_last_error_info and on (pod) pushsync_failures_in_a_row >= 2").await;
    prometheus.until("increase(pushsync_webhook_deliveries_total{result=\"bad_signature\"}[1m]) > 0").await;
    prometheus.until("count(pushsync_volume_bytes > 0) >= 3").await;
    if let Some(seconds) = std::env::var("PUSHSYNC_LOOK_AT_PROMETHEUS").ok().and_then(|text| text.parse().ok()) {
        println!("http://{} for {seconds} s", prometheus.address);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    let mut expected: BTreeMap<(String, String), Expect> =
        EXPECTED.into_iter().map(|(panel, query, what)| ((panel.to_owned(), query.to_owned()), what)).collect();
    let mut wrong = Vec::new();
    for panel in grafana::panels() {
        for target in panel.targets {
            let key = (panel.title.clone(), target.ref_id);
            let what = expected.remove(&key).unwrap_or_else(|| panic!("{key:?} is not in the table"));
            let expression = target.expr.replace("$__rate_interval", WINDOW).replace("$namespace", "shop");
            let answer = prometheus.query(&expression.replace("$job", "shop/web")).await;
            // A legend names only labels that the series have.
            let named = target.legend_format.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap());
            let named: Vec<&str> = named.collect();
            let has_labels = |series: &Series| named.iter().all(|label| series.0.contains_key(*label));
            if !answer.as_ref().is_ok_and(|answer| fits(answer, what) && answer.iter().all(has_labels)) {
                let reason = if let Zero(reason) = what { reason } else { "" };
                wrong.push(format!("{key:?} {reason}: {expression}\n  {answer:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    for (variable, values) in [("namespace", ["shop"]), ("job", ["shop/web"])] {
        let matching = [("match[]", "pushsync_info{namespace=~\"shop\"}")];
        let found = prometheus.ask(&format!("label/{variable}/values"), &matching).await.unwrap();
        assert_eq!(found, serde_json::json!(values), "{variable}");
    }
    assert!(expected.is_empty(), "{:?}: the table has panels that the dashboard lacks", expected.keys());

    let documented = documented_fields();
    for line in fleet.replicas.iter().flat_map(|replica| replica.sidecar.log()) {
        let fields: Value = serde_json::from_str(&line).unwrap();
        for field in fields.as_object().unwrap().keys() {
            assert!(documented.contains(field), "docs/monitoring.md does not have the field {field} of {line}");
        }
    }
}
