//! `server.tls`: the server's certificate, which is reloaded when it changes, and client certificates.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use tokio::{task::spawn_blocking, time::sleep};
use tokio_rustls::TlsAcceptor;

use super::LOG_TARGET;
use crate::value::{
    Fields, FileHashes, FromNode, Node, TlsVersions, check_validity, pem, read_regular_file,
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
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
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
            cert,
            key,
            client_ca,
        });
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
        FileHashes::read([&self.cert, &self.key].into_iter().chain(&self.client_ca))
    }

    fn config(&self, auth: ClientAuth, versions: TlsVersions) -> Result<ServerConfig, FileError> {
        let chain = certificates("cert_file", &self.cert)?;
        let key = read("key_file", &self.key)?;
        let key = pem::private_key(&key).map_err(|wrong| ("key_file", wrong.to_owned()))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = match (&self.client_ca, auth) {
            (Some(file), ClientAuth::IfGiven | ClientAuth::Required) => {
                Some(client_verifier(file, auth, &provider)?)
            }
            _ => None,
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions.supported())
            .expect("the provider has suites for both versions");
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

fn client_verifier(
    file: &Path,
    auth: ClientAuth,
    provider: &Arc<rustls::crypto::CryptoProvider>,
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
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let builder = match auth {
        ClientAuth::IfGiven => builder.allow_unauthenticated(),
        _ => builder,
    };
    let issued = builder.build().map_err(|error| (KEY, error.to_string()))?;
    Ok(Arc::new(ClientVerifier { issued, trusted }))
}

/// Accepts certificates that one of the authorities has issued, and those of the authorities themselves.
#[derive(Debug)]
struct ClientVerifier {
    issued: Arc<dyn ClientCertVerifier>,
    /// The certificates of `client_ca_file`.
    trusted: Vec<CertificateDer<'static>>,
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

fn read(key: &'static str, file: &Path) -> Result<Vec<u8>, FileError> {
    read_regular_file(file, MAX_FILE_BYTES)
        .map_err(|error| (key, format!("\"{}\" {error}", file.display())))
}

fn certificates(key: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = read(key, file)?;
    pem::certificates(&bytes).map_err(|wrong| (key, wrong.to_owned()))
}

/// Accepts handshakes with the current certificate of the files.
pub(super) struct TlsReloader {
    settings: Settings,
    config: RwLock<Arc<ServerConfig>>,
}

impl TlsReloader {
    pub fn new(settings: Settings) -> Self {
        Self {
            config: RwLock::new(settings.config.clone()),
            settings,
        }
    }

    /// An acceptor for the next handshake.
    pub fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.read();
        TlsAcceptor::from(config.clone())
    }

    /// Checks the files for changes every `poll_interval`, and reloads them. If they cannot be
    /// used, the previous certificate stays in effect, which is logged once.
    pub async fn watch_files(self: Arc<Self>, poll_interval: Duration) {
        let mut known = self.settings.hashes.clone();
        // While files are replaced one after the other, they do not match yet.
        let mut unconfirmed_hashes = None;
        loop {
            sleep(poll_interval).await;
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
