//! Content codings of a body (RFC 9110, section 8.4), decoded in small steps within a limit.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use http::HeaderValue;

use super::segments::Segments;
use crate::{
    check::Steps,
    value::{FromNode, Node, weighted_codings},
};

/// The encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
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
    /// Every encoding.
    pub(super) const ALL: [Self; 4] = [Self::Gzip, Self::Brotli, Self::Deflate, Self::Identity];

    /// Its name in Accept-Encoding.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Deflate => "deflate",
            Self::Identity => "identity",
        }
    }

    /// The most memory that decoding takes, in bytes: a brotli decoder holds two windows of 16 MiB.
    pub(super) const fn max_memory(self) -> u64 {
        match self {
            Self::Brotli => 32 << 20,
            Self::Gzip | Self::Deflate => 64 << 10,
            Self::Identity => 0,
        }
    }

    /// Returns whether the header `accepted` allows it: the first range that names it, or all, in the
    /// order of their weights, decides, as in blackbox_exporter.
    pub(super) fn is_accepted_by(self, accepted: &HeaderValue) -> bool {
        let Ok(accepted) = accepted.to_str() else {
            return false;
        };
        if accepted.trim().is_empty() {
            return true;
        }
        let mut codings: Vec<_> = weighted_codings(accepted).collect();
        codings.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let mut codings = codings.into_iter();
        codings
            .find(|(name, _)| name.eq_ignore_ascii_case(self.as_str()) || *name == "*")
            .is_some_and(|(_, weight)| weight > 0.0)
    }
}

impl FromNode for Encoding {
    const EXPECTED: &'static str = "gzip, br, deflate or identity";

    fn from_node(node: &Node) -> Result<Self, String> {
        let word = String::from_node(node)?;
        let known = Self::ALL.into_iter().find(|known| known.as_str() == word);
        known.ok_or_else(|| format!("unknown encoding {word:?}"))
    }
}

/// The reason why a body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// It is longer than the limit when it is decoded.
    TooLarge,
    /// It ends in the middle of the encoded data.
    Truncated,
    /// It has no bytes at all.
    Empty,
    /// It is not in its encoding, or ends before that could be told.
    Malformed,
}

/// Bytes that one [step](Decoder::step) takes and makes at most.
const STEP_INPUT: usize = 4 << 10;
const STEP_OUTPUT: usize = 16 << 10;

/// Decodes a body in small steps, within a limit.
pub(super) struct Decoder {
    state: State,
    /// True if the encoded data is complete.
    ended: bool,
    output: Box<[u8]>,
    decoded: DecodedBody,
}

/// The decoded bytes: counted, and kept if they are needed.
pub(super) struct DecodedBody {
    pub kept: Option<Segments>,
    pub limit: Option<u64>,
    pub length: u64,
    /// Told how the decoded body begins.
    pub steps: Steps,
}

enum State {
    /// Deflate, until its first two bytes tell how it is wrapped.
    Unwrapped(Option<u8>),
    Gzip(Decompress),
    Deflate(Decompress),
    Brotli(Box<Brotli>),
}

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// The base-2 logarithm of the window of gzip and deflate: the largest of the formats.
const WINDOW_BITS: u8 = 15;

impl State {
    fn new(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Gzip => Self::Gzip(Decompress::new_gzip(WINDOW_BITS)),
            // Strict: a "large window" (no part of RFC 7932) can take 1 GiB of memory.
            Encoding::Brotli => Self::Brotli(Box::new(BrotliState::new_strict(
                StandardAlloc::default(),
                StandardAlloc::default(),
                StandardAlloc::default(),
            ))),
            Encoding::Deflate | Encoding::Identity => Self::Unwrapped(None),
        }
    }
}

impl Decoder {
    /// A decoder of `encoding` that keeps the decoded bytes if they are `kept`.
    pub(super) fn new(encoding: Encoding, decoded: DecodedBody) -> Self {
        Self {
            state: State::new(encoding),
            ended: false,
            output: vec![0; STEP_OUTPUT].into(),
            decoded,
        }
    }

    /// Returns whether one step can take longer than a worker thread may be kept: brotli fills its whole
    /// window, up to 16 MiB, before it gives anything away.
    pub(super) fn has_long_steps(&self) -> bool {
        matches!(self.state, State::Brotli(_))
    }

    /// Decodes the next part of `input`; returns whether there is more to decode.
    pub(super) fn step(&mut self, input: &mut &[u8]) -> Result<bool, DecodeError> {
        let Some(&first) = input.first() else {
            return if self.ended {
                Ok(false)
            } else {
                self.run(input)
            };
        };
        if self.ended {
            match self.state {
                // Another member (RFC 1952, section 2.2).
                State::Gzip(_) => self.state = State::new(Encoding::Gzip),
                _ => return Err(DecodeError::Malformed),
            }
            self.ended = false;
        }
        match self.state {
            State::Unwrapped(None) => {
                self.state = State::Unwrapped(Some(first));
                *input = &input[1..];
                Ok(!input.is_empty())
            }
            State::Unwrapped(Some(method)) => {
                // RFC 1950, section 2.2.
                let is_wrapped =
                    method & 0x0f == 8 && u16::from_be_bytes([method, first]).is_multiple_of(31);
                self.state = State::Deflate(Decompress::new(is_wrapped));
                self.run(&mut &[method][..])?;
                Ok(true)
            }
            _ => self.run(input),
        }
    }

    fn run(&mut self, input: &mut &[u8]) -> Result<bool, DecodeError> {
        let part = &input[..input.len().min(STEP_INPUT)];
        let (consumed, produced) = match &mut self.state {
            State::Unwrapped(_) => return Ok(false),
            State::Gzip(inflate) | State::Deflate(inflate) => {
                let before = (inflate.total_in(), inflate.total_out());
                let status = inflate.decompress(part, &mut self.output, FlushDecompress::None);
                self.ended = status.map_err(|_| DecodeError::Malformed)? == Status::StreamEnd;
                // At most the lengths of the two slices.
                let count = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
                let consumed = count(inflate.total_in() - before.0);
                (consumed, count(inflate.total_out() - before.1))
            }
            State::Brotli(state) => {
                let (mut left, mut consumed) = (part.len(), 0);
                let (mut room, mut produced) = (self.output.len(), 0);
                let result = BrotliDecompressStream(
                    &mut left,
                    &mut consumed,
                    part,
                    &mut room,
                    &mut produced,
                    &mut self.output,
                    &mut 0,
                    state,
                );
                match result {
                    BrotliResult::ResultSuccess => self.ended = true,
                    BrotliResult::ResultFailure => return Err(DecodeError::Malformed),
                    BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
                }
                (consumed, produced)
            }
        };
        *input = &input[consumed..];
        self.decoded.push(&self.output[..produced])?;
        let is_stuck = consumed == 0 && produced == 0;
        if self.ended {
            return Ok(!input.is_empty());
        }
        Ok(!is_stuck && (!input.is_empty() || produced == self.output.len()))
    }

    /// The decoded body, after its last bytes.
    pub(super) fn finish(self) -> Result<DecodedBody, DecodeError> {
        if self.ended {
            return Ok(self.decoded);
        }
        // Brotli, and deflate without a wrapping, have no signature: many a text begins like them.
        let is_recognized = matches!(self.state, State::Gzip(_)) || self.decoded.length > 0;
        Err(if is_recognized {
            DecodeError::Truncated
        } else {
            DecodeError::Malformed
        })
    }
}

impl DecodedBody {
    fn push(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        self.length += bytes.len() as u64;
        if self.limit.is_some_and(|limit| self.length > limit) {
            return Err(DecodeError::TooLarge);
        }
        self.steps.keep(bytes);
        if let Some(kept) = &mut self.kept {
            kept.push(bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

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
    ) -> Result<Vec<u8>, DecodeError> {
        let body = DecodedBody {
            kept: Some(Segments::default()),
            limit,
            length: 0,
            steps: Steps::none(),
        };
        let mut decoder = Decoder::new(encoding, body);
        for mut piece in bytes.chunks(piece) {
            while decoder.step(&mut piece)? {}
            assert!(piece.is_empty(), "{encoding:?} left {piece:?}");
        }
        Ok(decoder.finish()?.kept.expect("it was to be kept").join())
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
    fn every_encoding_is_decoded_in_any_chunks() {
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
    fn truncated_and_unencoded_bodies_are_distinguished() {
        for (encoding, encoded) in samples() {
            for length in 0..encoded.len() {
                let decoded = decode(encoding, &encoded[..length], 1000, None);
                let is_told = encoding == Encoding::Gzip;
                assert!(
                    decoded == Err(DecodeError::Truncated)
                        || !is_told && decoded == Err(DecodeError::Malformed),
                    "{encoding:?} {length} {decoded:?}"
                );
            }
            for piece in [1, 1000] {
                let longer = [&encoded[..], b"tail"].concat();
                let decoded = decode(encoding, &longer, piece, None);
                assert_eq!(decoded, Err(DecodeError::Malformed), "{encoding:?} {piece}");
            }
            for plain in ["hello", "<html>"] {
                let decoded = decode(encoding, plain.as_bytes(), 1000, None);
                assert_eq!(decoded, Err(DecodeError::Malformed), "{encoding:?} {plain}");
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
            let body = DecodedBody {
                kept: None,
                limit: Some(LIMIT),
                length: 0,
                steps: Steps::none(),
            };
            let mut decoder = Decoder::new(encoding, body);
            let mut input = &bomb[..];
            let stopped = loop {
                let before = decoder.decoded.length;
                match decoder.step(&mut input) {
                    Ok(more) => assert!(more, "{encoding:?} ended within the limit"),
                    Err(wrong) => break wrong,
                }
                assert!(decoder.decoded.length - before <= STEP_OUTPUT as u64);
            };
            assert_eq!(stopped, DecodeError::TooLarge, "{encoding:?}");
            let all = decode(encoding, &bomb, bomb.len(), None);
            assert_eq!(all.map(|all| all.len()), Ok(4 << 20), "{encoding:?}");
        }
    }

    #[test]
    fn a_large_window_of_brotli_is_refused() {
        // WBITS of 30 by an encoding that RFC 7932 reserves, and no data.
        let decoded = decode(Encoding::Brotli, &hex("11de"), 1000, None);
        assert_eq!(decoded, Err(DecodeError::Malformed));
    }

    #[test]
    fn accept_encoding_is_read_as_blackbox_exporter_does() {
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
        fn any_bytes_are_decoded_without_panic(bytes in any::<Vec<u8>>(), cut in 0_usize..40) {
            for (encoding, sample) in samples() {
                let _ = decode(encoding, &bytes, 100, Some(1 << 16));
                let mixed = [&sample[..cut.min(sample.len())], &bytes[..]].concat();
                let _ = decode(encoding, &mixed, 100, Some(1 << 16));
            }
        }
    }
}
