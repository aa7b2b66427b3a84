//! `tls_config`, as blackbox_exporter has it, and `fail_if_certificate_expires_within`.

use std::sync::Arc;

use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
    sign::CertifiedKey,
};

use crate::{
    net::tls::{Authorities, MinCertificateValidity, Settings},
    value::{Fields, FileContents, FromNode, Node, Secret, TlsVersions, pem},
};

/// The keys that say how TLS is spoken.
pub(crate) const TLS_KEYS: [&str; 2] = ["tls_config", EXPIRES_WITHIN];

/// Reports TLS keys of monitors without TLS.
pub(crate) fn refuse_tls_keys(fields: &mut Fields<'_>, wrong: &str, allowed: &str) {
    for key in TLS_KEYS {
        if fields.node(key).is_some() {
            fields.add_value_problem(key, wrong, allowed);
        }
    }
}

/// Reads the mapping `tls_config`, if there is one.
pub(crate) fn read_tls_config(fields: &mut Fields<'_>) -> Settings {
    let defaults = Settings::default();
    let Some(mut fields) = fields.section("tls_config") else {
        return defaults;
    };
    let settings = Settings {
        authorities: authorities(&mut fields),
        identity: identity(&mut fields),
        server_name: fields
            .optional::<DnsName>("server_name")
            .map(|DnsName(name)| name),
        insecure_skip_verify: fields
            .optional("insecure_skip_verify")
            .unwrap_or(defaults.insecure_skip_verify),
        versions: TlsVersions::read(&mut fields),
    };
    fields.reject_unknown_keys();
    settings
}

/// The key of [`MinCertificateValidity`].
const EXPIRES_WITHIN: &str = "fail_if_certificate_expires_within";

/// Reads `fail_if_certificate_expires_within`, which every type has that speaks TLS.
pub(crate) fn read_min_validity(fields: &mut Fields<'_>) -> MinCertificateValidity {
    let least = fields.optional(EXPIRES_WITHIN);
    if let Some(number) = fields.seconds_without_unit(EXPIRES_WITHIN)
        && number < 3600.0
    {
        let message = format_args!("{number} without a unit is seconds; {number}d is days");
        fields.warn(EXPIRES_WITHIN, message);
    }
    MinCertificateValidity::new(least)
}

/// A host name that a certificate can be for; an address has no place in SNI (RFC 6066, section 3).
struct DnsName(String);

impl FromNode for DnsName {
    const EXPECTED: &'static str = "a host name";

    fn from_node(node: &Node) -> Result<Self, String> {
        let name = String::from_node(node)?;
        match ServerName::try_from(name.as_str()) {
            Ok(ServerName::DnsName(_)) => Ok(Self(name)),
            _ => Err(format!("invalid host name {name:?}")),
        }
    }
}

/// PEM text that stands in the configuration or in a file that it names.
fn read_pem(fields: &mut Fields<'_>, inline: &'static str, file: &'static str) -> Option<Pem> {
    fields.at_most_one(&[inline, file]);
    let text = fields.optional::<Secret>(inline);
    let contents = fields.file(file);
    match (text, contents) {
        (Some(text), _) => Some(Pem {
            key: inline,
            bytes: text.reveal().as_bytes().to_vec(),
        }),
        (None, Some(FileContents(bytes))) => Some(Pem { key: file, bytes }),
        (None, None) => None,
    }
}

struct Pem {
    key: &'static str,
    bytes: Vec<u8>,
}

impl Pem {
    const CERTIFICATES: &str = "PEM with one or more certificates";

    fn certificates(&self, fields: &Fields<'_>) -> Option<Vec<CertificateDer<'static>>> {
        let certificates = pem::certificates(&self.bytes);
        certificates
            .map_err(|wrong| fields.add_value_problem(self.key, wrong, Self::CERTIFICATES))
            .ok()
    }
}

fn authorities(fields: &mut Fields<'_>) -> Option<Arc<Authorities>> {
    let pem = read_pem(fields, "ca", "ca_file")?;
    match Authorities::new(pem.certificates(fields)?) {
        Ok(authorities) => Some(Arc::new(authorities)),
        Err(error) => {
            let wrong = format!("contains an invalid CA certificate: {error}");
            fields.add_value_problem(pem.key, wrong, Pem::CERTIFICATES);
            None
        }
    }
}

fn identity(fields: &mut Fields<'_>) -> Option<Arc<CertifiedKey>> {
    let given = fields.problems().count();
    let chain = read_pem(fields, "cert", "cert_file");
    let key = read_pem(fields, "key", "key_file");
    let (chain, key) = match (chain, key) {
        (Some(chain), Some(key)) => (chain, key),
        (None, None) => return None,
        // A file that cannot be read is one problem, not two.
        _ if fields.problems().count() > given => return None,
        (Some(_), None) => {
            fields.add_problem(
                "client certificate without a key",
                "key or key_file as well",
            );
            return None;
        }
        (None, Some(_)) => {
            fields.add_problem(
                "client key without a certificate",
                "cert or cert_file as well",
            );
            return None;
        }
    };
    let certificates = chain.certificates(fields)?;
    let private_key = pem::private_key(&key.bytes)
        .map_err(|wrong| {
            let allowed = "a private key in PEM, without a passphrase";
            fields.add_value_problem(key.key, wrong, allowed);
        })
        .ok()?;
    match CertifiedKey::from_der(certificates, private_key, &aws_lc_rs::default_provider()) {
        Ok(identity) => Some(Arc::new(identity)),
        Err(error) => {
            fields.add_value_problem(key.key, error, "the private key of the client certificate");
            None
        }
    }
}
