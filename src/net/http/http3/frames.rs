//! The frames of a response before h3 sees them, which takes an empty DATA frame for the end of the body, and may take
//! a stream that ends within a DATA frame for a whole one.

use bytes::{Buf, Bytes, BytesMut};

/// The type of a DATA frame (RFC 9114, section 7.2.1).
const DATA: u64 = 0;

/// Leaves out empty DATA frames, and knows where frames end.
#[derive(Default)]
pub(super) struct FrameFilter {
    /// The beginning of the next frame, until its type and its length are known.
    header: Vec<u8>,
    /// Bytes that are left of the current frame.
    payload: u64,
}

impl FrameFilter {
    /// The part of `chunk` that h3 may see.
    pub(super) fn filter(&mut self, mut chunk: Bytes) -> Bytes {
        if chunk.len() as u64 <= self.payload {
            self.payload -= chunk.len() as u64;
            return chunk;
        }
        let mut passed = BytesMut::with_capacity(self.header.len() + chunk.len());
        while !chunk.is_empty() {
            if self.payload > 0 {
                let length = usize::try_from(self.payload).unwrap_or(usize::MAX);
                let length = length.min(chunk.len());
                passed.extend_from_slice(&chunk.split_to(length));
                self.payload -= length as u64;
                continue;
            }
            self.header.push(chunk.get_u8());
            let mut header = &*self.header;
            if let (Some(kind), Some(length)) = (number(&mut header), number(&mut header)) {
                if kind != DATA || length > 0 {
                    passed.extend_from_slice(&self.header);
                    self.payload = length;
                }
                self.header.clear();
            }
        }
        passed.freeze()
    }

    /// Returns true if the frame that has begun has not ended.
    pub(super) fn is_within_frame(&self) -> bool {
        self.payload > 0 || !self.header.is_empty()
    }
}

/// Takes a number off the front of `bytes` (RFC 9000, section 16).
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let (encoded, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    *bytes = rest;
    let low = u64::from(first & 0x3f);
    let encoded = encoded[1..].iter();
    Some(encoded.fold(low, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_data_is_left_out_wherever_the_chunks_end() {
        let frames: [(&[u8], bool); 7] = [
            (&[0x40, 0x01, 3, 0, 0, 0xd9], true),
            (&[0, 0], false),
            (&[0, 3, 0, 0, 0], true),
            (&[0x40, 0, 0x80, 0, 0, 0], false),
            (&[0x21, 0], true),
            (&[0, 0x40, 2, b'a', b'b'], true),
            (&[0, 0], false),
        ];
        let all: Vec<_> = frames
            .iter()
            .flat_map(|(frame, _)| *frame)
            .copied()
            .collect();
        let kept = frames.iter().filter(|(_, is_kept)| *is_kept);
        let kept: Vec<_> = kept.flat_map(|(frame, _)| *frame).copied().collect();
        for size in 1..=all.len() {
            let mut filter = FrameFilter::default();
            let chunks = all.chunks(size).map(Bytes::copy_from_slice);
            let passed: Vec<_> = chunks.flat_map(|chunk| filter.filter(chunk)).collect();
            assert_eq!(passed, kept, "{size}");
            assert!(!filter.is_within_frame(), "{size}");
        }
        for cut in [&[0x40][..], &[0, 0x40], &[0, 2, b'a'], &[1, 1]] {
            let mut filter = FrameFilter::default();
            filter.filter(Bytes::from_static(cut));
            assert!(filter.is_within_frame(), "{cut:?}");
        }
    }
}
