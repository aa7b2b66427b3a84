//! Parses domain names.

use hickory_proto::rr::Name;

/// The name that `text` is, absolute; `None` if DNS cannot carry it.
///
/// A label may be of any bytes (RFC 2181, section 11); one of letters beyond ASCII is encoded.
pub(super) fn parse_name(text: &str) -> Option<Name> {
    if !text.is_ascii() {
        return match url::Host::parse(text) {
            Ok(url::Host::Domain(encoded)) => parse_name(&encoded),
            _ => None,
        };
    }
    let relative = text.strip_suffix('.').unwrap_or(text);
    if relative.is_empty() {
        return (text == ".").then(Name::root);
    }
    let mut name = Name::root();
    for label in relative.split('.') {
        name = name.append_label(label.as_bytes()).ok()?;
    }
    Some(name)
}
