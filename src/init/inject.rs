//! `--inject`: the sidecar, its volumes and a mount in a workload that the user has.
//!
//! The sidecar is the one of `k8s/sidecar`. It must not know the command line.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::access::MODE_OF_SITE;
use super::options::{Access, Inject, Site};
use super::ports::Ports;
use super::sheet::PathStep::{Item, Key};
use super::sheet::{EditRefusal, PathStep, Sheet, indent};
use super::site::{self, POD};
use super::workload::{self, InjectTarget, NoTarget};

/// The mode of a Secret's files. The pod may have no fsGroup, and only the sidecar mounts them.
const MODE: &str = "# 0444 in decimal: the pod may have no fsGroup. Only the sidecar mounts it.";

/// Why nothing is injected.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotInjected {
    #[error(transparent)]
    NoTarget(#[from] NoTarget),
    #[error("{refusal}. Add this by hand to the pod of {target}:\n\n{parts}")]
    ByHand { refusal: EditRefusal, target: String, parts: String },
    #[error("a template of pushsync cannot be filled in: {0}")]
    Template(EditRefusal),
}

/// The text with the sidecar, and what is to be known about it.
#[derive(Debug)]
pub(super) struct Injected {
    pub text: String,
    pub site: Site,
    /// As kubectl takes it: `statefulset/db`.
    pub workload: String,
    /// Ports that are not the usual ones, for the user to know.
    pub notes: Vec<String>,
}

/// Adds the sidecar to the workload in `text`. `is_named`: the site's name was given, and is not to be the workload's.
pub(super) fn inject(text: &str, site: &Site, inject: &Inject, is_named: bool) -> Result<Injected, NotInjected> {
    let mut sheet = Sheet::new(text).map_err(|refusal| NoTarget::Unreadable(refusal.to_string()))?;
    let target = workload::choose(sheet.documents(), inject)?;
    let mut site = site.clone();
    if !is_named {
        site.name.clone_from(&target.name);
    }
    site.namespace.clone_from(&target.namespace);
    workload::check_names(&site.name)?;
    let parts = Parts::of(&site, &target, inject).map_err(NotInjected::Template)?;
    let path = |key| [&POD[..], &[Key(key)]].concat();
    let mounts = [&POD[..], &[Key("containers"), Item(target.container), Key("volumeMounts")]].concat();
    let added = sheet
        .append(target.document, &mounts, &parts.mount)
        .and_then(|()| sheet.append(target.document, &path("initContainers"), &parts.container))
        .and_then(|()| sheet.append(target.document, &path("volumes"), &parts.volumes))
        .and_then(|()| sheet.finish());
    let mut text = added.map_err(|refusal| NotInjected::ByHand {
        refusal,
        target: target.to_string(),
        parts: parts.by_hand(&target),
    })?;
    for object in site::beside(&site, &target.labels).map_err(NotInjected::Template)? {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{end}---\n{}", object_with_ports(&object, &target.ports).map_err(NotInjected::Template)?);
    }
    Ok(Injected { text, site, workload: target.to_string(), notes: target.ports.notes() })
}

/// The additions to the pod, as items of its lists in the first column.
struct Parts {
    container: String,
    volumes: String,
    mount: String,
}

impl Parts {
    fn of(site: &Site, target: &InjectTarget, inject: &Inject) -> Result<Self, EditRefusal> {
        let deployment = site::deployment(site)?;
        let mut sheet = Sheet::new(&deployment)?;
        let ports = target.ports.values();
        sheet.replace(&|text| ports.get(text).cloned())?;
        // Document 0 of the example is the configuration of its web server, and document 1 the Deployment.
        let container = [&POD[..], &[Key("initContainers"), Item(0)]].concat();
        let security = [&container[..], &[Key("securityContext")]].concat();
        // In the example these are the pod's.
        sheet.add(1, &security, None, "runAsNonRoot: true\nrunAsUser: 65533\nrunAsGroup: 65533")?;
        sheet.add(1, &security, None, "seccompProfile:\n  type: RuntimeDefault")?;
        let text = sheet.finish()?.replace(
            &format!("{MODE_OF_SITE}\n            defaultMode: 288"),
            &format!("{MODE}\n            defaultMode: 292"),
        );
        let sheet = Sheet::new(&text)?;
        let containers = [&POD[..], &[Key("initContainers")]].concat();
        let volumes = [&POD[..], &[Key("volumes")]].concat();
        let mut items = vec![0, 1];
        if site.access != Access::Public {
            // Behind those of the example, of which the app's are not wanted.
            items.push(4);
        }
        let volumes: Result<String, EditRefusal> =
            items.into_iter().map(|item| sheet.item(1, &volumes, item)).collect();
        Ok(Self {
            container: sheet.item(1, &containers, 0)?,
            volumes: volumes?,
            mount: format!(
                "# Read {}/current, and never with subPath: that would pin the first tree forever.\n- name: git\n  mountPath: {}\n  readOnly: true\n",
                inject.mount,
                super::scalar::write(&json!(inject.mount))
            ),
        })
    }

    fn by_hand(&self, target: &InjectTarget) -> String {
        format!(
            "spec.template.spec.initContainers:\n{}\nspec.template.spec.volumes:\n{}\nvolumeMounts of the container {}:\n{}\n",
            indent(&self.container, 2),
            indent(&self.volumes, 2),
            target.container_name,
            indent(&self.mount, 2)
        )
    }
}

/// A Service or route, with the ports of the sidecar.
fn object_with_ports(text: &str, ports: &Ports) -> Result<String, EditRefusal> {
    let values: HashMap<String, Value> = ports.values_of_service();
    let mut sheet = Sheet::new(text)?;
    let service = sheet.documents().first().and_then(|it| it.get("kind")).and_then(|it| it.text()) == Some("Service");
    if service {
        for key in ["port", "targetPort"] {
            let path: [PathStep; 4] = [Key("spec"), Key("ports"), Item(0), Key(key)];
            let now =
                sheet.documents()[0].at(&["spec", "ports"]).and_then(|ports| ports.items().first()?.get(key)?.text());
            if let Some(value) = now.and_then(|now| values.get(now)).cloned() {
                sheet.set(0, &path, &value)?;
            }
        }
    }
    sheet.finish()
}
