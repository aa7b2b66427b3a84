//! Encodes echo requests and decodes the replies and errors (RFC 792, RFC 4443), without sockets.

use std::{fmt, net::IpAddr};

/// The version of IP, and with it that of ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4 and ICMP.
    V4,
    /// IPv6 and ICMPv6.
    V6,
}

impl Family {
    /// The family of `address`.
    #[must_use]
    pub(crate) fn of_address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    const fn request(self) -> u8 {
        match self {
            Self::V4 => 8,
            Self::V6 => 128,
        }
    }

    /// The type of an echo reply.
    pub(super) const fn reply(self) -> u8 {
        match self {
            Self::V4 => 0,
            Self::V6 => 129,
        }
    }
}

/// Bytes before the payload: type, code, checksum, identifier, sequence.
pub(crate) const ICMP_HEADER_LEN: usize = 8;

/// The largest payload that fits into an IPv4 packet: 65535 bytes without both headers.
pub(crate) const MAX_PAYLOAD: usize = 65_507;

/// The start of a payload, which only those who have seen the request know.
pub(super) type Cookie = [u8; 8];

/// The bytes that fill a payload after its cookie, repeated.
const PAYLOAD_PATTERN: &[u8] = b"monitoringdaemon";

/// Bytes of a payload of `size` bytes.
fn payload(cookie: Cookie, size: usize) -> impl Iterator<Item = u8> {
    let filling = PAYLOAD_PATTERN.iter().copied().cycle();
    cookie.into_iter().chain(filling).take(size)
}

/// An echo request.
///
/// The kernel sets the identifier where the socket is not raw, and the checksum unless it is a raw
/// one of IPv4.
pub(super) fn request(
    family: Family,
    identifier: u16,
    sequence: u16,
    cookie: Cookie,
    size: usize,
) -> Vec<u8> {
    let mut packet = Vec::with_capacity(ICMP_HEADER_LEN + size);
    packet.extend([family.request(), 0, 0, 0]);
    packet.extend(identifier.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend(payload(cookie, size));
    if family == Family::V4 {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// The checksum of the Internet (RFC 1071); 0 for what holds its own.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u64::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("the loop ended")
}

/// An echo reply, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply<'p> {
    pub(crate) identifier: u16,
    pub(crate) sequence: u16,
    payload: &'p [u8],
}

impl<'p> Reply<'p> {
    /// The reply in `packet`, if it is one.
    pub(super) fn parse(family: Family, packet: &'p [u8]) -> Option<Self> {
        let (header, payload) = packet.split_first_chunk::<ICMP_HEADER_LEN>()?;
        let [kind, code, _, _, identifier @ .., s0, s1] = *header;
        (kind == family.reply() && code == 0).then_some(Self {
            identifier: u16::from_be_bytes(identifier),
            sequence: u16::from_be_bytes([s0, s1]),
            payload,
        })
    }

    /// Returns whether the reply has the payload of the request.
    pub(super) fn answers(&self, cookie: Cookie, size: usize) -> bool {
        let bytes = self.payload.iter().copied();
        self.payload.len() == size && bytes.eq(payload(cookie, size))
    }
}

/// The ICMP message in `packet`, which a raw socket of IPv4 received: behind the header of IP, and
/// with a checksum that has not been verified yet.
pub(super) fn strip_ipv4_header(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    let header = usize::from(first & 0xf) * 4;
    let message = packet.get(header..)?;
    let right = first >> 4 == 4 && header >= 20 && checksum(message) == 0;
    right.then_some(message)
}

/// Identifier and sequence of an echo request that an ICMP error quotes.
pub(super) fn quoted(family: Family, packet: &[u8]) -> Option<(u16, u16)> {
    let [kind, _, _, _, i0, i1, s0, s1] = *packet.first_chunk::<ICMP_HEADER_LEN>()?;
    let [identifier, sequence] = [[i0, i1], [s0, s1]].map(u16::from_be_bytes);
    (kind == family.request()).then_some((identifier, sequence))
}

/// An ICMP error: a host on the way reports that a request did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// The version of ICMP.
    pub family: Family,
    /// Its type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// Maximum size in bytes, if the error has it.
    pub mtu: u32,
    /// The sender.
    pub from: Option<IpAddr>,
}

impl IcmpError {
    /// Returns whether the request is lost. After a redirect, for example, it is not.
    #[must_use]
    pub(crate) fn is_final(&self) -> bool {
        match self.family {
            Family::V4 => matches!(self.kind, 3 | 11 | 12),
            Family::V6 => matches!(self.kind, 1..=4),
        }
    }

    /// The meaning of type and code, if they are known.
    fn meaning(&self) -> Option<&'static str> {
        Some(match (self.family, self.kind, self.code) {
            (Family::V4, 3, 0) => "network unreachable",
            (Family::V4, 3, 1) => "host unreachable",
            (Family::V4, 3, 2) => "protocol unreachable",
            (Family::V4, 3, 3) | (Family::V6, 1, 4) => "port unreachable",
            (Family::V4, 3, 4) => "fragmentation needed, but not allowed",
            (Family::V4, 3, 5) => "source route failed",
            (Family::V4, 3, 6) => "network unknown",
            (Family::V4, 3, 7) => "host unknown",
            (Family::V4, 3, 8) => "source host isolated",
            (Family::V4, 3, 9) => "network administratively prohibited",
            (Family::V4, 3, 10) => "host administratively prohibited",
            (Family::V4, 3, 11) => "network unreachable for this type of service",
            (Family::V4, 3, 12) => "host unreachable for this type of service",
            (Family::V4, 3, 13) | (Family::V6, 1, 1) => "communication administratively prohibited",
            (Family::V4, 3, 14) => "host precedence violation",
            (Family::V4, 3, 15) => "precedence cutoff in effect",
            (Family::V6, 1, 0) => "no route to destination",
            (Family::V6, 1, 2) => "beyond scope of source address",
            (Family::V6, 1, 3) => "address unreachable",
            (Family::V6, 1, 5) => "source address failed ingress or egress policy",
            (Family::V6, 1, 6) => "route to destination rejected",
            (Family::V4, 3, _) | (Family::V6, 1, _) => "destination unreachable",
            (Family::V6, 2, _) => "packet too big",
            (Family::V4, 11, 0) => "time to live exceeded in transit",
            (Family::V6, 3, 0) => "hop limit exceeded in transit",
            (Family::V4, 11, 1) | (Family::V6, 3, 1) => "fragment reassembly time exceeded",
            (Family::V4, 12, _) | (Family::V6, 4, _) => "parameter problem",
            _ => return None,
        })
    }
}

impl fmt::Display for IcmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from {
            Some(from) => write!(f, "{from} answered ")?,
            None => f.write_str("the network answered ")?,
        }
        let protocol = match self.family {
            Family::V4 => "ICMP",
            Family::V6 => "ICMPv6",
        };
        if let Some(meaning) = self.meaning() {
            write!(f, "{meaning} ")?;
        }
        write!(f, "({protocol} type {} code {}", self.kind, self.code)?;
        let too_big = matches!(
            (self.family, self.kind, self.code),
            (Family::V4, 3, 4) | (Family::V6, 2, _)
        );
        if too_big && self.mtu > 0 {
            write!(f, ", MTU {}", self.mtu)?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COOKIE: Cookie = *b"cookie!!";

    /// The reply of a peer to a request.
    fn answer(family: Family, request: &[u8]) -> Vec<u8> {
        let mut reply = request.to_vec();
        reply[0] = family.reply();
        reply[2..4].copy_from_slice(&[0, 0]);
        let sum = checksum(&reply);
        reply[2..4].copy_from_slice(&sum.to_be_bytes());
        reply
    }

    fn in_ipv4(message: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 24];
        // With one word of options.
        packet[0] = 0x46;
        packet.extend(message);
        packet
    }

    #[test]
    fn a_request_follows_the_rfc() {
        let packet = request(Family::V4, 0x1234, 0x5678, COOKIE, 10);
        assert_eq!(packet[..2], [8, 0]);
        assert_eq!(packet[4..8], [0x12, 0x34, 0x56, 0x78]);
        assert_eq!(&packet[8..], b"cookie!!mo");
        assert_eq!(checksum(&packet), 0);
        assert_eq!(
            request(Family::V6, 0, 0, COOKIE, 0),
            [128, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn checksums_are_those_of_the_rfc() {
        // RFC 1071, section 3.
        let example = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&example), !0xddf2);
        assert_eq!(checksum(&[0xff]), !0xff00);
        assert_eq!(checksum(&[]), 0xffff);
    }

    #[test]
    fn a_reply_is_matched_by_its_payload() {
        for family in [Family::V4, Family::V6] {
            for size in [0, 1, 8, 28, 1000] {
                let packet = answer(family, &request(family, 1, 2, COOKIE, size));
                let reply = Reply::parse(family, &packet).expect("a reply");
                assert_eq!((reply.identifier, reply.sequence), (1, 2));
                assert!(reply.answers(COOKIE, size));
                assert!(!reply.answers(COOKIE, size + 1));
                assert_eq!(size > 0, !reply.answers(*b"another!", size));
            }
            let mut packet = answer(family, &request(family, 1, 2, COOKIE, 28));
            packet[35] ^= 1;
            let reply = Reply::parse(family, &packet).expect("a reply");
            assert!(!reply.answers(COOKIE, 28), "the last byte is another");
        }
    }

    #[test]
    fn other_messages_are_not_replies() {
        let request = request(Family::V4, 1, 2, COOKIE, 28);
        let reply = answer(Family::V4, &request);
        assert_eq!(Reply::parse(Family::V4, &request), None);
        assert_eq!(Reply::parse(Family::V6, &reply), None);
        assert_eq!(Reply::parse(Family::V4, &reply[..7]), None);
        let mut coded = reply;
        coded[1] = 1;
        assert_eq!(Reply::parse(Family::V4, &coded), None);
    }

    #[test]
    fn a_raw_packet_must_be_complete() {
        let message = answer(Family::V4, &request(Family::V4, 1, 2, COOKIE, 28));
        let packet = in_ipv4(&message);
        assert_eq!(strip_ipv4_header(&packet), Some(&message[..]));
        let mut damaged = packet.clone();
        damaged[50] ^= 1;
        assert_eq!(strip_ipv4_header(&damaged), None);
        for first in [0x44, 0x66, 0x4f] {
            let mut packet = packet.clone();
            packet[0] = first;
            assert_eq!(strip_ipv4_header(&packet), None, "{first:x}");
        }
        assert_eq!(strip_ipv4_header(&packet[..20]), None);
        assert_eq!(strip_ipv4_header(&[]), None);
    }

    #[track_caller]
    fn check_notice(family: Family, kind: u8, code: u8, is_final: bool, expected: &str) {
        let icmp_error = IcmpError {
            family,
            kind,
            code,
            mtu: 1400,
            from: Some([192, 0, 2, 1].into()),
        };
        assert_eq!(icmp_error.is_final(), is_final, "{icmp_error}");
        assert_eq!(
            icmp_error.to_string(),
            format!("192.0.2.1 answered {expected}")
        );
    }

    #[test]
    fn an_icmp_error_names_its_sender_and_meaning() {
        use Family::{V4, V6};
        check_notice(V4, 3, 1, true, "host unreachable (ICMP type 3 code 1)");
        let text = "fragmentation needed, but not allowed (ICMP type 3 code 4, MTU 1400)";
        check_notice(V4, 3, 4, true, text);
        check_notice(
            V4,
            3,
            99,
            true,
            "destination unreachable (ICMP type 3 code 99)",
        );
        let text = "time to live exceeded in transit (ICMP type 11 code 0)";
        check_notice(V4, 11, 0, true, text);
        check_notice(V4, 5, 1, false, "(ICMP type 5 code 1)");
        check_notice(V4, 4, 0, false, "(ICMP type 4 code 0)");
        let text = "no route to destination (ICMPv6 type 1 code 0)";
        check_notice(V6, 1, 0, true, text);
        check_notice(
            V6,
            2,
            0,
            true,
            "packet too big (ICMPv6 type 2 code 0, MTU 1400)",
        );
        let text = "hop limit exceeded in transit (ICMPv6 type 3 code 0)";
        check_notice(V6, 3, 0, true, text);
        check_notice(V6, 137, 0, false, "(ICMPv6 type 137 code 0)");
    }

    #[test]
    fn an_error_quotes_the_request() {
        let packet = request(Family::V6, 3, 4, COOKIE, 28);
        assert_eq!(quoted(Family::V6, &packet), Some((3, 4)));
        assert_eq!(quoted(Family::V6, &packet[..8]), Some((3, 4)));
        assert_eq!(quoted(Family::V6, &packet[..7]), None);
        assert_eq!(quoted(Family::V4, &packet), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            for family in [Family::V4, Family::V6] {
                let message = strip_ipv4_header(&bytes).unwrap_or(&bytes);
                if let Some(reply) = Reply::parse(family, message) {
                    reply.answers(COOKIE, 28);
                }
                let _ = quoted(family, &bytes);
            }
        }

        #[test]
        fn a_packet_with_its_checksum_sums_to_zero(bytes in prop::collection::vec(any::<u8>(), 0..99)) {
            let mut packet = bytes;
            packet.splice(..0, [0, 0]);
            let sum = checksum(&packet);
            packet[..2].copy_from_slice(&sum.to_be_bytes());
            prop_assert_eq!(checksum(&packet), 0);
        }
    }
}
