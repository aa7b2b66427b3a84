//! Protocol Buffers, written straight onto a page: with the types of a library, it would be in memory as a tree.

/// The number and the wire type of a field.
#[derive(Clone, Copy)]
pub(super) struct Field(pub u32, pub Wire);

impl Field {
    fn tag(self) -> u64 {
        let Self(number, wire) = self;
        u64::from(number << 3 | wire as u32)
    }
}

/// The wire type of a field (Protocol Buffers, "Message Structure").
#[derive(Clone, Copy)]
pub(super) enum Wire {
    Varint = 0,
    /// Eight bytes: a float or a number.
    Fixed64 = 1,
    /// A text, a message or packed numbers, after their length.
    Bytes = 2,
}

const MAX_VARINT_BYTES: usize = 10;

/// Writes fields and messages onto a page.
pub(super) struct WireWriter<'p> {
    page: &'p mut Vec<u8>,
}

impl<'p> WireWriter<'p> {
    /// A writer onto `page`.
    pub(super) fn new(page: &'p mut Vec<u8>) -> Self {
        Self { page }
    }

    /// Bytes on the page.
    pub(super) fn page_len(&self) -> usize {
        self.page.len()
    }

    pub(super) fn text(&mut self, field: Field, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    pub(super) fn bytes(&mut self, field: Field, bytes: &[u8]) {
        self.tag(field);
        self.raw_varint(bytes.len() as u64);
        self.page.extend_from_slice(bytes);
    }

    pub(super) fn varint(&mut self, field: Field, number: u64) {
        self.tag(field);
        self.raw_varint(number);
    }

    pub(super) fn fixed64(&mut self, field: Field, number: u64) {
        self.tag(field);
        self.raw_fixed64(number);
    }

    pub(super) fn double(&mut self, field: Field, number: f64) {
        self.fixed64(field, number.to_bits());
    }

    /// Writes a message, or packed numbers, with what `write` writes.
    pub(super) fn message(&mut self, field: Field, write: impl FnOnce(&mut Self)) {
        let start = self.begin(field);
        write(self);
        self.end(start);
    }

    /// Writes fields that are encoded already.
    pub(super) fn encoded(&mut self, fields: &[u8]) {
        self.page.extend_from_slice(fields);
    }

    /// Begins a message; returns where its content begins.
    pub(super) fn begin(&mut self, field: Field) -> usize {
        self.tag(field);
        self.begin_delimited()
    }

    /// Begins a message without a tag: leaves one byte for its length. Returns where its content begins.
    pub(super) fn begin_delimited(&mut self) -> usize {
        self.page.push(0);
        self.page.len()
    }

    /// Ends the message whose content began at `start`: writes its length, and makes room for it if one byte is not
    /// enough.
    pub(super) fn end(&mut self, start: usize) {
        let end = self.page.len();
        match u8::try_from(end - start) {
            Ok(length) if length < 0x80 => self.page[start - 1] = length,
            _ => self.end_long(start),
        }
    }

    /// The same for a length of more than one byte.
    fn end_long(&mut self, start: usize) {
        let end = self.page.len();
        self.raw_varint((end - start) as u64);
        let bytes = self.page.len() - end;
        let mut length = [0; MAX_VARINT_BYTES];
        length[..bytes].copy_from_slice(&self.page[end..]);
        self.page.copy_within(start..end, start - 1 + bytes);
        self.page[start - 1..start - 1 + bytes].copy_from_slice(&length[..bytes]);
        self.page.truncate(end - 1 + bytes);
    }

    /// Writes a number without a tag, as packed ones have it.
    #[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
    pub(super) fn raw_varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.page.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.page.push(number as u8);
    }

    /// Writes a number without a tag, as packed ones have it.
    pub(super) fn raw_fixed64(&mut self, number: u64) {
        self.page.extend_from_slice(&number.to_le_bytes());
    }

    fn tag(&mut self, field: Field) {
        self.raw_varint(field.tag());
    }
}

/// A signed number as a varint: small ones stay short.
pub(super) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}
