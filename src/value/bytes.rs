//! Bytes that a check sends or expects: text, `!!binary`, or a list of numbers.

use super::{FromNode, Node, node::unexpected_kind};

/// Bytes from a text in UTF-8, `!!binary`, or a list of numbers.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl FromNode for Bytes {
    const EXPECTED: &'static str = "text, !!binary with base64, or a list of bytes from 0 to 255 such as [0x00, 0x16, 47]; not empty";

    fn from_node(node: &Node) -> Result<Self, String> {
        let bytes = match node {
            Node::Text(text) => text.as_bytes().to_vec(),
            Node::Binary(bytes) => bytes.clone(),
            Node::List(items) => {
                let byte = |item: &Node| match item {
                    Node::Int(byte) => u8::try_from(*byte).ok(),
                    _ => None,
                };
                let bytes: Option<_> = items.iter().map(byte).collect();
                bytes.ok_or("contains a value that is not a byte")?
            }
            _ => return Err(unexpected_kind(node)),
        };
        if bytes.is_empty() {
            return Err("empty".to_owned());
        }
        Ok(Self(bytes))
    }
}

/// A text or `!!binary`, which may be empty.
impl FromNode for ::bytes::Bytes {
    const EXPECTED: &'static str = "text, or !!binary with base64";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Text(text) => Ok(text.clone().into()),
            Node::Binary(bytes) => Ok(bytes.clone().into()),
            _ => Err(unexpected_kind(node)),
        }
    }
}

/// A line to send: a text with a line feed added, or `!!binary` without.
pub(crate) struct Line(pub Vec<u8>);

impl FromNode for Line {
    const EXPECTED: &'static str = "text, or !!binary with base64";

    fn from_node(node: &Node) -> Result<Self, String> {
        match node {
            Node::Binary(bytes) => Ok(Self(bytes.clone())),
            _ => String::from_node(node).map(|text| Self(format!("{text}\n").into_bytes())),
        }
    }
}

/// Shows no bytes, because they may be a password.
impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({} of them)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(node: &Node, expected: Result<&[u8], &str>) {
        let read = Bytes::from_node(node);
        let read = read.as_ref().map(|bytes| &*bytes.0).map_err(String::as_str);
        assert_eq!(read, expected);
    }

    #[test]
    fn bytes_are_a_text_or_a_list() {
        let list = |numbers: &[i128]| Node::List(numbers.iter().copied().map(Node::Int).collect());
        check(&Node::Text("é".to_owned()), Ok("é".as_bytes()));
        check(&list(&[0, 210, 255]), Ok(&[0, 210, 255]));
        check(&list(&[256]), Err("contains a value that is not a byte"));
        check(&list(&[-1]), Err("contains a value that is not a byte"));
        check(
            &Node::List(vec![Node::Text("S".to_owned())]),
            Err("contains a value that is not a byte"),
        );
        check(&list(&[]), Err("empty"));
        check(&Node::Text(String::new()), Err("empty"));
        check(&Node::Int(5), Err("found a number"));
        check(&Node::Binary(vec![0, 255]), Ok(&[0, 255]));
    }

    #[test]
    fn a_line_ends_with_a_line_feed_and_binary_data_do_not() {
        let line = |node: &Node| Line::from_node(node).map(|line| line.0);
        assert_eq!(line(&Node::Text("QUIT".to_owned())), Ok(b"QUIT\n".to_vec()));
        assert_eq!(line(&Node::Binary(vec![0, 255])), Ok(vec![0, 255]));
    }
}
