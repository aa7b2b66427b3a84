//! gzip, for clients that accept it.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, header::ACCEPT_ENCODING};

use crate::value::weighted_codings;

/// Returns whether the client accepts gzip (RFC 9110, section 12.5.3): by name or by `*`, with a weight
/// above 0.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut by_star = false;
    for value in headers.get_all(ACCEPT_ENCODING) {
        for (coding, weight) in weighted_codings(value.to_str().unwrap_or_default()) {
            let wanted = weight > 0.0;
            match coding {
                coding if coding.eq_ignore_ascii_case("gzip") => return wanted,
                "*" => by_star = wanted,
                _ => {}
            }
        }
    }
    by_star
}

pub(super) fn compress(page: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for piece in page {
        encoder.write_all(&piece).expect("a Vec takes all bytes");
    }
    encoder.finish().expect("a Vec takes all bytes")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(accept: &'static str, expected: bool) {
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(accept))]);
        assert_eq!(accepts_gzip(&headers), expected, "{accept:?}");
    }

    #[test]
    fn gzip_is_sent_to_clients_that_accept_it() {
        for accept in [
            "gzip",
            "deflate, GZIP;q=0.5",
            "*",
            "br;q=0, *;q=0.1",
            "gzip; q=1.0",
            "gzip;Q=1",
        ] {
            check(accept, true);
        }
        for accept in [
            "",
            "identity",
            "gzip;q=0",
            "*, gzip;q=0",
            "*;q=0",
            "gzip;q=x",
            "xgzip",
        ] {
            check(accept, false);
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
