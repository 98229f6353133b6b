//! Classifies the words with which a server refuses.
//!
//! SSH servers have no status, only standard error; `ERR` packets and the text of an HTTP response have none either.
//! The phrases are those of the forges (GitHub, GitLab, Bitbucket, Gitea and Forgejo, Azure DevOps, AWS `CodeCommit`,
//! gitolite) and of git itself. It must not know how the words arrived.

/// The kind of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Category {
    Auth,
    NotFound,
    Server,
}

/// The more certain phrases come first: a forge that hides private repositories says "not found or no permission".
const PHRASES: [(Category, &[&str]); 4] = [
    (
        Category::NotFound,
        &[
            "could not be found or you don't have permission",
            "does not exist or you do not have permission",
            "does not exist or you don't have",
            "repository not found",
            "project not found",
            "cannot find repository",
            "no such repository",
            "repositorydoesnotexist",
        ],
    ),
    (
        Category::Server,
        &[
            "quota",
            "rate limit",
            "rate-limit",
            "too many requests",
            "too many connections",
            "maintenance",
            "temporarily unavailable",
            "try again",
            "internal error",
            "internal server error",
            // The set-up of the server is broken, and may be mended at any time.
            "command not found",
            "dubious ownership",
            "resource temporarily",
        ],
    ),
    (
        Category::Auth,
        &[
            "denied",
            "permission",
            "not authorized",
            "unauthorized",
            "not allowed",
            "forbidden",
            "sso",
            "saml",
            "suspended",
            "blocked",
            "disabled",
            "expired",
            "deploy key",
            "authentication",
            "account is",
        ],
    ),
    (
        Category::NotFound,
        &[
            "does not appear to be a git repository",
            "does not exist",
            "not found",
            "could not be found",
            "no such file",
        ],
    ),
];

/// Returns `None` for words without a known phrase.
pub(crate) fn categorize(words: &str) -> Option<Category> {
    let words = words.to_lowercase();
    let has = |phrase: &&str| words.match_indices(*phrase).any(|(at, _)| is_word(&words, at, phrase));
    PHRASES.iter().find(|(_, phrases)| phrases.iter().any(has)).map(|(category, _)| *category)
}

/// Returns true if a short phrase stands as a word of its own: `sso` occurs in "lesson", too.
fn is_word(words: &str, at: usize, phrase: &str) -> bool {
    // The ends of longer phrases are not checked, because forges inflect them ("permissions").
    let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    phrase.len() > 4 || !letter(words[..at].chars().next_back()) && !letter(words[at + phrase.len()..].chars().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_forges_are_understood() {
        let cases = [
            ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", Some(Category::NotFound)),
            (
                "ERROR: The project you were looking for could not be found or you don't have permission to view it.",
                Some(Category::NotFound),
            ),
            (
                "TF401019: The Git repository with name or identifier x does not exist or you do not have permissions",
                Some(Category::NotFound),
            ),
            ("fatal: '/srv/x.git' does not appear to be a git repository", Some(Category::NotFound)),
            ("conq: repository does not exist.", Some(Category::NotFound)),
            ("Forgejo: Cannot find repository: acme/site", Some(Category::NotFound)),
            ("ERROR: Permission to acme/site.git denied to deploy key", Some(Category::Auth)),
            ("ERROR: The `acme' organization has enabled or enforced SAML SSO.", Some(Category::Auth)),
            ("ERROR: Your account is suspended. Please check your email for more information.", Some(Category::Auth)),
            ("conq: repository access denied.", Some(Category::Auth)),
            ("FATAL: R any site ada DENIED by fallthru", Some(Category::Auth)),
            ("GitLab: You are not allowed to download code from this project.", Some(Category::Auth)),
            ("Gitea: User ada is not authorized to read acme/site", Some(Category::Auth)),
            ("This account is currently not available.", Some(Category::Auth)),
            ("ERROR: This repository is over its data quota.", Some(Category::Server)),
            ("You have exceeded a secondary rate limit", Some(Category::Server)),
            ("GitLab is currently undergoing maintenance, please try again later", Some(Category::Server)),
            ("bash: line 1: git-upload-pack: command not found", Some(Category::Server)),
            ("fatal: detected dubious ownership in repository at '/srv/x'", Some(Category::Server)),
            ("a lesson in silence", None),
            ("", None),
        ];
        for (words, expected) in cases {
            assert_eq!(categorize(words), expected, "{words}");
        }
    }
}
