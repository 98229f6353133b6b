//! The flags of `pushsync init`. Every flag but `--repo` has a default.
//!
//! It must not know what the values are for.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, ValueHint, value_parser};

/// The image as `scripts/image` names it.
pub(super) const IMAGE: &str = concat!("pushsync:", env!("CARGO_PKG_VERSION"));

const ABOUT: &str = "\
Prints Kubernetes manifests for a website from a git repository: two replicas of a web server, each with the sidecar, \
and the Services. With --inject, adds the sidecar to the Deployment, StatefulSet or DaemonSet in a file instead, and \
prints the whole file with it; comments and order are kept.

Nothing is asked and nothing is sent to a cluster. The next steps, with their commands, are in a comment at the head of \
the manifests, or on stderr. All names of objects begin with --name, so several sites share a namespace.";

const EXAMPLES: &str = "\
Examples:
  pushsync init --repo https://github.com/OWNER/NAME.git | kubectl apply -f -
                                    a public repository, with a poll each minute
  pushsync init --repo https://github.com/OWNER/NAME.git --private token --host site.example.com --output site/
                                    a private one with a webhook, as a folder for kubectl apply -k
  pushsync init --repo git@github.com:OWNER/NAME.git --name docs -n web --host docs.example.com --gateway infra/public
                                    with a deploy key, behind the Gateway API
  pushsync init --repo https://github.com/OWNER/NAME.git --inject app.yaml --container web --mount /srv/content
                                    the sidecar in an app of one's own";

/// The command line.
#[must_use]
pub fn command() -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).action(ArgAction::Set)
    };
    let path = |argument: Arg, hint| argument.value_parser(value_parser!(PathBuf)).value_hint(hint);
    Command::new("init")
        .bin_name("pushsync init")
        .about("Prints Kubernetes manifests for a repository, or adds the sidecar to a manifest")
        .long_about(ABOUT)
        .override_usage("pushsync init --repo URL [flags]\n       pushsync init --repo URL --inject FILE [flags]")
        .after_help(EXAMPLES)
        .no_binary_name(true)
        // As in the other commands: of a repeated flag the last value counts.
        .args_override_self(true)
        .term_width(110)
        .next_help_heading("Repository")
        .arg(option("repo", "URL", "The repository, https or ssh, without a password").required(true))
        .arg(
            option("ref", "REF", "A branch, tag or commit [default: HEAD, the default branch]")
                .default_value("HEAD")
                // The help says more about it than the bare value would.
                .hide_default_value(true),
        )
        .arg(
            option(
                "private",
                "none|token|ssh|app",
                "The credentials, from the Secret NAME-git [default: ssh for an ssh address, else none]",
            )
            .value_parser(["none", "token", "ssh", "app"])
            .hide_possible_values(true),
        )
        .arg(Arg::new("lfs").long("lfs").action(ArgAction::SetTrue).help("Fetch Git LFS objects"))
        .next_help_heading("Manifests")
        .arg(option(
            "name",
            "NAME",
            "The beginning of all names [default: the repository's name; with --inject, the workload's]",
        ))
        .arg(
            option("namespace", "NAMESPACE", "Written into each object [default: none, so that kubectl's counts]")
                .short('n'),
        )
        .arg(option("image", "IMAGE", "The sidecar's image").default_value(IMAGE))
        .arg(
            option("replicas", "NUMBER", "Replicas; a PodDisruptionBudget from two on")
                .default_value("2")
                .value_parser(value_parser!(u32).range(1..=1000)),
        )
        .arg(option("host", "HOST", "Add a route for this host name: to the site, and to its webhook at /webhook"))
        .arg(option("ingress-class", "CLASS", "The class of the route, an Ingress").default_value("nginx"))
        .arg(option("gateway", "[NAMESPACE/]NAME", "Make the route an HTTPRoute of this gateway instead"))
        .arg(
            option("with", "LIST", "Further manifests: network-policy, pod-monitor, role (for the dashboard)")
                .action(ArgAction::Append)
                // Both forms are usual: a list with commas, and the flag several times.
                .value_delimiter(',')
                .value_parser(["network-policy", "pod-monitor", "role"])
                .hide_possible_values(true),
        )
        .arg(path(
            option("output", "DIR", "Write a folder with a kustomization [default: standard output]"),
            ValueHint::DirPath,
        ))
        .arg(
            Arg::new("overwrite")
                .long("overwrite")
                .action(ArgAction::SetTrue)
                .requires("output")
                .help("Replace files of the folder"),
        )
        .next_help_heading("An existing app")
        .arg(path(
            option("inject", "FILE", "Add the sidecar to the workload in this file; `-` is standard input"),
            ValueHint::FilePath,
        ))
        .arg(option("workload", "[KIND/]NAME", "The workload, if the file has several").requires("inject"))
        .arg(
            option("container", "NAME", "The container that reads the repository [default: the first]")
                .requires("inject"),
        )
        .arg(
            option("mount", "DIR", "Where that container mounts it; it reads DIR/current [default: /git]")
                .requires("inject"),
        )
}
