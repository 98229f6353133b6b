//! Properties of the parsers for LFS responses and `.lfsconfig`, for any input (see src/fuzzing.rs).

use url::Url;

use crate::git::lfs::batch::{ObjectResponse, read};
use crate::git::submodules::config;
use crate::lfs::{ObjectId, Pointer};

/// A response has an entry for every requested object, in that order, or is refused; addresses are http or https,
/// never http from https, with valid headers; messages are on one line.
pub(crate) fn lfs_answer(data: &[u8]) {
    let pointers: Vec<Pointer> = ["1", "a"]
        .iter()
        .filter_map(|digit| Some(Pointer { id: ObjectId::parse(&digit.repeat(64))?, size: 5 }))
        .collect();
    for asked in ["https://git.test/a.git/info/lfs", "http://git.test/a.git/info/lfs"] {
        let Ok(asked) = Url::parse(asked) else { panic!("an address") };
        let Ok(said) = read(data, &pointers, &asked, 1_000) else { continue };
        assert_eq!(said.len(), pointers.len());
        for said in said {
            match said {
                ObjectResponse::Unavailable(words) => {
                    assert!(!words.to_string().chars().any(crate::text::is_deceptive));
                }
                ObjectResponse::Download(download) => {
                    let scheme = download.href.scheme();
                    assert!(scheme == "https" || (scheme == "http" && asked.scheme() == "http"), "{scheme}");
                    assert!(download.href.host_str().is_some_and(|host| !host.is_empty()));
                    assert!(download.href.username().is_empty() && download.href.password().is_none());
                    for (name, value) in &download.header {
                        assert!(value.is_sensitive());
                        assert!(!matches!(name.as_str(), "host" | "range" | "content-length"));
                    }
                }
            }
        }
    }
    if let Ok(Some(url)) = config::setting(data, b"lfs", b"url") {
        assert!(url.len() <= data.len());
    }
}
