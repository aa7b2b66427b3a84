//! `server.tls`: the server's certificate, which is reloaded when it changes, and client certificates.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

#[cfg(test)]
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, NamedGroup, RootCertStore,
    ServerConfig, SignatureScheme, SupportedCipherSuite,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use tokio::{task::spawn_blocking, time::sleep};
use tokio_rustls::TlsAcceptor;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::LOG_TARGET;
use crate::value::{
    Fields, FileHashes, FromNode, Node, Secret, TlsVersions, check_validity, pem, read_regular_file,
};

/// TLS settings, with the names of Prometheus' web configuration.
#[derive(Clone)]
pub struct Settings {
    files: Files,
    auth: ClientAuth,
    versions: TlsVersions,
    /// The configuration from the files as of the start.
    config: Arc<ServerConfig>,
    hashes: FileHashes,
}

#[derive(Clone, Debug)]
struct Files {
    cert: PemSource,
    key: PemSource,
    client_ca: Option<PemSource>,
    limits: Limits,
}

/// Where PEM text is.
#[derive(Clone)]
enum PemSource {
    File(PathBuf),
    /// In the configuration itself.
    Inline(Arc<[u8]>),
}

impl PemSource {
    fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(file) => Some(file),
            Self::Inline(_) => None,
        }
    }
}

impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.fmt(f),
            Self::Inline(_) => f.write_str("inline"),
        }
    }
}

/// The restrictions of a web configuration beyond the versions.
#[derive(Clone, Debug, Default)]
struct Limits {
    /// Cipher suites of TLS 1.2; any if empty.
    cipher_suites: Vec<Suite>,
    /// Groups for the key exchange; any if empty.
    curves: Vec<NamedGroup>,
    /// Subject alternative names of which a client must have one; any if empty.
    client_names: Vec<String>,
}

/// The requirement for client certificates, with Go's names (`tls.ClientAuthType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientAuth {
    None,
    IfGiven,
    Required,
}

/// A key of the settings, and the problem of its file.
type FileError = (&'static str, String);

/// Maximum bytes of a file.
const MAX_FILE_BYTES: u64 = 1 << 20;

const FILE: &str = "a readable PEM file";

impl Settings {
    /// Reads the section; `None` if it is invalid.
    pub fn read(mut fields: Fields<'_>) -> Option<Self> {
        let mut required = |key| {
            if fields.node(key).is_none() {
                fields.add_problem(format_args!("{key} is missing"), FILE);
            }
            fields.file_path(key)
        };
        let cert = required("cert_file");
        let key = required("key_file");
        let client_ca = fields.file_path("client_ca_file");
        let given: Option<ClientAuth> = fields.optional("client_auth_type");
        let versions = TlsVersions::read(&mut fields);
        let auth = given.unwrap_or(ClientAuth::None);
        if (auth == ClientAuth::None) != client_ca.is_none() {
            let wrong = "client_ca_file and client_auth_type require each other";
            let allowed = "both, or neither: NoClientCert is the default";
            fields.add_problem(wrong, allowed);
        }
        let files = cert.zip(key).map(|(cert, key)| Files {
            cert: PemSource::File(cert),
            key: PemSource::File(key),
            client_ca: client_ca.map(PemSource::File),
            limits: Limits::default(),
        });
        Self::new(fields, files, auth, versions)
    }

    /// Reads `tls_server_config` of a web configuration.
    pub(super) fn read_web_config(mut fields: Fields<'_>) -> Option<Self> {
        let cert = read_pem_source(&mut fields, "cert", "cert_file");
        let key = read_pem_source(&mut fields, "key", "key_file");
        let client_ca = read_pem_source(&mut fields, "client_ca", "client_ca_file");
        for (source, name, file) in [(&cert, "cert", "cert_file"), (&key, "key", "key_file")] {
            if source.is_none() {
                let wrong = format_args!("{name} is missing");
                fields.add_problem(wrong, format_args!("{name} or {file}"));
            }
        }
        let auth: Option<ClientAuth> = fields.optional("client_auth_type");
        let auth = auth.unwrap_or(ClientAuth::None);
        if auth == ClientAuth::None && client_ca.is_some() {
            let expected = "VerifyClientCertIfGiven or RequireAndVerifyClientCert";
            fields.add_problem("client_ca_file without client_auth_type", expected);
        }
        if auth != ClientAuth::None && client_ca.is_none() {
            fields.add_problem("client_auth_type without client_ca_file", "both");
        }
        let versions = TlsVersions::read(&mut fields);
        // The server has always the choice, as with Go since 1.17.
        let _ = fields.optional::<bool>("prefer_server_cipher_suites");
        let curves: Vec<Curve> = fields.list("curve_preferences");
        let limits = Limits {
            cipher_suites: fields.list("cipher_suites"),
            curves: curves.into_iter().map(|Curve(group)| group).collect(),
            client_names: fields.list("client_allowed_sans"),
        };
        let files = cert.zip(key).map(|(cert, key)| Files {
            cert,
            key,
            client_ca,
            limits,
        });
        Self::new(fields, files, auth, versions)
    }

    /// The settings with `files`, which are read.
    fn new(
        fields: Fields<'_>,
        files: Option<Files>,
        auth: ClientAuth,
        versions: TlsVersions,
    ) -> Option<Self> {
        let settings = files.and_then(|files| {
            let hashes = files.hashes();
            match files.config(auth, versions) {
                Ok(config) => Some(Self {
                    files,
                    auth,
                    versions,
                    config: Arc::new(config),
                    hashes,
                }),
                Err((key, wrong)) => {
                    fields.add_value_problem(key, wrong, FILE);
                    None
                }
            }
        });
        fields.reject_unknown_keys();
        settings
    }

    fn build(&self) -> Result<ServerConfig, FileError> {
        let Self {
            files,
            auth,
            versions,
            ..
        } = self;
        files.config(*auth, *versions)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

impl FromNode for ClientAuth {
    const EXPECTED: &'static str =
        "NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert";

    fn from_node(node: &Node) -> Result<Self, String> {
        match String::from_node(node)?.as_str() {
            "NoClientCert" => Ok(Self::None),
            "VerifyClientCertIfGiven" => Ok(Self::IfGiven),
            "RequireAndVerifyClientCert" => Ok(Self::Required),
            other @ ("RequestClientCert" | "RequireAnyClientCert") => Err(format!(
                "{other} accepts unverified client certificates, which is not supported"
            )),
            other => Err(format!("unknown client_auth_type {other:?}")),
        }
    }
}

impl Files {
    /// Hashes of the contents.
    fn hashes(&self) -> FileHashes {
        {
            let sources = [&self.cert, &self.key].into_iter().chain(&self.client_ca);
            FileHashes::read(sources.filter_map(PemSource::file))
        }
    }

    fn config(&self, auth: ClientAuth, versions: TlsVersions) -> Result<ServerConfig, FileError> {
        let chain = certificates("cert_file", &self.cert)?;
        let key = read("key_file", &self.key)?;
        let key = pem::private_key(&key).map_err(|wrong| ("key_file", wrong.to_owned()))?;
        let provider = Arc::new(self.limits.provider()?);
        let verifier = match (&self.client_ca, auth) {
            (Some(file), ClientAuth::IfGiven | ClientAuth::Required) => {
                Some(self.client_verifier(file, auth, &provider)?)
            }
            _ => None,
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions.supported())
            .map_err(|_| {
                let wrong = "contains no cipher suite that is supported";
                ("cipher_suites", wrong.to_owned())
            })?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| ("key_file", error.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl Files {
    fn client_verifier(
        &self,
        file: &PemSource,
        auth: ClientAuth,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, FileError> {
        const KEY: &str = "client_ca_file";
        let mut roots = RootCertStore::empty();
        let trusted = certificates(KEY, file)?;
        for certificate in &trusted {
            roots.add(certificate.clone()).map_err(|error| {
                let wrong = format!("contains an invalid CA certificate: {error}");
                (KEY, wrong)
            })?;
        }
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let builder = match auth {
            ClientAuth::IfGiven => builder.allow_unauthenticated(),
            _ => builder,
        };
        let issued = builder.build().map_err(|error| (KEY, error.to_string()))?;
        Ok(Arc::new(ClientVerifier {
            issued,
            trusted,
            names: self.limits.client_names.clone(),
        }))
    }
}

impl Limits {
    /// The cryptography, within the limits.
    fn provider(&self) -> Result<CryptoProvider, FileError> {
        let mut provider = aws_lc_rs::default_provider();
        if !self.cipher_suites.is_empty() {
            let is_listed = |suite: &SupportedCipherSuite| match suite {
                // Those of TLS 1.3 cannot be restricted in Go.
                SupportedCipherSuite::Tls13(_) => true,
                suite @ SupportedCipherSuite::Tls12(_) => {
                    let name = suite.suite().as_str().unwrap_or_default();
                    self.cipher_suites
                        .iter()
                        .any(|Suite(listed)| listed == name)
                }
            };
            provider.cipher_suites.retain(is_listed);
        }
        if !self.curves.is_empty() {
            let groups = self.curves.iter().filter_map(|curve| {
                let mut known = provider.kx_groups.iter();
                known.find(|group| group.name() == *curve).copied()
            });
            provider.kx_groups = groups.collect();
        }
        if provider.kx_groups.is_empty() {
            let wrong = "contains no curve that is supported".to_owned();
            return Err(("curve_preferences", wrong));
        }
        Ok(provider)
    }
}

/// The name of a cipher suite, as Go has it.
#[derive(Clone, Debug)]
struct Suite(String);

/// The cipher suites of Go that are not insecure (`tls.CipherSuites`).
const SUITES: [&str; 13] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
];

impl FromNode for Suite {
    const EXPECTED: &'static str = "a name such as TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";

    fn from_node(node: &Node) -> Result<Self, String> {
        let name = String::from_node(node)?;
        if SUITES.contains(&&*name) {
            Ok(Self(name))
        } else {
            Err(format!("unknown cipher suite {name:?}"))
        }
    }
}

/// A group of keys in the words of Go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Curve(NamedGroup);

impl FromNode for Curve {
    const EXPECTED: &'static str = "CurveP256, CurveP384, CurveP521 or X25519";

    fn from_node(node: &Node) -> Result<Self, String> {
        let name = String::from_node(node)?;
        Ok(Self(match &*name {
            "CurveP256" => NamedGroup::secp256r1,
            "CurveP384" => NamedGroup::secp384r1,
            "CurveP521" => NamedGroup::secp521r1,
            "X25519" => NamedGroup::X25519,
            _ => return Err(format!("unknown curve {name:?}")),
        }))
    }
}

/// PEM text in the configuration, or a file that it names.
fn read_pem_source(
    fields: &mut Fields<'_>,
    inline: &'static str,
    file: &'static str,
) -> Option<PemSource> {
    fields.at_most_one(&[inline, file]);
    let text: Option<Secret> = fields.optional(inline);
    let text = text.filter(|text| !text.reveal().is_empty());
    let file = fields.file_path(file).map(PemSource::File);
    text.map(|text| PemSource::Inline(text.reveal().as_bytes().into()))
        .or(file)
}

/// Accepts certificates that one of the authorities has issued, and those of the authorities themselves.
#[derive(Debug)]
struct ClientVerifier {
    issued: Arc<dyn ClientCertVerifier>,
    /// The certificates of `client_ca_file`.
    trusted: Vec<CertificateDer<'static>>,
    /// Subject alternative names of which a client must have one; any if empty.
    names: Vec<String>,
}

impl ClientVerifier {
    /// Fails unless the certificate has one of the names that clients must have.
    fn check_name(&self, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        if self.names.is_empty()
            || subject_names(leaf)
                .iter()
                .any(|name| self.names.contains(name))
        {
            return Ok(());
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidForName))
    }
}

/// The subject alternative names of `certificate`.
fn subject_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                Some((*name).to_owned())
            }
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes)
                    .ok()
                    .map(|bytes| Ipv4Addr::from(bytes).to_string()),
                _ => <[u8; 16]>::try_from(*bytes)
                    .ok()
                    .map(|bytes| Ipv6Addr::from(bytes).to_string()),
            },
            _ => None,
        });
    names.collect()
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.issued.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.issued.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.issued.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_name(leaf)?;
        if !self.trusted.contains(leaf) {
            return self.issued.verify_client_cert(leaf, intermediates, now);
        }
        // A trusted certificate itself: only its dates are checked.
        check_validity(leaf, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issued.supported_verify_schemes()
    }
}

fn read(key: &'static str, source: &PemSource) -> Result<Vec<u8>, FileError> {
    let file = match source {
        PemSource::Inline(bytes) => return Ok(bytes.to_vec()),
        PemSource::File(file) => file,
    };
    read_regular_file(file, MAX_FILE_BYTES)
        .map_err(|error| (key, format!("\"{}\" {error}", file.display())))
}

fn certificates(
    key: &'static str,
    file: &PemSource,
) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = read(key, file)?;
    pem::certificates(&bytes).map_err(|wrong| (key, wrong.to_owned()))
}

/// Accepts handshakes with the current certificate of the files.
pub(super) struct TlsReloader {
    settings: Settings,
    config: RwLock<Arc<ServerConfig>>,
    /// True until the next look at the files, which then panics.
    #[cfg(test)]
    panics: AtomicBool,
}

impl TlsReloader {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            config: RwLock::new(settings.config.clone()),
            settings,
            #[cfg(test)]
            panics: AtomicBool::new(false),
        }
    }

    #[cfg(test)]
    pub(super) fn panic_at_next_look(&self) {
        self.panics.store(true, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn has_panicked(&self) -> bool {
        !self.panics.load(Ordering::Relaxed)
    }

    /// An acceptor for the next handshake.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.read();
        TlsAcceptor::from(config.clone())
    }

    /// Checks the files for changes every `poll_interval`, and reloads them. If they cannot be
    /// used, the previous certificate stays in effect, which is logged once.
    pub(super) async fn watch_files(self: Arc<Self>, poll_interval: Duration) {
        let mut known = self.settings.hashes.clone();
        // While files are replaced one after the other, they do not match yet.
        let mut unconfirmed_hashes = None;
        loop {
            sleep(poll_interval).await;
            #[cfg(test)]
            assert!(
                !self.panics.swap(false, Ordering::Relaxed),
                "a test wants it"
            );
            let reloader = self.clone();
            let before = known.clone();
            let reload_if_changed = move || {
                let hashes = reloader.settings.files.hashes();
                let config = (hashes != before).then(|| reloader.settings.build());
                (hashes, config)
            };
            let Ok((hashes, config)) = spawn_blocking(reload_if_changed).await else {
                continue;
            };
            match config {
                None => {}
                Some(Err(_)) if unconfirmed_hashes.as_ref() != Some(&hashes) => {
                    unconfirmed_hashes = Some(hashes);
                }
                Some(Ok(config)) => {
                    known = hashes;
                    *self.config.write() = Arc::new(config);
                    tracing::info!(target: LOG_TARGET, "Server certificate reloaded");
                }
                Some(Err((key, error))) => {
                    known = hashes;
                    tracing::error!(
                        target: LOG_TARGET,
                        key,
                        error,
                        "Failed to reload server certificate; keeping the previous one"
                    );
                }
            }
        }
    }
}
