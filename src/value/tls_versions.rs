//! TLS versions: `min_version` and `max_version`, named as in Prometheus.

use rustls::{SupportedProtocolVersion, version};

use super::{Fields, FromNode, Node};

/// A TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl FromNode for TlsVersion {
    const EXPECTED: &'static str = "TLS12 or TLS13";

    fn from_node(node: &Node) -> Result<Self, String> {
        match String::from_node(node)?.as_str() {
            "TLS12" => Ok(Self::Tls12),
            "TLS13" => Ok(Self::Tls13),
            old @ ("TLS10" | "TLS11") => Err(format!("{old} is no longer supported")),
            other => Err(format!("unknown TLS version {other:?}")),
        }
    }
}

/// A range of TLS versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsVersions {
    /// The lowest version.
    pub min: TlsVersion,
    /// The highest version.
    pub max: TlsVersion,
}

impl Default for TlsVersions {
    fn default() -> Self {
        Self {
            min: TlsVersion::Tls12,
            max: TlsVersion::Tls13,
        }
    }
}

impl TlsVersions {
    /// Reads `min_version` and `max_version`.
    #[must_use]
    pub fn read(fields: &mut Fields<'_>) -> Self {
        let defaults = Self::default();
        let versions = Self {
            min: fields.optional("min_version").unwrap_or(defaults.min),
            max: fields.optional("max_version").unwrap_or(defaults.max),
        };
        if versions.max < versions.min {
            let wrong = "lower than min_version";
            fields.add_value_problem("max_version", wrong, "min_version or higher");
        }
        versions
    }

    /// The versions as rustls' type.
    #[must_use]
    pub fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        static TLS12: [&SupportedProtocolVersion; 1] = [&version::TLS12];
        static TLS13: [&SupportedProtocolVersion; 1] = [&version::TLS13];
        match (self.min, self.max) {
            (_, TlsVersion::Tls12) => &TLS12,
            (TlsVersion::Tls12, TlsVersion::Tls13) => rustls::ALL_VERSIONS,
            (TlsVersion::Tls13, TlsVersion::Tls13) => &TLS13,
        }
    }
}
