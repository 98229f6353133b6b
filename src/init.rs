//! `pushsync init`: manifests for the user's own repository, or the sidecar in a manifest that the user has.
//!
//! It reads files and writes text, and needs neither a cluster nor a network. The manifests are those of `k8s/sidecar`.
//! It must not know how the sidecar works.

mod access;
mod arguments;
mod checks;
mod command;
mod inject;
mod options;
mod output;
mod path;
mod ports;
mod scalar;
mod sheet;
mod site;
mod steps;
mod workload;
mod yaml;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

pub use command::command;

use crate::log::printable;
use arguments::InitRequest;
use options::{Inject, Site, Task};
use output::Failure;
use steps::Applied;

/// Runs `pushsync init` with the arguments after that word. Returns the exit code: 0 if the manifests were written, 2
/// for an unknown flag, else 1.
#[must_use]
pub fn run(arguments: &[OsString]) -> u8 {
    let task = match arguments::parse(arguments) {
        Ok(InitRequest::Do(task)) => task,
        Ok(InitRequest::Print(text)) => return print(&text, ""),
        Err(exit) => return complain(&exit.text, exit.code),
    };
    let done = match &*task {
        Task::Manifests { site, folder: None, .. } => to_stdout(site, arguments),
        Task::Manifests { site, folder: Some(folder), overwrite } => to_folder(site, folder, *overwrite, arguments),
        Task::Inject { site, inject, is_named } => injected(site, inject, *is_named),
    };
    match done {
        Ok((text, steps)) => print(&text, &steps),
        Err(Failure(words)) => {
            // Parts that are to be added by hand have several lines.
            let words: Vec<String> = words.lines().map(printable).collect();
            complain(&format!("pushsync init: {}\n", words.join("\n")), 1)
        }
    }
}

/// One stream of documents, with the next steps as a comment at its head.
fn to_stdout(site: &Site, arguments: &[OsString]) -> Result<(String, String), Failure> {
    let files = site::files(site).map_err(|refusal| Failure::template(&refusal))?;
    let steps = steps::next(site, &deployment(site), Applied::Stream);
    let head = format!("{}\n{steps}", steps::made_by(arguments));
    let documents: Vec<&str> = files.iter().map(|file| file.text.as_str()).collect();
    Ok((format!("{}{}", steps::comment(&head), documents.join("---\n")), steps))
}

/// A file for each kind, and a kustomization.
fn to_folder(site: &Site, folder: &Path, overwrite: bool, arguments: &[OsString]) -> Result<(String, String), Failure> {
    let files = site::files(site).map_err(|refusal| Failure::template(&refusal))?;
    let shown = folder.display().to_string();
    let steps = steps::next(site, &deployment(site), Applied::Folder(&shown));
    let head = steps::comment(&format!("{}\n{steps}", steps::made_by(arguments)));
    let names = output::write(folder, &files, &head, overwrite)?;
    Ok((String::new(), format!("Written to {shown}: {}\n\n{steps}", names.join(", "))))
}

fn deployment(site: &Site) -> String {
    format!("deployment/{}", site.name)
}

fn injected(site: &Site, inject: &Inject, is_named: bool) -> Result<(String, String), Failure> {
    let text = output::read(&inject.file)?;
    let done = inject::inject(&text, site, inject, is_named).map_err(|refusal| Failure(refusal.to_string()))?;
    let steps = steps::next(&done.site, &done.workload, Applied::Injected { mount: &inject.mount });
    let notes = done.notes.iter().map(|note| format!("{note}\n")).collect::<Vec<_>>().concat();
    Ok((done.text, format!("{notes}{steps}")))
}

/// Prints the manifests to stdout. The steps are for people: a terminal that shows the manifests has them already.
fn print(text: &str, steps: &str) -> u8 {
    let printed = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return complain(&format!("pushsync init: cannot write: {error}\n"), 1);
        }
        _ => {}
    }
    // On stderr, because the manifests may be piped to `kubectl apply -f -`.
    if !(io::stdout().is_terminal() && steps::comment(steps).lines().all(|line| text.contains(line))) {
        // Nothing is left to do if this fails.
        let _ = io::stderr().write_all(steps.as_bytes());
    }
    0
}

fn complain(text: &str, code: u8) -> u8 {
    let _ = io::stderr().write_all(text.as_bytes());
    code
}
