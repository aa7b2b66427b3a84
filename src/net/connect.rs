//! Resolves a host and connects to it, each in its measured phase.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6},
    sync::Arc,
};

use nix::net::if_::if_nametoindex;
use parking_lot::RwLock;
use tokio::net::TcpSocket;

use super::{ErrorClassifier, MeasuredStream, Resolver, Route, TlsTarget, stream::Transport};
use crate::{
    check::{Attempt, Failure, Phase, Reason, StepKind},
    value::{AllowedTargets, Endpoint, ForbiddenTargets, Host},
};

/// Finds and connects to hosts.
#[derive(Clone)]
pub struct Connector {
    pub(super) resolver: Arc<Resolver>,
    /// Addresses that are not connected to; none for a peer that is not a target.
    pub(super) forbidden: Option<Arc<RwLock<ForbiddenTargets>>>,
    /// Targets that alone are connected to, if those are limited.
    pub(super) allowed: Option<AllowedTargets>,
}

impl Connector {
    /// A connection to `endpoint`, as [`Connector::connect`] has it, under TLS where `tls` is given.
    ///
    /// # Errors
    /// A [`Failure`] if there is none.
    pub(crate) async fn connect_with_tls(
        &self,
        tls: Option<&TlsTarget>,
        endpoint: &Endpoint,
        route: Route,
        attempt: &Attempt,
    ) -> Result<MeasuredStream, Failure> {
        let stream = self.connect(endpoint, route, attempt).await?;
        match tls {
            Some(tls) => stream.handshake(tls).await,
            None => Ok(stream),
        }
    }

    /// The address of `host` to check: a single one.
    ///
    /// Enters the phase `resolve` if it has to be looked up.
    ///
    /// # Errors
    /// A [`Failure`] if there is no such address.
    pub async fn resolve(
        &self,
        host: &Host,
        route: Route,
        attempt: &Attempt,
    ) -> Result<IpAddr, Failure> {
        let address = match host {
            Host::Address(address) => {
                route.ensure_allowed(*address)?;
                attempt.step(StepKind::Address, || format!("{address}, without a lookup"));
                *address
            }
            Host::Zoned(zoned) => {
                let address = zoned.address.into();
                route.ensure_allowed(address)?;
                attempt.step(StepKind::Address, || format!("{zoned}, without a lookup"));
                address
            }
            Host::Name(name) => {
                attempt.enter(Phase::Resolve);
                let resolve = self.resolver.resolve_told_to(name, route, attempt.steps());
                // In a box, so that checks of addresses have smaller futures.
                Box::pin(resolve).await?
            }
        };
        attempt.record_address(address);
        self.ensure_target_allowed(address)?;
        self.require_allowed(host, address)?;
        Ok(address)
    }

    /// The same for peers that the user names and that are not targets, such as a proxy: no address
    /// is forbidden.
    pub(super) fn unrestricted(&self) -> Self {
        Self {
            resolver: self.resolver.clone(),
            forbidden: None,
            allowed: None,
        }
    }

    /// The same for an address of a host that was found to be allowed.
    #[must_use]
    pub(crate) fn for_known_address(&self) -> Self {
        Self {
            allowed: None,
            ..self.clone()
        }
    }

    /// Fails if targets are limited, and `host`, which is asked for by a proxy, is none of them by its name.
    pub(super) fn require_allowed_name(&self, host: &Host) -> Result<(), Failure> {
        match host {
            Host::Name(_) => self.require_allowed(host, Ipv4Addr::UNSPECIFIED.into()),
            Host::Address(address) => self.require_allowed(host, *address),
            Host::Zoned(zoned) => self.require_allowed(host, zoned.address.into()),
        }
    }

    /// Fails if targets are limited, and neither `host` nor its `address` is one of them.
    fn require_allowed(&self, host: &Host, address: IpAddr) -> Result<(), Failure> {
        let Some(allowed) = &self.allowed else {
            return Ok(());
        };
        let has_name = matches!(host, Host::Name(name) if allowed.has_name(name));
        if has_name || allowed.has_address(address) {
            return Ok(());
        }
        let error = format!("{host} is not in probe.allowed_targets");
        Err(Failure::new(Phase::Resolve, Reason::TargetForbidden, error))
    }

    /// Fails if `forbid_targets` forbids to connect to `address`. All types of monitors that connect
    /// come by here, with the address that they are about to use.
    pub(super) fn ensure_target_allowed(&self, address: IpAddr) -> Result<(), Failure> {
        let Some(forbidden) = &self.forbidden else {
            return Ok(());
        };
        match forbidden.read().find(address) {
            None => Ok(()),
            Some(entry) => {
                let error = format!("{address} is forbidden as a target (forbid_targets: {entry})");
                Err(Failure::new(Phase::Resolve, Reason::TargetForbidden, error))
            }
        }
    }

    /// Every address of `name` that may be checked, at most `limit`, by the phase `resolve`.
    ///
    /// # Errors
    /// A [`Failure`] if there is none.
    pub async fn resolve_all(
        &self,
        name: &str,
        route: Route,
        limit: usize,
        attempt: &Attempt,
    ) -> Result<Vec<IpAddr>, Failure> {
        attempt.enter(Phase::Resolve);
        let resolve = self
            .resolver
            .resolve_all_told_to(name, route, attempt.steps());
        let mut addresses = resolve.await?;
        addresses.truncate(limit);
        Ok(addresses)
    }

    /// A TCP connection to `endpoint`, by the phases `resolve` and `connect`.
    ///
    /// # Errors
    /// A [`Failure`] if there is none.
    pub async fn connect(
        &self,
        endpoint: &Endpoint,
        route: Route,
        attempt: &Attempt,
    ) -> Result<MeasuredStream, Failure> {
        let stream = self.connect_for_one_write(endpoint, route, attempt).await?;
        stream.send_at_once()?;
        Ok(stream)
    }

    /// As [`Connector::connect`], for a peer that is sent one piece and then answers: without
    /// TCP_NODELAY, which changes nothing there and costs a system call.
    pub(super) async fn connect_for_one_write(
        &self,
        endpoint: &Endpoint,
        route: Route,
        attempt: &Attempt,
    ) -> Result<MeasuredStream, Failure> {
        let address = self.resolve(&endpoint.host, route, attempt).await?;
        attempt.enter(Phase::Connect);
        let address = with_zone(&endpoint.host, address, endpoint.port, attempt)?;
        attempt.step(StepKind::Connect, || match route.source {
            Some(source) => format!("to {address} over TCP, from {source}"),
            None => format!("to {address} over TCP"),
        });
        let errors = ErrorClassifier::new(attempt);
        let connect = async {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            if let Some(source) = route.source {
                socket.bind(SocketAddr::new(source, 0))?;
            }
            socket.connect(address).await
        };
        match connect.await {
            Ok(stream) => {
                attempt.step(StepKind::Connected, || match stream.local_addr() {
                    Ok(local) => format!("from {local}"),
                    Err(error) => error.to_string(),
                });
                Ok(MeasuredStream::new(Transport::Tcp(stream), errors))
            }
            Err(error) => Err(errors.failure(&error)),
        }
    }
}

/// The way to `port` at `address`, which is that of `host`: in its zone, if it has one.
///
/// # Errors
/// A [`Failure`] with `agent_error`, in the current phase, if this host has no such interface.
pub(crate) fn with_zone(
    host: &Host,
    address: IpAddr,
    port: u16,
    attempt: &Attempt,
) -> Result<SocketAddr, Failure> {
    let (Host::Zoned(zoned), IpAddr::V6(address)) = (host, address) else {
        return Ok(SocketAddr::new(address, port));
    };
    let zone = &zoned.zone;
    let index = zone
        .parse()
        .ok()
        .or_else(|| if_nametoindex(&**zone).ok())
        .ok_or_else(|| {
            let error = format!("this host has no network interface {zone:?}");
            attempt.failure(Reason::AgentError, error)
        })?;
    Ok(SocketAddrV6::new(address, port, 0, index).into())
}
