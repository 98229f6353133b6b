//! The user's next steps, with the commands as they are to be typed.
//!
//! Values whose check permits no character of a shell stand without quotes. It must not know how the manifests are made.

use std::ffi::OsString;
use std::fmt::Write as _;

use crate::hash::is_hash;
use crate::log::printable;
use crate::remote_url::RemoteUrl;

use super::access;
use super::options::{Access, By, Extra, Route, Site};

/// How the manifests reach the cluster.
#[derive(Clone, Copy)]
pub(super) enum Applied<'a> {
    Stream,
    Folder(&'a str),
    Injected { mount: &'a str },
}

/// The command that made the manifests.
pub(super) fn made_by(arguments: &[OsString]) -> String {
    let words: Vec<String> = arguments.iter().map(|word| quoted(&word.to_string_lossy())).collect();
    format!("Made by pushsync {} with:\n  pushsync init {}\n", env!("CARGO_PKG_VERSION"), words.join(" "))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=,+".contains(c);
    let word = printable(word);
    if !word.is_empty() && word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The text as comments of YAML.
pub(super) fn comment(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "#\n".to_owned() } else { format!("# {line}\n") }).collect()
}

/// The steps, numbered. `workload`: kind and name, as kubectl takes them.
pub(super) fn next(site: &Site, workload: &str, applied: Applied) -> String {
    let namespace = site.namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    let mut steps = Vec::new();
    // The default has no registry, so a cluster cannot pull it.
    if site.image == super::command::IMAGE {
        steps.push(format!(
            "Push the image {} to a registry of yours and give its name with --image, or load it\ninto a test cluster (`kind load image-archive`, `minikube image load`).",
            site.image
        ));
    }
    let is_commit = is_hash(&site.reference);
    if !is_commit {
        steps.push(hook_secret(site, &namespace));
    }
    steps.extend(access_step(site, &namespace));
    if site.lfs {
        steps.push(
            "LFS objects need space twice: raise sizeLimit of the volume `git`, and --volume-limit to 90 % of it."
                .to_owned(),
        );
    }
    steps.extend(extras(site));
    steps.push(apply(site, workload, applied, &namespace));
    steps.push(if is_commit {
        "There is no push to announce: --ref is a commit, which never changes. Change it in the manifests, and apply them,\n\
         to publish another one."
            .to_owned()
    } else {
        webhook(site, &namespace)
    });
    steps.push(format!("Check which commit is live on every replica:\n  kubectl pushsync {workload}{namespace}"));
    if let Applied::Injected { mount } = applied {
        steps.push(format!("The app reads {mount}/current. It is a link that moves: follow it at each request."));
    }
    let mut text = "Next steps:\n".to_owned();
    for (number, step) in steps.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}. {}", number + 1, step.replace('\n', "\n   "));
    }
    text
}

fn hook_secret(site: &Site, namespace: &str) -> String {
    // With a route, the user pastes the content of the file into the forge's form first.
    let removal = if site.route.is_some() { "" } else { "\n  rm hook-secret" };
    format!(
        "The webhook's secret. Without it, a poll finds each push within a minute.\n  \
         (umask 077; head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \\n' > hook-secret)\n  \
         kubectl create secret generic {}-hook{namespace} --from-file=current=hook-secret{removal}",
        site.name
    )
}

/// The Secret for a private repository.
fn access_step(site: &Site, namespace: &str) -> Option<String> {
    let create = format!("kubectl create secret generic {}{namespace}", access::secret(site));
    Some(match site.access {
        Access::Public => return None,
        Access::Token => format!(
            "A token that may read the repository (GitHub: a fine-grained token with Contents: read), in a file `token`.\n  \
             {create} --from-file=token=token\n  \
             rm token"
        ),
        Access::Ssh => {
            let url = RemoteUrl::parse(&site.repo).ok();
            // An IPv6 address has brackets in a URL, and none for ssh-keyscan.
            let host =
                url.as_ref().and_then(|url| url.repository()).map_or("HOST", |(host, _)| host.trim_matches(['[', ']']));
            let port = url.as_ref().and_then(|url| url::Url::parse(url.bare()).ok()?.port());
            let port = port.map(|port| format!("-p {port} ")).unwrap_or_default();
            format!(
                "A deploy key.\n  \
                 ssh-keygen -t ed25519 -N '' -C {} -f deploy-key\n  \
                 ssh-keyscan {port}{host} > known_hosts\n  \
                 ssh-keygen -lf known_hosts\n  \
                 cat deploy-key.pub\n\
                 Compare the fingerprints with those that the forge publishes, and add the public key to the repository,\n\
                 for reading only. Then:\n  \
                 {create} --from-file=ssh=deploy-key --from-file=known_hosts=known_hosts\n  \
                 rm deploy-key",
                site.name
            )
        }
        Access::App => format!(
            "A GitHub App that may read the repository (Contents: read): its client id, the id at the end of its\n\
             installation's address, and a copy of its private key in a file `key.pem`.\n  \
             {create} --from-literal=client-id=CLIENT_ID --from-literal=installation-id=ID --from-file=private-key=key.pem\n  \
             rm key.pem"
        ),
    })
}

fn extras(site: &Site) -> Vec<String> {
    let step = |extra: &Extra| match extra {
        Extra::NetworkPolicy => "In the NetworkPolicy, check the namespaces of your gateway and of your monitoring.",
        Extra::PodMonitor => "On the PodMonitor, set the labels by which your Prometheus selects monitors.",
        Extra::Role => "In the RoleBinding, replace the group web-team by the one that may use the dashboard.",
    };
    site.extras.iter().map(|extra| step(extra).to_owned()).collect()
}

fn apply(site: &Site, workload: &str, applied: Applied, namespace: &str) -> String {
    let (source, command) = match applied {
        Applied::Folder(folder) => ("", format!("kubectl apply -k {}", quoted(folder))),
        Applied::Stream | Applied::Injected { .. } => {
            (" FILE is the file with these manifests.", "kubectl apply -f FILE".to_owned())
        }
    };
    let route = match &site.route {
        Some(Route { by: By::Ingress { class }, .. }) => {
            format!("\nThe Ingress is for the class {class}, and for a certificate in the Secret {}-tls.", site.name)
        }
        Some(Route { by: By::Gateway { name, .. }, .. }) => {
            format!("\nThe HTTPRoute is for the gateway {name}, which must permit routes of this namespace.")
        }
        None => String::new(),
    };
    format!("Apply the manifests.{source}{route}\n  {command}\n  kubectl rollout status {workload}{namespace}")
}

fn webhook(site: &Site, namespace: &str) -> String {
    if let Some(route) = &site.route {
        return format!(
            "The webhook. In GitHub: Settings, Webhooks, Add webhook\n  \
             Payload URL    https://{}/webhook\n  \
             Content type   application/json\n  \
             Secret         the content of the file hook-secret\n  \
             Events         Just the push event\n\
             Then remove the file:\n  \
             rm hook-secret",
            route.host
        );
    }
    // Without a route no forge reaches the webhook, so a job has to announce the push.
    let (branch, note) = match site.reference.as_str() {
        "HEAD" => ("refs/heads/BRANCH".to_owned(), "\nBRANCH is the repository's default branch.".to_owned()),
        full if full.starts_with("refs/") => (full.to_owned(), String::new()),
        // Resolved below `refs/`, if no branch or tag has this name.
        short if ["heads/", "tags/", "pull/"].iter().any(|folder| short.starts_with(folder)) => {
            (format!("refs/{short}"), String::new())
        }
        branch @ ("main" | "master") => (format!("refs/heads/{branch}"), String::new()),
        // The remote is not asked which one it is.
        name => (format!("refs/heads/{name}"), format!("\nIf {name} is a tag, its name below is refs/tags/{name}.")),
    };
    // `--after`: the replicas would look for a commit that does not exist, and warn.
    format!(
        "The webhook needs a public address, which --host makes. Without one, a CI job can announce a push.{note}\n  \
                 (umask 077; kubectl get secret {name}-hook{namespace} -o jsonpath='{{.data.current}}' | base64 --decode > hook-secret)\n  \
                 kubectl port-forward service/{name}-hook{namespace} 8080:80 >/dev/null &\n  \
                 sleep 3\n  \
                 pushsync ping --push --url http://127.0.0.1:8080/webhook --secret-file hook-secret --repo {repo} --ref {branch} --after \"$(git rev-parse HEAD)\"\n  \
                 kill $!; rm hook-secret",
        name = site.name,
        repo = quoted(&site.repo),
        branch = quoted(&branch)
    )
}
