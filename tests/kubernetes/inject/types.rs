//! `MutatingAdmissionPolicy` of admissionregistration.k8s.io/v1, which k8s-openapi has from 1.36 on: every field of the reference.
//!
//! The types that it shares with the validating policy are those of k8s-openapi. A field that is not here is an error.

use k8s_openapi::api::admissionregistration::v1::{MatchCondition, MatchResources, ParamKind, ParamRef, Variable};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MutatingAdmissionPolicy {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: MutatingAdmissionPolicySpec,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MutatingAdmissionPolicySpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_policy: Option<FailurePolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    match_conditions: Option<Vec<MatchCondition>>,
    match_constraints: MatchResources,
    mutations: Vec<Mutation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    param_kind: Option<ParamKind>,
    reinvocation_policy: ReinvocationPolicy,
    #[serde(skip_serializing_if = "Option::is_none")]
    variables: Option<Vec<Variable>>,
}

#[derive(Deserialize, Serialize)]
enum FailurePolicy {
    Fail,
    Ignore,
}

#[derive(Deserialize, Serialize)]
enum ReinvocationPolicy {
    IfNeeded,
    Never,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mutation {
    patch_type: PatchType,
    #[serde(skip_serializing_if = "Option::is_none")]
    apply_configuration: Option<Expression>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_patch: Option<Expression>,
}

#[derive(Deserialize, Serialize)]
enum PatchType {
    ApplyConfiguration,
    #[serde(rename = "JSONPatch")]
    JsonPatch,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Expression {
    expression: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MutatingAdmissionPolicyBinding {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: MutatingAdmissionPolicyBindingSpec,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MutatingAdmissionPolicyBindingSpec {
    policy_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    param_ref: Option<ParamRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    match_resources: Option<MatchResources>,
}
