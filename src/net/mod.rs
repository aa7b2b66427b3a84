//! Measured connections: what a monitor is given when it is bound to its target.
//!
//! Each step enters its phase on the check's attempt. Nothing here knows when or why a check runs.

mod connect;
mod conversation;
pub(crate) mod credentials;
pub mod dialogue;
mod exchange;
pub mod http;
pub mod icmp;
pub mod oauth2;
mod resolve;
mod route;
mod starttls;
pub mod tls;
mod udp;

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::pki_types::ServerName;

use crate::check::Reason;

pub use connect::{Connector, Judge, Stream, TlsClient, connect_unix};
pub use resolve::Resolver;
pub use route::Route;
pub use starttls::StartTls;
pub use udp::Datagrams;

/// What monitors share: the resolver, the trusted certificate authorities, the HTTP clients and the
/// sockets for ICMP.
pub struct Net {
    resolver: Arc<Resolver>,
    trust: tls::Trust,
    icmp: Arc<icmp::Sockets>,
    clients: Mutex<HashMap<ClientKey, http::Client>>,
    tokens: oauth2::Shared,
}

/// What tells clients apart that have no TLS of their own.
type ClientKey = (http::Versions, Option<IpAddr>, bool);

impl Net {
    /// The system's resolver and its certificate authorities.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Resolver::system(), tls::Trust::system())
    }

    /// A given resolver and given certificate authorities.
    #[must_use]
    pub fn new(resolver: Resolver, trust: tls::Trust) -> Self {
        Self {
            resolver: Arc::new(resolver),
            trust,
            icmp: Arc::default(),
            clients: Mutex::default(),
            tokens: oauth2::Shared::default(),
        }
    }

    /// What finds and connects to hosts.
    #[must_use]
    pub fn connector(&self) -> Connector {
        Connector(self.resolver.clone())
    }

    /// What asks name servers.
    #[must_use]
    pub fn resolver(&self) -> Arc<Resolver> {
        self.resolver.clone()
    }

    /// The sockets for echo requests, of which none is open until somebody asks for it.
    #[must_use]
    pub fn icmp(&self) -> Arc<icmp::Sockets> {
        self.icmp.clone()
    }

    /// TLS with these settings and a peer of this name, that offers `protocols` (ALPN, RFC 7301).
    #[must_use]
    pub fn tls_client(
        &self,
        settings: &tls::Settings,
        server_name: ServerName<'static>,
        protocols: &[&str],
    ) -> TlsClient {
        let mut config = self.trust.client_config(settings);
        let protocols = protocols.iter();
        config.alpn_protocols = protocols.map(|name| name.as_bytes().to_vec()).collect();
        TlsClient {
            config: Arc::new(config),
            server_name,
        }
    }

    /// A client for `profile`; all monitors with an equal one, and no TLS of their own, share it.
    #[must_use]
    pub fn http_client(&self, profile: http::Profile<'_>) -> http::Client {
        let build = || http::Client::new(&self.resolver, &self.trust, profile);
        if !profile.tls.is_default() {
            return build();
        }
        let key = (profile.versions, profile.source, profile.proxied);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.entry(key).or_insert_with(build).clone()
    }

    /// What has tokens for these settings; monitors with equal ones share them.
    #[must_use]
    pub fn tokens(&self, settings: &oauth2::Settings) -> Arc<oauth2::Tokens> {
        self.tokens
            .get(settings, || oauth2::Tokens::new(settings, self))
    }
}

/// The reason that an I/O error of a connection stands for.
fn io_reason(error: &io::Error) -> Reason {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => Reason::ConnectionRefused,
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::NotConnected
        | Kind::UnexpectedEof
        | Kind::WriteZero => Reason::ConnectionReset,
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => {
            Reason::HostUnreachable
        }
        Kind::TimedOut => Reason::Timeout,
        Kind::AddrNotAvailable | Kind::PermissionDenied | Kind::OutOfMemory => Reason::AgentError,
        _ => match error.raw_os_error() {
            Some(ENFILE | EMFILE | ENOBUFS | EAFNOSUPPORT) => Reason::AgentError,
            _ => Reason::ConnectionFailed,
        },
    }
}

// Linux's numbers (errno(3)) of errors for which std has no stable kind.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const EAFNOSUPPORT: i32 = 97;
const ENOBUFS: i32 = 105;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(errno: i32, expected: Reason) {
        assert_eq!(
            io_reason(&io::Error::from_raw_os_error(errno)),
            expected,
            "errno {errno}"
        );
    }

    #[test]
    fn what_we_lack_is_never_the_targets_fault() {
        const EPERM: i32 = 1;
        const ENOMEM: i32 = 12;
        const EACCES: i32 = 13;
        const EADDRNOTAVAIL: i32 = 99;
        for errno in [
            EPERM,
            ENOMEM,
            EACCES,
            EADDRNOTAVAIL,
            ENFILE,
            EMFILE,
            ENOBUFS,
            EAFNOSUPPORT,
        ] {
            check(errno, Reason::AgentError);
        }
    }

    #[test]
    fn what_the_network_says_has_its_reason() {
        const EIO: i32 = 5;
        const ENETUNREACH: i32 = 101;
        const ECONNRESET: i32 = 104;
        const ETIMEDOUT: i32 = 110;
        const ECONNREFUSED: i32 = 111;
        const EHOSTUNREACH: i32 = 113;
        check(ECONNREFUSED, Reason::ConnectionRefused);
        check(ECONNRESET, Reason::ConnectionReset);
        check(EHOSTUNREACH, Reason::HostUnreachable);
        check(ENETUNREACH, Reason::HostUnreachable);
        check(ETIMEDOUT, Reason::Timeout);
        check(EIO, Reason::ConnectionFailed);
    }
}
