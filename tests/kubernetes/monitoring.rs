//! The alerts of k8s/monitoring: understood and tested by Prometheus' own tool, and each explained in the documentation.

use std::collections::BTreeSet;
use std::process::Command;

use super::*;

fn groups() -> Value {
    let rule = document("PrometheusRule", "pushsync");
    rule["spec"]["groups"].clone()
}

fn alerts() -> Vec<Value> {
    list(&groups()).iter().flat_map(|group| list(&group["rules"])).collect()
}

#[test]
fn each_alert_says_how_bad_it_is_and_where_it_is_explained() {
    let explained: BTreeSet<String> =
        text("docs/monitoring.md").lines().filter_map(|line| Some(line.strip_prefix("### ")?.to_owned())).collect();
    let named: BTreeSet<String> = alerts().iter().map(|alert| word(&alert["alert"]).to_owned()).collect();
    assert_eq!(named, explained);
    for alert in alerts() {
        let name = word(&alert["alert"]);
        assert!(["info", "warning", "critical"].contains(&word(&alert["labels"]["severity"])), "{name}");
        let description = word(&alert["annotations"]["description"]);
        assert!(description.ends_with(&format!("See docs/monitoring.md, {name}.")), "{name}: {description}");
    }
}

#[test]
fn prometheus_understands_the_alerts_and_raises_them_when_it_should_and_only_then() {
    if Command::new("promtool").arg("--version").output().is_err() {
        return crate::support::skip("promtool");
    }
    let folder = tempfile::tempdir().unwrap();
    // JSON is YAML.
    let rules = serde_json::json!({ "groups": groups() });
    std::fs::write(folder.path().join("rules.yaml"), rules.to_string()).unwrap();
    std::fs::copy(file("tests/kubernetes/alerts.yaml"), folder.path().join("alerts.yaml")).unwrap();
    for arguments in [["check", "rules", "rules.yaml"], ["test", "rules", "alerts.yaml"]] {
        let output = Command::new("promtool").args(arguments).current_dir(folder.path()).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && printed.contains("SUCCESS"), "{arguments:?}: {printed}");
    }
    let tested = text("tests/kubernetes/alerts.yaml");
    for alert in alerts() {
        let raised = format!("alertname: {}\n        exp_alerts:", word(&alert["alert"]));
        assert!(tested.contains(&raised), "no test raises {}", word(&alert["alert"]));
    }
}
