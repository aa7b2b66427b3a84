//! JSON as a tree of bounded size.

use serde::de::DeserializeSeed;

use super::{
    Node,
    yaml::{BoundedNodeSeed, TreeSize},
};

/// The tree that `text` stands for.
///
/// # Errors
/// The first problem and its place; no value is repeated.
pub(crate) fn parse_json(text: &str) -> Result<Node, String> {
    let size = TreeSize::new();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let node = BoundedNodeSeed::new(&size)
        .deserialize(&mut deserializer)
        .and_then(|node| deserializer.end().map(|()| node));
    node.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_becomes_a_tree() {
        let node = parse_json(r#"{"a": [1, -2.5, "\ud83d\ude00", true, null]}"#);
        let items = vec![
            Node::Int(1),
            Node::Float(-2.5),
            Node::Text("😀".to_owned()),
            Node::Bool(true),
            Node::Null,
        ];
        assert_eq!(
            node,
            Ok(Node::Map(vec![("a".to_owned(), Node::List(items))]))
        );
    }

    #[test]
    fn what_is_too_deep_or_too_large_is_refused() {
        assert!(parse_json(&"[".repeat(10_000)).is_err());
        assert!(parse_json("{} {}").is_err());
        let large = format!("[{}1]", "1,".repeat(600_000));
        let error = parse_json(&large).expect_err("too many values");
        assert!(error.contains("too large"), "{error}");
    }
}
