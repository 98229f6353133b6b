//! GitHub's endpoint for installation tokens, as a GitHub App meets it. It judges the assertion as GitHub does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Verifier;

use super::stub::{Stub, answer};

/// A stand-in for GitHub's API that believes only assertions signed with the App's key.
pub async fn github(public: Vec<u8>, lives: i64) -> Stub {
    let number = Arc::new(AtomicUsize::new(0));
    Stub::start(move |asked| {
        let (public, number) = (public.clone(), Arc::clone(&number));
        async move {
            let assertion = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default().to_owned();
            if asked.method != "POST"
                || asked.target != "/api/v3/app/installations/77/access_tokens"
                || !signed(&assertion, &public)
            {
                return answer(401, r#"{"message":"A JSON web token could not be decoded"}"#);
            }
            let number = number.fetch_add(1, Ordering::Relaxed);
            let ends = Timestamp::now().checked_add(SignedDuration::from_secs(lives)).unwrap();
            answer(
                201,
                format!(r#"{{"token":"installation-token-{number}","expires_at":"{ends}","permissions":{{}}}}"#),
            )
        }
    })
    .await
}

fn signed(assertion: &str, public: &[u8]) -> bool {
    let Some((signed, signature)) = assertion.rsplit_once('.') else { return false };
    let Some((head, claims)) = signed.split_once('.') else { return false };
    let json =
        |part: &str| -> serde_json::Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    let (head, claims) = (json(head), json(claims));
    let (begins, ends) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    let now = Timestamp::now().as_second();
    let key = PKey::public_key_from_pem(public).unwrap();
    let mut verifier = Verifier::new(MessageDigest::sha256(), &key).unwrap();
    let genuine = verifier.verify_oneshot(&URL_SAFE_NO_PAD.decode(signature).unwrap(), signed.as_bytes()).unwrap();
    genuine && head["alg"] == "RS256" && claims["iss"] == "12345" && begins <= now && now < ends && ends - begins <= 600
}
