//! By which a change of a monitor is known: hashes of what it was read from.

use std::{
    ffi::OsString,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use crate::value::{FilesRead, Node, read_regular_file};

/// The hash of a value and of all that it holds; the order of a mapping's keys does not count.
pub(super) fn of(node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    match node {
        Node::Null => 0.hash(&mut hasher),
        Node::Bool(value) => (1, value).hash(&mut hasher),
        Node::Int(value) => (2, value).hash(&mut hasher),
        Node::Float(value) => (3, value.to_bits()).hash(&mut hasher),
        Node::Text(text) | Node::Substituted(text) => (4, text).hash(&mut hasher),
        Node::Binary(bytes) => (7, bytes).hash(&mut hasher),
        Node::List(items) => {
            (5, items.len()).hash(&mut hasher);
            for item in items {
                of(item).hash(&mut hasher);
            }
        }
        Node::Map(entries) => {
            let entry = |(key, value): &(String, Node)| {
                let mut hasher = DefaultHasher::new();
                (key, of(value)).hash(&mut hasher);
                hasher.finish()
            };
            let sum = entries.iter().map(entry).fold(0, u64::wrapping_add);
            (6, entries.len(), sum).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The hash of what `files` hold; one that cannot be read counts as such. A folder holds names.
pub fn of_files<'f>(files: impl IntoIterator<Item = &'f PathBuf>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        (file, contents(file)).hash(&mut hasher);
    }
    hasher.finish()
}

/// The hash of what `files` hold now, as it is in the [`Version`](crate::check::Version) of a monitor
/// that was made from them.
pub(crate) fn fingerprint_files<'f>(files: impl IntoIterator<Item = &'f PathBuf>) -> u64 {
    let mut read = FilesRead::default();
    for file in files {
        read.add(file.clone(), contents(file).as_deref());
    }
    read.fingerprint()
}

fn contents(file: &Path) -> Option<Vec<u8>> {
    if let Ok(entries) = fs::read_dir(file) {
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
        let mut names: Vec<_> = names.map(OsString::into_encoded_bytes).collect();
        names.sort_unstable();
        return Some(names.join(&0));
    }
    read_regular_file(file, super::MAX_FILE_SIZE).ok()
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
        let hash = |text: &str| of(&node(text));
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

    #[test]
    fn what_a_file_holds_counts_and_whether_it_is_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = [directory.path().join("secret")];
        let missing = of_files(&files);
        let mut seen = BTreeSet::from([missing]);
        for contents in ["", "one", "two"] {
            fs::write(&files[0], contents).expect("room for a file");
            seen.insert(of_files(&files));
        }
        assert_eq!(seen.len(), 4);
        fs::remove_file(&files[0]).expect("it is there");
        assert_eq!(of_files(&files), missing);
    }

    #[test]
    fn a_folder_changes_with_the_names_in_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let folder = [directory.path().to_owned()];
        let empty = of_files(&folder);
        let file = directory.path().join("one.yml");
        fs::write(&file, "one").expect("room for a file");
        let one = of_files(&folder);
        assert_ne!(one, empty);
        fs::write(&file, "two").expect("room for a file");
        assert_eq!(of_files(&folder), one, "what is in files is another matter");
    }
}
