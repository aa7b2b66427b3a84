//! What is wrong with a file: a list of problems, each with the way to its place.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    fmt,
    path::{self, PathBuf},
};

use super::{Node, Pattern, context::Context, file_hashes::FileHashes, merge::MERGE};

/// One step from the top of the file to a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// The `index`-th entry of a mapping, whose key is `name`.
    Entry {
        /// The key as written.
        name: String,
        /// Tells a key from its duplicate.
        index: usize,
    },
    /// The item of a list at an index that counts from 0.
    Item(usize),
}

/// The way from the top of a file to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Which of the files that are read together.
    pub file: usize,
    /// The steps from its top.
    pub segments: Vec<Segment>,
    /// Whether several mappings are made of what is there, each of which would report its problems.
    is_shared: bool,
}

impl Path {
    /// The top of the file with this index.
    #[must_use]
    pub fn top_of(file: usize) -> Self {
        Self {
            file,
            ..Self::default()
        }
    }

    /// The same place, of what several mappings are made of: a problem with it is told once.
    #[must_use]
    pub fn shared(self) -> Self {
        Self {
            is_shared: true,
            ..self
        }
    }

    /// The path of an entry of the mapping here.
    #[must_use]
    pub fn entry(&self, name: &str, index: usize) -> Self {
        self.join(Segment::Entry {
            name: name.to_owned(),
            index,
        })
    }

    /// The path of an item of the list here.
    #[must_use]
    pub fn item(&self, index: usize) -> Self {
        self.join(Segment::Item(index))
    }

    /// Whether several mappings are made of what is there.
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
                // What is merged is there as if it had been written there.
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

/// Whether a problem is with the key of an entry or with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryPart {
    /// The key, or what a mapping lacks.
    Key,
    /// The value.
    Value,
}

/// Something wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub path: Path,
    /// Which part of the entry there.
    pub part: EntryPart,
    /// What is wrong, and what was expected instead.
    pub message: String,
    /// Whether it is wrong in itself, whatever stands beside it.
    pub is_context_free: bool,
    /// What has the same name already; the message is empty then.
    pub duplicate_of: Option<Path>,
}

impl Problem {
    /// What tells it from problems elsewhere.
    #[must_use]
    pub fn location(&self) -> Location {
        location_of(&self.path, self.part)
    }
}

/// Something that is expected and surely not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where it is.
    pub path: Path,
    /// Which part of the entry there.
    pub part: EntryPart,
    /// What is odd, and what may have been meant.
    pub message: String,
    /// Whether it is of `validate` alone, and says nothing new to a daemon that runs.
    pub is_validate_only: bool,
}

/// What reading a file has found out up to now: its problems, and the files that it names.
#[derive(Debug, Default)]
pub struct Problems {
    found: RefCell<Vec<Problem>>,
    /// Problems beyond those that are kept.
    dropped: Cell<usize>,
    warnings: RefCell<Vec<Warning>>,
    context: RefCell<Context>,
    files: RefCell<FileHashes>,
    /// Places of which nothing more is told.
    suppressed: RefCell<HashSet<Location>>,
    /// What is being read, where it is made of several mappings.
    subject: RefCell<Option<String>>,
}

/// A place, whether it is reached as a shared one or not.
pub type Location = (usize, Vec<Segment>, EntryPart);

/// Problems that are kept; a file that has more of them was made for it.
const MAX_PROBLEMS: usize = 10_000;

/// Warnings that are kept.
const MAX_WARNINGS: usize = 1_000;

impl Problems {
    /// None yet, of what is read in `context`.
    #[must_use]
    pub fn within_context(context: Context) -> Self {
        Self {
            context: RefCell::new(context),
            ..Self::default()
        }
    }

    /// Adds a problem: `wrong` is the case, `expected` would be right; `message` puts them together.
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
            duplicate_of: None,
        });
    }

    /// Adds a problem that is one only together with something else.
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
            duplicate_of: None,
        });
    }

    /// Adds a problem with a value for which there is nothing to be read, so that no other follows from it.
    pub fn add_and_suppress(
        &self,
        path: &Path,
        part: EntryPart,
        wrong: impl fmt::Display,
        expected: impl fmt::Display,
    ) {
        self.add(path.clone(), part, wrong, expected);
        self.suppressed.borrow_mut().insert(location_of(path, part));
    }

    /// Runs `read`, in which problems with what is shared say that they are one in `whole`.
    pub fn within<T>(&self, whole: impl fmt::Display, read: impl FnOnce() -> T) -> T {
        let before = self.subject.replace(Some(whole.to_string()));
        let value = read();
        self.subject.replace(before);
        value
    }

    /// Adds that the name at `path` is that of what is at `first`, which whoever shows it has to say.
    pub fn add_duplicate_name(&self, path: Path, first: Path) {
        self.push(Problem {
            path,
            part: EntryPart::Key,
            message: String::new(),
            is_context_free: true,
            duplicate_of: Some(first),
        });
    }

    /// Adds a problem that was found elsewhere.
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

    /// Adds a warning, once for each place.
    pub fn warn(&self, warning: Warning) {
        let mut warnings = self.warnings.borrow_mut();
        let is_known = |known: &Warning| {
            known.part == warning.part
                && known.path.file == warning.path.file
                && known.path.segments == warning.path.segments
        };
        // Of what several monitors are made of, each would tell.
        if warning.path.is_shared && warnings.iter().any(is_known) {
            return;
        }
        if warnings.len() < MAX_WARNINGS {
            warnings.push(warning);
        }
    }

    /// The warnings up to now.
    pub fn take_warnings(&self) -> Vec<Warning> {
        self.warnings.take()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.found.borrow().len() + self.dropped.get()
    }

    /// The problems in the order in which they were found, and how many more there are.
    #[must_use]
    pub fn into_vec(self) -> (Vec<Problem>, usize) {
        (self.found.into_inner(), self.dropped.get())
    }

    /// What further values are read with.
    #[must_use]
    pub fn context(&self) -> Context {
        self.context.borrow().clone()
    }

    /// Sets the folder that relative paths in the file with this index begin at.
    pub fn set_folder(&self, file: usize, folder: PathBuf) {
        self.context.borrow_mut().set_folder(file, folder);
    }

    /// The files that were read since the last call.
    pub fn take_files(&self) -> FileHashes {
        self.files.take()
    }

    /// The file that the value at `place` names by `path`.
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
/// Values of the wrong kind are `wrong` in the form `found a list`, which stands behind what was expected.
/// `expected` may be a question (`did you mean level?`), and is empty or left out if `wrong` says it all.
fn message(wrong: impl fmt::Display, expected: impl fmt::Display) -> String {
    let (wrong, expected) = (wrong.to_string(), expected.to_string());
    if expected.is_empty() || wrong.ends_with('?') {
        wrong
    } else if expected.starts_with("did you mean ") {
        format!("{wrong}, {expected}")
    } else if wrong.starts_with("found ") {
        format!("expected {expected}, {wrong}")
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
