//! A commit that libgit2 cannot parse: git checks it out, so it is followed over every transport.

use pushsync::git::Error;

use super::{Volume, git, oid, options, sync};
use crate::support::git_http::{GitHttp, Mode};
use crate::support::repo::Repo;
use crate::support::sshd::Sshd;

#[tokio::test]
async fn a_commit_with_a_broken_author_line_is_followed_over_every_transport_and_the_store_stays() {
    let Some(sshd) = Sshd::start() else { return };
    for transport in ["http", "version 0", "path", "ssh"] {
        let repo = Repo::new();
        let server = GitHttp::start(&repo.root());
        if transport == "version 0" {
            server.set(Mode::OldProtocol);
        }
        let mut remote = match transport {
            "path" => options(&repo.file_url()),
            "ssh" => options(&sshd.url(&repo.bare())),
            _ => options(&server.url("site.git")),
        };
        remote.credentials.ssh_keys = vec![sshd.key()];
        let volume = Volume::new();
        let engine = volume.engine(remote);
        sync(&engine).await.unwrap();
        let first = repo.head();
        let broken = repo.push_malformed("index.html", "imported\n");
        let fetched = sync(&engine).await.unwrap_or_else(|error| panic!("{transport}: {error:?}"));
        assert_eq!(fetched.commit, oid(&broken), "{transport}");
        assert_eq!(git(engine.store(), &["show", &format!("{broken}^{{tree}}:index.html")]), "imported", "{transport}");
        let head = engine.commit(oid(&broken)).await.unwrap();
        assert_eq!((head.subject.as_str(), head.author.as_str()), ("Imported", "Ada Lovelace"), "{transport}");
        engine.span(Some(oid(&first)), oid(&broken)).await.unwrap();
        // Pushes on top of it, and away from it, continue to work.
        let next = repo.push_file("index.html", "mended\n", "Mended");
        assert_eq!(sync(&engine).await.unwrap().commit, oid(&next), "{transport}");
        assert!(!engine.store().with_file_name("repo.git.damaged").exists(), "{transport}: the store was thrown away");
    }
}

#[tokio::test]
async fn a_commit_without_a_tree_is_reported_and_is_no_damage_of_the_store() {
    let repo = Repo::new();
    let server = GitHttp::start(&repo.root());
    let volume = Volume::new();
    let engine = volume.engine(options(&server.url("site.git")));
    sync(&engine).await.unwrap();
    let file = repo.root().join("commit");
    std::fs::write(&file, "author Ada <ada@example.com> 1700000000 +0000\n\nNo tree\n").unwrap();
    let broken = repo.bare_git(&["hash-object", "-t", "commit", "-w", "--literally", file.to_str().unwrap()]);
    std::fs::write(repo.bare().join("refs/heads/main"), format!("{broken}\n")).unwrap();
    let error: Error = sync(&engine).await.unwrap_err();
    assert!(!error.store_is_damaged(), "{error:?}");
}
