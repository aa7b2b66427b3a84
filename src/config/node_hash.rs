//! Hashes of configuration trees, to detect changes.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::value::Node;

/// The hash of a tree. The order of keys in a mapping does not matter.
pub(super) fn hash_node(node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    match node {
        Node::Null => 0.hash(&mut hasher),
        Node::Bool(value) => (1, value).hash(&mut hasher),
        Node::Int(value) => (2, value).hash(&mut hasher),
        Node::Float(value) => (3, value.to_bits()).hash(&mut hasher),
        Node::Text(text) | Node::FromEnvironment(text) => (4, text).hash(&mut hasher),
        Node::Binary(bytes) => (7, bytes).hash(&mut hasher),
        Node::List(items) => {
            (5, items.len()).hash(&mut hasher);
            for item in items {
                hash_node(item).hash(&mut hasher);
            }
        }
        Node::Map(entries) => {
            let entry = |(key, value): &(String, Node)| {
                let mut hasher = DefaultHasher::new();
                (key, hash_node(value)).hash(&mut hasher);
                hasher.finish()
            };
            let sum = entries.iter().map(entry).fold(0, u64::wrapping_add);
            (6, entries.len(), sum).hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::value::yaml;

    fn node(text: &str) -> Node {
        yaml::parse(text).expect("YAML")
    }

    #[test]
    fn the_order_of_keys_does_not_count_and_everything_else_does() {
        let hash = |text: &str| hash_node(&node(text));
        assert_eq!(hash("{a: 1, b: [x, y]}"), hash("b: [x, y]\na: 1\n"));
        let all = [
            "{a: 1, b: [x, y]}",
            "{a: 1, b: [y, x]}",
            "{a: 2, b: [x, y]}",
            "{a: \"1\", b: [x, y]}",
            "{a: 1.5, b: [x, y]}",
            "{a: true, b: [x, y]}",
            "{a: 1, b: [x, y], c: }",
            "{a: 1, b: [x]}",
            "{a: {b: [x, y]}}",
            "{b: 1, a: [x, y]}",
        ];
        let hashes: BTreeSet<_> = all.iter().map(|text| hash(text)).collect();
        assert_eq!(hashes.len(), all.len());
    }
}
