//! What values are read with besides the text that they stand in: folders, files and compiled patterns.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{FromNode, Node, Pattern};

/// Patterns and folders that everything read from the same files shares.
#[derive(Clone, Debug, Default)]
pub struct Context {
    patterns: Arc<Mutex<HashMap<String, Pattern>>>,
    /// The folder of each file, in the order of the files.
    folders: Vec<PathBuf>,
}

impl Context {
    /// The pattern of `node`, compiled once however often aliases and templates repeat it.
    pub(super) fn pattern(&self, node: &Node) -> Result<Pattern, String> {
        let Node::Text(text) = node else {
            return Pattern::read_node(node);
        };
        let mut known = self.patterns.lock();
        if let Some(pattern) = known.get(text) {
            return Ok(pattern.clone());
        }
        let pattern = Pattern::from_node(node)?;
        known.insert(text.clone(), pattern.clone());
        Ok(pattern)
    }

    /// Sets the folder that relative paths in the file with this index begin at.
    pub(super) fn set_folder(&mut self, file: usize, folder: PathBuf) {
        if self.folders.len() <= file {
            self.folders.resize(file + 1, PathBuf::new());
        }
        self.folders[file] = folder;
    }

    /// `path` as it is written in the file with this index.
    pub(super) fn resolve(&self, file: usize, path: &Path) -> PathBuf {
        match self.folders.get(file) {
            Some(folder) => folder.join(path),
            None => path.to_owned(),
        }
    }
}

/// Files that settings were read from, each with a hash of its contents at that time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesRead(BTreeMap<PathBuf, u64>);

impl FilesRead {
    pub(crate) fn add(&mut self, path: PathBuf, contents: Option<&[u8]>) {
        let mut hasher = DefaultHasher::new();
        contents.hash(&mut hasher);
        self.0.insert(path, hasher.finish());
    }

    /// Their paths.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }

    /// A hash of which files they are and what they held.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }
}
