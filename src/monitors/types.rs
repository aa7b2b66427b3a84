//! The list of types, the enum of their settings, and the code by type.

use std::sync::Arc;

use super::{dns, grpc, http, icmp, tcp, tls, unix, websocket};
use crate::{
    check::Job,
    net::Net,
    value::{Fields, FromNode, Node, nearest},
};

/// Generates the enum of the settings and the code by type.
macro_rules! types {
    ($($variant:ident($module:ident),)+) => {
        /// The word of a type, as `type:` has it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Type {
            $(
                #[doc = concat!("`", stringify!($module), "`")]
                $variant,
            )+
        }

        /// Settings of a check, by type.
        #[derive(Clone, Debug)]
        pub enum Settings {
            $(
                #[doc = concat!("Of `type: ", stringify!($module), "`.")]
                $variant(Arc<$module::Settings>),
            )+
        }

        const TYPES: &str = concat!("one of " $(, stringify!($module),)", "+);

        impl Type {
            /// Every type.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($module),)+ }
            }

            /// Reads the keys that only this type has; `None` if a required one is missing.
            pub fn read(self, fields: &mut Fields<'_>) -> Option<Settings> {
                match self {
                    $(Self::$variant => {
                        Some(Settings::$variant(Arc::new($module::Settings::read(fields)?)))
                    })+
                }
            }
        }

        impl Settings {
            /// The monitor that checks as these settings say, under `name`.
            #[must_use]
            pub fn bind(&self, name: &str, net: &Net) -> Job {
                match self { $(Self::$variant(settings) => Job::new(name, settings.bind(net)),)+ }
            }
        }
    };
}

types! {
    Dns(dns),
    Grpc(grpc),
    Http(http),
    Icmp(icmp),
    Tcp(tcp),
    Tls(tls),
    Unix(unix),
    Websocket(websocket),
}

impl Type {
    /// Returns true if a check can send the identity of its trace to the target: its protocol has headers.
    #[must_use]
    pub(crate) const fn can_propagate(self) -> bool {
        matches!(self, Self::Grpc | Self::Http | Self::Websocket)
    }
}

impl FromNode for Type {
    const EXPECTED: &'static str = TYPES;

    fn from_node(node: &Node) -> Result<Self, String> {
        let word = String::from_node(node)?;
        let known = Self::ALL
            .iter()
            .copied()
            .find(|known| known.as_str() == word);
        known.ok_or_else(|| match meant(&word) {
            Some(near) => format!("unknown monitor type {word:?}, did you mean {near}?"),
            None => format!("unknown monitor type {word:?}"),
        })
    }
}

/// The type that `word` seems to mean: another name of it, or a protocol that a type speaks.
fn meant(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    Some(match &*word {
        "ping" | "icmp4" | "icmp6" => "icmp",
        "https" | "url" | "web" | "website" => "http",
        "smtp" | "imap" | "pop3" | "ftp" | "ldap" | "postgres" | "postgresql" | "mysql"
        | "mariadb" => "tcp with starttls",
        "port" | "redis" | "ssh" => "tcp",
        "ssl" | "certificate" | "cert" => "tls",
        "ws" | "wss" => "websocket",
        "socket" => "unix",
        "domain" | "nameserver" => "dns",
        _ => {
            return nearest(
                &word,
                &Type::ALL
                    .iter()
                    .map(|known| known.as_str())
                    .collect::<Vec<_>>(),
            );
        }
    })
}
