//! The workflows of `.github`: strictly typed, with the rights that each job needs, and only scripts that exist.
//!
//! A workflow cannot be run here. These checks find what can be found without a forge.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(dead_code, reason = "that a key has this name and type is the check")]
struct Workflow {
    name: String,
    on: Triggers,
    permissions: BTreeMap<String, Right>,
    concurrency: Concurrency,
    #[serde(default)]
    defaults: Option<Defaults>,
    jobs: BTreeMap<String, Job>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
struct Triggers {
    push: Push,
    pull_request: Option<Empty>,
    workflow_call: Option<Empty>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
struct Push {
    #[serde(default)]
    branches: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
enum Right {
    Read,
    Write,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
struct Concurrency {
    group: String,
    cancel_in_progress: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
struct Defaults {
    run: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
struct Job {
    needs: Option<Names>,
    strategy: Option<Strategy>,
    runs_on: Option<String>,
    timeout_minutes: Option<u32>,
    permissions: Option<BTreeMap<String, Right>>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    outputs: BTreeMap<String, String>,
    /// Another workflow instead of steps.
    uses: Option<String>,
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
struct Strategy {
    fail_fast: Option<bool>,
    matrix: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    id: Option<String>,
    uses: Option<String>,
    #[serde(default)]
    with: BTreeMap<String, Value>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    run: Option<String>,
}

impl Job {
    fn needs(&self) -> Vec<&str> {
        match &self.needs {
            None => Vec::new(),
            Some(Names::One(name)) => vec![name],
            Some(Names::Many(names)) => names.iter().map(String::as_str).collect(),
        }
    }

    fn uses<'a>(&'a self, action: &'a str) -> impl Iterator<Item = &'a Step> {
        let is_it = move |step: &&Step| step.uses.as_ref().is_some_and(|uses| uses.split('@').next() == Some(action));
        self.steps.iter().filter(is_it)
    }
}

fn file(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(text: &str) -> Result<Workflow, String> {
    // Anchors and keys that stand twice are refused by the parser; `on: {pull_request:}` is null and means "always".
    let mut value: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if let Some(triggers) = value["on"].as_object_mut() {
        triggers.values_mut().filter(|value| value.is_null()).for_each(|value| *value = serde_json::json!({}));
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn workflows() -> BTreeMap<String, Workflow> {
    let entries = std::fs::read_dir(file(".github/workflows")).unwrap().map(|entry| entry.unwrap());
    let read = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        let workflow = read(&std::fs::read_to_string(entry.path()).unwrap());
        let workflow = workflow.unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, workflow)
    };
    entries.map(read).collect()
}

/// All jobs, with the name of their file in front.
fn jobs() -> Vec<(String, Job)> {
    let each = |(file, workflow): (String, Workflow)| {
        workflow.jobs.into_iter().map(move |(name, job)| (format!("{file} {name}"), job))
    };
    workflows().into_iter().flat_map(each).collect()
}

#[test]
fn a_misspelled_key_is_an_error() {
    let text = std::fs::read_to_string(file(".github/workflows/release.yml")).unwrap();
    assert!(read(&text).is_ok());
    for key in ["timeout-minutes", "permissions", "needs", "runs-on", "steps", "with"] {
        let wrong = text.replacen(&format!("{key}:"), &format!("{key}s:"), 1);
        assert!(wrong != text && read(&wrong).is_err(), "{key} may be misspelled");
    }
}

#[test]
fn every_job_waits_for_jobs_that_exist_and_ends() {
    for (file, workflow) in workflows() {
        let mut done = BTreeSet::new();
        while done.len() < workflow.jobs.len() {
            let ready = |(name, job): &(&String, &Job)| {
                !done.contains(name.as_str()) && job.needs().iter().all(|need| done.contains(*need))
            };
            let next: Vec<&str> = workflow.jobs.iter().filter(ready).map(|(name, _)| name.as_str()).collect();
            assert!(!next.is_empty(), "{file}: jobs wait for each other or for one that does not exist");
            done.extend(next);
        }
        for (name, job) in &workflow.jobs {
            assert!(job.timeout_minutes.is_some() != job.uses.is_some(), "{file} {name} has no end");
            assert_eq!(job.runs_on.is_some(), job.uses.is_none(), "{file} {name}");
        }
    }
}

#[test]
fn every_script_that_is_called_exists_and_can_be_run() {
    let mut called = BTreeSet::new();
    for (_, job) in jobs() {
        for run in job.steps.iter().filter_map(|step| step.run.as_ref()) {
            let words = run.split(|c: char| c.is_whitespace() || "\"'$();|&<>".contains(c));
            called.extend(words.filter(|word| word.starts_with("scripts/") || *word == ".ci/run").map(str::to_owned));
        }
    }
    for script in &called {
        let permissions =
            std::fs::metadata(file(script)).unwrap_or_else(|error| panic!("{script}: {error}")).permissions();
        assert!(permissions.mode() & 0o111 != 0, "{script} is not executable");
    }
    let release = [
        "release-notes",
        "release-archive",
        "release-checksums",
        "release-image",
        "build-static",
        "krew-manifest",
        "image",
        "sbom",
    ];
    for script in release {
        assert!(called.contains(&format!("scripts/{script}")), "{script} is not called: {called:?}");
    }
}

#[test]
fn no_value_of_an_event_is_written_into_a_script() {
    for (name, job) in jobs() {
        for step in &job.steps {
            assert!(step.run.is_some() != step.uses.is_some(), "{name}: a step runs one thing");
            let run = step.run.as_deref().unwrap_or_default();
            assert!(!run.contains("${{"), "{name}: use env instead of an expression in {run}");
        }
    }
}

#[test]
fn every_action_is_pinned_and_no_checkout_leaves_the_token_behind() {
    for (name, job) in jobs() {
        for uses in job.steps.iter().filter_map(|step| step.uses.as_ref()) {
            let (_, version) = uses.split_once('@').unwrap_or_else(|| panic!("{name}: {uses}"));
            assert!(version.len() == 40 && version.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}: {uses}");
        }
        for step in job.uses("actions/checkout") {
            assert_eq!(step.with["persist-credentials"], false, "{name}");
        }
        if let Some(called) = &job.uses {
            assert!(file(called.strip_prefix("./").unwrap()).is_file(), "{name} calls {called}");
        }
    }
    for name in workflows().keys() {
        let text = std::fs::read_to_string(file(".github/workflows").join(name)).unwrap();
        for line in text.lines().filter(|line| line.contains("uses: ") && line.contains('@')) {
            assert!(line.contains(" # v"), "{name}: dependabot updates the version in the comment: {line}");
        }
    }
}

#[test]
fn no_workflow_lets_all_its_jobs_write() {
    for (name, workflow) in workflows() {
        let writes = workflow.permissions.values().any(|right| *right == Right::Write);
        assert!(!writes, "{name}: a right to write belongs to the job that needs it");
    }
}

#[test]
fn each_job_of_a_release_has_the_rights_that_it_needs() {
    use Right::{Read, Write};
    let release = workflows().remove("release.yml").unwrap();
    assert!(release.permissions.is_empty(), "no right by default");
    assert_eq!(release.on.push.tags, ["v*"]);
    assert!(release.on.push.branches.is_empty());
    let signing = [("id-token", Write), ("attestations", Write)];
    for (name, job) in &release.jobs {
        let mut expected: BTreeMap<&str, Right> = [("contents", Read)].into();
        match name.as_str() {
            "image" => expected.extend(signing.into_iter().chain([("packages", Write)])),
            "publish" => expected.extend(signing.into_iter().chain([("contents", Write)])),
            _ => {}
        }
        let rights = job.permissions.as_ref().unwrap_or_else(|| panic!("{name} says no rights"));
        let rights: BTreeMap<&str, Right> = rights.iter().map(|(name, right)| (name.as_str(), *right)).collect();
        assert_eq!(rights, expected, "{name}");
        // A job that may write compiles nothing: a build script of a dependency could use its token.
        let compiles =
            |run: &String| run.contains("cargo") || run.contains("build-static") || run.contains("scripts/sbom");
        let builds = job.steps.iter().filter_map(|step| step.run.as_ref()).any(compiles);
        assert!(!builds || !rights.values().any(|right| *right == Write), "{name} builds and may write");
    }
    let publish = &release.jobs["publish"];
    assert_eq!(publish.needs().len(), release.jobs.len() - 1, "nothing is published before all else succeeded");
}

#[test]
fn what_a_job_downloads_an_earlier_one_uploads() {
    let release = workflows().remove("release.yml").unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    // `dist-linux-${{ matrix.arch }}` is `dist-linux-`.
    let start = |name: &str| name.split(['*', '$']).next().unwrap().to_owned();
    let mut uploads: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, job) in &release.jobs {
        for step in job.uses("actions/upload-artifact") {
            assert_eq!(step.with["if-no-files-found"], "error", "{name}");
            uploads.entry(name.clone()).or_default().insert(start(&text(&step.with["name"])));
        }
    }
    let mut downloads = 0;
    for (name, job) in &release.jobs {
        for step in job.uses("actions/download-artifact") {
            let wanted =
                step.with.get("name").or_else(|| step.with.get("pattern")).map(|name| start(&text(name))).unwrap();
            let found = job.needs().iter().any(|need| {
                uploads.get(*need).is_some_and(|names| names.iter().any(|upload| upload.starts_with(&wanted)))
            });
            assert!(found, "{name}: no job that it needs uploads {wanted}");
            downloads += 1;
        }
        for step in job.steps.iter().flat_map(|step| step.env.values()).chain(job.outputs.values()) {
            let Some((_, id)) = step.split_once("steps.") else { continue };
            let id = id.split('.').next();
            assert!(job.steps.iter().any(|step| step.id.as_deref() == id), "{name} reads {step}");
        }
    }
    assert!(downloads >= 3, "{downloads}");
}
