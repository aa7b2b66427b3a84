//! The messages of `grpc.health.v1.Health/Check`, their framing, and the statuses of calls
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use prost::Message;

use crate::check::{ServingStatus, grpc_code_name};

pub(super) const PATH: &str = "/grpc.health.v1.Health/Check";

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Bytes of the prefix of a message: a flag for compression, and the length.
const PREFIX: usize = 5;

/// The request for the health of `service`, framed.
pub(super) fn encode_request(service: &str) -> Bytes {
    let service = service.to_owned();
    let message = HealthCheckRequest { service }.encode_to_vec();
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("a configuration has a few MiB"));
    framed.extend_from_slice(&message);
    framed.freeze()
}

/// The status in `body`, of a call that ended well.
pub(super) fn decode_response(body: &[u8]) -> Result<ServingStatus, String> {
    let Some((prefix, message)) = body.split_first_chunk::<PREFIX>() else {
        return Err("the call ended with OK but without a response".to_owned());
    };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err("the response is compressed, which was not requested".to_owned());
    }
    if usize::try_from(u32::from_be_bytes(length)) != Ok(message.len()) {
        return Err("expected a response of one message".to_owned());
    }
    let message = HealthCheckResponse::decode(message)
        .map_err(|_| "expected a HealthCheckResponse".to_owned())?;
    match message.status {
        0 => Ok(ServingStatus::Unknown),
        1 => Ok(ServingStatus::Serving),
        2 => Ok(ServingStatus::NotServing),
        3 => Ok(ServingStatus::ServiceUnknown),
        other => Err(format!("unknown serving status {other}")),
    }
}

/// The status code of a call (<https://grpc.io/docs/guides/status-codes/>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub u32);

impl Code {
    pub(super) const OK: Self = Self(0);
    pub(super) const NOT_FOUND: Self = Self(5);
    pub(super) const UNIMPLEMENTED: Self = Self(12);
    pub(super) const UNAVAILABLE: Self = Self(14);
    const CANCELLED: Self = Self(1);
    const UNKNOWN: Self = Self(2);
    const PERMISSION_DENIED: Self = Self(7);
    const RESOURCE_EXHAUSTED: Self = Self(8);
    const INTERNAL: Self = Self(13);
    const UNAUTHENTICATED: Self = Self(16);

    /// The status in `trailers`, if they have one.
    pub(super) fn from_trailers(trailers: &HeaderMap) -> Result<Option<Self>, &'static str> {
        let Some(code) = trailers.get("grpc-status") else {
            return Ok(None);
        };
        let code = code.to_str().ok().and_then(|code| code.parse().ok());
        code.map(|code| Some(Self(code)))
            .ok_or("invalid grpc-status, expected a number")
    }

    /// The code for a response without `grpc-status`
    /// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
    pub(super) fn from_http_status(status: StatusCode) -> Self {
        match status.as_u16() {
            400 | 431 => Self::INTERNAL,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::UNIMPLEMENTED,
            429 | 502 | 503 | 504 => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }

    /// The code for a stream that was reset with `reason`, if there is one
    /// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#errors>).
    pub(super) fn from_reset(reason: h2::Reason) -> Option<Self> {
        Some(match reason {
            h2::Reason::STREAM_CLOSED | h2::Reason::HTTP_1_1_REQUIRED => return None,
            h2::Reason::REFUSED_STREAM => Self::UNAVAILABLE,
            h2::Reason::CANCEL => Self::CANCELLED,
            h2::Reason::ENHANCE_YOUR_CALM => Self::RESOURCE_EXHAUSTED,
            h2::Reason::INADEQUATE_SECURITY => Self::PERMISSION_DENIED,
            _ => Self::INTERNAL,
        })
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match grpc_code_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "status {}", self.0),
        }
    }
}

/// The text that the server sent with the status, as it may be shown.
///
/// A server may echo the request: a text with a word of `secrets` in it, plain or in base64,
/// is left out.
pub(super) fn status_message<'s>(
    trailers: &HeaderMap,
    secrets: impl IntoIterator<Item = &'s str>,
) -> String {
    const MAX_CHARS: usize = 100;
    let Some(message) = trailers.get("grpc-message") else {
        return String::new();
    };
    let message = percent_encoding::percent_decode(message.as_bytes()).decode_utf8_lossy();
    let repeats = |secret: &str| {
        let encoded = BASE64_STANDARD_NO_PAD.encode(secret);
        (!encoded.is_empty() && message.contains(&encoded))
            || secret.split_whitespace().any(|word| message.contains(word))
    };
    if message.is_empty() || secrets.into_iter().any(repeats) {
        return String::new();
    }
    let shown: String = message.chars().take(MAX_CHARS).collect();
    format!(": {shown:?}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(body: &[u8], expected: Result<ServingStatus, &str>) {
        let found = decode_response(body);
        assert_eq!(
            found.as_ref().map_err(String::as_str),
            expected.as_ref().map_err(|e| *e)
        );
    }

    #[test]
    fn a_request_is_framed_as_grpc_requires() {
        assert_eq!(&encode_request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&encode_request("db")[..], b"\0\0\0\0\x04\x0a\x02db");
    }

    #[test]
    fn a_response_is_one_uncompressed_message() {
        check(b"\0\0\0\0\x02\x08\x01", Ok(ServingStatus::Serving));
        check(b"\0\0\0\0\x02\x08\x02", Ok(ServingStatus::NotServing));
        check(b"\0\0\0\0\x02\x08\x03", Ok(ServingStatus::ServiceUnknown));
        // A field that has its default is not sent.
        check(b"\0\0\0\0\0", Ok(ServingStatus::Unknown));
        // A field that we do not know.
        check(b"\0\0\0\0\x04\x08\x01\x10\x01", Ok(ServingStatus::Serving));
        check(b"\0\0\0\0\x02\x08\x07", Err("unknown serving status 7"));
        let missing = "the call ended with OK but without a response";
        check(b"", Err(missing));
        check(b"\0\0\0\0", Err(missing));
        let compressed = "the response is compressed, which was not requested";
        check(b"\x01\0\0\0\x02\x08\x01", Err(compressed));
        let torn = "expected a response of one message";
        check(b"\0\0\0\0\x02\x08", Err(torn));
        check(b"\0\0\0\0\x02\x08\x01\0\0\0\0\0", Err(torn));
        check(b"\0\xff\xff\xff\xff\x08\x01", Err(torn));
        let foreign = "expected a HealthCheckResponse";
        check(b"\0\0\0\0\x01\x08", Err(foreign));
        check(b"\0\0\0\0\x03\x0a\x01x", Err(foreign));
    }

    #[test]
    fn the_status_message_is_bounded_and_hides_secrets() {
        let trailers = |message: &str| {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-message", message.parse().expect("a header"));
            trailers
        };
        let shown = |message: &str| status_message(&trailers(message), ["Bearer hunter2", ""]);
        assert_eq!(shown("gone%20away %E2%82%AC%0A"), r#": "gone away €\n""#);
        assert_eq!(shown("%ff%zz%"), ": \"\u{fffd}%zz%\"");
        assert_eq!(shown("no such token: hunter2"), "");
        assert_eq!(shown("no such token: %68unter2"), "");
        assert_eq!(shown(""), "");
        assert_eq!(status_message(&HeaderMap::new(), []), "");
        assert_eq!(shown(&"x".repeat(5000)).len(), 104);
    }

    #[test]
    fn codes_have_the_names_of_the_protocol() {
        assert_eq!(Code::NOT_FOUND.to_string(), "NOT_FOUND");
        assert_eq!(Code::UNIMPLEMENTED.to_string(), "UNIMPLEMENTED");
        assert_eq!(Code::UNAVAILABLE.to_string(), "UNAVAILABLE");
        assert_eq!(Code(16).to_string(), "UNAUTHENTICATED");
        assert_eq!(Code(17).to_string(), "status 17");
        assert_eq!(Code(u32::MAX).to_string(), "status 4294967295");
    }

    #[test]
    fn resets_and_http_statuses_map_to_grpc_statuses() {
        for (http, code) in [
            (400, 13),
            (431, 13),
            (429, 14),
            (504, 14),
            (200, 2),
            (499, 2),
        ] {
            let http = StatusCode::from_u16(http).expect("a status code");
            assert_eq!(Code::from_http_status(http).0, code, "{http}");
        }
        for (reason, code) in [
            (0, Some(13)),
            (1, Some(13)),
            (2, Some(13)),
            (3, Some(13)),
            (4, Some(13)),
            (5, None),
            (6, Some(13)),
            (7, Some(14)),
            (8, Some(1)),
            (9, Some(13)),
            (10, Some(13)),
            (11, Some(8)),
            (12, Some(7)),
        ] {
            let found = Code::from_reset(h2::Reason::from(reason));
            assert_eq!(found.map(|code| code.0), code, "{reason}");
        }
    }

    #[test]
    fn a_status_is_a_number() {
        let of = |value: &str| {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", value.parse().expect("a header"));
            Code::from_trailers(&trailers)
        };
        assert_eq!(Code::from_trailers(&HeaderMap::new()), Ok(None));
        assert_eq!(of("5"), Ok(Some(Code::NOT_FOUND)));
        for value in ["", "-1", "OK", "4294967296"] {
            assert!(of(value).is_err(), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_response(&body);
            let length = u8::try_from(body.len()).expect("few bytes");
            let _ = decode_response(&[&[0, 0, 0, 0, length], &*body].concat());
        }
    }
}
