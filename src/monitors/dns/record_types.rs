//! The numbers of record types and classes, and their names (IANA's "DNS Parameters").

use std::fmt;

use crate::{
    check::Rcode,
    value::{FromNode, Node},
};

/// A type of records, or one that only questions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordType(pub u16);

/// A class of records, or one that only questions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class(pub(crate) u16);

impl RecordType {
    /// Start of a zone of authority.
    pub const SOA: Self = Self(6);
    /// The pseudo-record of EDNS (RFC 6891).
    pub const OPT: Self = Self(41);
    /// Records of any type.
    pub const ANY: Self = Self(255);

    const NAMED: &[(u16, &str)] = &[
        (1, "A"),
        (2, "NS"),
        (3, "MD"),
        (4, "MF"),
        (5, "CNAME"),
        (6, "SOA"),
        (7, "MB"),
        (8, "MG"),
        (9, "MR"),
        (10, "NULL"),
        (11, "WKS"),
        (12, "PTR"),
        (13, "HINFO"),
        (14, "MINFO"),
        (15, "MX"),
        (16, "TXT"),
        (17, "RP"),
        (18, "AFSDB"),
        (19, "X25"),
        (20, "ISDN"),
        (21, "RT"),
        (22, "NSAP"),
        (23, "NSAP-PTR"),
        (24, "SIG"),
        (25, "KEY"),
        (26, "PX"),
        (27, "GPOS"),
        (28, "AAAA"),
        (29, "LOC"),
        (30, "NXT"),
        (31, "EID"),
        (32, "NIMLOC"),
        (33, "SRV"),
        (34, "ATMA"),
        (35, "NAPTR"),
        (36, "KX"),
        (37, "CERT"),
        (38, "A6"),
        (39, "DNAME"),
        (40, "SINK"),
        (41, "OPT"),
        (42, "APL"),
        (43, "DS"),
        (44, "SSHFP"),
        (45, "IPSECKEY"),
        (46, "RRSIG"),
        (47, "NSEC"),
        (48, "DNSKEY"),
        (49, "DHCID"),
        (50, "NSEC3"),
        (51, "NSEC3PARAM"),
        (52, "TLSA"),
        (53, "SMIMEA"),
        (55, "HIP"),
        (56, "NINFO"),
        (57, "RKEY"),
        (58, "TALINK"),
        (59, "CDS"),
        (60, "CDNSKEY"),
        (61, "OPENPGPKEY"),
        (62, "CSYNC"),
        (63, "ZONEMD"),
        (64, "SVCB"),
        (65, "HTTPS"),
        (66, "DSYNC"),
        (99, "SPF"),
        (100, "UINFO"),
        (101, "UID"),
        (102, "GID"),
        (103, "UNSPEC"),
        (104, "NID"),
        (105, "L32"),
        (106, "L64"),
        (107, "LP"),
        (108, "EUI48"),
        (109, "EUI64"),
        (128, "NXNAME"),
        (249, "TKEY"),
        (250, "TSIG"),
        (251, "IXFR"),
        (252, "AXFR"),
        (253, "MAILB"),
        (254, "MAILA"),
        (255, "ANY"),
        (256, "URI"),
        (257, "CAA"),
        (258, "AVC"),
        (259, "DOA"),
        (260, "AMTRELAY"),
        (261, "RESINFO"),
        (262, "WALLET"),
        (32_768, "TA"),
        (32_769, "DLV"),
    ];

    /// Its name, if it has one.
    pub(super) fn name(self) -> Option<&'static str> {
        name(Self::NAMED, self.0)
    }
}

impl Class {
    /// The internet.
    pub const IN: Self = Self(1);

    const NAMED: &[(u16, &str)] = &[
        (1, "IN"),
        (2, "CS"),
        (3, "CH"),
        (4, "HS"),
        (254, "NONE"),
        (255, "ANY"),
    ];
}

fn name(named: &[(u16, &'static str)], number: u16) -> Option<&'static str> {
    let known = named.iter().find(|(known, _)| *known == number);
    known.map(|(_, name)| *name)
}

/// The number that `text` stands for: one of `named`, or a number behind `prefix` (RFC 3597).
fn parse(named: &[(u16, &str)], prefix: &str, text: &str) -> Option<u16> {
    let text = text.to_ascii_uppercase();
    if let Some((number, _)) = named.iter().find(|(_, name)| *name == text) {
        return Some(*number);
    }
    let digits = text.strip_prefix(prefix)?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(Self::NAMED, self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "CLASS{}", self.0),
        }
    }
}

impl FromNode for RecordType {
    const EXPECTED: &'static str = "a record type such as A, MX, SOA or TYPE65280";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        let number = parse(Self::NAMED, "TYPE", &text);
        number
            .map(Self)
            .ok_or_else(|| format!("unknown record type {text:?}"))
    }
}

impl FromNode for Class {
    const EXPECTED: &'static str = "IN, CS, CH, HS, NONE, ANY or a number such as CLASS32";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        let number = parse(Self::NAMED, "CLASS", &text);
        number
            .map(Self)
            .ok_or_else(|| format!("unknown class {text:?}"))
    }
}

impl FromNode for Rcode {
    const EXPECTED: &'static str = "a response code such as NOERROR, NXDOMAIN or RCODE3841";

    fn from_node(node: &Node) -> Result<Self, String> {
        /// Other names of the same codes, which blackbox_exporter knows too.
        const ALIASES: &[(u16, &str)] = &[(4, "NOTIMPL"), (16, "BADSIG")];
        let text = String::from_node(node)?;
        let number = parse(Self::NAMED, "RCODE", &text).or_else(|| parse(ALIASES, "RCODE", &text));
        number
            // Four bits in the header and eight in EDNS.
            .filter(|number| *number < 1 << 12)
            .map(Self)
            .ok_or_else(|| format!("unknown response code {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: FromNode + fmt::Display>(text: &str) -> Result<String, String> {
        T::from_node(&Node::Text(text.to_owned())).map(|read| read.to_string())
    }

    #[test]
    fn types_have_names_or_numbers() {
        for (text, expected) in [
            ("A", "A"),
            ("aaaa", "AAAA"),
            ("NSAP-PTR", "NSAP-PTR"),
            ("TYPE28", "AAAA"),
            ("type65280", "TYPE65280"),
        ] {
            assert_eq!(read::<RecordType>(text).as_deref(), Ok(expected));
        }
        for text in ["", "TYPE", "TYPE65536", "TYPE-1", "TYPE+1", "AAAAA", "1"] {
            let wrong = format!("unknown record type {text:?}");
            assert_eq!(read::<RecordType>(text), Err(wrong));
        }
    }

    #[test]
    fn classes_and_response_codes_have_names_or_numbers() {
        assert_eq!(read::<Class>("ch").as_deref(), Ok("CH"));
        assert_eq!(read::<Class>("CLASS32").as_deref(), Ok("CLASS32"));
        assert!(read::<Class>("CHAOS").is_err());
        assert_eq!(read::<Rcode>("nxdomain").as_deref(), Ok("NXDOMAIN"));
        assert_eq!(read::<Rcode>("NOTIMPL").as_deref(), Ok("NOTIMP"));
        assert_eq!(read::<Rcode>("BADSIG").as_deref(), Ok("BADVERS"));
        assert_eq!(read::<Rcode>("RCODE4095").as_deref(), Ok("RCODE4095"));
        assert!(read::<Rcode>("RCODE4096").is_err());
        assert!(read::<Rcode>("NX").is_err());
    }

    #[test]
    fn numbers_and_names_are_unique() {
        let types = RecordType::NAMED;
        assert!(types.is_sorted_by_key(|(number, _)| *number));
        let mut names: Vec<_> = types.iter().map(|(_, name)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), types.len());
    }
}
