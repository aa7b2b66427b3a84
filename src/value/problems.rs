//! Problems and warnings with their paths.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    fmt,
    path::{self, PathBuf},
};

use super::{Node, Pattern, context::Context, file_hashes::FileHashes, merge::MERGE};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// An entry of a mapping.
    Entry {
        /// The key as written.
        name: String,
        /// Index of the entry, which distinguishes duplicate keys.
        index: usize,
    },
    /// The item of a list at an index from 0.
    Item(usize),
}

/// The path of a value in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Index of the file.
    pub file: usize,
    /// The steps from the top of the file.
    pub(crate) segments: Vec<Segment>,
    /// True for templates and defaults, which several mappings are built from.
    is_shared: bool,
}

impl Path {
    /// The path of the top of a file.
    #[must_use]
    pub(crate) fn top_of(file: usize) -> Self {
        Self {
            file,
            ..Self::default()
        }
    }

    /// The same path, marked as shared by several mappings, so that its problems are reported once.
    #[must_use]
    pub fn shared(self) -> Self {
        Self {
            is_shared: true,
            ..self
        }
    }

    /// The path of an entry of this mapping.
    #[must_use]
    pub fn entry(&self, name: &str, index: usize) -> Self {
        self.join(Segment::Entry {
            name: name.to_owned(),
            index,
        })
    }

    /// The path of an item of this list.
    #[must_use]
    pub(crate) fn item(&self, index: usize) -> Self {
        self.join(Segment::Item(index))
    }

    /// Returns true if several mappings share the value.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared
    }

    fn join(&self, segment: Segment) -> Self {
        let mut path = self.clone();
        path.segments.push(segment);
        path
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segments.is_empty() {
            return f.write_str("file");
        }
        let last = self.segments.len() - 1;
        let mut merged = false;
        for (depth, segment) in self.segments.iter().enumerate() {
            match segment {
                // Merged entries are shown as if they were written here.
                Segment::Item(_) if merged && depth < last => {}
                Segment::Item(index) => write!(f, "[{index}]")?,
                Segment::Entry { name, .. } if name == MERGE && depth < last => {
                    merged = true;
                    continue;
                }
                Segment::Entry { name, .. } => {
                    if depth > 0 {
                        f.write_str(".")?;
                    }
                    write_name(name, f)?;
                }
            }
            merged = false;
        }
        Ok(())
    }
}

fn write_name(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if name.len() > super::fields::MAX_WORD_BYTES {
        let start: String = name.chars().take(20).collect();
        return write!(f, "{start:?}…");
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(plain) {
        f.write_str(name)
    } else {
        write!(f, "{name:?}")
    }
}

/// The part of an entry that a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryPart {
    /// The key, or a missing key.
    Key,
    /// The value.
    Value,
}

/// A problem in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path of the entry.
    pub path: Path,
    /// The part of the entry.
    pub part: EntryPart,
    /// The problem, and the expected value.
    pub message: String,
    /// True if the problem does not depend on other keys.
    pub(crate) is_context_free: bool,
    /// True if a file that is named there cannot be read, which may change.
    pub(crate) is_of_file: bool,
    /// The first entry with the same name; the message is empty then.
    pub(crate) duplicate_of: Option<Path>,
}

impl Problem {
    /// The location of the problem.
    #[must_use]
    pub fn location(&self) -> Location {
        location_of(&self.path, self.part)
    }
}

/// Something that is allowed but probably a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    /// The path of the entry.
    pub path: Path,
    /// The part of the entry.
    pub part: EntryPart,
    /// The description.
    pub message: String,
    /// Who sees it, and how serious it is.
    pub kind: WarningKind,
}

/// Who sees a warning, and how serious it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningKind {
    /// Probably a mistake, which the daemon logs too.
    Suspicious,
    /// Possibly a mistake, which only `validate` shows.
    ValidateOnly,
    /// No mistake, but something that `validate` cannot check.
    Note,
}

/// Collects problems, warnings and named files while the configuration is read.
#[derive(Debug, Default)]
pub struct Problems {
    found: RefCell<Vec<Problem>>,
    /// Number of problems beyond the limit.
    dropped: Cell<usize>,
    warnings: RefCell<Vec<Warning>>,
    context: RefCell<Context>,
    files: RefCell<FileHashes>,
    /// Locations whose further problems are not reported.
    suppressed: RefCell<HashSet<Location>>,
    /// Name of the monitor that is read from several mappings.
    subject: RefCell<Option<String>>,
    /// Finds the mapping that an unknown key belongs to.
    key_hint: Cell<Option<KeyHint>>,
}

/// Returns where a key belongs that is unknown in the mapping at a path, which has the given known keys.
pub(super) type KeyHint = fn(&Path, &[&str], &str) -> Option<String>;

/// A location in a file, shared or not.
pub(crate) type Location = (usize, Vec<Segment>, EntryPart);

/// Maximum number of problems.
const MAX_PROBLEMS: usize = 10_000;

/// Maximum number of warnings.
const MAX_WARNINGS: usize = 1_000;

impl Problems {
    /// Creates an empty list with `context`.
    #[must_use]
    pub(crate) fn within_context(context: Context) -> Self {
        Self {
            context: RefCell::new(context),
            ..Self::default()
        }
    }

    /// Adds a problem with the message `wrong: expected …`.
    pub fn add(
        &self,
        path: Path,
        part: EntryPart,
        wrong: impl fmt::Display,
        expected: impl fmt::Display,
    ) {
        self.push(Problem {
            path,
            part,
            message: message(wrong, expected),
            is_context_free: true,
            is_of_file: false,
            duplicate_of: None,
        });
    }

    /// Adds that the file that is named at `path` cannot be read.
    pub(super) fn add_unreadable(&self, path: Path, wrong: impl fmt::Display, expected: &str) {
        self.push(Problem {
            path,
            part: EntryPart::Value,
            message: message(wrong, expected),
            is_context_free: true,
            is_of_file: true,
            duplicate_of: None,
        });
    }

    /// Adds a problem that depends on other keys.
    pub(super) fn add_contextual(
        &self,
        path: Path,
        part: EntryPart,
        wrong: impl fmt::Display,
        expected: impl fmt::Display,
    ) {
        let message = match &*self.subject.borrow() {
            Some(whole) if path.is_shared => message(format_args!("{wrong}, in {whole}"), expected),
            _ => message(wrong, expected),
        };
        self.push(Problem {
            path,
            part,
            message,
            is_context_free: false,
            is_of_file: false,
            duplicate_of: None,
        });
    }

    /// Adds a problem, and suppresses further ones at the same location.
    pub(crate) fn add_and_suppress(
        &self,
        path: &Path,
        part: EntryPart,
        wrong: impl fmt::Display,
        expected: impl fmt::Display,
    ) {
        self.add(path.clone(), part, wrong, expected);
        self.suppressed.borrow_mut().insert(location_of(path, part));
    }

    /// Runs `read`; messages about shared values that depend on other keys name `subject`.
    pub fn within<T>(&self, whole: impl fmt::Display, read: impl FnOnce() -> T) -> T {
        let before = self.subject.replace(Some(whole.to_string()));
        let value = read();
        self.subject.replace(before);
        value
    }

    /// Adds a problem that the name at `path` is the same as the one at `first`.
    pub(crate) fn add_duplicate_name(&self, path: Path, first: Path) {
        self.push(Problem {
            path,
            part: EntryPart::Key,
            message: String::new(),
            is_context_free: true,
            is_of_file: false,
            duplicate_of: Some(first),
        });
    }

    /// Adds an existing problem.
    pub fn push(&self, problem: Problem) {
        let mut told = self.suppressed.borrow_mut();
        if problem.path.is_shared {
            if !told.insert(problem.location()) {
                return;
            }
        } else if !told.is_empty() && told.contains(&problem.location()) {
            return;
        }
        let mut found = self.found.borrow_mut();
        if found.len() == MAX_PROBLEMS {
            self.dropped.set(self.dropped.get() + 1);
        } else {
            found.push(problem);
        }
    }

    /// Adds a warning, once for each location.
    pub(crate) fn warn(&self, warning: Warning) {
        let mut warnings = self.warnings.borrow_mut();
        let is_known = |known: &Warning| {
            known.part == warning.part
                && known.path.file == warning.path.file
                && known.path.segments == warning.path.segments
        };
        // Otherwise each monitor that shares the value would add it.
        if warning.path.is_shared && warnings.iter().any(is_known) {
            return;
        }
        if warnings.len() < MAX_WARNINGS {
            warnings.push(warning);
        }
    }

    /// Takes the warnings.
    pub(crate) fn take_warnings(&self) -> Vec<Warning> {
        self.warnings.take()
    }

    /// Number of problems.
    #[must_use]
    pub fn count(&self) -> usize {
        self.found.borrow().len() + self.dropped.get()
    }

    /// The problems in order, and the number of those beyond the limit.
    #[must_use]
    pub fn into_vec(self) -> (Vec<Problem>, usize) {
        (self.found.into_inner(), self.dropped.get())
    }

    /// Sets the function that finds where an unknown key belongs.
    pub(crate) fn set_key_hint(&self, hint: KeyHint) {
        self.key_hint.set(Some(hint));
    }

    pub(super) fn key_hint(&self, path: &Path, known: &[&str], key: &str) -> Option<String> {
        self.key_hint.get()?(path, known, key)
    }

    /// The context for reading further values.
    #[must_use]
    pub fn context(&self) -> Context {
        self.context.borrow().clone()
    }

    /// Sets the folder of the file with this index, for relative paths.
    pub(crate) fn set_folder(&self, file: usize, folder: PathBuf) {
        self.context.borrow_mut().set_folder(file, folder);
    }

    /// Takes the files that were read since the last call.
    pub(crate) fn take_files(&self) -> FileHashes {
        self.files.take()
    }

    /// Resolves the `path` in the value at `place`.
    #[must_use]
    pub fn resolve(&self, place: &Path, path: &path::Path) -> PathBuf {
        self.context.borrow().resolve(place.file, path)
    }

    pub(super) fn add_file(&self, path: PathBuf, contents: Option<&[u8]>) {
        self.files.borrow_mut().add(path, contents);
    }

    pub(super) fn pattern(&self, node: &Node) -> Result<Pattern, String> {
        self.context.borrow().pattern(node)
    }
}

/// The message for `wrong` where `expected` was expected: `unknown level "x": expected INFO or ERROR`.
///
/// If `wrong` has the form `found a list`, it comes after the expectation, with the advice to quote what was meant
/// as text. `expected` may be a question (`did you mean level?`), or empty.
fn message(wrong: impl fmt::Display, expected: impl fmt::Display) -> String {
    let (wrong, expected) = (wrong.to_string(), expected.to_string());
    if expected.is_empty() || wrong.ends_with('?') {
        wrong
    } else if expected.starts_with("did you mean ") {
        format!("{wrong}, {expected}")
    } else if wrong.starts_with("found ") {
        let is_text = ["text", "a regular expression"]
            .iter()
            .any(|text| expected.starts_with(text));
        let is_scalar = ["a number", "a boolean"]
            .iter()
            .any(|kind| wrong.ends_with(kind));
        let advice = if is_text && is_scalar {
            "; quote it"
        } else {
            ""
        };
        format!("expected {expected}, {wrong}{advice}")
    } else if wrong.contains(": ") {
        format!("{wrong}; expected {expected}")
    } else {
        format!("{wrong}: expected {expected}")
    }
}

fn location_of(path: &Path, part: EntryPart) -> Location {
    (path.file, path.segments.clone(), part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_quotes_what_would_be_misread() {
        let path = Path::default()
            .entry("monitors", 0)
            .entry("my site.example", 1)
            .entry("headers", 0);
        assert_eq!(
            path.item(2).to_string(),
            r#"monitors."my site.example".headers[2]"#
        );
        assert_eq!(Path::default().entry("a\nb", 0).to_string(), r#""a\nb""#);
    }

    #[test]
    fn a_path_leaves_out_that_something_was_merged() {
        let merge = Path::default().entry("a", 0).entry("<<", 1);
        assert_eq!(merge.to_string(), r#"a."<<""#);
        assert_eq!(merge.item(1).to_string(), "a[1]");
        assert_eq!(merge.entry("b", 0).to_string(), "a.b");
        assert_eq!(merge.item(1).entry("b", 0).item(2).to_string(), "a.b[2]");
    }

    #[test]
    fn a_message_says_what_was_expected() {
        assert_eq!(message("is odd", "even"), "is odd: expected even");
        assert_eq!(
            message("found a list", "text"),
            "expected text, found a list"
        );
        assert_eq!(message("bad: x", "good"), "bad: x; expected good");
        assert_eq!(message("is odd", ""), "is odd");
        assert_eq!(message("no", "did you mean on?"), "no, did you mean on?");
    }

    #[test]
    fn a_problem_with_what_is_shared_is_told_once() {
        let problems = Problems::default();
        let own = Path::default().entry("own", 0);
        let shared = Path::default().entry("shared", 1).shared().entry("x", 0);
        for name in ["one", "two"] {
            problems.within(name, || {
                for path in [&own, &shared] {
                    problems.add_contextual(path.clone(), EntryPart::Value, "too long", "less");
                }
            });
        }
        let (found, _) = problems.into_vec();
        let messages: Vec<_> = found.iter().map(|problem| &*problem.message).collect();
        assert_eq!(
            messages,
            [
                "too long: expected less",
                "too long, in one: expected less",
                "too long: expected less"
            ]
        );
    }
}
