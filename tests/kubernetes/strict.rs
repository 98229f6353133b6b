//! One document against the type that Kubernetes has for it: every field must be one that the type knows.
//!
//! The types of k8s-openapi pass over what they do not know, as a server does. So a document is read into its type and
//! written again, and whatever did not come back was not understood. It must not know which manifests there are.

use k8s_openapi::api::{admissionregistration as admission, apps, batch, core, networking, policy, rbac};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::custom;
use super::inject::types;

/// A file's documents. Keys that stand twice are refused by the parser.
pub fn documents(text: &str) -> Result<Vec<Value>, String> {
    serde_saphyr::from_multiple(text).map_err(|error| error.to_string())
}

/// Checks one document.
pub fn check(document: &Value) -> Result<(), String> {
    let word = |key: &str| document[key].as_str().unwrap_or_default();
    match (word("apiVersion"), word("kind")) {
        ("apps/v1", "Deployment") => round_trip::<apps::v1::Deployment>(document),
        ("apps/v1", "DaemonSet") => round_trip::<apps::v1::DaemonSet>(document),
        ("apps/v1", "StatefulSet") => round_trip::<apps::v1::StatefulSet>(document),
        ("batch/v1", "Job") => round_trip::<batch::v1::Job>(document),
        ("v1", "ConfigMap") => round_trip::<core::v1::ConfigMap>(document),
        ("v1", "Pod") => round_trip::<core::v1::Pod>(document),
        ("v1", "Service") => round_trip::<core::v1::Service>(document),
        ("networking.k8s.io/v1", "Ingress") => round_trip::<networking::v1::Ingress>(document),
        ("networking.k8s.io/v1", "NetworkPolicy") => round_trip::<networking::v1::NetworkPolicy>(document),
        ("policy/v1", "PodDisruptionBudget") => round_trip::<policy::v1::PodDisruptionBudget>(document),
        ("rbac.authorization.k8s.io/v1", "Role") => round_trip::<rbac::v1::Role>(document),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => round_trip::<rbac::v1::RoleBinding>(document),
        ("gateway.networking.k8s.io/v1", "HTTPRoute") => round_trip::<custom::HttpRoute>(document),
        ("monitoring.coreos.com/v1", "PodMonitor") => round_trip::<custom::PodMonitor>(document),
        ("monitoring.coreos.com/v1", "PrometheusRule") => round_trip::<custom::PrometheusRule>(document),
        ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy") => {
            round_trip::<types::MutatingAdmissionPolicy>(document)
        }
        ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding") => {
            round_trip::<types::MutatingAdmissionPolicyBinding>(document)
        }
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy") => {
            round_trip::<admission::v1::ValidatingAdmissionPolicy>(document)
        }
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding") => {
            round_trip::<admission::v1::ValidatingAdmissionPolicyBinding>(document)
        }
        ("kustomize.config.k8s.io/v1beta1", "Kustomization") | ("kustomize.config.k8s.io/v1alpha1", "Component") => {
            round_trip::<custom::Kustomization>(document)
        }
        ("pushsync.dev/v1", "SidecarMount") => round_trip::<custom::SidecarMount>(document),
        // The configuration of kustomize's transformers has neither.
        ("", "") => round_trip::<custom::NameReferences>(document),
        (version, kind) => Err(format!("there is no type for `{kind}` of `{version}`")),
    }
}

fn round_trip<T: DeserializeOwned + Serialize>(document: &Value) -> Result<(), String> {
    let typed: T = serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
    let back = serde_json::to_value(typed).map_err(|error| error.to_string())?;
    same(document, &back, "")
}

/// Whether everything of `source` is in `back`.
fn same(source: &Value, back: &Value, at: &str) -> Result<(), String> {
    match (source, back) {
        (Value::Object(source), Value::Object(back)) => source.iter().try_for_each(|(key, value)| {
            let at = format!("{at}.{key}");
            back.get(key).map_or_else(|| Err(format!("{at} is no field")), |back| same(value, back, &at))
        }),
        (Value::Array(source), Value::Array(back)) if source.len() == back.len() => {
            source.iter().zip(back).enumerate().try_for_each(|(index, (one, other))| {
                let at = format!("{at}[{index}]");
                same(one, other, &at)
            })
        }
        _ if source == back => Ok(()),
        _ => Err(format!("{at} is read as {back} and not as {source}")),
    }
}

#[test]
fn what_a_type_does_not_know_is_an_error() {
    let one = |text: &str| check(&documents(text).unwrap()[0]);
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80, targetPort: http}]}";
    assert_eq!(one(service), Ok(()));
    assert_eq!(one(&service.replace("targetPort", "targetport")), Err(".spec.ports[0].targetport is no field".into()));
    assert!(one(&service.replace("80", "eighty")).is_err(), "a word is no port");
    assert!(one(&service.replace("kind: Service", "kind: Servise")).unwrap_err().contains("no type"));
    assert!(documents("a: 1\na: 2").is_err(), "a key appears twice");
}
