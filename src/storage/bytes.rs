//! Numbers and texts in bytes: whole numbers take seven bits a byte, the lowest ones first.

/// Writes values one after the other.
#[derive(Default)]
pub(super) struct Writer(pub Vec<u8>);

/// Reads values in the order in which they were written; `None` if the bytes end before, or make no sense.
pub(super) struct Reader<'b>(&'b [u8]);

impl Writer {
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(u8::try_from(number & 0x7F).unwrap_or_default() | 0x80);
            number >>= 7;
        }
        self.byte(u8::try_from(number).unwrap_or_default());
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn half(&mut self, half: u16) {
        self.0.extend(half.to_le_bytes());
    }

    pub(super) fn float(&mut self, float: f32) {
        self.0.extend(float.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend(text.as_bytes());
    }
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// A number that fits into `N`.
    pub(super) fn small<N: TryFrom<u64>>(&mut self) -> Option<N> {
        N::try_from(self.number()?).ok()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    pub(super) fn half(&mut self) -> Option<u16> {
        let (half, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_le_bytes(*half))
    }

    pub(super) fn float(&mut self) -> Option<f32> {
        let (float, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(f32::from_le_bytes(*float))
    }

    pub(super) fn text(&mut self) -> Option<&'b str> {
        let length = self.small()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(numbers: Vec<u64>, half: u16, float: f32, text: String) {
            let mut writer = Writer::default();
            for number in &numbers {
                writer.number(*number);
            }
            writer.half(half);
            writer.float(float);
            writer.text(&text);
            let mut reader = Reader::new(&writer.0);
            for number in numbers {
                prop_assert_eq!(reader.number(), Some(number));
            }
            prop_assert_eq!(reader.half(), Some(half));
            prop_assert_eq!(reader.float().map(f32::to_bits), Some(float.to_bits()));
            prop_assert_eq!(reader.text(), Some(&*text));
            prop_assert!(reader.is_empty());
            prop_assert_eq!(reader.number(), None);
        }

        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.text().is_some() || reader.number().is_some() || reader.byte().is_some() {}
        }
    }
}
