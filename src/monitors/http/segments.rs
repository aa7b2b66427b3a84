//! A body kept in memory, in segments: nothing is copied while it grows.

/// Bytes of the first segment, and of the largest.
const MIN_SEGMENT: usize = 4 << 10;
const MAX_SEGMENT: usize = 1 << 20;

/// The bytes of a body so far.
#[derive(Default)]
pub(super) struct Segments {
    full: Vec<Vec<u8>>,
    last: Vec<u8>,
}

impl Segments {
    /// Appends `bytes`.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.last.capacity() - self.last.len();
            if room == 0 {
                let size = self.last.len().saturating_mul(2);
                let next = Vec::with_capacity(size.clamp(MIN_SEGMENT, MAX_SEGMENT));
                let full = std::mem::replace(&mut self.last, next);
                if !full.is_empty() {
                    self.full.push(full);
                }
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.last.extend_from_slice(now);
            bytes = later;
        }
    }

    /// Number of bytes.
    pub(super) fn len(&self) -> usize {
        self.full.iter().map(Vec::len).sum::<usize>() + self.last.len()
    }

    /// All bytes in one piece.
    pub(super) fn join(self) -> Vec<u8> {
        if self.full.is_empty() {
            return self.last;
        }
        let mut joined = Vec::with_capacity(self.len());
        for segment in self.full.into_iter().chain([self.last]) {
            joined.extend_from_slice(&segment);
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_joined_bytes_are_those_pushed(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9000), 0..20)
        ) {
            let mut segments = Segments::default();
            for piece in &pieces {
                segments.push(piece);
            }
            let expected = pieces.concat();
            prop_assert_eq!(segments.len(), expected.len());
            prop_assert_eq!(segments.join(), expected);
        }
    }
}
