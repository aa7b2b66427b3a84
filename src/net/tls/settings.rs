//! `tls_config`, as blackbox_exporter has it.

use std::sync::Arc;

use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::CertifiedKey,
};

use super::{Authorities, Freshness};
use crate::value::{Fields, File, FromNode, Host, Secret, TlsVersion};

/// How to speak TLS; everything that can be wrong with its files has been found out.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Trusted instead of the system's authorities.
    pub authorities: Option<Arc<Authorities>>,
    /// The client's certificate chain and its key.
    pub identity: Option<Arc<CertifiedKey>>,
    /// Name to ask for and to verify, instead of the target's.
    pub server_name: Option<String>,
    /// Whether any certificate will do.
    pub insecure_skip_verify: bool,
    /// The oldest version that is offered.
    pub min_version: TlsVersion,
    /// The newest version that is offered.
    pub max_version: TlsVersion,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            authorities: None,
            identity: None,
            server_name: None,
            insecure_skip_verify: false,
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
        }
    }
}

/// The keys that say how TLS is spoken.
pub const KEYS: [&str; 2] = ["tls_config", Freshness::KEY];

/// Complains about keys of TLS where none is spoken.
pub fn refuse_keys(fields: &mut Fields<'_>, wrong: &str, allowed: &str) {
    for key in KEYS {
        if fields.node(key).is_some() {
            fields.wrong_value(key, wrong, allowed);
        }
    }
}

impl Settings {
    /// Reads the mapping `tls_config`.
    #[must_use]
    pub fn read(mut fields: Fields<'_>) -> Self {
        let defaults = Self::default();
        let settings = Self {
            authorities: authorities(&mut fields),
            identity: identity(&mut fields),
            server_name: fields
                .optional::<DnsName>("server_name")
                .map(|DnsName(name)| name),
            insecure_skip_verify: fields
                .optional("insecure_skip_verify")
                .unwrap_or(defaults.insecure_skip_verify),
            min_version: fields
                .optional("min_version")
                .unwrap_or(defaults.min_version),
            max_version: fields
                .optional("max_version")
                .unwrap_or(defaults.max_version),
        };
        if settings.max_version < settings.min_version {
            fields.wrong_value(
                "max_version",
                "is older than min_version",
                "at least min_version",
            );
        }
        fields.finish();
        settings
    }

    /// The name to ask for and to verify, of a peer that is `host`.
    #[must_use]
    pub fn name_of(&self, host: &Host) -> ServerName<'static> {
        self.own_name().unwrap_or_else(|| host.server_name())
    }

    /// The name to ask for and to verify, where the settings have one.
    #[must_use]
    pub fn own_name(&self) -> Option<ServerName<'static>> {
        let name = self.server_name.clone()?;
        Some(ServerName::try_from(name).expect("it was read as the name of a host"))
    }

    /// Whether a connection with these settings is like one without any.
    #[must_use]
    pub(in crate::net) fn is_default(&self) -> bool {
        let Self {
            authorities: None,
            identity: None,
            server_name: _, // asked for by the name in the URL, not by the client
            insecure_skip_verify: false,
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
        } = self
        else {
            return false;
        };
        true
    }
}

/// A host name that a certificate can be for; an address has no place in SNI (RFC 6066, section 3).
struct DnsName(String);

impl FromNode for DnsName {
    const ALLOWED: &'static str = "a host name";

    fn from_node(node: &crate::value::Node) -> Result<Self, String> {
        let name = String::from_node(node)?;
        match ServerName::try_from(name.as_str()) {
            Ok(ServerName::DnsName(_)) => Ok(Self(name)),
            _ => Err(format!("{name:?} is no host name")),
        }
    }
}

/// PEM text that stands in the configuration or in a file that it names.
fn pem(fields: &mut Fields<'_>, inline: &'static str, file: &'static str) -> Option<Pem> {
    fields.at_most_one(&[inline, file]);
    let text = fields.optional::<Secret>(inline);
    let contents = fields.file(file);
    match (text, contents) {
        (Some(text), _) => Some(Pem {
            key: inline,
            bytes: text.reveal().as_bytes().to_vec(),
        }),
        (None, Some(File(bytes))) => Some(Pem { key: file, bytes }),
        (None, None) => None,
    }
}

struct Pem {
    key: &'static str,
    bytes: Vec<u8>,
}

impl Pem {
    const CERTIFICATES: &str = "one or more certificates in PEM";

    /// Whether a passphrase is needed (RFC 7468, section 11; RFC 1421, section 4.6.1.1).
    fn is_encrypted(&self) -> bool {
        let has = |mark: &[u8]| self.bytes.windows(mark.len()).any(|part| part == mark);
        has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED")
    }

    fn certificates(&self, fields: &Fields<'_>) -> Option<Vec<CertificateDer<'static>>> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Some(certificates),
            // The parser's error is left out: it shows a part of the text as numbers.
            _ => {
                fields.wrong_value(self.key, "holds no certificate", Self::CERTIFICATES);
                None
            }
        }
    }
}

fn authorities(fields: &mut Fields<'_>) -> Option<Arc<Authorities>> {
    let pem = pem(fields, "ca", "ca_file")?;
    match Authorities::new(pem.certificates(fields)?) {
        Ok(authorities) => Some(Arc::new(authorities)),
        Err(error) => {
            let wrong = format!("holds a certificate that cannot be trusted: {error}");
            fields.wrong_value(pem.key, wrong, Pem::CERTIFICATES);
            None
        }
    }
}

fn identity(fields: &mut Fields<'_>) -> Option<Arc<CertifiedKey>> {
    let given = fields.problems().count();
    let chain = pem(fields, "cert", "cert_file");
    let key = pem(fields, "key", "key_file");
    let (chain, key) = match (chain, key) {
        (Some(chain), Some(key)) => (chain, key),
        (None, None) => return None,
        // A file that cannot be read is one problem, not two.
        _ if fields.problems().count() > given => return None,
        (Some(_), None) => {
            fields.wrong(
                "a client certificate has no key",
                "key or key_file beside it",
            );
            return None;
        }
        (None, Some(_)) => {
            fields.wrong(
                "a client key has no certificate",
                "cert or cert_file beside it",
            );
            return None;
        }
    };
    let certificates = chain.certificates(fields)?;
    // The parser's error is left out: it could repeat a part of the key.
    let Ok(private_key) = PrivateKeyDer::from_pem_slice(&key.bytes) else {
        let wrong = if key.is_encrypted() {
            "holds an encrypted private key"
        } else {
            "holds no private key"
        };
        let allowed = "a private key in PEM, without a passphrase";
        fields.wrong_value(key.key, wrong, allowed);
        return None;
    };
    match CertifiedKey::from_der(certificates, private_key, &aws_lc_rs::default_provider()) {
        Ok(identity) => Some(Arc::new(identity)),
        Err(error) => {
            fields.wrong_value(key.key, error, "the private key of the client certificate");
            None
        }
    }
}
