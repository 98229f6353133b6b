//! The manifests of a site: the files of `k8s/sidecar`, with the values of the user in place of the example's.
//!
//! Each value is replaced where a scalar is exactly the example's value, so the templates are ordinary manifests and
//! cannot differ from what is documented and tested. It must not know the command line.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::access;
use super::options::{By, Extra, Route, Site};
use super::sheet::PathStep::{Item, Key};
use super::sheet::{EditRefusal, PathStep, Sheet};

const DEPLOYMENT: &str = include_str!("../../k8s/sidecar/deployment.yaml");
const SERVICE: &str = include_str!("../../k8s/sidecar/service.yaml");
const BUDGET: &str = include_str!("../../k8s/sidecar/poddisruptionbudget.yaml");
const INGRESS: &str = include_str!("../../k8s/sidecar/ingress.yaml");
const HTTPROUTE: &str = include_str!("../../k8s/sidecar/httproute.yaml");
const NETWORK_POLICY: &str = include_str!("../../k8s/sidecar/networkpolicy.yaml");
const POD_MONITOR: &str = include_str!("../../k8s/sidecar/podmonitor.yaml");
const ROLE: &str = include_str!("../../k8s/sidecar/role.yaml");

/// The names of the example are this one, alone or with a dash and a word behind it.
const NAME: &str = "site";
pub(super) const SUFFIXES: [&str; 6] = ["", "-hook", "-peers", "-httpd", "-tls", "-dashboard"];
const REPO: &str = "https://github.com/octocat/Spoon-Knife.git";
const HOST: &str = "site.example.com";
/// The controllers' namespaces, for the network policy.
const GATEWAY_NAMESPACE: &str = "gateway-system";
const INGRESS_NAMESPACE: &str = "ingress-nginx";

/// The pod's part of a Deployment.
pub(super) const POD: [PathStep<'static>; 3] = [Key("spec"), Key("template"), Key("spec")];

/// A file of a folder of manifests.
#[derive(Debug)]
pub(super) struct File {
    pub name: &'static str,
    pub text: String,
}

/// All files of a site, in the order in which they are to be applied.
pub(super) fn files(site: &Site) -> Result<Vec<File>, EditRefusal> {
    let file = |name, template| plain(template, site).map(|text| File { name, text });
    let mut files = vec![File { name: "deployment.yaml", text: deployment(site)? }, file("service.yaml", SERVICE)?];
    // With a single replica it would forbid the drain of its node.
    if site.replicas > 1 {
        files.push(file("poddisruptionbudget.yaml", BUDGET)?);
    }
    files.extend(route(site)?);
    for extra in &site.extras {
        files.push(match extra {
            Extra::NetworkPolicy => file("networkpolicy.yaml", NETWORK_POLICY)?,
            Extra::PodMonitor => file("podmonitor.yaml", POD_MONITOR)?,
            Extra::Role => file("role.yaml", ROLE)?,
        });
    }
    Ok(files)
}

fn route(site: &Site) -> Result<Option<File>, EditRefusal> {
    let Some(route) = &site.route else { return Ok(None) };
    Ok(Some(match &route.by {
        By::Ingress { .. } => File { name: "ingress.yaml", text: plain(INGRESS, site)? },
        By::Gateway { namespace, .. } => {
            let mut text = plain(HTTPROUTE, site)?;
            if namespace.is_none() && site.namespace.is_none() {
                text = without_namespace_of_gateway(&text)?;
            }
            File { name: "httproute.yaml", text }
        }
    }))
}

/// A gateway without a namespace is in the route's own.
fn without_namespace_of_gateway(text: &str) -> Result<String, EditRefusal> {
    let mut sheet = Sheet::new(text)?;
    sheet.remove(0, &[Key("spec"), Key("parentRefs"), Item(0), Key("namespace")])?;
    sheet.finish()
}

/// The objects that an app with a sidecar needs beside itself. `labels` select its pods.
pub(super) fn beside(site: &Site, labels: &Value) -> Result<Vec<String>, EditRefusal> {
    let mut found = Vec::new();
    // The first Service leads to the web server of the example. An app has its own.
    for text in plain(SERVICE, site)?.split("---\n").skip(1) {
        let mut sheet = Sheet::new(text)?;
        sheet.set(0, &[Key("spec"), Key("selector")], labels)?;
        found.push(sheet.finish()?);
    }
    if let Some(file) = route(site)? {
        // The pages are the app's own matter, as their route is.
        let mut sheet = Sheet::new(&file.text)?;
        let paths: &[PathStep] = match site.route {
            Some(Route { by: By::Gateway { .. }, .. }) => &[Key("spec"), Key("rules"), Item(1)],
            _ => &[Key("spec"), Key("rules"), Item(0), Key("http"), Key("paths"), Item(1)],
        };
        sheet.remove(0, paths)?;
        sheet.set(0, &[Key("metadata"), Key("name")], &json!(format!("{}-hook", site.name)))?;
        found.push(sheet.finish()?);
    }
    Ok(found)
}

/// The Deployment, behind the configuration of its web server.
pub(super) fn deployment(site: &Site) -> Result<String, EditRefusal> {
    let text = plain(DEPLOYMENT, site)?;
    let mut sheet = Sheet::new(&text)?;
    sheet.set(1, &[Key("spec"), Key("replicas")], &json!(site.replicas))?;
    let container = [&POD[..], &[Key("initContainers"), Item(0)]].concat();
    let part = |key| [&container[..], &[Key(key)]].concat();
    let access = access::parts(site);
    if !access.arguments.is_empty() {
        sheet.append(1, &part("args"), &access.arguments)?;
    }
    if !access.variables.is_empty() {
        sheet.append(1, &part("env"), &access.variables)?;
    }
    if !access.mounts.is_empty() {
        sheet.append(1, &part("volumeMounts"), &access.mounts)?;
        sheet.append(1, &[&POD[..], &[Key("volumes")]].concat(), &access.volumes)?;
    }
    sheet.finish()
}

/// A template with the site's values, its namespace, and without the comment at its head that is about the folder.
fn plain(template: &str, site: &Site) -> Result<String, EditRefusal> {
    let template = if template == DEPLOYMENT { without_head(template) } else { template };
    let values = values(site);
    let mut sheet = Sheet::new(template)?;
    sheet.replace(&|text| values.get(text).cloned())?;
    if let Some(namespace) = &site.namespace {
        for document in 0..sheet.documents().len() {
            let entry = format!("namespace: {}", super::scalar::write(&json!(namespace)));
            sheet.add(document, &[Key("metadata")], Some("name"), &entry)?;
        }
    }
    sheet.finish()
}

/// The replacement for each value of the example.
fn values(site: &Site) -> HashMap<String, Value> {
    let mut values: HashMap<String, Value> =
        SUFFIXES.iter().map(|suffix| (format!("{NAME}{suffix}"), json!(format!("{}{suffix}", site.name)))).collect();
    let mut put = |key: &str, value: &str| values.insert(key.to_owned(), json!(value));
    // Kubernetes takes `$(NAME)` in a variable for another variable, and `$$` for a dollar sign.
    put(REPO, &site.repo.replace('$', "$$"));
    put("HEAD", &site.reference.replace('$', "$$"));
    put(concat!("pushsync:", env!("CARGO_PKG_VERSION")), &site.image);
    if let Some(Route { host, by }) = &site.route {
        put(HOST, host);
        match by {
            By::Ingress { class } => {
                put("nginx", class);
                put(GATEWAY_NAMESPACE, INGRESS_NAMESPACE);
            }
            By::Gateway { namespace, name } => {
                put("gateway", name);
                if let Some(namespace) = namespace.as_ref().or(site.namespace.as_ref()) {
                    put(GATEWAY_NAMESPACE, namespace);
                }
            }
        }
    }
    values
}

/// The text without the comment at its head.
fn without_head(text: &str) -> &str {
    let mut rest = text;
    while rest.starts_with('#') {
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    }
    rest
}
