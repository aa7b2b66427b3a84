//! Records as text, exactly as miekg/dns and so blackbox_exporter writes them: what regular
//! expressions that were written for it match.
//!
//! A table has the fields of each type's data. hickory reads the bytes; its own texts differ:
//! octal escapes, TXT without quotes, names with letters beyond ASCII, nothing of DNSSEC.

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::DateTime;
use hickory_proto::{
    rr::Name,
    serialize::binary::{BinDecodable, BinDecoder, DecodeError},
};

use super::record_types::{Class, RecordType};

/// A field of a record's data.
#[derive(Clone, Copy)]
enum Field {
    U8,
    U16,
    U32,
    Ip4,
    Ip6,
    Name,
    /// Text behind its length, in quotes.
    Text,
    /// As many of those as there are.
    Texts,
    /// Text behind its length, without quotes.
    Tag,
    /// All the rest as text in quotes.
    Octets,
    /// All the rest in hexadecimal digits.
    Hex,
    HexUpper,
    Base64,
    /// Eight bytes as groups of four hexadecimal digits (RFC 6742).
    Locator,
    /// The salt of NSEC3, after its length.
    Salt,
    /// A hash of NSEC3, after its length, in base 32.
    Hash,
    /// A bitmap of types (RFC 4034, section 4.1.2).
    Types,
    Type,
    /// Seconds since 1970 as a date.
    Time,
    /// All the rest in pairs of digits with `-` between.
    Eui,
    /// The parameters of SVCB (RFC 9460, section 2.1).
    Params,
}

/// The fields of a type's data; `None` for types that are shown in the format of RFC 3597.
fn fields(of: RecordType) -> Option<&'static [Field]> {
    use Field::{
        Base64, Eui, Hash, Hex, HexUpper, Ip4, Ip6, Locator, Name, Octets, Params, Salt, Tag, Text,
        Texts, Time, Type, Types, U8, U16, U32,
    };
    Some(match of.name()? {
        "A" => &[Ip4],
        "AAAA" => &[Ip6],
        "NS" | "MD" | "MF" | "CNAME" | "MB" | "MG" | "MR" | "PTR" | "NSAP-PTR" | "DNAME" => &[Name],
        "MX" | "AFSDB" | "RT" | "KX" | "LP" => &[U16, Name],
        "PX" => &[U16, Name, Name],
        "MINFO" | "RP" => &[Name, Name],
        "SOA" => &[Name, Name, U32, U32, U32, U32, U32],
        "SRV" => &[U16, U16, U16, Name],
        "TXT" | "SPF" | "NINFO" | "AVC" | "RESINFO" => &[Texts],
        "HINFO" => &[Text, Text],
        "NAPTR" => &[U16, U16, Text, Text, Text, Name],
        "CAA" => &[U8, Tag, Octets],
        "URI" => &[U16, U16, Octets],
        "DS" | "CDS" | "DLV" | "TA" => &[U16, U8, U8, HexUpper],
        "DNSKEY" | "KEY" | "CDNSKEY" | "RKEY" => &[U16, U8, U8, Base64],
        "RRSIG" | "SIG" => &[Type, U8, U8, U32, Time, Time, U16, Name, Base64],
        "NSEC" => &[Name, Types],
        "NSEC3" => &[U8, U8, U16, Salt, Hash, Types],
        "NSEC3PARAM" => &[U8, U8, U16, Salt],
        "CSYNC" => &[U32, U16, Types],
        "SSHFP" => &[U8, U8, HexUpper],
        "TLSA" | "SMIMEA" => &[U8, U8, U8, Hex],
        "ZONEMD" => &[U32, U8, U8, Hex],
        "OPENPGPKEY" | "DHCID" => &[Base64],
        "L32" => &[U16, Ip4],
        "NID" | "L64" => &[U16, Locator],
        "EUI48" | "EUI64" => &[Eui],
        "SVCB" | "HTTPS" => &[U16, Name, Params],
        _ => return None,
    })
}

/// The reason why bytes are not a valid record.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error(transparent)]
    Bytes(#[from] DecodeError),
    #[error("the data of a record of type {0} has the wrong length")]
    Length(RecordType),
}

/// A record without its data.
pub(super) struct RecordHeader {
    pub name: Name,
    pub kind: RecordType,
    pub class: u16,
    pub ttl: u32,
    /// Bytes of its data.
    pub length: usize,
}

impl RecordHeader {
    /// Reads the head of the record at `decoder`, and leaves `decoder` at its data.
    pub(super) fn read(decoder: &mut BinDecoder<'_>) -> Result<Self, DecodeError> {
        let head = Self {
            name: Name::read(decoder)?,
            kind: RecordType(decoder.read_u16()?.unverified()),
            class: decoder.read_u16()?.unverified(),
            ttl: decoder.read_u32()?.unverified(),
            length: decoder.read_u16()?.unverified().into(),
        };
        if head.length > decoder.len() {
            return Err(DecodeError::InsufficientBytes);
        }
        Ok(head)
    }
}

/// Writes the record at `decoder` to `text`, and leaves `decoder` behind it.
pub(super) fn write_record(
    head: &RecordHeader,
    decoder: &mut BinDecoder<'_>,
    text: &mut String,
) -> Result<(), Malformed> {
    write_name(&head.name, text);
    let (ttl, class, kind) = (head.ttl, Class(head.class), head.kind);
    match kind.name() {
        Some(name) => push(text, format_args!("\t{ttl}\t{class}\t{name}\t")),
        None => push(
            text,
            format_args!("\t{ttl}\tCLASS{}\tTYPE{}\t", class.0, kind.0),
        ),
    }
    let end = decoder.index() + head.length;
    if let Some(fields) = fields(kind) {
        for (at, field) in fields.iter().enumerate() {
            let before = text.len();
            if at > 0 {
                text.push(' ');
            }
            let start = text.len();
            write_field(*field, decoder, end, text)?;
            if text.len() == start {
                text.truncate(before);
            }
        }
    } else {
        push(text, format_args!("\\# {} ", head.length));
        write_hex(rest(decoder, end)?, text);
    }
    if decoder.index() != end {
        return Err(Malformed::Length(kind));
    }
    Ok(())
}

fn write_field(
    field: Field,
    decoder: &mut BinDecoder<'_>,
    end: usize,
    text: &mut String,
) -> Result<(), DecodeError> {
    match field {
        Field::U8 => push(text, format_args!("{}", u8(decoder)?)),
        Field::U16 => push(text, format_args!("{}", u16(decoder)?)),
        Field::U32 => push(text, format_args!("{}", u32(decoder)?)),
        Field::Ip4 => push(text, format_args!("{}", Ipv4Addr::from(u32(decoder)?))),
        Field::Ip6 => push(text, format_args!("{}", Ipv6Addr::from(array(decoder)?))),
        Field::Name => write_name(&Name::read(decoder)?, text),
        Field::Text => write_quoted(read_character_string(decoder)?, text),
        Field::Texts => {
            let mut separator = "";
            while decoder.index() < end {
                text.push_str(separator);
                write_quoted(read_character_string(decoder)?, text);
                separator = " ";
            }
        }
        Field::Tag => write_escaped(read_character_string(decoder)?, text),
        Field::Octets => write_quoted(rest(decoder, end)?, text),
        Field::Hex => write_hex(rest(decoder, end)?, text),
        Field::HexUpper => {
            let start = text.len();
            write_hex(rest(decoder, end)?, text);
            text[start..].make_ascii_uppercase();
        }
        Field::Base64 => BASE64_STANDARD.encode_string(rest(decoder, end)?, text),
        Field::Locator => {
            let groups = array::<8>(decoder)?;
            for (at, group) in groups.chunks(2).enumerate() {
                text.push_str(if at > 0 { ":" } else { "" });
                write_hex(group, text);
            }
        }
        Field::Salt => match read_character_string(decoder)? {
            [] => text.push('-'),
            salt => {
                let start = text.len();
                write_hex(salt, text);
                text[start..].make_ascii_uppercase();
            }
        },
        Field::Hash => write_base32(read_character_string(decoder)?, text),
        Field::Types => write_types(decoder, end, text)?,
        Field::Type => push(text, format_args!("{}", RecordType(u16(decoder)?))),
        Field::Time => {
            let time = DateTime::from_timestamp(u32(decoder)?.into(), 0).unwrap_or_default();
            push(text, format_args!("{}", time.format("%Y%m%d%H%M%S")));
        }
        Field::Eui => {
            for (at, byte) in rest(decoder, end)?.iter().enumerate() {
                let separator = if at > 0 { "-" } else { "" };
                push(text, format_args!("{separator}{byte:02x}"));
            }
        }
        Field::Params => write_params(decoder, end, text)?,
    }
    Ok(())
}

/// A name with its last dot, and escapes for bytes that host names do not have.
pub(super) fn write_name(name: &Name, text: &mut String) {
    if name.is_root() {
        text.push('.');
    }
    for label in name {
        for byte in label {
            match byte {
                b'.' | b' ' | b'\'' | b'@' | b';' | b'(' | b')' | b'"' | b'\\' => {
                    text.extend(['\\', char::from(*byte)]);
                }
                _ => write_byte(*byte, text),
            }
        }
        text.push('.');
    }
}

fn write_byte(byte: u8, text: &mut String) {
    match byte {
        b' '..=b'~' => text.push(byte.into()),
        _ => push(text, format_args!("\\{byte:03}")),
    }
}

fn write_quoted(bytes: &[u8], text: &mut String) {
    text.push('"');
    write_escaped(bytes, text);
    text.push('"');
}

fn write_escaped(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        if matches!(byte, b'"' | b'\\') {
            text.push('\\');
        }
        write_byte(*byte, text);
    }
}

fn write_hex(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        push(text, format_args!("{byte:02x}"));
    }
}

/// The alphabet that keeps the order of what it encodes, without padding (RFC 5155, section 3.3).
fn write_base32(bytes: &[u8], text: &mut String) {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
    for five in bytes.chunks(5) {
        let mut group = [0; 8];
        group[3..3 + five.len()].copy_from_slice(five);
        let group = u64::from_be_bytes(group);
        let digits = (five.len() * 8).div_ceil(5);
        let all = (0..8).rev().map(|place| (group >> (5 * place)) % 32);
        let digit = |value| {
            let at = usize::try_from(value).expect("it is less than 32");
            char::from(ALPHABET[at])
        };
        text.extend(all.take(digits).map(digit));
    }
}

fn write_types(
    decoder: &mut BinDecoder<'_>,
    end: usize,
    text: &mut String,
) -> Result<(), DecodeError> {
    let mut separator = "";
    while decoder.index() < end {
        let window = u16::from(u8(decoder)?) << 8;
        for (byte, bits) in (0_u16..).step_by(8).zip(read_character_string(decoder)?) {
            for bit in (0..8).filter(|bit| bits & (0x80 >> bit) != 0) {
                let kind = RecordType(window.saturating_add(byte + bit));
                push(text, format_args!("{separator}{kind}"));
                separator = " ";
            }
        }
    }
    Ok(())
}

fn write_params(
    decoder: &mut BinDecoder<'_>,
    end: usize,
    text: &mut String,
) -> Result<(), DecodeError> {
    let mut separator = "";
    while decoder.index() < end {
        let key = u16(decoder)?;
        let length = u16(decoder)?;
        let value = decoder.read_slice(length.into())?.unverified();
        push(text, format_args!("{separator}{}=\"", param(key)));
        write_param(key, value, text)?;
        text.push('"');
        separator = " ";
    }
    Ok(())
}

/// The name of a parameter of SVCB.
fn param(key: u16) -> String {
    let name = match key {
        0 => "mandatory",
        1 => "alpn",
        2 => "no-default-alpn",
        3 => "port",
        4 => "ipv4hint",
        5 => "ech",
        6 => "ipv6hint",
        7 => "dohpath",
        8 => "ohttp",
        key => return format!("key{key}"),
    };
    name.to_owned()
}

fn write_param(key: u16, value: &[u8], text: &mut String) -> Result<(), DecodeError> {
    let mut decoder = BinDecoder::new(value);
    let mut separator = "";
    match key {
        3 => push(text, format_args!("{}", u16(&mut decoder)?)),
        5 => BASE64_STANDARD.encode_string(value, text),
        0 | 1 | 4 | 6 => {
            while !decoder.is_empty() {
                text.push_str(separator);
                separator = ",";
                match key {
                    0 => text.push_str(&param(u16(&mut decoder)?)),
                    1 => write_alpn(read_character_string(&mut decoder)?, text),
                    4 => push(text, format_args!("{}", Ipv4Addr::from(u32(&mut decoder)?))),
                    _ => push(
                        text,
                        format_args!("{}", Ipv6Addr::from(array(&mut decoder)?)),
                    ),
                }
            }
        }
        _ => {
            for byte in value {
                if matches!(byte, b'"' | b';' | b' ' | b'\\') {
                    text.push('\\');
                }
                write_byte(*byte, text);
            }
        }
    }
    Ok(())
}

/// One item of a list whose commas and backslashes are escaped twice (RFC 9460, appendix A.1).
fn write_alpn(protocol: &[u8], text: &mut String) {
    for byte in protocol {
        match byte {
            b'"' | b';' | b' ' => text.push('\\'),
            b',' | b'\\' => {
                push(text, format_args!("\\\\\\{byte:03}"));
                continue;
            }
            _ => {}
        }
        write_byte(*byte, text);
    }
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes all");
}

fn u8(decoder: &mut BinDecoder<'_>) -> Result<u8, DecodeError> {
    Ok(decoder.read_u8()?.unverified())
}

fn u16(decoder: &mut BinDecoder<'_>) -> Result<u16, DecodeError> {
    Ok(decoder.read_u16()?.unverified())
}

fn u32(decoder: &mut BinDecoder<'_>) -> Result<u32, DecodeError> {
    Ok(decoder.read_u32()?.unverified())
}

fn array<const N: usize>(decoder: &mut BinDecoder<'_>) -> Result<[u8; N], DecodeError> {
    let bytes = decoder.read_slice(N)?.unverified();
    Ok(bytes.try_into().expect("it is as long as was asked for"))
}

/// The bytes behind their length.
fn read_character_string<'m>(decoder: &mut BinDecoder<'m>) -> Result<&'m [u8], DecodeError> {
    let length = u8(decoder)?;
    Ok(decoder.read_slice(length.into())?.unverified())
}

/// The bytes up to `end`.
fn rest<'m>(decoder: &mut BinDecoder<'m>, end: usize) -> Result<&'m [u8], DecodeError> {
    let length = end
        .checked_sub(decoder.index())
        .ok_or(DecodeError::InsufficientBytes)?;
    Ok(decoder.read_slice(length)?.unverified())
}
