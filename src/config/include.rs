//! `include`: finds the further files of the configuration.

use std::{
    collections::{BTreeSet, HashSet},
    fmt, fs, io,
    path::{Component, Path, PathBuf},
};

use glob::{MatchOptions, Pattern};

use crate::{
    text,
    value::{self, EntryPart, Fields, FromNode, Node},
};

/// An item of `include`: a path or a pattern.
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

/// The error for a path from the environment, which may be secret.
pub(super) const REDACTED_INCLUDE_ERROR: &str = "invalid value from the environment";

/// Maximum number of included files.
const MAX_FILES: usize = 1000;
/// Maximum number of names that patterns are matched against.
const MAX_MATCHED_NAMES: usize = 100_000;

/// An included file, and where it is included.
pub(super) struct Included {
    pub path: PathBuf,
    pub(crate) declared_at: value::Path,
    /// True if the path may be shown; a path from the environment may be secret.
    pub(crate) is_shown: bool,
    /// True if it is read as it is: `$` stands for itself, and paths begin at the working directory.
    pub(crate) is_verbatim: bool,
}

/// Finds the files that `include` in the file `main` names, each once. The folders of patterns are added to
/// `folders`.
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
                        kind: value::WarningKind::Suspicious,
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
            // A path that cannot be resolved is reported when it is read.
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
                    is_verbatim: false,
                });
            }
        }
    }
    found
}

/// The paths that match `pattern`, sorted. A path without wildcards is returned unchanged.
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

/// The entries of `folder` that match `pattern`; none if the folder does not exist.
fn matching_entries(
    folder: &Path,
    pattern: &Pattern,
    left: &mut usize,
) -> Result<Vec<PathBuf>, String> {
    // As in a shell, hidden files do not match.
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
    let failed = |error: io::Error| {
        format!(
            "cannot be searched: {}: {}",
            listed.display(),
            text::io_error(&error)
        )
    };
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
