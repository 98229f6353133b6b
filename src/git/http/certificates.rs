//! Files with trusted certificates: checks that one holds a certificate in PEM form.
//!
//! It must not know of connections.

use std::path::Path;

use openssl::x509::X509;

/// The byte order mark of UTF-8, which some editors write at the beginning of a file.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The first line of a certificate (RFC 7468; OpenSSL accepts the other two as well).
const BEGINNINGS: [&[u8]; 3] =
    [b"-----BEGIN CERTIFICATE-----", b"-----BEGIN TRUSTED CERTIFICATE-----", b"-----BEGIN X509 CERTIFICATE-----"];

/// The reason why a file holds no certificate that can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificates {
    #[error("cannot be read ({0})")]
    Unreadable(#[from] std::io::Error),
    #[error("is empty")]
    Empty,
    #[error("holds a certificate in DER form; PEM is read: `openssl x509 -inform der -in FILE -out ca.pem` writes it")]
    Der,
    #[error("is UTF-16 text; write it again as ASCII or UTF-8")]
    Utf16,
    #[error("holds {0} and no certificate")]
    Other(&'static str),
    #[error("holds no certificate in PEM form")]
    None,
    #[error("holds a certificate that is cut off or damaged")]
    Damaged,
}

/// Checks that a file holds a certificate in PEM form. Only the first one is decoded.
///
/// # Errors
/// Names the content that the file has instead.
pub fn check(path: &Path) -> Result<(), BadCertificates> {
    check_text(&std::fs::read(path)?)
}

fn check_text(text: &[u8]) -> Result<(), BadCertificates> {
    // The byte order marks of UTF-16, in which some editors on Windows save.
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        return Err(BadCertificates::Utf16);
    }
    let text = without_byte_order_mark(text);
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(BadCertificates::Empty);
    }
    let find = |wanted: &[u8]| text.windows(wanted.len()).position(|part| part == wanted);
    if let Some(at) = BEGINNINGS.iter().filter_map(|beginning| find(beginning)).min() {
        // Text before a certificate is allowed (RFC 7468, section 5.2), such as the output of `openssl x509 -text`.
        return X509::from_pem(&text[at..]).map(drop).map_err(|_| BadCertificates::Damaged);
    }
    Err(if X509::from_der(text).is_ok() {
        BadCertificates::Der
    } else if find(b"PRIVATE KEY-----").is_some() {
        BadCertificates::Other("a private key")
    } else if find(b"-----BEGIN CERTIFICATE REQUEST-----").is_some() {
        BadCertificates::Other("a request for a certificate")
    } else if find(b"-----BEGIN PKCS7-----").is_some() {
        BadCertificates::Other("a PKCS #7 bundle")
    } else {
        BadCertificates::None
    })
}

/// Returns true if the file begins with a byte order mark, which makes OpenSSL miss the first certificate.
pub fn has_byte_order_mark(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|text| text.starts_with(BYTE_ORDER_MARK))
}

/// Returns the text after a byte order mark.
pub(crate) fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_content_than_certificates_is_named() {
        let key = openssl::pkey::PKey::generate_ed25519().unwrap();
        let mut builder = X509::builder().unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&openssl::asn1::Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&openssl::asn1::Asn1Time::days_from_now(1).unwrap()).unwrap();
        builder.sign(&key, openssl::hash::MessageDigest::null()).unwrap();
        let certificate = builder.build();
        let pem = certificate.to_pem().unwrap();
        assert!(check_text(&pem).is_ok());
        assert!(check_text(&[BYTE_ORDER_MARK, &pem].concat()).is_ok());
        assert!(check_text(&[b"# a comment\n".as_slice(), &pem].concat()).is_ok());
        let wide: Vec<u8> = [0xff, 0xfe].into_iter().chain(pem.iter().flat_map(|byte| [*byte, 0])).collect();
        let cases: [(Vec<u8>, &str); 7] = [
            (certificate.to_der().unwrap(), "in DER form"),
            (Vec::new(), "is empty"),
            ([BYTE_ORDER_MARK, b"\n"].concat(), "is empty"),
            (wide, "UTF-16"),
            (key.private_key_to_pem_pkcs8().unwrap(), "a private key"),
            (b"hello".to_vec(), "no certificate in PEM form"),
            (pem[..pem.len() / 2].to_vec(), "cut off or damaged"),
        ];
        for (text, expected) in cases {
            let error = check_text(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
