//! The problems of an invalid configuration.

use std::{fmt, path::PathBuf};

use super::source::LocatedProblem;
use crate::text::counted;

/// An invalid configuration.
///
/// Displayed as one line for each problem: `FILE:LINE:COLUMN: path: problem: expected …`.
#[derive(Debug)]
pub struct Invalid {
    /// The file that includes the others.
    pub(super) file: PathBuf,
    pub(super) problems: Vec<LocatedProblem>,
    /// Number of further problems.
    pub(super) more: usize,
    /// All files that were read.
    pub(super) files: Vec<PathBuf>,
}

impl Invalid {
    /// The problems that are listed, in the order of their places.
    #[must_use]
    pub fn problems(&self) -> &[LocatedProblem] {
        &self.problems
    }

    /// Number of problems beyond those that are listed.
    #[must_use]
    pub fn more(&self) -> usize {
        self.more
    }

    /// The files that it was read from.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        if self.more > 0 {
            write!(
                f,
                "\n{}: and {}",
                self.file.display(),
                counted(self.more, "more problem")
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}
