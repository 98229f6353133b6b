//! The YAML in the documents: it parses, and pods in it are typed and understood by the program.

use std::fs;
use std::process::Command;

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;

use super::typed::lost;
use super::{documents, top};

/// The blocks of YAML with their places. GitHub's expressions are words like others.
fn blocks() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for path in documents() {
        let name = path.strip_prefix(top()).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        for (number, block) in text.split("\n```yaml\n").skip(1).enumerate() {
            let block = block.split("\n```").next().unwrap();
            let place = format!("{name}, block {} of YAML", number + 1);
            let parsed = serde_saphyr::from_str(block).unwrap_or_else(|error| panic!("{place}: {error}"));
            found.push((place, parsed));
        }
    }
    found
}

#[test]
fn pods_in_the_documents_are_typed_and_understood() {
    let mut pods = 0;
    for (place, pod) in blocks() {
        let Some(sidecars) = pod["initContainers"].as_array() else { continue };
        pods += 1;
        let typed: PodSpec = serde_json::from_value(pod.clone()).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(lost(&pod, &serde_json::to_value(typed).unwrap()), None, "{place}");
        for sidecar in sidecars {
            assert_eq!(sidecar["image"], format!("pushsync:{}", env!("CARGO_PKG_VERSION")), "{place}");
            let mut command = Command::new(env!("CARGO_BIN_EXE_pushsync"));
            command.env_clear().arg("--no-such-flag");
            command.args(sidecar["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap()));
            for variable in sidecar["env"].as_array().unwrap() {
                command.env(variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap());
            }
            let told = String::from_utf8(command.output().unwrap().stderr).unwrap();
            assert!(told.starts_with("pushsync: a problem with") && told.contains("--no-such-flag"), "{place}: {told}");
        }
        // A block with volumes is a whole pod: everything that is mounted is there.
        let Some(volumes) = pod["volumes"].as_array() else { continue };
        for container in sidecars.iter().chain(pod["containers"].as_array().into_iter().flatten()) {
            for mount in container["volumeMounts"].as_array().into_iter().flatten() {
                let is_there = volumes.iter().any(|volume| volume["name"] == mount["name"]);
                assert!(is_there || mount["name"] == "hook-secret", "{place}: {mount}");
            }
        }
    }
    assert!(pods >= 3, "{pods}");
}
