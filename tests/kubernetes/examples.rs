//! The manifests of the folder `examples`: typed, restricted, and understood by the program.

use serde_json::json;

use super::*;

/// The documents of the manifests: everything but values of a chart and files that stand for a repository's content.
fn manifests_of_examples() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(file("examples")).unwrap() {
        let folder = entry.unwrap().path();
        for entry in folder.is_dir().then(|| std::fs::read_dir(&folder).unwrap()).into_iter().flatten() {
            let path = entry.unwrap().path();
            let is_manifest =
                path.extension().is_some_and(|extension| extension == "yaml") && !path.ends_with("values.yaml");
            if is_manifest {
                let name = path.strip_prefix(file("examples")).unwrap().display().to_string();
                let documents = strict::documents(&std::fs::read_to_string(&path).unwrap()).unwrap();
                found.extend(documents.into_iter().map(|document| (name.clone(), document)));
            }
        }
    }
    found
}

#[test]
fn every_manifest_of_the_examples_is_typed_restricted_and_understood() {
    let all = manifests_of_examples();
    assert!(all.len() >= 8, "{all:?}");
    let mut sidecars = 0;
    for (name, document) in &all {
        strict::check(document).unwrap_or_else(|error| panic!("{name}: {error}"));
        if document["kind"] != "Deployment" {
            continue;
        }
        assert_eq!(pods::objections(document), Vec::<String>::new(), "{name}");
        let poll = container(document, "poll");
        pods::assert_understood(&poll);
        sidecars += 1;
        for (probe, path) in [("startupProbe", "/startupz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")]
        {
            assert_eq!(poll[probe]["httpGet"], json!({ "path": path, "port": "health" }), "{name}");
        }
        assert_eq!(flag(&poll, "http-bind").as_deref(), Some(":8081"), "{name}");
        assert_eq!((port(&poll, "health"), port(&poll, "hook")), (Some(8081), Some(8080)), "{name}");
        let volumes: Vec<String> = list(&document["spec"]["template"]["spec"]["volumes"])
            .iter()
            .map(|each| word(&each["name"]).to_owned())
            .collect();
        for mount in containers(document).iter().flat_map(|container| list(&container["volumeMounts"])) {
            assert!(volumes.contains(&word(&mount["name"]).to_owned()), "{name}: no volume for {mount}");
            assert!(mount["subPath"].is_null(), "{name}: {mount} pins the first tree");
        }
    }
    assert_eq!(sidecars, 4);
}

/// The variables that the chart makes of its values, and those that the values add.
#[test]
fn airflows_values_are_variables_that_the_program_takes() {
    let values = strict::documents(&text("examples/airflow/values.yaml")).unwrap().remove(0);
    let git_sync = &values["dags"]["gitSync"];
    let mut variables = list(&git_sync["env"]);
    let (repo, failures) = (word(&git_sync["repo"]), git_sync["maxFailures"].to_string());
    for (names, value) in [
        (["GIT_SYNC_REV", "GITSYNC_REF"].as_slice(), word(&git_sync["ref"])),
        (&["GIT_SYNC_REPO", "GITSYNC_REPO"], repo),
        (&["GIT_SYNC_DEPTH", "GITSYNC_DEPTH"], "1"),
        (&["GIT_SYNC_ROOT", "GITSYNC_ROOT"], "/git"),
        (&["GIT_SYNC_DEST", "GITSYNC_LINK"], "repo"),
        (&["GIT_SYNC_ADD_USER", "GITSYNC_ADD_USER"], "true"),
        (&["GITSYNC_PERIOD"], word(&git_sync["period"])),
        (&["GIT_SYNC_MAX_SYNC_FAILURES", "GITSYNC_MAX_FAILURES"], &failures),
    ] {
        variables.extend(names.iter().map(|name| json!({ "name": name, "value": value })));
    }
    pods::assert_understood(&json!({ "env": variables }));

    // Hook, peers and Services speak of one port; each pod with the mount has the volume.
    let bind = list(&git_sync["env"]).into_iter().find(|variable| variable["name"] == "PUSHSYNC_HOOK_BIND").unwrap();
    let number: u64 = word(&bind["value"]).trim_start_matches(':').parse().unwrap();
    let services = strict::documents(&text("examples/airflow/services.yaml")).unwrap();
    assert!(services.iter().all(|service| service["spec"]["ports"][0]["targetPort"] == number), "{services:?}");
    let peers = services.iter().find(|service| service["spec"]["clusterIP"] == "None").unwrap();
    let expected = format!("{}:{number}", word(&peers["metadata"]["name"]));
    assert!(list(&git_sync["env"]).iter().any(|variable| variable["value"] == expected.as_str()), "{expected}");
    let mount = &git_sync["extraVolumeMounts"][0]["name"];
    for component in ["scheduler", "dagProcessor", "triggerer", "workers"] {
        assert_eq!(values[component]["extraVolumes"][0]["name"], *mount, "{component}");
    }
    let image = &values["images"]["gitSync"];
    let ours = format!("{}:{}", word(&image["repository"]), word(&image["tag"]));
    assert_eq!(word(&container(&document("Deployment", "site"), "poll")["image"]), ours);
}
