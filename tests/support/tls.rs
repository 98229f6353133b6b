//! TLS before any plain server: a certificate authority made on the spot, and a front that ends TLS and passes bytes on.

use std::net::{IpAddr, SocketAddr};

use native_tls::Identity;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use tokio::net::{TcpListener, TcpStream};

/// A certificate authority that is not trusted by default.
pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

impl Authority {
    pub fn new() -> Self {
        let key = key();
        let mut builder = certificate("pushsync tests' authority", &key, 0, 2_000_000_000);
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().build().unwrap()).unwrap();
        let issuer = builder_name("pushsync tests' authority");
        builder.set_issuer_name(&issuer.build()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    /// An authority that this one vouches for.
    pub fn intermediate(&self) -> Self {
        let key = key();
        let mut builder = certificate("pushsync tests' intermediate", &key, 0, 2_000_000_000);
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().build().unwrap()).unwrap();
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    pub fn der(&self) -> Vec<u8> {
        self.certificate.to_der().unwrap()
    }

    /// For `SSL_CERT_FILE`.
    pub fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    /// The name that it must have in `SSL_CERT_DIR`.
    pub fn hashed_name(&self) -> String {
        format!("{:08x}.0", self.certificate.subject_name_hash())
    }

    /// A certificate for a name or address, valid until so many seconds after 1970.
    pub fn identity(&self, name: &str, until: i64) -> Identity {
        self.identity_and_pem(name, until).0
    }

    /// The same, and the certificate itself.
    pub fn identity_and_pem(&self, name: &str, until: i64) -> (Identity, Vec<u8>) {
        let key = key();
        let mut builder = certificate(name, &key, 0, until);
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        let mut names = SubjectAlternativeName::new();
        match name.parse::<IpAddr>() {
            Ok(_) => names.ip(name),
            Err(_) => names.dns(name),
        };
        let names = names.build(&builder.x509v3_context(Some(&self.certificate), None)).unwrap();
        builder.append_extension(names).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        let pem = builder.build().to_pem().unwrap();
        let identity = Identity::from_pkcs8(&pem, &key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        (identity, pem)
    }
}

fn key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

fn builder_name(name: &str) -> X509NameBuilder {
    let mut builder = X509NameBuilder::new().unwrap();
    builder.append_entry_by_text("CN", name).unwrap();
    builder
}

fn certificate(name: &str, key: &PKey<Private>, from: i64, until: i64) -> openssl::x509::X509Builder {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(fastrand::u32(1..)).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&builder_name(name).build()).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(from).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(until).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
}

/// Far enough away.
pub const VALID: i64 = 2_000_000_000;

/// A running front; it ends with the runtime of the test.
pub struct TlsFront {
    pub address: SocketAddr,
}

impl TlsFront {
    pub async fn start(backend: SocketAddr, identity: Identity) -> Self {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), backend, identity).await.unwrap()
    }

    pub async fn start_on(at: SocketAddr, backend: SocketAddr, identity: Identity) -> std::io::Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let address = listener.local_addr()?;
        let acceptor = tokio_native_tls::TlsAcceptor::from(native_tls::TlsAcceptor::new(identity).unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut outside) = acceptor.accept(stream).await else { return };
                    let Ok(mut inside) = TcpStream::connect(backend).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        });
        Ok(Self { address })
    }
}
