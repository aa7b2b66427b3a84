//! `include`: which files belong to the configuration beside the one that names them.

use std::{
    collections::{BTreeSet, HashSet},
    fmt, fs, io,
    path::{Component, Path, PathBuf},
};

use glob::{MatchOptions, Pattern};

use crate::value::{self, EntryPart, Fields, FromNode, Node};

/// One of `include`.
struct Include(String);

impl FromNode for Include {
    const EXPECTED: &'static str =
        "a path or pattern such as conf.d/*.yml, relative to the file's folder";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        if text.is_empty() {
            return Err("empty".to_owned());
        }
        if text.contains("**") {
            return Err("** is not supported".to_owned());
        }
        if text.split('/').any(|part| Pattern::new(part).is_err()) {
            return Err(format!("invalid pattern {text:?}"));
        }
        Ok(Self(text))
    }
}

/// What is wrong, whatever it is, with a path that may not be shown.
pub(super) const REDACTED_INCLUDE_ERROR: &str = "invalid value from the environment";

/// Files that one configuration may include.
const MAX_FILES: usize = 1000;
/// Entries of folders that patterns may be held against.
const MAX_MATCHED_NAMES: usize = 100_000;

/// A file that is included, and where that is said.
pub(super) struct Included {
    pub path: PathBuf,
    pub declared_at: value::Path,
    /// Whether the path may be shown: what a variable holds is not repeated.
    pub is_shown: bool,
}

/// The files that `include` names in the file `main`, each once; `folders` are those that patterns were
/// looked for in.
pub(super) fn find_included(
    fields: &mut Fields<'_>,
    main: &Path,
    folders: &mut BTreeSet<PathBuf>,
) -> Vec<Included> {
    let problems = fields.problems();
    let folder = main.parent().unwrap_or(Path::new(""));
    let mut seen: HashSet<PathBuf> = HashSet::new();
    let mut entries = MAX_MATCHED_NAMES;
    let mut found = Vec::new();
    for (node, place) in fields.items("include", Include::EXPECTED) {
        let is_shown = !matches!(node, Node::FromEnvironment(_));
        let wrong = |wrong: &dyn fmt::Display, expected: &dyn fmt::Display| {
            let wrong = if is_shown {
                wrong
            } else {
                &REDACTED_INCLUDE_ERROR
            };
            problems.add(place.clone(), EntryPart::Value, wrong, expected);
        };
        let paths = match Include::read_node(node) {
            Ok(Include(text)) => expand_pattern(folder, &text, &mut entries, folders),
            Err(error) => {
                wrong(&error, &Include::EXPECTED);
                continue;
            }
        };
        let paths = match paths {
            Ok(paths) => {
                if paths.is_empty() {
                    problems.warn(value::Warning {
                        path: place.clone(),
                        part: EntryPart::Value,
                        message: "matches no file".to_owned(),
                        is_validate_only: false,
                    });
                }
                paths
            }
            Err(error) => {
                wrong(&error, &Include::EXPECTED);
                continue;
            }
        };
        for path in paths {
            // What cannot be followed is told when it is read.
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            if main.canonicalize().is_ok_and(|main| main == real) {
                wrong(&"includes itself", &"other files");
            } else if seen.insert(real) {
                if found.len() == MAX_FILES {
                    let error = format!("more than {MAX_FILES} included files");
                    wrong(&error, &"fewer, larger files");
                    return found;
                }
                let place = place.clone();
                found.push(Included {
                    path,
                    declared_at: place,
                    is_shown,
                });
            }
        }
    }
    found
}

/// The paths that `pattern` stands for, in order; a path without wildcards stands for itself.
fn expand_pattern(
    folder: &Path,
    pattern: &str,
    entries: &mut usize,
    folders: &mut BTreeSet<PathBuf>,
) -> Result<Vec<PathBuf>, String> {
    let mut paths = vec![folder.to_owned()];
    let mut is_pattern = false;
    for part in Path::new(pattern).components() {
        let text = part.as_os_str().to_str().unwrap_or_default();
        if !text.contains(['*', '?', '[']) || !matches!(part, Component::Normal(_)) {
            for path in &mut paths {
                path.push(part);
            }
            continue;
        }
        is_pattern = true;
        let pattern = Pattern::new(text).map_err(|error| error.to_string())?;
        let mut next = Vec::new();
        for path in paths {
            next.extend(matching_entries(&path, &pattern, entries)?);
            let here = path.as_os_str().is_empty();
            folders.insert(if here { ".".into() } else { path });
        }
        paths = next;
    }
    if is_pattern {
        paths.retain(|path| path.exists() || path.is_symlink());
        paths.sort();
    }
    Ok(paths)
}

/// The entries of `folder` that `pattern` matches; none where there is no such folder.
fn matching_entries(
    folder: &Path,
    pattern: &Pattern,
    left: &mut usize,
) -> Result<Vec<PathBuf>, String> {
    // As in a shell: what is hidden is for editors and the like.
    let options = MatchOptions {
        require_literal_leading_dot: true,
        ..MatchOptions::new()
    };
    let here = Path::new(".");
    let listed = if folder.as_os_str().is_empty() {
        here
    } else {
        folder
    };
    let failed = |error: io::Error| format!("cannot be searched: {}: {error}", listed.display());
    let listing = match fs::read_dir(listed) {
        Ok(listing) => listing,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in listing {
        let name = entry.map_err(failed)?.file_name();
        *left = left.checked_sub(1).ok_or_else(|| {
            format!(
                "matched against more than {MAX_MATCHED_NAMES} names with the patterns before it"
            )
        })?;
        if name
            .to_str()
            .is_some_and(|name| pattern.matches_with(name, options))
        {
            found.push(folder.join(name));
        }
    }
    Ok(found)
}
