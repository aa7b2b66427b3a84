//! Encodings of a body (RFC 9110, section 8.4): undone piece by piece, within a limit.

use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderValue;

use crate::value::{FromNode, Node};

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 1951, in the wrapping of RFC 1950 or without.
    Deflate,
    /// Not at all.
    Identity,
}

impl Encoding {
    /// Its name in Accept-Encoding.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Deflate => "deflate",
            Self::Identity => "identity",
        }
    }

    /// Whether a server that is told `accepted` may send it: the first that names it, or all, in the
    /// order of their weights, says so, as blackbox_exporter has it.
    pub(super) fn is_accepted_by(self, accepted: &HeaderValue) -> bool {
        let Ok(accepted) = accepted.to_str() else {
            return false;
        };
        if accepted.trim().is_empty() {
            return true;
        }
        let mut codings: Vec<_> = accepted.split(',').map(weighed).collect();
        codings.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let mut codings = codings.into_iter();
        codings
            .find(|(name, _)| name.eq_ignore_ascii_case(self.as_str()) || *name == "*")
            .is_some_and(|(_, weight)| weight > 0.0)
    }
}

/// A coding and its weight (RFC 9110, section 12.4.2).
fn weighed(coding: &str) -> (&str, f64) {
    let (name, rest) = coding.split_once(';').unwrap_or((coding, ""));
    let weight = match rest.trim().split_once('=') {
        None if rest.trim().is_empty() => 1.0,
        Some((name, weight)) if name.trim().eq_ignore_ascii_case("q") => {
            weight.trim().parse().unwrap_or(0.0)
        }
        _ => 0.0,
    };
    (name.trim(), weight)
}

impl FromNode for Encoding {
    const ALLOWED: &'static str = "gzip, br, deflate or identity";

    fn from_node(node: &Node) -> Result<Self, String> {
        let word = String::from_node(node)?;
        let all = [Self::Gzip, Self::Brotli, Self::Deflate, Self::Identity];
        let known = all.into_iter().find(|known| known.as_str() == word);
        known.ok_or_else(|| format!("{word:?} is no encoding"))
    }
}

/// What is wrong with an encoded body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Undecodable {
    /// It is longer than the limit when it is decoded.
    TooLarge,
    /// It is not in its encoding.
    Broken,
}

/// Undoes an encoding.
pub(super) struct Decoder(State);

enum State {
    /// Until the first bytes tell how deflate is wrapped.
    Unknown(Sink, Vec<u8>),
    Gzip(MultiGzDecoder<Sink>),
    Zlib(ZlibDecoder<Sink>),
    Deflate(DeflateDecoder<Sink>),
    Brotli(Box<DecompressorWriter<Sink>>),
    Over,
}

/// Where decoded bytes go: kept if somebody wants them, counted, and refused past a limit.
pub(super) struct Sink {
    pub kept: Option<Vec<u8>>,
    pub limit: Option<u64>,
    pub length: u64,
}

impl Sink {
    fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.length > limit)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.length += bytes.len() as u64;
        if self.is_full() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What brotli decodes at once.
const BUFFER: usize = 16 << 10;

impl Decoder {
    pub fn new(encoding: Encoding, sink: Sink) -> Self {
        Self(match encoding {
            Encoding::Gzip => State::Gzip(MultiGzDecoder::new(sink)),
            Encoding::Brotli => State::Brotli(Box::new(DecompressorWriter::new(sink, BUFFER))),
            Encoding::Deflate | Encoding::Identity => State::Unknown(sink, Vec::new()),
        })
    }

    /// Decodes `bytes`, which come next.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Undecodable> {
        if let State::Unknown(_, first) = &mut self.0 {
            first.extend_from_slice(bytes);
            if first.len() < 2 {
                return Ok(());
            }
            return self.begin();
        }
        let written = match &mut self.0 {
            State::Gzip(decoder) => decoder.write_all(bytes),
            State::Zlib(decoder) => decoder.write_all(bytes),
            State::Deflate(decoder) => decoder.write_all(bytes),
            State::Brotli(decoder) => decoder.write_all(bytes),
            State::Unknown(..) | State::Over => Ok(()),
        };
        written.map_err(|error| self.judge(&error))
    }

    /// Tells from the first two bytes whether they are those of RFC 1950, section 2.2.
    fn begin(&mut self) -> Result<(), Undecodable> {
        let State::Unknown(sink, first) = std::mem::replace(&mut self.0, State::Over) else {
            return Ok(());
        };
        let wrapped = match first[..] {
            [method, flags, ..] => {
                method & 0x0f == 8 && u16::from_be_bytes([method, flags]).is_multiple_of(31)
            }
            _ => false,
        };
        self.0 = if wrapped {
            State::Zlib(ZlibDecoder::new(sink))
        } else {
            State::Deflate(DeflateDecoder::new(sink))
        };
        self.write(&first)
    }

    /// The decoded body, after its last bytes.
    pub fn finish(mut self) -> Result<Sink, Undecodable> {
        if matches!(self.0, State::Unknown(..)) {
            self.begin()?;
        }
        let finished = match std::mem::replace(&mut self.0, State::Over) {
            State::Gzip(decoder) => decoder.finish(),
            State::Zlib(decoder) => decoder.finish(),
            State::Deflate(decoder) => decoder.finish(),
            State::Brotli(decoder) => decoder.into_inner().map_err(|sink| {
                if sink.is_full() {
                    io::ErrorKind::FileTooLarge.into()
                } else {
                    io::ErrorKind::InvalidData.into()
                }
            }),
            State::Unknown(..) | State::Over => Err(io::ErrorKind::InvalidData.into()),
        };
        finished.map_err(|error| self.judge(&error))
    }

    /// Bytes decoded so far.
    pub fn length(&self) -> u64 {
        match &self.0 {
            State::Unknown(sink, _) => sink.length,
            State::Gzip(decoder) => decoder.get_ref().length,
            State::Zlib(decoder) => decoder.get_ref().length,
            State::Deflate(decoder) => decoder.get_ref().length,
            State::Brotli(decoder) => decoder.get_ref().length,
            State::Over => 0,
        }
    }

    /// A library that tries again what has failed must not write on.
    fn judge(&mut self, error: &io::Error) -> Undecodable {
        self.0 = State::Over;
        match error.kind() {
            io::ErrorKind::FileTooLarge => Undecodable::TooLarge,
            _ => Undecodable::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use proptest::prelude::*;

    use super::*;

    /// `hello ` twenty times, and 4 MiB of zeros.
    const BROTLI: &str = "1b7700f88d946ede445586966c206f115b1c80c501";
    const BROTLI_BOMB: &str = "9bffff3ff82700e2b14020f7fe07";

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).expect("two digits");
            u8::from_str_radix(pair, 16).expect("two digits")
        };
        digits.chunks(2).map(byte).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("room in memory");
        encoder.finish().expect("room in memory")
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("room in memory");
        encoder.finish().expect("room in memory")
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("room in memory");
        encoder.finish().expect("room in memory")
    }

    fn decode(
        encoding: Encoding,
        bytes: &[u8],
        piece: usize,
        limit: Option<u64>,
    ) -> Result<Vec<u8>, Undecodable> {
        let sink = Sink {
            kept: Some(Vec::new()),
            limit,
            length: 0,
        };
        let mut decoder = Decoder::new(encoding, sink);
        for piece in bytes.chunks(piece) {
            decoder.write(piece)?;
        }
        Ok(decoder.finish()?.kept.expect("it was to be kept"))
    }

    fn samples() -> [(Encoding, Vec<u8>); 4] {
        let text = "hello ".repeat(20);
        [
            (Encoding::Gzip, gzip(text.as_bytes())),
            (Encoding::Deflate, zlib(text.as_bytes())),
            (Encoding::Deflate, deflate(text.as_bytes())),
            (Encoding::Brotli, hex(BROTLI)),
        ]
    }

    #[test]
    fn each_encoding_is_undone_whichever_way_it_comes() {
        let text = "hello ".repeat(20).into_bytes();
        for (encoding, encoded) in samples() {
            for piece in [1, 2, 3, 1000] {
                let decoded = decode(encoding, &encoded, piece, None);
                assert_eq!(decoded.as_ref(), Ok(&text), "{encoding:?} {piece}");
            }
        }
        let twice = [gzip(b"a"), gzip(b"b")].concat();
        assert_eq!(decode(Encoding::Gzip, &twice, 7, None), Ok(b"ab".to_vec()));
    }

    #[test]
    fn what_is_cut_off_or_goes_on_is_broken() {
        for (encoding, encoded) in samples() {
            for length in 0..encoded.len() {
                let decoded = decode(encoding, &encoded[..length], 1000, None);
                assert_eq!(decoded, Err(Undecodable::Broken), "{encoding:?} {length}");
            }
            for piece in [1, 1000] {
                let longer = [&encoded[..], b"tail"].concat();
                let decoded = decode(encoding, &longer, piece, None);
                assert_eq!(decoded, Err(Undecodable::Broken), "{encoding:?} {piece}");
            }
            for plain in ["hello", "<html>", "{}"] {
                let decoded = decode(encoding, plain.as_bytes(), 1000, None);
                assert_eq!(decoded, Err(Undecodable::Broken), "{encoding:?} {plain}");
            }
        }
    }

    #[test]
    fn a_bomb_is_not_decoded_past_the_limit() {
        const LIMIT: u64 = 1 << 18;
        let zeros = vec![0; 4 << 20];
        let bombs = [
            (Encoding::Gzip, gzip(&zeros)),
            (Encoding::Deflate, zlib(&zeros)),
            (Encoding::Deflate, deflate(&zeros)),
            (Encoding::Brotli, hex(BROTLI_BOMB)),
        ];
        for (encoding, bomb) in bombs {
            let sink = Sink {
                kept: None,
                limit: Some(LIMIT),
                length: 0,
            };
            let mut decoder = Decoder::new(encoding, sink);
            let mut pieces = bomb.chunks(DECODED_AT_ONCE);
            let stopped = pieces.try_for_each(|piece| decoder.write(piece));
            let stopped = stopped.and_then(|()| decoder.finish().map(|_| ()));
            assert_eq!(stopped, Err(Undecodable::TooLarge), "{encoding:?}");
            let whole = decode(encoding, &bomb, DECODED_AT_ONCE, None);
            assert_eq!(whole.map(|whole| whole.len()), Ok(4 << 20), "{encoding:?}");
        }
    }

    const DECODED_AT_ONCE: usize = 4096;

    #[test]
    fn what_a_header_accepts_is_what_blackbox_exporter_thinks() {
        for (header, gzip, brotli) in [
            ("", true, true),
            ("gzip", true, false),
            ("GZIP", true, false),
            ("br, gzip", true, true),
            ("*", true, true),
            ("*;q=0.0", false, false),
            ("gzip;q=0, *", true, true),
            ("gzip;q=0", false, false),
            ("gzip;q=0, *;q=0.5", true, true),
            ("gzip;q=0.5, br;q=x", true, false),
            ("deflate", false, false),
            ("gzip ; q=1", true, false),
            ("gzip;level=1", false, false),
        ] {
            let value = HeaderValue::from_static(header);
            let found = [Encoding::Gzip, Encoding::Brotli].map(|e| e.is_accepted_by(&value));
            assert_eq!(found, [gzip, brotli], "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_not(bytes in any::<Vec<u8>>(), cut in 0_usize..40) {
            for (encoding, sample) in samples() {
                let _ = decode(encoding, &bytes, 100, Some(1 << 16));
                let mixed = [&sample[..cut.min(sample.len())], &bytes[..]].concat();
                let _ = decode(encoding, &mixed, 100, Some(1 << 16));
            }
        }
    }
}
