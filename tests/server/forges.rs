//! The table of docs/forges.md: a delivery with the headers of each forge, against what the page says of it.

use std::path::Path;

use super::harness::*;

/// The headers that only GitHub and those that imitate it send.
const GITHUB: [&str; 3] = ["X-GitHub-Event", "X-GitHub-Delivery", "X-Hub-Signature-256"];

/// A correctly signed push with these headers in place of GitHub's.
fn without_github(headers: &[(&str, &str)]) -> Post {
    let bare = GITHUB.iter().fold(Post::push(&payload()), |post, name| post.with(name, ""));
    headers.iter().fold(bare, |post, (name, value)| post.with(name, value))
}

/// The second and the fourth column of a forge's row.
fn row(page: &str, forge: &str) -> (String, String) {
    let line = page.lines().find(|line| line.starts_with(&format!("| {forge}"))).expect("the page has the forge");
    let columns: Vec<&str> = line.split(" | ").collect();
    (columns[1].to_owned(), columns[columns.len() - 1].to_owned())
}

#[tokio::test]
async fn each_forge_works_or_is_refused_as_the_page_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/forges.md");
    let page = std::fs::read_to_string(page).unwrap();
    let signature = Post::push(&payload()).headers.pop().expect("the signature is last").1;
    let hex = signature.strip_prefix("sha256=").expect("it names the hash");
    let gitea = Post::push(&payload()).with("X-Gitea-Event", "push").with("X-Gitea-Signature", hex);
    let posts = [
        ("GitHub, ", Post::push(&payload()), 202),
        ("Gitea, Forgejo", gitea, 202),
        ("GitLab", without_github(&[("X-Gitlab-Event", "Push Hook"), ("X-Gitlab-Token", SECRET)]), 401),
        ("GitLab", without_github(&[("X-Gitlab-Event", "Push Hook"), ("webhook-signature", "v1,c2lnbmF0dXJl")]), 401),
        ("Bitbucket", without_github(&[("X-Event-Key", "repo:push"), ("X-Hub-Signature", &signature)]), 401),
        ("Azure DevOps", without_github(&[("Authorization", "Basic dTpw")]), 401),
        ("Gogs", without_github(&[("X-Gogs-Event", "push"), ("X-Gogs-Signature", hex)]), 401),
    ];
    for (forge, post, status) in posts {
        let sidecar = Sidecar::new();
        assert_eq!(sidecar.post(&post).await.status, status, "{forge}");
        assert_eq!(sidecar.rung().is_some(), status == 202, "{forge}");
        let (works, otherwise) = row(&page, forge);
        assert_eq!(works.starts_with("works"), status == 202, "{forge}: {works}");
        assert!(status == 202 || otherwise.contains("401"), "{forge}: {otherwise}");
        let refused = sidecar.metric("pushsync_webhook_deliveries_total{result=\"bad_signature\"}");
        assert_eq!(refused.unwrap_or_default() > 0.0, status == 401, "{forge}");
    }
    // The other lines of the page: the form of Gitea is in `hook::a_form_is_signed_as_it_was_sent`.
    let said = "without a usable X-Hub-Signature-256: the sender has no secret set, or a gateway drops the header";
    let other = "signed with another secret than the one in --hook-secret-file, or modified by a gateway";
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/refusals.rs");
    let source = std::fs::read_to_string(source).unwrap();
    assert!([said, other].iter().all(|line| page.contains(line) && source.contains(line)));
}
