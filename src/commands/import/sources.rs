//! The imported files: each is read once, their total size is bounded, and positions in them are known.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt::Display,
    path::{Path, PathBuf},
    rc::Rc,
};

use crate::value::{
    self, EntryPart, Node, ReadError, read_regular_file,
    yaml::{self, Position},
};

/// Bytes of all files of an import together.
pub(super) const MAX_BYTES: u64 = 16 << 20;

/// Why nothing can be imported, in one line with its place.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ImportError(pub(crate) String);

/// Files and positions by the indices on the way from the top.
pub(super) type Positions = HashMap<Vec<usize>, (Rc<Path>, Position)>;

/// The files read up to now.
pub(super) struct Sources {
    files: RefCell<Vec<Source>>,
    left: Cell<u64>,
}

struct Source {
    file: PathBuf,
    places: Places,
}

enum Places {
    /// They are looked up in the text when they are needed.
    Yaml(String),
    Known(Positions),
    /// A database has no lines.
    None,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            files: RefCell::default(),
            left: Cell::new(MAX_BYTES),
        }
    }
}

impl Sources {
    /// The text of the file at `path`.
    ///
    /// # Errors
    /// Where it cannot be read, or is too large together with the files before it.
    pub(super) fn read_text(&self, path: &Path) -> Result<String, ImportError> {
        let file = path.display();
        let bytes = read_regular_file(path, self.left.get()).map_err(|error| match error {
            ReadError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                ImportError(format!("{file}: no such file"))
            }
            ReadError::TooLarge(_) => ImportError(format!(
                "{file}: too large: expected at most {MAX_BYTES} bytes in all files together"
            )),
            error => ImportError(format!("{file}: {error}")),
        })?;
        self.left.set(self.left.get() - bytes.len() as u64);
        String::from_utf8(bytes)
            .map_err(|_| ImportError(format!("{file}: not UTF-8: expected a text file")))
    }

    /// The tree in the YAML file at `path`, and the path to its top.
    ///
    /// # Errors
    /// Where it cannot be read, or is not YAML.
    pub(super) fn read_yaml(&self, path: &Path) -> Result<(value::Path, Node), ImportError> {
        let text = self.read_text(path)?;
        self.parse_yaml(path, text)
    }

    /// The tree in `text`, which is YAML from the file at `path`, and the path to its top.
    ///
    /// # Errors
    /// Where it is not YAML.
    pub(super) fn parse_yaml(
        &self,
        path: &Path,
        text: String,
    ) -> Result<(value::Path, Node), ImportError> {
        let node = yaml::parse(&text).map_err(|error| {
            let message = format_args!("invalid YAML: {}", error.message);
            error_at(path, error.position, message)
        })?;
        Ok((self.add(path, Places::Yaml(text)), node))
    }

    /// Adds a file with known `positions`; returns the path to its top.
    pub(super) fn add_located(&self, path: &Path, positions: Positions) -> value::Path {
        self.add(path, Places::Known(positions))
    }

    /// Adds a file whose parts have no positions; returns the path to its top.
    pub(super) fn add_without_positions(&self, path: &Path) -> value::Path {
        self.add(path, Places::None)
    }

    fn add(&self, path: &Path, places: Places) -> value::Path {
        let mut files = self.files.borrow_mut();
        files.push(Source {
            file: path.to_owned(),
            places,
        });
        value::Path::top_of(files.len() - 1)
    }

    /// `FILE:LINE:COLUMN` of each of `places`; `FILE` if it has no lines.
    #[must_use]
    pub(super) fn locate(&self, places: &[(&value::Path, EntryPart)]) -> Vec<String> {
        let files = self.files.borrow();
        let mut located = vec![String::new(); places.len()];
        for (index, source) in files.iter().enumerate() {
            let file = source.file.display();
            let ids: Vec<_> = (0..places.len())
                .filter(|id| places[*id].0.file == index)
                .collect();
            match &source.places {
                Places::Yaml(text) => {
                    let positions = yaml::locate(text, ids.iter().map(|id| places[*id]));
                    for (id, Position { line, column }) in ids.into_iter().zip(positions) {
                        located[id] = format!("{file}:{line}:{column}");
                    }
                }
                Places::Known(known) => {
                    for id in ids {
                        located[id] = match position(known, places[id].0) {
                            Some((file, Position { line, column })) => {
                                format!("{}:{line}:{column}", file.display())
                            }
                            None => file.to_string(),
                        };
                    }
                }
                Places::None => {
                    for id in ids {
                        located[id] = file.to_string();
                    }
                }
            }
        }
        located
    }
}

/// The position of `path`, or of the nearest part around it.
fn position<'p>(known: &'p Positions, path: &value::Path) -> Option<&'p (Rc<Path>, Position)> {
    let mut steps: Vec<_> = path
        .segments
        .iter()
        .map(|segment| match segment {
            value::Segment::Entry { index, .. } | value::Segment::Item(index) => *index,
        })
        .collect();
    loop {
        if let Some(position) = known.get(&steps) {
            return Some(position);
        }
        steps.pop()?;
    }
}

/// An error at a position of a file.
pub(super) fn error_at(path: &Path, position: Position, message: impl Display) -> ImportError {
    let Position { line, column } = position;
    ImportError(format!("{}:{line}:{column}: {message}", path.display()))
}
