//! Hashes of file contents, to detect changes.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use super::read_regular_file;

/// Maximum size of a file, that of a configuration.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Hashes of files at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileHashes(BTreeMap<PathBuf, u64>);

impl FileHashes {
    /// Hashes `files`; unreadable ones have a special hash.
    pub(crate) fn read<'f>(files: impl IntoIterator<Item = &'f PathBuf>) -> Self {
        let mut hashes = Self::default();
        hashes.add_missing(files);
        hashes
    }

    /// Adds those of `files` that are missing. Returns true if there were any.
    pub(crate) fn add_missing<'f>(&mut self, files: impl IntoIterator<Item = &'f PathBuf>) -> bool {
        let known = self.0.len();
        for file in files {
            if !self.0.contains_key(file) {
                self.add(file.clone(), contents(file).as_deref());
            }
        }
        self.0.len() > known
    }

    /// Adds the hash of `file`; `None` if it could not be read.
    pub(crate) fn add(&mut self, file: PathBuf, contents: Option<&[u8]>) {
        let mut hasher = DefaultHasher::new();
        contents.hash(&mut hasher);
        self.0.insert(file, hasher.finish());
    }

    /// The paths of the files.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }

    /// A hash over all paths and contents.
    #[must_use]
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    /// Returns true if a file in both has another hash in `now`.
    #[must_use]
    pub(crate) fn differ_from(&self, now: &Self) -> bool {
        let known = |file| self.0.get(file);
        now.0
            .iter()
            .any(|(file, hash)| known(file).is_some_and(|before| before != hash))
    }

    /// Returns true if `file` is included.
    #[must_use]
    pub(crate) fn contains(&self, file: &PathBuf) -> bool {
        self.0.contains_key(file)
    }

    /// Changes the hash of `file`, because its contents changed after it was read.
    pub(crate) fn mark_changed(&mut self, file: &PathBuf) {
        if let Some(hash) = self.0.get_mut(file) {
            *hash = !*hash;
        }
    }

    /// Keeps only the files for which `files` returns true.
    pub(crate) fn retain(&mut self, files: impl Fn(&PathBuf) -> bool) {
        self.0.retain(|file, _| files(file));
    }
}

/// The contents of a file, or the names in a folder.
fn contents(file: &Path) -> Option<Vec<u8>> {
    if let Ok(entries) = fs::read_dir(file) {
        let mut names: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .map(OsString::into_encoded_bytes)
            .collect();
        names.sort_unstable();
        return Some(names.join(&0));
    }
    read_regular_file(file, MAX_FILE_BYTES).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_file_that_has_just_been_named_has_not_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = ["one", "two"].map(|name| directory.path().join(name));
        let write = |index: usize, text: &str| fs::write(&files[index], text).expect("room for it");
        write(0, "a");
        let mut before = FileHashes::read(&files[..1]);
        write(1, "b");
        assert!(!before.differ_from(&FileHashes::read(&files)));
        assert!(before.add_missing(&files));
        assert!(!before.add_missing(&files));
        write(1, "c");
        assert!(before.differ_from(&FileHashes::read(&files)));
        before.retain(|file| *file == files[0]);
        assert!(!before.differ_from(&FileHashes::read(&files)));
        fs::remove_file(&files[0]).expect("it is there");
        assert!(before.differ_from(&FileHashes::read(&files)));
    }

    #[test]
    fn what_a_file_holds_counts_and_whether_it_is_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = [directory.path().join("secret")];
        let missing = FileHashes::read(&files).fingerprint();
        let mut seen = BTreeSet::from([missing]);
        for contents in ["", "one", "two"] {
            fs::write(&files[0], contents).expect("room for a file");
            seen.insert(FileHashes::read(&files).fingerprint());
        }
        assert_eq!(seen.len(), 4);
        fs::remove_file(&files[0]).expect("it is there");
        assert_eq!(FileHashes::read(&files).fingerprint(), missing);
    }

    #[test]
    fn a_folder_changes_with_the_names_in_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let folder = [directory.path().to_owned()];
        let empty = FileHashes::read(&folder).fingerprint();
        let file = directory.path().join("one.yml");
        fs::write(&file, "one").expect("room for a file");
        let one = FileHashes::read(&folder).fingerprint();
        assert_ne!(one, empty);
        fs::write(&file, "two").expect("room for a file");
        assert_eq!(
            FileHashes::read(&folder).fingerprint(),
            one,
            "what is in files is another matter"
        );
    }
}
