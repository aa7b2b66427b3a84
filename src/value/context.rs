//! What values are read with besides the text that they stand in: folders, files and compiled patterns.

use std::{
    collections::HashMap,
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
