//! Wrong values are refused by the chart's schema, with a message that names the value.

use super::*;

/// Returns helm's error about these values.
fn refusal(arguments: &[&str]) -> Option<String> {
    let folder = file(CHART);
    let output = helm(&[&["template", "site", folder.to_str().unwrap()], arguments].concat())?;
    assert!(!output.status.success(), "{arguments:?} is accepted");
    Some(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn each_wrong_value_is_named() {
    for (value, place, reason) in [
        ("replicas=two", "/replicas", "got string, want integer"),
        ("repositry=x", "", "additional properties 'repositry' not allowed"),
        ("image.tags=x", "/image", "additional properties 'tags' not allowed"),
        ("webhook.enabled=yes", "/webhook/enabled", "got string, want boolean"),
        ("webhook.path=webhook", "/webhook/path", "does not match pattern"),
        ("private.kind=password", "/private/kind", "value must be one of 'none', 'token', 'ssh', 'app'"),
        ("private.baseUrl=ghe.example.com", "/private/baseUrl", "does not match pattern"),
        ("repo=", "/repo", "minLength"),
        ("period=often", "/period", "does not match pattern"),
        ("name=Site", "/name", "does not match pattern"),
        ("image.digest=abc", "/image/digest", "does not match pattern"),
        ("volume.limit=most", "/volume/limit", "does not match pattern"),
        ("extraArgs={verbose}", "/extraArgs/0", "does not match pattern"),
        ("ingress.enabled=true", "/ingress/host", "minLength"),
        ("httpRoute.enabled=true", "/httpRoute/host", "minLength"),
        ("app.kind=own", "/app/image", "minLength"),
        ("app.port=80", "/app/port", "value must be 8000"),
        ("app.enabled=false", "/selectorLabels", "minProperties"),
        ("podLabels.tier=1", "/podLabels/tier", "got number, want string"),
    ] {
        let Some(error) = refusal(&["--set", value]) else { return };
        let named = error.lines().any(|line| line.contains(&format!("at '{place}': ")) && line.contains(reason));
        // helm before 3.18 has other words.
        let dotted = if place.is_empty() { "(root)".to_owned() } else { place[1..].replace('/', ".") };
        assert!(named || error.contains(&format!("\n- {dotted}: ")), "{value}: {error}");
    }
}

#[test]
fn all_wrong_values_are_named_at_once() {
    let Some(error) = refusal(&["--set", "replicas=two,app.kind=nginx,service.port=0"]) else { return };
    for place in ["replicas", "app.kind", "service.port"] {
        let newer = format!("at '/{}'", place.replace('.', "/"));
        assert!(error.contains(&newer) || error.contains(&format!("\n- {place}: ")), "{error}");
    }
}

#[test]
fn credentials_of_the_wrong_kind_are_refused() {
    for (repo, kind, needed) in [("https://a.test/b.git", "ssh", "an ssh"), ("git@a.test:b.git", "token", "an https")] {
        let Some(error) = refusal(&["--set", &format!("repo={repo},private.kind={kind}")]) else { return };
        let expected = format!("private.kind {kind} needs {needed} address in repo, and not {repo}");
        assert!(error.contains(&expected), "{error}");
    }
}
