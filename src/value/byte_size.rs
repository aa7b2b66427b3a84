//! Sizes in bytes with the units of blackbox_exporter, always base 1024.

use super::{FromNode, Node, node::unexpected_kind, units};

/// A number of bytes. For limits, 0 means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteSize(pub u64);

impl FromNode for ByteSize {
    const EXPECTED: &'static str =
        "bytes (65536) or a value with a unit (64KB, 64KiB, 10MB, 1GB; base 1024)";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Int(bytes) => u64::try_from(*bytes)
                .map(Self)
                .map_err(|_| format!("{bytes} is out of range")),
            Node::Text(text) => parse(text)
                .map(Self)
                .ok_or_else(|| format!("invalid size {text:?}")),
            _ => Err(unexpected_kind(node)),
        }
    }
}

/// Bytes in `text`: numbers with units, added up as in `1MB512KB`.
fn parse(text: &str) -> Option<u64> {
    let mut bytes = 0.0;
    for (number, unit) in units::split(text)? {
        let exponent = match unit {
            "B" => 0,
            "KB" | "KiB" => 1,
            "MB" | "MiB" => 2,
            "GB" | "GiB" => 3,
            "TB" | "TiB" => 4,
            "PB" | "PiB" => 5,
            _ => return None,
        };
        bytes += number * 1024_f64.powi(exponent);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded just before"
    )]
    (bytes < 9e18).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(node: &Node, expected: Option<u64>) {
        assert_eq!(
            ByteSize::from_node(node).ok(),
            expected.map(ByteSize),
            "{node:?}"
        );
    }

    #[test]
    fn units_are_of_base_1024() {
        check(&Node::Int(65_536), Some(65_536));
        check(&Node::Int(0), Some(0));
        check(&Node::Int(-1), None);
        check(&Node::Float(1.5), None);
        for (text, bytes) in [
            ("1B", 1),
            ("64KB", 65_536),
            ("64KiB", 65_536),
            ("1.5MB", 1_572_864),
            ("1MB512KB", 1_572_864),
            ("2GB", 2 << 30),
        ] {
            check(&Node::Text(text.into()), Some(bytes));
        }
        for text in [
            "",
            "1",
            "MB",
            "1kB",
            "1 MB",
            "-1MB",
            "1EB",
            "99999999PB",
            "1.1.1MB",
            "1MBB",
        ] {
            check(&Node::Text(text.into()), None);
        }
    }
}
