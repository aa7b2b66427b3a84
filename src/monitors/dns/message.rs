//! Encoding of queries and decoding of responses.

use hickory_proto::{
    op::{Edns, Header, Message, MessageType, Query},
    rr::{DNSClass, Name},
    serialize::binary::{BinDecodable, BinDecoder, DecodeError},
};

use super::{
    presentation::{Malformed, RecordHeader, write_record},
    record_types::{Class, RecordType},
};
use crate::check::{DnsResponse, Rcode};

/// The question of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name, absolute.
    pub name: Name,
    /// The type of records wanted.
    pub kind: RecordType,
    /// Their class.
    pub class: Class,
}

/// Bytes that a datagram of the response may have: what fits through any network in one piece, as
/// the name servers' makers agreed on DNS Flag Day 2020.
const EDNS_PAYLOAD_SIZE: u16 = 1232;

impl Question {
    /// A query under a random id, which also asks whether the answer is authenticated (RFC 6840,
    /// section 5.7).
    pub(super) fn encode(&self, recursion_desired: bool, edns: bool) -> EncodedQuery<'_> {
        let mut message = Message::query();
        message.metadata.recursion_desired = recursion_desired;
        message.metadata.authentic_data = true;
        let mut query = Query::query(self.name.clone(), self.kind.0.into());
        query.set_query_class(DNSClass::from(self.class.0));
        message.add_query(query);
        if edns {
            let mut edns = Edns::new();
            edns.set_max_payload(EDNS_PAYLOAD_SIZE);
            message.set_edns(edns);
        }
        EncodedQuery {
            question: self,
            bytes: message.to_vec().expect("a name that was read"),
        }
    }
}

/// An encoded query.
pub(super) struct EncodedQuery<'q> {
    question: &'q Question,
    pub bytes: Vec<u8>,
}

impl EncodedQuery<'_> {
    /// The same under the id 0, so that caches see that it is the same (RFC 8484, section 4.1).
    pub(super) fn with_zero_id(mut self) -> Self {
        self.bytes[..2].fill(0);
        self
    }

    /// Decodes `bytes` as a response to this query.
    pub(super) fn decode_response(&self, bytes: Vec<u8>) -> Result<Response, ResponseError> {
        if !bytes.starts_with(&self.bytes[..2]) {
            return Err(ResponseError::Mismatched("the response has another id"));
        }
        let mut decoder = BinDecoder::new(&bytes);
        let header =
            Header::read(&mut decoder).map_err(|error| ResponseError::malformed(&error))?;
        if header.message_type != MessageType::Response {
            return Err(ResponseError::Malformed(
                "the response is itself a query".to_owned(),
            ));
        }
        let code = bytes[3] & 0x0f;
        match header.counts.queries {
            // Some that refuse a query do not repeat it.
            0 if code != 0 => {}
            1 => {
                let query =
                    Query::read(&mut decoder).map_err(|error| ResponseError::malformed(&error))?;
                if !self.question.is(&query) {
                    return Err(ResponseError::Mismatched(
                        "the response answers another question",
                    ));
                }
            }
            _ => {
                return Err(ResponseError::Mismatched(
                    "the response answers another question",
                ));
            }
        }
        let mut reader = Reader::default();
        let counts = &header.counts;
        let sections = [counts.answers, counts.authorities, counts.additionals];
        if let Err(error) = reader.read(&mut decoder, sections) {
            // What was cut off need not end between two records.
            if !header.truncation {
                return Err(ResponseError::malformed(&error));
            }
        }
        let length = |section: usize| u16::try_from(reader.sections[section].len());
        let count = |section| length(section).expect("their number had two bytes");
        let summary = DnsResponse {
            rcode: Rcode(u16::from(reader.high_code) << 4 | u16::from(code)),
            answers: count(0),
            authorities: count(1),
            additionals: count(2),
            serial: reader.serial,
            authenticated_data: header.authentic_data,
            truncated: header.truncation,
        };
        let (sections, has_edns) = (reader.sections, reader.has_edns);
        Ok(Response {
            bytes,
            sections,
            summary,
            has_edns,
        })
    }
}

impl Question {
    fn is(&self, query: &Query) -> bool {
        let class = u16::from(query.query_class());
        let kind = u16::from(query.query_type());
        (&self.name, self.kind.0, self.class.0) == (query.name(), kind, class)
    }
}

/// The reason why bytes are not a response to a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ResponseError {
    /// They may be a response to another query.
    Mismatched(&'static str),
    /// They are not a valid response.
    Malformed(String),
}

impl ResponseError {
    fn malformed(error: &dyn std::fmt::Display) -> Self {
        Self::Malformed(format!("the response is malformed: {error}"))
    }

    pub(super) fn into_error(self) -> String {
        match self {
            Self::Mismatched(error) => error.to_owned(),
            Self::Malformed(error) => error,
        }
    }
}

/// A response whose records are all well-formed.
pub(super) struct Response {
    bytes: Vec<u8>,
    /// Offsets of the records of each section.
    sections: [Vec<u16>; 3],
    pub summary: DnsResponse,
    /// True if the server knows EDNS.
    pub(crate) has_edns: bool,
}

impl Response {
    /// Bytes of the message.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Calls `act` with the text of each record of a section, until it returns something.
    pub(super) fn find_record<T>(
        &self,
        section: usize,
        mut act: impl FnMut(&str) -> Option<T>,
    ) -> Option<T> {
        let start = BinDecoder::new(&self.bytes);
        let mut text = String::new();
        self.sections[section].iter().find_map(|at| {
            let mut decoder = start.clone(*at);
            text.clear();
            let head = RecordHeader::read(&mut decoder).ok()?;
            write_record(&head, &mut decoder, &mut text).ok()?;
            act(&text)
        })
    }
}

/// Reads the records, one after the other.
#[derive(Default)]
struct Reader {
    sections: [Vec<u16>; 3],
    serial: Option<u32>,
    high_code: u8,
    has_edns: bool,
    text: String,
}

impl Reader {
    const ANSWERS: usize = 0;

    fn read(&mut self, decoder: &mut BinDecoder<'_>, counts: [u16; 3]) -> Result<(), Malformed> {
        for (section, count) in counts.into_iter().enumerate() {
            for _ in 0..count {
                self.read_record(decoder, section)?;
            }
        }
        Ok(())
    }

    fn read_record(
        &mut self,
        decoder: &mut BinDecoder<'_>,
        section: usize,
    ) -> Result<(), Malformed> {
        let at = decoder.index();
        let head = RecordHeader::read(decoder)?;
        if head.kind == RecordType::OPT {
            decoder.read_slice(head.length)?;
            self.has_edns = true;
            // RFC 6891, section 6.1.3.
            self.high_code = head.ttl.to_be_bytes()[0];
            return Ok(());
        }
        let data = decoder.index();
        self.text.clear();
        write_record(&head, decoder, &mut self.text)?;
        if section == Self::ANSWERS && head.kind == RecordType::SOA && self.serial.is_none() {
            let data = u16::try_from(data).map_err(|_| DecodeError::InsufficientBytes)?;
            self.serial = Some(serial(decoder.clone(data))?);
        }
        // No message is longer, and no record begins where another one ends the message.
        let at = u16::try_from(at).map_err(|_| DecodeError::InsufficientBytes)?;
        self.sections[section].push(at);
        Ok(())
    }
}

/// The serial number in the data of a SOA record.
fn serial(mut data: BinDecoder<'_>) -> Result<u32, DecodeError> {
    Name::read(&mut data)?;
    Name::read(&mut data)?;
    Ok(data.read_u32()?.unverified())
}
