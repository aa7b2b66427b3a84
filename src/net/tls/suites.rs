//! Tells which cipher suite a handshake agreed on.
//!
//! reqwest does not pass on what its connection negotiated. Its rustls configuration is ours,
//! though, and so are the suites in it: each suite's AEAD reports its suite when it makes keys.

use rustls::{
    ConnectionTrafficSecrets, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite,
    crypto::{
        CryptoProvider, aws_lc_rs,
        cipher::{
            AeadKey, Iv, KeyBlockShape, MessageDecrypter, MessageEncrypter, Tls12AeadAlgorithm,
            Tls13AeadAlgorithm, UnsupportedOperationError,
        },
    },
};

use crate::{check::Fact, net::exchange::Exchange};

/// The aws-lc-rs provider, whose suites tell the check that they were chosen.
///
/// rustls takes suites by static reference only; the few hundred bytes of each are made once for
/// every [`Trust`](super::Trust) and kept for good.
pub(super) fn witnessed_provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    for suite in &mut provider.cipher_suites {
        *suite = witnessed(*suite);
    }
    provider
}

fn witnessed(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let name = iana_name(suite);
    match suite {
        SupportedCipherSuite::Tls13(suite) => {
            let aead = Witness {
                aead: suite.aead_alg,
                version: "TLS 1.3",
                cipher: name,
            };
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: rustls::crypto::CipherSuiteCommon { ..suite.common },
                aead_alg: Box::leak(Box::new(aead)),
                ..*suite
            })))
        }
        SupportedCipherSuite::Tls12(suite) => {
            let aead = Witness {
                aead: suite.aead_alg,
                version: "TLS 1.2",
                cipher: name,
            };
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: rustls::crypto::CipherSuiteCommon { ..suite.common },
                aead_alg: Box::leak(Box::new(aead)),
                ..*suite
            })))
        }
    }
}

/// The suite's name in IANA's TLS registry, such as `TLS_AES_128_GCM_SHA256`.
fn iana_name(suite: SupportedCipherSuite) -> &'static str {
    let name = suite.suite().as_str().unwrap_or("unknown");
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}").leak(),
        None => name,
    }
}

struct Witness<A: ?Sized + 'static> {
    aead: &'static A,
    version: &'static str,
    cipher: &'static str,
}

impl<A: ?Sized> Witness<A> {
    fn testify(&self) {
        let fact = Fact::Tls {
            version: self.version,
            cipher: self.cipher,
        };
        Exchange::current(|exchange| exchange.attempt.learn(fact.clone()));
    }
}

impl Tls13AeadAlgorithm for Witness<dyn Tls13AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        self.testify();
        self.aead.encrypter(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.aead.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.aead.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.aead.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.aead.fips()
    }
}

impl Tls12AeadAlgorithm for Witness<dyn Tls12AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        self.testify();
        self.aead.encrypter(key, iv, extra)
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        self.aead.decrypter(key, iv)
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        self.aead.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.aead.extract_keys(key, iv, explicit)
    }

    fn fips(&self) -> bool {
        self.aead.fips()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_the_names_of_the_registry() {
        let names: Vec<_> = witnessed_provider()
            .cipher_suites
            .into_iter()
            .map(iana_name)
            .collect();
        assert!(names.contains(&"TLS_AES_128_GCM_SHA256"), "{names:?}");
        assert!(
            names.contains(&"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            "{names:?}"
        );
        assert!(
            !names
                .iter()
                .any(|name| name.starts_with("TLS13_") || *name == "unknown")
        );
    }
}
