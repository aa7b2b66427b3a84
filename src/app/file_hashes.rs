//! Hashes of the contents of files, by which it is known which of them have changed.

use std::{collections::BTreeMap, iter, path::PathBuf};

use crate::config;

/// The contents of files at some time, file by file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FileHashes(BTreeMap<PathBuf, u64>);

impl FileHashes {
    /// Reads `files`; one that cannot be read has a hash that says so.
    pub fn read<'f>(files: impl IntoIterator<Item = &'f PathBuf>) -> Self {
        let mut hashes = Self::default();
        hashes.add_missing(files);
        hashes
    }

    /// Reads those of `files` that are not known yet, and returns whether there were any.
    pub fn add_missing<'f>(&mut self, files: impl IntoIterator<Item = &'f PathBuf>) -> bool {
        let known = self.0.len();
        for file in files {
            if !self.0.contains_key(file) {
                let hash = config::of_files(iter::once(file));
                self.0.insert(file.clone(), hash);
            }
        }
        self.0.len() > known
    }

    /// Whether any of the files in `now` that are known here has other contents there.
    pub fn differ_from(&self, now: &Self) -> bool {
        let known = |file| self.0.get(file);
        now.0
            .iter()
            .any(|(file, hash)| known(file).is_some_and(|before| before != hash))
    }

    /// Whether `file` is known.
    pub fn contains(&self, file: &PathBuf) -> bool {
        self.0.contains_key(file)
    }

    /// Notes that `file` was read before it had the contents that are known here.
    pub fn mark_changed(&mut self, file: &PathBuf) {
        if let Some(hash) = self.0.get_mut(file) {
            *hash = !*hash;
        }
    }

    /// Forgets all files but `files`.
    pub fn retain(&mut self, files: impl Fn(&PathBuf) -> bool) {
        self.0.retain(|file, _| files(file));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
}
