//! Reads the command line of `pushsync init` and checks its values.
//!
//! Nothing is asked: all problems are listed at once. It must not know what the values are for.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::checks;
use super::command::command;
use super::options::{Access, By, Extra, Inject, Route, Site, Task};
use crate::config::{self, Exit};
use crate::log::printable;

/// The action that the arguments request.
pub(super) enum InitRequest {
    Do(Box<Task>),
    Print(String),
}

/// Reads the arguments after the word `init`.
pub(super) fn parse(arguments: &[OsString]) -> Result<InitRequest, Exit> {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => return Ok(InitRequest::Print(error.to_string())),
        Err(error) => return Err(explain(&error)),
    };
    let mut problems = Vec::new();
    let task = task(&matches, &mut problems);
    match task {
        Some(task) if problems.is_empty() => Ok(InitRequest::Do(Box::new(task))),
        _ => Err(refusal(&problems)),
    }
}

fn task(matches: &ArgMatches, problems: &mut Vec<String>) -> Option<Task> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    // For clap a default is present as well, so the source is asked whether the user gave the flag.
    let given = |name: &str| matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine);
    let inject = matches.get_one::<PathBuf>("inject").cloned();
    if inject.is_some() {
        for flag in ["namespace", "replicas", "with", "output"].into_iter().filter(|flag| given(flag)) {
            problems.push(format!("--{flag} concerns a whole site and cannot be used with --inject"));
        }
    }
    let mut check = |flag: &str, value: &str, checked: Result<(), String>| {
        if let Err(wrong) = checked {
            problems.push(format!("--{flag} `{value}` {wrong}"));
        }
    };
    let [repo, reference, image] = ["repo", "ref", "image"].map(|name| text(name).unwrap_or_default());
    check("ref", &reference, config::check_reference(&reference));
    check("image", &image, checks::image(&image));
    for (flag, is_good) in [
        ("name", checks::site_name as fn(&str) -> Result<(), String>),
        ("namespace", checks::label),
        ("host", checks::host),
        ("ingress-class", checks::object_name),
    ] {
        if let Some(value) = text(flag) {
            check(flag, &value, is_good(&value));
        }
    }
    let gateway = text("gateway").map(|value| {
        let (namespace, name) = value.split_once('/').map_or((None, value.as_str()), |(ns, name)| (Some(ns), name));
        let checked = namespace.map_or(Ok(()), checks::label).and_then(|()| checks::object_name(name));
        check("gateway", &value, checked);
        By::Gateway { namespace: namespace.map(str::to_owned), name: name.to_owned() }
    });
    let mount = text("mount").unwrap_or_else(|| "/git".to_owned());
    let mount = checks::mount(&mount).map_err(|wrong| check("mount", &mount, Err(wrong)));
    for flag in ["gateway", "ingress-class"].into_iter().filter(|flag| given(flag) && !given("host")) {
        problems.push(format!("--{flag} needs --host, the name under which the site is reached"));
    }
    if given("gateway") && given("ingress-class") {
        problems.push("--ingress-class and --gateway exclude each other".to_owned());
    }
    // The checks below need the address, so the list of problems may end here.
    let url = checks::repo(&repo).map_err(|wrong| problems.push(format!("--repo {wrong}"))).ok()?;
    let wanted = text("private").map(|word| match word.as_str() {
        "token" => Access::Token,
        "ssh" => Access::Ssh,
        "app" => Access::App,
        _ => Access::Public,
    });
    let access = checks::access(wanted, &url).map_err(|wrong| problems.push(format!("--private {wrong}"))).ok()?;
    let lfs = matches.get_flag("lfs");
    if lfs && access == Access::Ssh {
        problems.push("--lfs needs an https address, since LFS objects are fetched over https".to_owned());
    }
    let name = text("name").or_else(|| checks::name_of(&url).filter(|_| inject.is_none()));
    if name.is_none() && inject.is_none() {
        problems.push("--name is needed: no name can be made of the repository's".to_owned());
    }
    let by = gateway.unwrap_or_else(|| By::Ingress { class: text("ingress-class").unwrap_or_default() });
    let extras = matches.get_many::<String>("with").into_iter().flatten().map(|word| match word.as_str() {
        "network-policy" => Extra::NetworkPolicy,
        "pod-monitor" => Extra::PodMonitor,
        _ => Extra::Role,
    });
    let mut extras: Vec<Extra> = extras.collect();
    // In a fixed order and each once, so that the same flags always make the same text.
    extras.sort_by_key(|extra| *extra as u8);
    extras.dedup();
    let is_named = name.is_some();
    let site = Site {
        repo,
        reference,
        name: name.unwrap_or_default(),
        namespace: text("namespace"),
        image,
        access,
        lfs,
        replicas: matches.get_one("replicas").copied().unwrap_or(2),
        route: text("host").map(|host| Route { host, by }),
        extras,
    };
    Some(match inject {
        Some(file) => {
            let inject = Inject { file, workload: text("workload"), container: text("container"), mount: mount.ok()? };
            Task::Inject { site, inject, is_named }
        }
        None => Task::Manifests {
            site,
            folder: matches.get_one::<PathBuf>("output").cloned(),
            overwrite: matches.get_flag("overwrite"),
        },
    })
}

/// Rewords clap's error, which may repeat a value with a password in it.
fn explain(error: &clap::Error) -> Exit {
    let names = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) => vec![name.as_str()],
        Some(ContextValue::Strings(names)) => names.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let flags: Vec<&str> =
        names.iter().filter_map(|name| name.split([' ', '=']).next()).filter(|name| name.starts_with('-')).collect();
    let flags = flags.join(", ");
    let words = match error.kind() {
        ErrorKind::UnknownArgument if flags.is_empty() => {
            "an argument without a flag is not shown, since it may be a secret; every value follows its flag".to_owned()
        }
        ErrorKind::UnknownArgument => {
            // The same exit code as that of the sidecar.
            let words = format!("{flags} is not a flag of this command");
            return Exit { code: 2, ..refusal(&[words]) };
        }
        // The only flag without a default, so a first call often lacks it: the message has a line to copy.
        ErrorKind::MissingRequiredArgument if flags == "--repo" => {
            "--repo is needed, the address of the repository: pushsync init --repo https://github.com/OWNER/NAME.git\n\
             Everything else has a default"
                .to_owned()
        }
        ErrorKind::MissingRequiredArgument => format!("needs {flags}"),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let takes = match flags.as_str() {
                "--private" => "takes none, token, ssh or app",
                "--with" => "takes network-policy, pod-monitor, role, or several of them with commas between",
                "--replicas" => "takes a number from 1 to 1000",
                _ => "needs a value",
            };
            format!("{flags} {takes}")
        }
        _ => format!("{flags} cannot be used like this"),
    };
    refusal(&[words])
}

fn refusal(problems: &[String]) -> Exit {
    let lines = problems.iter().flat_map(|problem| problem.lines());
    let mut text = lines.map(|line| format!("pushsync init: {}\n", printable(line))).collect::<Vec<_>>().concat();
    text.push_str("`pushsync init --help` explains the flags.\n");
    Exit { code: 1, text, error_file: None }
}
