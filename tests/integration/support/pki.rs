//! Certificate authorities, certificates, and the TLS of a server that has them.

use std::{
    ops::Range,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::server::Step;

pub type Certificate = CertificateDer<'static>;

/// The authority that the lab trusts.
pub static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("trusted root"));

/// A certificate of [`AUTHORITY`] for all that the tests' servers are called.
pub static IDENTITY: LazyLock<Identity> =
    LazyLock::new(|| AUTHORITY.issue(&["127.0.0.1", "::1", "service.test"], YEARS));

/// Years of validity that hold while anyone may run these tests.
pub const YEARS: Range<i32> = 2020..4000;

/// Signs certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The certificates that a server sends after its own.
    intermediates: Vec<CertificateDer<'static>>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let issuer = CertifiedIssuer::self_signed(Self::params(name, YEARS), key());
        Self {
            issuer: issuer.expect("parameters that fit together"),
            intermediates: Vec::new(),
        }
    }

    /// An authority that this one vouches for.
    pub fn intermediate(&self, name: &str, years: Range<i32>) -> Self {
        let issuer = CertifiedIssuer::signed_by(Self::params(name, years), key(), &self.issuer);
        let issuer = issuer.expect("parameters that fit together");
        let mut intermediates = vec![issuer.der().clone()];
        intermediates.extend_from_slice(&self.intermediates);
        Self {
            issuer,
            intermediates,
        }
    }

    fn params(name: &str, years: Range<i32>) -> CertificateParams {
        let mut params = params(&[], years);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    /// A certificate for `names`, valid from the start of the first year to that of the last.
    pub fn issue(&self, names: &[&str], years: Range<i32>) -> Identity {
        self.sign(&params(names, years))
    }

    /// A certificate for `names` that expires in a day, and some minutes before its end.
    pub fn issue_until_tomorrow(&self, names: &[&str]) -> Identity {
        let mut params = params(names, YEARS);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let tomorrow = now.expect("it is after 1970") + Duration::from_secs(86_000);
        params.not_after = date_time_ymd(1970, 1, 1) + tomorrow;
        self.sign(&params)
    }

    /// A certificate for `names` that says where its issuer's is, sent without it.
    pub fn issue_without_chain(&self, names: &[&str]) -> Identity {
        const LOCATION: &[u8] = b"http://ca.test/";
        // A list of one description: the method caIssuers, and a URL (RFC 5280, section 4.2.2.1).
        let mut access = vec![
            0x30, 29, 0x30, 27, 6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2, 0x86, 15,
        ];
        access.extend_from_slice(LOCATION);
        let mut params = params(names, YEARS);
        let authority_info_access = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
        params.custom_extensions = vec![CustomExtension::from_oid_content(
            authority_info_access,
            access,
        )];
        let mut identity = self.sign(&params);
        identity.chain.truncate(1);
        identity
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = key();
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("parameters that fit together");
        let mut chain = vec![certificate.der().clone()];
        chain.extend_from_slice(&self.intermediates);
        Identity {
            chain,
            certificate_pem: certificate.pem(),
            key,
        }
    }

    /// The certificate that `other` signs for the name and the key of this authority.
    pub fn cross_signed_by(&self, other: &Self, name: &str, years: Range<i32>) -> Certificate {
        let signed = Self::params(name, years).signed_by(self.issuer.key(), &other.issuer);
        signed.expect("parameters that fit together").der().clone()
    }

    pub fn certificate(&self) -> Certificate {
        self.issuer.der().clone()
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.issuer.der().clone())
            .expect("a certificate of rcgen's");
        roots
    }
}

/// A certificate with its key and what leads to its authority.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    pub certificate_pem: String,
    key: KeyPair,
}

impl Identity {
    pub fn self_signed(names: &[&str]) -> Self {
        let key = key();
        let certificate = params(names, YEARS)
            .self_signed(&key)
            .expect("parameters that fit together");
        Self {
            chain: vec![certificate.der().clone()],
            certificate_pem: certificate.pem(),
            key,
        }
    }

    /// A certificate that is an authority's own, with the names of a server.
    pub fn self_signed_authority(names: &[&str], years: Range<i32>) -> Self {
        let key = key();
        let mut params = params(names, years);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key);
        let certificate = certificate.expect("parameters that fit together");
        Self {
            chain: vec![certificate.der().clone()],
            certificate_pem: certificate.pem(),
            key,
        }
    }

    pub fn certificate(&self) -> Certificate {
        self.chain[0].clone()
    }

    /// Sends `certificate` behind its own.
    pub fn followed_by(mut self, certificate: Certificate) -> Self {
        self.chain.push(certificate);
        self
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The handshake of a server with this identity.
    pub fn tls(&self) -> Step {
        Handshake::default().step(self)
    }

    /// The same, with HTTP/2 for who wants it.
    pub fn tls_h2(&self) -> Step {
        let handshake = Handshake {
            alpn: &["h2", "http/1.1"],
            ..Handshake::default()
        };
        handshake.step(self)
    }
}

/// Requirements and offers of a server in a handshake.
#[derive(Clone, Copy)]
pub struct Handshake<'a> {
    pub versions: &'a [&'static SupportedProtocolVersion],
    pub alpn: &'a [&'a str],
    /// The authority of client certificates, if they are requested.
    pub client_authority: Option<&'a Authority>,
    /// True if the handshake goes on without it.
    pub client_may_refuse: bool,
}

impl Default for Handshake<'_> {
    fn default() -> Self {
        Self {
            versions: rustls::ALL_VERSIONS,
            alpn: &["http/1.1"],
            client_authority: None,
            client_may_refuse: false,
        }
    }
}

impl Handshake<'_> {
    pub fn step(&self, identity: &Identity) -> Step {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions)
            .expect("the provider has suites for both versions");
        let config = match self.client_authority {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let roots = authority.roots().into();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = if self.client_may_refuse {
                    verifier.allow_unauthenticated()
                } else {
                    verifier
                };
                config.with_client_cert_verifier(verifier.build().expect("there is an authority"))
            }
        };
        let key = PrivateKeyDer::Pkcs8(identity.key.serialize_der().into());
        let mut config = config
            .with_single_cert(identity.chain.clone(), key)
            .expect("the key is the certificate's");
        config.alpn_protocols = self
            .alpn
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Step::Tls(config.into())
    }
}

/// The handshake of a server whose certificate is of version 1 of X.509, as `openssl x509 -req` makes
/// them.
pub fn x509_v1() -> Step {
    let pem = include_bytes!("x509_v1.pem");
    let certificate = CertificateDer::from_pem_slice(pem).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(pem).expect("a key");
    let key = aws_lc_rs::sign::any_supported_type(&key).expect("a key of a known type");
    let resolver = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("the provider has suites for both versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    Step::Tls(config.into())
}

fn key() -> KeyPair {
    KeyPair::generate().expect("randomness")
}

fn params(names: &[&str], years: Range<i32>) -> CertificateParams {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("names of hosts");
    params.not_before = date_time_ymd(years.start, 1, 1);
    params.not_after = date_time_ymd(years.end, 1, 1);
    params
}

/// The first second of a year, as certificates in reports have it.
pub fn start_of(year: i32) -> i64 {
    date_time_ymd(year, 1, 1).unix_timestamp()
}
