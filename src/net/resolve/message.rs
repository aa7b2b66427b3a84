//! Encoding of queries and decoding of responses (RFC 1035).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hickory_proto::{
    op::{Header, MessageType, Query as Question},
    rr::{DNSClass, Name, RecordType},
    serialize::binary::{BinDecodable, BinDecoder, DecodeError},
};

use crate::check::Rcode;

/// A question for records of one type.
#[derive(Debug)]
pub(super) struct Query {
    pub name: Name,
    pub(crate) record_type: RecordType,
}

/// The data of a record that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// Of A and AAAA.
    Address(IpAddr),
    /// Of SRV.
    Service { target: Name, port: u16 },
    /// Of MX and NS.
    Host(Name),
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.record_type, self.name)
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Service { target, port } => write!(f, "{target}:{port}"),
            Self::Host(name) => name.fmt(f),
        }
    }
}

/// A response to a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub rcode: Rcode,
    /// There is more of it, over TCP; the rest has not been read.
    pub(crate) is_truncated: bool,
    /// It neither answers nor could it: the server does not look up names for others.
    pub(crate) is_referral: bool,
    /// Records of the requested type, of the name or of its alias target.
    pub records: Vec<Data>,
    /// The alias target of the requested name.
    pub alias: Option<Name>,
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rcode)?;
        if let Some(alias) = &self.alias {
            write!(f, ", an alias for {alias}")?;
        }
        match &self.records[..] {
            [] => f.write_str(", no records"),
            records => write!(f, ": {}", listed(records)),
        }
    }
}

/// The reason why bytes are not a response to a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ResponseError {
    /// They may be a response to another query.
    Mismatched,
    /// They are from the server that was asked, and mean nothing.
    Malformed(String),
}

/// The reason why a record is malformed.
#[derive(Debug, thiserror::Error)]
enum Malformed {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("a record of type {0} has the wrong length")]
    Length(RecordType),
}

/// Bytes of a datagram that fits through any network in one piece (DNS Flag Day 2020).
const MAX_EDNS_BYTES: u16 = 1232;

/// Maximum number of aliases from a name to its records.
const MAX_ALIASES: usize = 16;

const CLASS_IN: u16 = 1;

pub(super) const SERVFAIL: Rcode = Rcode(2);
pub(super) const FORMERR: Rcode = Rcode(1);
pub(super) const NXDOMAIN: Rcode = Rcode(3);
pub(super) const NOTIMP: Rcode = Rcode(4);
pub(super) const REFUSED: Rcode = Rcode(5);
pub(super) const NOERROR: Rcode = Rcode(0);

impl Query {
    /// The query with this id, which wants recursion.
    pub(super) fn encode(&self, id: u16, edns: bool) -> Vec<u8> {
        const RECURSION_DESIRED: [u8; 2] = [1, 0];
        let mut bytes = Vec::with_capacity(self.name.len() + 32);
        bytes.extend(id.to_be_bytes());
        bytes.extend(RECURSION_DESIRED);
        // One question, and one additional record where there is EDNS.
        bytes.extend([0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
        for label in &self.name {
            bytes.push(u8::try_from(label.len()).expect("a label has at most 63 bytes"));
            bytes.extend(label);
        }
        bytes.push(0);
        bytes.extend(u16::from(self.record_type).to_be_bytes());
        bytes.extend(CLASS_IN.to_be_bytes());
        if edns {
            // The root, then its type, the size in place of a class, no flags, no options.
            bytes.push(0);
            bytes.extend(u16::from(RecordType::OPT).to_be_bytes());
            bytes.extend(MAX_EDNS_BYTES.to_be_bytes());
            bytes.extend([0; 6]);
        }
        bytes
    }

    /// Decodes `bytes` as a response to this query with this `id`.
    pub(super) fn decode(&self, id: u16, bytes: &[u8]) -> Result<Response, ResponseError> {
        let mut decoder = BinDecoder::new(bytes);
        let header = Header::read(&mut decoder).map_err(|_| ResponseError::Mismatched)?;
        if header.id != id || header.message_type != MessageType::Response {
            return Err(ResponseError::Mismatched);
        }
        let rcode = Rcode(u16::from(bytes[3] & 0x0f));
        match header.counts.queries {
            // Some that refuse a query do not repeat it.
            0 if rcode != NOERROR && rcode != NXDOMAIN => {}
            1 => {
                let question =
                    Question::read(&mut decoder).map_err(|_| ResponseError::Mismatched)?;
                if !self.is(&question) {
                    return Err(ResponseError::Mismatched);
                }
            }
            _ => return Err(ResponseError::Mismatched),
        }
        let counts = &header.counts;
        let says_nothing = counts.answers == 0 && counts.additionals == 0;
        let speaks_for_none = !header.authoritative && !header.recursion_available;
        let mut response = Response {
            rcode,
            is_truncated: header.truncation,
            is_referral: rcode == NOERROR && says_nothing && speaks_for_none,
            records: Vec::new(),
            alias: None,
        };
        if !header.truncation {
            let answers = self
                .read_answers(&mut decoder, counts.answers)
                .map_err(|error| ResponseError::Malformed(error.to_string()))?;
            (response.records, response.alias) = answers;
        }
        if rcode != NOERROR {
            response.records.clear();
        }
        Ok(response)
    }

    fn is(&self, question: &Question) -> bool {
        question.query_type() == self.record_type
            && question.query_class() == DNSClass::IN
            && *question.name() == self.name
    }

    /// The data of the requested records, and the alias target of the name.
    fn read_answers(
        &self,
        decoder: &mut BinDecoder<'_>,
        count: u16,
    ) -> Result<(Vec<Data>, Option<Name>), Malformed> {
        let (mut records, mut aliases) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let owner = Name::read(decoder)?;
            let record_type = RecordType::from(decoder.read_u16()?.unverified());
            let class = decoder.read_u16()?.unverified();
            let _time_to_live = decoder.read_u32()?;
            let length = usize::from(decoder.read_u16()?.unverified());
            let end = decoder.index() + length;
            if class == CLASS_IN && record_type == self.record_type {
                records.push((owner, Data::read(record_type, decoder)?));
            } else if class == CLASS_IN && record_type == RecordType::CNAME {
                aliases.push((owner, Name::read(decoder)?));
            } else {
                decoder.read_slice(length)?;
            }
            if decoder.index() != end {
                return Err(Malformed::Length(record_type));
            }
        }
        let mut name = &self.name;
        for _ in 0..MAX_ALIASES {
            match aliases.iter().find(|(owner, _)| owner == name) {
                Some((_, target)) => name = target,
                None => break,
            }
        }
        let found = records
            .into_iter()
            .filter(|(owner, _)| owner == name)
            .map(|(_, data)| data)
            .collect();
        Ok((found, (*name != self.name).then(|| name.clone())))
    }
}

impl Data {
    fn read(record_type: RecordType, decoder: &mut BinDecoder<'_>) -> Result<Self, DecodeError> {
        Ok(match record_type {
            RecordType::A => Self::Address(Ipv4Addr::from(octets(decoder)?).into()),
            RecordType::AAAA => Self::Address(Ipv6Addr::from(octets(decoder)?).into()),
            RecordType::SRV => {
                let _priority_and_weight = decoder.read_u32()?;
                let port = decoder.read_u16()?.unverified();
                let target = Name::read(decoder)?;
                Self::Service { target, port }
            }
            RecordType::MX => {
                let _preference = decoder.read_u16()?;
                Self::Host(Name::read(decoder)?)
            }
            _ => Self::Host(Name::read(decoder)?),
        })
    }
}

fn octets<const N: usize>(decoder: &mut BinDecoder<'_>) -> Result<[u8; N], DecodeError> {
    let bytes = decoder.read_slice(N)?.unverified();
    bytes.try_into().map_err(|_| DecodeError::InsufficientBytes)
}

/// `items`, separated by commas.
pub(super) fn listed(items: &[impl ToString]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::Message,
        rr::{RData, Record, rdata},
    };
    use proptest::prelude::*;

    use super::{super::name::parse_name, *};

    const ID: u16 = 0x1234;

    fn query(text: &str, record_type: RecordType) -> Query {
        let name = parse_name(text).expect("a name");
        Query { name, record_type }
    }

    fn parse(text: &str) -> Name {
        parse_name(text).expect("a name")
    }

    fn response_to(query: &Query, fill: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message = Message::from_vec(&query.encode(ID, false))
            .expect("a query")
            .into_response();
        fill(&mut message);
        message.to_vec().expect("a message that can be written")
    }

    fn a(owner: &str, last: u8) -> Record {
        let data = RData::A(rdata::A([192, 0, 2, last].into()));
        Record::from_rdata(parse(owner), 60, data)
    }

    fn cname(owner: &str, target: &str) -> Record {
        let data = RData::CNAME(rdata::CNAME(parse(target)));
        Record::from_rdata(parse(owner), 60, data)
    }

    #[track_caller]
    fn assert_records(records: &[Record], expected: &[u8], alias: Option<&str>) {
        let query = query("a.test", RecordType::A);
        let bytes = response_to(&query, |message| {
            message.add_answers(records.to_vec());
        });
        let response = query.decode(ID, &bytes).expect("a response");
        let expected = expected
            .iter()
            .map(|last| Data::Address([192, 0, 2, *last].into()));
        assert_eq!(response.records, expected.collect::<Vec<_>>());
        assert_eq!(response.alias, alias.map(parse));
    }

    #[test]
    fn an_encoded_query_decodes_to_itself() {
        for edns in [false, true] {
            let query = query("My_svc.a.test", RecordType::AAAA);
            let message = Message::from_vec(&query.encode(ID, edns)).expect("a query");
            assert_eq!(message.metadata.id, ID);
            assert!(message.metadata.recursion_desired);
            assert!(query.is(&message.queries[0]));
            assert_eq!(message.queries.len(), 1);
            let payload = message.edns.map(|edns| edns.max_payload());
            assert_eq!(payload, edns.then_some(MAX_EDNS_BYTES));
        }
    }

    #[test]
    fn records_of_the_name_and_its_aliases_are_found_in_any_order() {
        assert_records(&[a("A.test", 1), a("a.test", 2)], &[1, 2], None);
        assert_records(&[a("b.test", 1)], &[], None);
        let to_b = cname("a.test", "b.test");
        assert_records(&[a("b.test", 1), to_b.clone()], &[1], Some("b.test"));
        let to_c = cname("b.test", "c.test");
        let all = [to_c, to_b.clone(), a("c.test", 1), a("b.test", 2)];
        assert_records(&all, &[1], Some("c.test"));
        assert_records(std::slice::from_ref(&to_b), &[], Some("b.test"));
        let back = cname("b.test", "a.test");
        assert_records(&[to_b, back], &[], None);
    }

    #[test]
    fn the_number_of_aliases_is_limited() {
        let chain = |count: u8| -> Vec<_> {
            let owner = |index| match index {
                0 => "a.test".to_owned(),
                index => format!("a{index}.test"),
            };
            let aliases = (0..count).map(|index| cname(&owner(index), &owner(index + 1)));
            aliases.chain([a(&owner(count), 7)]).collect()
        };
        assert_records(&chain(16), &[7], Some("a16.test"));
        assert_records(&chain(17), &[], Some("a16.test"));
    }

    #[test]
    fn mismatched_and_malformed_responses_are_distinguished() {
        let query = query("a.test", RecordType::A);
        let good = response_to(&query, |message| {
            message.add_answer(a("a.test", 1));
        });
        assert!(query.decode(ID, &good).is_ok());
        assert_eq!(query.decode(ID + 1, &good), Err(ResponseError::Mismatched));
        assert_eq!(
            query.decode(ID, &query.encode(ID, false)),
            Err(ResponseError::Mismatched)
        );
        for other in [
            self::query("b.test", RecordType::A),
            self::query("a.test", RecordType::AAAA),
        ] {
            assert_eq!(other.decode(ID, &good), Err(ResponseError::Mismatched));
        }
        assert_eq!(query.decode(ID, b""), Err(ResponseError::Mismatched));
        assert_eq!(
            query.decode(ID, &good[..11]),
            Err(ResponseError::Mismatched)
        );
        let cut = query.decode(ID, &good[..good.len() - 1]);
        assert!(matches!(cut, Err(ResponseError::Malformed(_))), "{cut:?}");
        // A length that is not that of an address.
        let mut long = good.clone();
        let length = long.len() - 5;
        long[length] = 5;
        long.push(0);
        let long = query.decode(ID, &long);
        assert!(matches!(long, Err(ResponseError::Malformed(_))), "{long:?}");
        // Nothing of what was cut off counts.
        let mut truncated = good.clone();
        truncated[2] |= 2;
        let truncated = query.decode(ID, &truncated[..truncated.len() - 1]);
        assert!(truncated.is_ok_and(|response| response.is_truncated));
    }

    #[test]
    fn the_question_may_be_missing_only_in_a_refusal() {
        let query = query("a.test", RecordType::A);
        for (rcode, is_fit) in [(2, true), (5, true), (0, false), (3, false)] {
            let bytes = [
                ID.to_be_bytes(),
                [0x80, rcode],
                [0; 2],
                [0; 2],
                [0; 2],
                [0; 2],
            ]
            .concat();
            assert_eq!(query.decode(ID, &bytes).is_ok(), is_fit, "{rcode}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..600),
            kind in prop::sample::select(vec![
                RecordType::A, RecordType::AAAA, RecordType::SRV, RecordType::MX, RecordType::NS,
            ]),
        ) {
            let query = query("a.test", kind);
            let _ = query.decode(ID, &bytes);
            // The same behind a header and a question that fit.
            let mut fit = query.encode(ID, false);
            fit[2] |= 0x80;
            fit[7] = bytes.first().copied().unwrap_or_default();
            fit.extend(&bytes);
            let _ = query.decode(ID, &fit);
        }
    }
}
