//! From an address to a QUIC connection, in the phases `connect` and `tls`.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, TransportConfig, VarInt,
    crypto::rustls::QuicClientConfig,
};
use rustls::ProtocolVersion;

use super::{
    causes,
    driver::{Collector, Driver},
    handshake::{Agreed, WatchedConfig},
    socket::MeasuredSocket,
};
use crate::{
    check::{Attempt, Fact, Failure, Phase, Reason, StepKind},
    net::{
        ErrorClassifier, Route, TlsTarget,
        tls::{HandshakeLog, cipher_suite_name, version_name},
    },
};

/// Bytes of a response that may come before they are read: as many as are parsed within a fraction of a
/// millisecond, if frames are short.
const WINDOW_BYTES: u32 = 512 << 10;

/// Number of streams that the peer may open at once. Three are needed (RFC 9114, section 6.2); others are for
/// extensions.
const MAX_PEER_STREAMS: u32 = 16;

/// Bytes of a handshake, with all certificates: as over TCP.
const MAX_HANDSHAKE_BYTES: usize = 64 << 10;

/// The part of the QUIC configuration that connections share.
pub(in crate::net::http) struct Quic(Arc<TransportConfig>);

impl Quic {
    pub(crate) fn new() -> Self {
        let mut transport = TransportConfig::default();
        transport
            // The deadline of the check ends it.
            .max_idle_timeout(None)
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(MAX_PEER_STREAMS))
            .stream_receive_window(VarInt::from_u32(WINDOW_BYTES))
            .receive_window(VarInt::from_u32(2 * WINDOW_BYTES))
            .crypto_buffer_size(MAX_HANDSHAKE_BYTES)
            .datagram_receive_buffer_size(None)
            .mtu_discovery_config(None)
            .enable_segmentation_offload(false);
        Self(Arc::new(transport))
    }

    /// A connection to `address` as `tls` says.
    ///
    /// The phase `connect` ends with the peer's first answer to the handshake, which the phase `tls` completes.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        route: Route,
        tls: &TlsTarget,
        attempt: &Attempt,
    ) -> Result<Connected, Failure> {
        attempt.step(StepKind::Connect, || match route.source {
            Some(source) => format!("to {address} over QUIC, from {source}"),
            None => format!("to {address} over QUIC"),
        });
        let log = HandshakeLog::new(attempt, tls.config.records_identity());
        let crypto = QuicClientConfig::try_from(tls.config.for_handshake(&log));
        let errors = ErrorClassifier::new(attempt).after_handshake(log);
        let socket = MeasuredSocket::open(address, route, errors.clone()).await;
        let socket = socket.map_err(|error| errors.failure(&error))?;
        let agreed = Arc::default();
        let crypto = crypto.map_err(|error| agent_error(attempt, &error))?;
        let mut config = ClientConfig::new(Arc::new(WatchedConfig {
            inner: Arc::new(crypto),
            attempt: attempt.clone(),
            socket: socket.clone(),
            agreed: Arc::clone(&agreed),
        }));
        config.transport_config(self.0.clone());
        let collector = Arc::new(Collector::default());
        let endpoint = Endpoint::new_with_abstract_socket(
            EndpointConfig::default(),
            None,
            socket.clone(),
            collector.clone(),
        );
        let endpoint = endpoint.map_err(|error| errors.failure(&error))?;
        attempt.step(StepKind::TlsOffer, || tls.offer());
        let connecting = endpoint.connect_with(config, address, &tls.server_name.to_str());
        let connecting = connecting.map_err(|error| agent_error(attempt, &error))?;
        let mut driver = Driver::new(collector, socket, endpoint);
        let connected = driver.drive(connecting).await;
        let connected = connected.map_err(|error| errors.failure(&error))?;
        let connection = connected.map_err(|error| {
            let cause = causes::of_connection(&error);
            if cause.is_tls {
                attempt.enter(Phase::Tls);
            }
            errors.failure_for(cause)
        })?;
        record(&agreed, attempt);
        Ok(Connected {
            connection,
            driver,
            errors,
        })
    }
}

/// A connection, and what drives it.
pub(in crate::net::http) struct Connected {
    pub(super) connection: quinn::Connection,
    pub(super) driver: Driver,
    pub(super) errors: ErrorClassifier,
}

/// Records the result of a handshake.
fn record(agreed: &Mutex<Option<Agreed>>, attempt: &Attempt) {
    let Some(agreed) = *agreed.lock() else { return };
    // QUIC has no other (RFC 9001, section 4.2).
    let version = version_name(ProtocolVersion::TLSv1_3);
    let cipher = cipher_suite_name(agreed.suite);
    attempt.step(StepKind::TlsAgreed, || {
        let group = agreed.group.and_then(|group| group.as_str());
        let group = group.unwrap_or("unknown");
        format!("{version}, {cipher}, group {group}, ALPN h3")
    });
    attempt.record(Fact::Tls { version, cipher });
}

fn agent_error(attempt: &Attempt, error: &dyn std::error::Error) -> Failure {
    attempt.failure(Reason::AgentError, error.to_string())
}
