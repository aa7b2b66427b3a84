//! TLS for monitors: full handshakes that record the certificates even if they are rejected.

mod authorities;
mod candidates;
mod chain;
mod expiry;
mod handshake;
mod leaf;
mod peer_certificates;
mod reasons;
mod settings;
mod trust;
mod verifier;

pub(crate) use authorities::Authorities;
pub(crate) use expiry::MinCertificateValidity;
pub(super) use handshake::{HandshakeLog, cipher_suite_name, version_name};
pub(super) use reasons::{describe, reason};
pub(crate) use settings::Settings;
pub(super) use trust::TlsConfig;
pub use trust::TrustStore;
