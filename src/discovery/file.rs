//! `file_sd_configs`: target lists in files, which are read again when they change.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use glob::Pattern;
use tokio::time::Instant;

use super::{
    payload::{self, Format},
    refresh_interval,
    source::{Found, PollResult, Source},
};
use crate::{
    text,
    value::{
        EntryPart, Fields, FileStamp, FromNode, Node, Warning, WarningKind, read_regular_file,
    },
};

/// The key of this kind of source.
pub(super) const KEY: &str = "file_sd_configs";

/// Interval at which files are polled. Inotify misses changes that other machines make on a shared
/// file system, and some changes of links, which Kubernetes uses.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Maximum number of files of one pattern.
const MAX_FILES: usize = 1_000;

/// The settings of one `file_sd_configs` entry.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    patterns: Vec<FilePattern>,
    /// Interval after which files are read even if they seem unchanged.
    refresh_interval: Duration,
}

impl Settings {
    pub(super) fn read(mut fields: Fields<'_>) -> Self {
        let count = fields.problems().count();
        let patterns = fields.list_with_paths("files").into_iter();
        let problems = fields.problems();
        let patterns: Vec<_> = patterns
            .map(|(pattern, place): (FilePattern, _)| {
                let path = problems.resolve(&place, &pattern.path);
                let pattern = pattern.at(path);
                if !pattern.is_one_file && pattern.files().is_ok_and(|files| files.is_empty()) {
                    problems.warn(Warning {
                        path: place,
                        part: EntryPart::Value,
                        message: "matches no file".to_owned(),
                        kind: WarningKind::Suspicious,
                    });
                }
                pattern
            })
            .collect();
        if patterns.is_empty() && fields.problems().count() == count {
            fields.add_problem("files is missing", FilePattern::EXPECTED);
        }
        let refresh_interval = refresh_interval::read(&mut fields, Duration::from_secs(300));
        fields.reject_unknown_keys();
        Self {
            patterns,
            refresh_interval,
        }
    }

    pub(super) fn source(&self) -> FileSource {
        FileSource {
            settings: self.clone(),
            seen: BTreeMap::new(),
            all_read_at: None,
        }
    }
}

/// A path whose last part may contain `*` for any text.
#[derive(Clone, Debug)]
struct FilePattern {
    path: PathBuf,
    folder: PathBuf,
    name: Pattern,
    is_one_file: bool,
}

impl FromNode for FilePattern {
    const EXPECTED: &'static str =
        "a path ending in .json, .yml or .yaml, with * only in the last part";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        let path = Path::new(&text);
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let folder = path.parent().unwrap_or(Path::new(""));
        if format_of(path).is_none() {
            return Err(format!("unsupported file name {text:?}"));
        }
        if folder.to_string_lossy().contains('*') {
            return Err(format!("* in a folder of {text:?}"));
        }
        // `*` is the only wildcard of `Pattern` that is supported, and several in a row are one.
        let parts: Vec<_> = name
            .split('*')
            .filter(|part| !part.is_empty())
            .map(Pattern::escape)
            .collect();
        let before = if name.starts_with('*') { "*" } else { "" };
        let pattern = format!("{before}{}", parts.join("*"));
        Ok(Self {
            name: Pattern::new(&pattern).map_err(|error| error.to_string())?,
            is_one_file: !name.contains('*'),
            folder: PathBuf::new(),
            path: PathBuf::new(),
        }
        .at(path.to_owned()))
    }
}

fn format_of(path: &Path) -> Option<Format> {
    let extension = path.extension()?.to_str()?;
    match extension {
        "json" | "JSON" => Some(Format::Json),
        "yml" | "yaml" | "YML" | "YAML" => Some(Format::Yaml),
        _ => None,
    }
}

impl FilePattern {
    /// The same pattern at another `path`.
    fn at(self, path: PathBuf) -> Self {
        let folder = path.parent().unwrap_or(Path::new(""));
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        Self {
            folder: folder.to_owned(),
            path,
            ..self
        }
    }

    /// The existing files, sorted.
    fn files(&self) -> Result<Vec<PathBuf>, String> {
        let error = |error: std::io::Error| {
            format!("the folder cannot be listed: {}", text::io_error(&error))
        };
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(error)? {
            let name = entry.map_err(error)?.file_name();
            if name.to_str().is_some_and(|name| self.name.matches(name)) {
                files.push(self.path_of(&name));
            }
            if files.len() > MAX_FILES {
                return Err(format!("matches more than {MAX_FILES} files"));
            }
        }
        files.sort();
        Ok(files)
    }

    /// The path of a file, with the folder as written in the pattern.
    fn path_of(&self, name: &std::ffi::OsStr) -> PathBuf {
        match self.path.parent() {
            Some(folder) => folder.join(name),
            None => PathBuf::from(name),
        }
    }
}

type SeenFiles = BTreeMap<PathBuf, Option<FileStamp>>;

/// The source of one `file_sd_configs` entry.
pub(super) struct FileSource {
    settings: Settings,
    seen: SeenFiles,
    all_read_at: Option<Instant>,
}

impl Source for FileSource {
    async fn poll(&mut self) -> Vec<PollResult> {
        let interval = self.settings.refresh_interval;
        let all = self.all_read_at.is_none_or(|at| at.elapsed() >= interval);
        if all {
            self.all_read_at = Some(Instant::now());
        }
        let (patterns, seen) = (
            self.settings.patterns.clone(),
            std::mem::take(&mut self.seen),
        );
        let polled = tokio::task::spawn_blocking(move || poll_files(&patterns, seen, all));
        let (results, seen) = polled.await.unwrap_or_else(|error| {
            let result = PollResult {
                list_name: KEY.to_owned(),
                found: Err(error.to_string()),
            };
            (vec![result], SeenFiles::new())
        });
        self.seen = seen;
        results
    }

    fn interval(&self) -> Duration {
        POLL_INTERVAL.min(self.settings.refresh_interval)
    }
}

/// Reads the files that changed since they were `seen`, or `all`.
fn poll_files(
    patterns: &[FilePattern],
    mut seen: SeenFiles,
    all: bool,
) -> (Vec<PollResult>, SeenFiles) {
    let mut results = Vec::new();
    let mut now = SeenFiles::new();
    for pattern in patterns {
        if pattern.is_one_file {
            let path = pattern.path.clone();
            now.insert(path.clone(), FileStamp::read(&path));
            continue;
        }
        let of_pattern = |path: &PathBuf| {
            path.parent() == pattern.path.parent()
                && path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .is_some_and(|name| pattern.name.matches(name))
        };
        let before: Vec<_> = seen
            .keys()
            .filter(|path| of_pattern(path))
            .cloned()
            .collect();
        let list_name = pattern.path.display().to_string();
        match pattern.files() {
            Ok(files) => {
                // If one file is gone, it was removed. If all are gone, the folder was.
                let is_lost = files.is_empty() && !before.is_empty();
                now.extend(
                    files
                        .into_iter()
                        .map(|path| (path.clone(), FileStamp::read(&path))),
                );
                if is_lost {
                    now.extend(before.into_iter().map(|path| (path, None)));
                }
                results.push(PollResult {
                    list_name,
                    found: Ok(Found::Targets(Vec::new())),
                });
            }
            Err(error) => {
                now.extend(before.into_iter().map(|path| (path.clone(), seen[&path])));
                results.push(PollResult {
                    list_name,
                    found: Err(error),
                });
            }
        }
    }
    for (path, stamp) in &now {
        if all || seen.get(path) != Some(stamp) {
            results.push(PollResult {
                list_name: path.display().to_string(),
                found: read(path).map(Found::Targets),
            });
        }
        seen.remove(path);
    }
    results.extend(seen.into_keys().map(|path| PollResult {
        list_name: path.display().to_string(),
        found: Ok(Found::Removed),
    }));
    (results, now)
}

fn read(path: &Path) -> Result<Vec<payload::Target>, String> {
    let bytes = read_regular_file(path, payload::MAX_BYTES).map_err(|error| error.to_string())?;
    let format = format_of(path).unwrap_or(Format::Yaml);
    let groups = payload::parse(&bytes, format)?;
    let shown = path.display().to_string();
    Ok(payload::targets(groups, &[("__meta_filepath", &shown)]))
}
