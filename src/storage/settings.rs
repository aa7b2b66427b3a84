//! `storage`: where the store is, and how long it keeps what.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::value::{Fields, FromNode, Node, read_duration};

/// Settings of the store.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `storage.path`
    pub path: StoragePath,
    /// `storage.retention`: how long days and incidents are kept.
    pub retention: Duration,
}

/// The directory of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoragePath {
    /// `$STATE_DIRECTORY`, or none if that is not set.
    #[default]
    StateDirectory,
    /// This one.
    Directory(PathBuf),
    /// None.
    Off,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: StoragePath::default(),
            retention: 400 * DAY,
        }
    }
}

/// A time for which history is kept.
pub(crate) struct Retention(pub Duration);

impl FromNode for Retention {
    const EXPECTED: &'static str = "a duration (30d, 52w, 2y) from 1d to 20y";

    fn from_node(node: &Node) -> Result<Self, String> {
        read_duration(node, DAY..=20 * 365 * DAY).map(Self)
    }
}

impl Settings {
    /// Reads the section.
    pub fn read(mut fields: Fields<'_>) -> Self {
        let is_off = |node: &Node| matches!(node, Node::Text(text) if text == "off");
        let path = match fields.node("path") {
            Some((node, _)) if is_off(node) => StoragePath::Off,
            _ => fields
                .file_path("path")
                .map_or(StoragePath::default(), StoragePath::Directory),
        };
        let defaults = Self::default();
        let settings = Self {
            path,
            retention: fields
                .optional("retention")
                .map_or(defaults.retention, |Retention(retention)| retention),
        };
        fields.reject_unknown_keys();
        settings
    }

    /// The directory of the store; `None` if nothing is stored.
    #[must_use]
    pub fn directory(&self) -> Option<PathBuf> {
        match &self.path {
            StoragePath::Off => None,
            StoragePath::Directory(path) => Some(path.clone()),
            StoragePath::StateDirectory => {
                // systemd separates several by colons.
                let value = env::var_os("STATE_DIRECTORY")?;
                let first = value.to_str()?.split(':').next()?;
                (!first.is_empty()).then(|| Path::new(first).to_owned())
            }
        }
    }
}
