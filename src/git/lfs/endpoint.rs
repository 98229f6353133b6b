//! Finds the LFS endpoint of a repository: `--lfs-url`, else the commit's `.lfsconfig`, else the default of the
//! remote.
//!
//! Every author of a push can change `.lfsconfig`. So it may name another path on the remote's own server, and nothing
//! else: a file in a repository must not send requests or credentials to another server.

use git2::{ErrorCode, Oid, Repository};

use crate::commit;
use crate::git::error::{Cause, Error};
use crate::git::http::origin::same_origin;
use crate::git::remote::options::{Lfs, RemoteOptions};
use crate::git::submodules::config;
use crate::remote_url::{RemoteUrl, Transport};
use crate::text::one_line;

const FILE: &str = ".lfsconfig";
/// The longest address that an error shows.
const LONGEST_SHOWN: usize = 200;

/// Returns the endpoint for the objects of a commit as a remote, with the settings for its address.
pub(crate) fn of(store: &Repository, options: &RemoteOptions, commit: Oid) -> Result<RemoteOptions, Error> {
    if let Some(url) = options.lfs.as_ref().and_then(|lfs| lfs.url.as_ref()) {
        return Ok(at(options, url.clone()));
    }
    if !matches!(options.url.transport(), Transport::Http | Transport::Https) {
        let remote = options.url.to_string();
        return Err(Error::NoLfs { remote, source: Cause::new("it is not reached over http(s)") });
    }
    let Some(named) = named(store, commit)? else {
        // The default of git-lfs (docs/api/server-discovery.md).
        let base = options.url.bare().trim_end_matches('/');
        let base = base.strip_suffix(".git").unwrap_or(base);
        let url = RemoteUrl::parse(&format!("{base}.git/info/lfs"));
        let url = url.map_err(|wrong| Error::NoLfs {
            remote: options.url.to_string(),
            source: Cause::new(&wrong.to_string()),
        })?;
        return Ok(at(options, url));
    };
    let refused =
        |why: &str| Error::LfsElsewhere { named: one_line(&shown(&named), LONGEST_SHOWN), source: Cause::new(why) };
    // Rewritten before the checks, which are about the server that would be asked.
    let address = options.rewrite(&named);
    let url = RemoteUrl::parse(&address).map_err(|wrong| refused(&wrong.to_string()))?;
    Lfs::check(&url).map_err(refused)?;
    if url.user().is_some() || url.password().is_some() {
        return Err(refused("it names a user or a password"));
    }
    if !same_origin(options.url.bare(), url.bare()) {
        return Err(refused("it is not on the repository's own server"));
    }
    Ok(at(options, url))
}

/// The login in the remote's own address counts for its server.
fn at(options: &RemoteOptions, url: RemoteUrl) -> RemoteOptions {
    let alone = url.user().is_none() && url.password().is_none();
    let url = if alone && same_origin(options.url.bare(), url.bare()) { url.with_login_of(&options.url) } else { url };
    RemoteOptions { url, ..options.clone() }
}

/// Returns `lfs.url` of the commit's `.lfsconfig`.
fn named(store: &Repository, commit: Oid) -> Result<Option<String>, Error> {
    let in_store = |error: git2::Error| match error.code() {
        ErrorCode::NotFound => Error::Incomplete { commit },
        _ => Error::from_store(store.path(), &error),
    };
    let tree = commit::tree(store, commit).map_err(in_store)?;
    // A symbolic link of this name is not followed: it may lead out of the repository.
    let Some(entry) = tree.get_name(FILE).filter(|entry| entry.filemode() & 0o170_000 == 0o100_000) else {
        return Ok(None);
    };
    let refused = |why: &str| Error::LfsElsewhere { named: format!("({FILE})"), source: Cause::new(why) };
    // The size first: libgit2 would load a file of any size.
    let (size, _) = store.odb().and_then(|odb| odb.read_header(entry.id())).map_err(in_store)?;
    if size > config::LARGEST {
        return Err(refused("the file is longer than a megabyte"));
    }
    let file = store.find_blob(entry.id()).map_err(in_store)?;
    let url = config::setting(file.content(), b"lfs", b"url")
        .map_err(|wrong| refused(&format!("line {} of the file: {}", wrong.line, wrong.what)))?;
    let Some(url) = url.filter(|url| !url.is_empty()) else { return Ok(None) };
    String::from_utf8(url).map(Some).map_err(|_| refused("the address is not UTF-8"))
}

/// Returns the address without a password.
fn shown(address: &str) -> String {
    match RemoteUrl::parse(address) {
        Ok(url) => url.to_string(),
        Err(_) => "(an address that cannot be read)".to_owned(),
    }
}
