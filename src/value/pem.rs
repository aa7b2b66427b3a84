//! Certificates and private keys in PEM (RFC 7468).

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// Parses the certificates in `pem`; at least one is required.
///
/// # Errors
/// A description of the problem. The parser's own error could repeat a part of the text.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err("contains no certificate"),
    }
}

/// Parses the first private key in `pem`.
///
/// # Errors
/// A description of the problem. The parser's own error could repeat a part of the key.
pub(crate) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, &'static str> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        if is_encrypted(pem) {
            "contains an encrypted private key"
        } else {
            "contains no private key"
        }
    })
}

/// Returns true if the key is encrypted (RFC 7468, section 11; RFC 1421, section 4.6.1.1).
fn is_encrypted(pem: &[u8]) -> bool {
    let has = |mark: &[u8]| pem.windows(mark.len()).any(|part| part == mark);
    has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_a_passphrase_is_told_from_none() {
        let wrong = |pem: &str| private_key(pem.as_bytes()).expect_err("no key");
        assert_eq!(wrong(""), "contains no private key");
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n\
                         -----END ENCRYPTED PRIVATE KEY-----\n";
        assert_eq!(wrong(encrypted), "contains an encrypted private key");
        assert_eq!(certificates(b"hunter2"), Err("contains no certificate"));
    }
}
