//! The sidecar's ports in the pod of an app, which may use the usual ones itself.
//!
//! It must not know where the ports are written.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::yaml::Node;

const HOOK: u16 = 8080;
const HEALTH: u16 = 8081;

/// Numbers and names of the two ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub hook: u16,
    pub health: u16,
    pub hook_name: &'static str,
    pub health_name: &'static str,
}

impl Ports {
    /// The usual ports, or the next ones that no container of the pod names.
    pub(super) fn beside(containers: &[&Node]) -> Self {
        let ports = || containers.iter().filter_map(|container| container.get("ports")).flat_map(Node::items);
        let numbers: Vec<u16> = ports().filter_map(|port| port.get("containerPort")?.text()?.parse().ok()).collect();
        let is_named = |name: &str| ports().any(|port| port.get("name").and_then(Node::text) == Some(name));
        // The containers of a pod share one network, so two of them cannot listen on the same port.
        let hook = if numbers.contains(&HOOK) { free(HEALTH + 1, &numbers) } else { HOOK };
        let health = if numbers.contains(&HEALTH) { free(HEALTH.max(hook) + 1, &numbers) } else { HEALTH };
        Self {
            hook,
            health,
            hook_name: if is_named("hook") { "pushsync-hook" } else { "hook" },
            // Kubernetes permits 15 characters for the name of a port, which is the length of this one.
            health_name: if is_named("health") { "pushsync-health" } else { "health" },
        }
    }

    /// The replacement for each value of the example's Deployment.
    pub(super) fn values(&self) -> HashMap<String, Value> {
        let mut values = self.values_of_service();
        let mut put = |from: String, to: String| values.insert(from, json!(to));
        put(format!("--hook-bind=:{HOOK}"), format!("--hook-bind=:{}", self.hook));
        put(format!("--http-bind=:{HEALTH}"), format!("--http-bind=:{}", self.health));
        put(format!("--peers=$(PEERS_SERVICE):{HOOK}"), format!("--peers=$(PEERS_SERVICE):{}", self.hook));
        put("health".to_owned(), self.health_name.to_owned());
        values.insert(HEALTH.to_string(), json!(self.health));
        values
    }

    /// The same for a Service.
    pub(super) fn values_of_service(&self) -> HashMap<String, Value> {
        HashMap::from([(HOOK.to_string(), json!(self.hook)), ("hook".to_owned(), json!(self.hook_name))])
    }

    /// Returns a sentence for each port that is not the usual one.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (what, usual, now) in [("webhook", HOOK, self.hook), ("health", HEALTH, self.health)] {
            if usual != now {
                notes.push(format!("The {what} port is {now}, because a container of the pod uses {usual}."));
            }
        }
        notes
    }
}

fn free(first: u16, taken: &[u16]) -> u16 {
    (first..=u16::MAX).find(|port| !taken.contains(port)).unwrap_or(first)
}
