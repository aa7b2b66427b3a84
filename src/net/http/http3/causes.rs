//! From errors of QUIC and HTTP/3 to causes. What a peer says in words is left out: it may repeat the request.

use h3::error::{Code, ConnectionError, LocalError, StreamError};
use quinn::TransportErrorCode;
use quinn_proto::TransportError;
use rustls::AlertDescription;

use crate::{
    check::Reason,
    net::{errors::RootCause, tls},
};

/// The cause of a QUIC connection's end.
pub(super) fn of_connection(error: &quinn::ConnectionError) -> RootCause {
    use quinn::ConnectionError as Error;
    match error {
        Error::VersionMismatch => RootCause::new_for(
            Reason::ProtocolError,
            "the peer does not speak QUIC version 1",
        ),
        Error::TransportError(error) => of_transport(error),
        Error::ConnectionClosed(close) => of_close(close.error_code),
        Error::ApplicationClosed(close) => {
            let code = Code::from(close.error_code.into_inner());
            let text = format!("the peer closed the HTTP/3 connection: {code}");
            RootCause::new_for(Reason::ConnectionReset, text)
        }
        Error::Reset => RootCause::new_for(
            Reason::ConnectionReset,
            "the peer does not know the QUIC connection any more",
        ),
        Error::TimedOut => RootCause::new_for(
            Reason::Timeout,
            "nothing came for as long as the peer keeps a QUIC connection",
        ),
        Error::LocallyClosed | Error::CidsExhausted => {
            RootCause::new_for(Reason::ProtocolError, "the QUIC connection was closed")
        }
    }
}

/// The cause of an error that this end found.
fn of_transport(error: &TransportError) -> RootCause {
    if alert(error.code).is_some() {
        // The text is that of rustls.
        return RootCause {
            is_tls: true,
            ..RootCause::new_for(Reason::TlsHandshake, error.reason.clone())
        };
    }
    let text = format!("the peer violates QUIC: {:?}", error.code);
    RootCause::new_for(Reason::ProtocolError, text)
}

/// The cause of an error that the peer found.
fn of_close(code: TransportErrorCode) -> RootCause {
    if let Some(alert) = alert(code) {
        let error = rustls::Error::AlertReceived(alert);
        return RootCause {
            is_tls: true,
            ..RootCause::new_for(tls::reason(&error), tls::describe(&error))
        };
    }
    let reason = if code == TransportErrorCode::CONNECTION_REFUSED {
        Reason::ConnectionRefused
    } else {
        Reason::ConnectionReset
    };
    RootCause::new_for(
        reason,
        format!("the peer closed the QUIC connection: {code:?}"),
    )
}

/// The alert of TLS that `code` is (RFC 9001, section 4.8).
fn alert(code: TransportErrorCode) -> Option<AlertDescription> {
    let alert = u64::from(code).checked_sub(0x100)?;
    Some(u8::try_from(alert).ok()?.into())
}

/// The cause of a failed request, on a connection that is otherwise fine.
pub(super) fn of_stream(error: &StreamError) -> RootCause {
    match error {
        StreamError::HeaderTooBig { max_size, .. } => {
            let text = format!("headers of more than {max_size} bytes");
            RootCause::new_for(Reason::ProtocolError, text)
        }
        StreamError::RemoteTerminate { code, .. } => {
            let text = format!("the peer reset the HTTP/3 stream: {code}");
            RootCause::new_for(Reason::ConnectionReset, text)
        }
        StreamError::StreamError { code, .. } => RootCause::new_for(
            Reason::ProtocolError,
            format!("HTTP/3 stream error: {code}"),
        ),
        StreamError::RemoteClosing { .. } => RootCause::new_for(
            Reason::ConnectionReset,
            "the peer closes the HTTP/3 connection (GOAWAY)",
        ),
        StreamError::ConnectionError { 0: error, .. } => of_http3(error),
        // An error of a stream of ours.
        StreamError::Undefined { 0: error, .. } => RootCause::new(&**error),
        _ => RootCause::new_for(Reason::ConnectionFailed, "the HTTP/3 stream failed"),
    }
}

/// The cause of the end of HTTP/3 on a connection that is otherwise fine.
pub(super) fn of_http3(error: &ConnectionError) -> RootCause {
    match error {
        ConnectionError::Local {
            error: LocalError::Application { code, .. },
            ..
        } => RootCause::new_for(
            Reason::ProtocolError,
            format!("HTTP/3 connection error: {code}"),
        ),
        _ => RootCause::new_for(Reason::ConnectionFailed, "the HTTP/3 connection failed"),
    }
}
