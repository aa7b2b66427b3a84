//! The context of reading values: folders of files, and compiled patterns.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{FromNode, Node, Pattern};

/// Compiled patterns and folders, shared by all values of the same files.
#[derive(Clone, Debug, Default)]
pub struct Context {
    patterns: Arc<Mutex<HashMap<String, Pattern>>>,
    /// Folders by the index of the file.
    folders: Vec<PathBuf>,
}

impl Context {
    /// The pattern of `node`, compiled once even if aliases and templates repeat it.
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

    /// Sets the folder of the file with this index, for relative paths.
    pub(super) fn set_folder(&mut self, file: usize, folder: PathBuf) {
        if self.folders.len() <= file {
            self.folders.resize(file + 1, PathBuf::new());
        }
        self.folders[file] = folder;
    }

    /// Resolves `path` relative to the file with this index.
    pub(super) fn resolve(&self, file: usize, path: &Path) -> PathBuf {
        match self.folders.get(file) {
            Some(folder) => folder.join(path),
            None => path.to_owned(),
        }
    }
}
