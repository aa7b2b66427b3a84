//! Contents of files named in settings, read once and bounded.

use std::{fs, io::Read, path};

use crate::text;

/// The contents of a file named in a setting, read together with the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct FileContents(pub(crate) Vec<u8>);

/// The reason why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// An error of the operating system.
    #[error("cannot be read: {}", text::io_error(.0))]
    Io(#[from] std::io::Error),
    /// A directory, a pipe or a device.
    #[error("is not a regular file")]
    NotRegular,
    /// A file with more bytes than the limit.
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
}

/// Reads the regular file at `path`, at most `limit` bytes.
///
/// # Errors
/// [`ReadError`] if the file is missing, unreadable, too large or not a regular file.
pub(crate) fn read_regular_file(path: &path::Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    // Checked before opening, because opening a pipe without a writer blocks.
    if !fs::metadata(path)?.is_file() {
        return Err(ReadError::NotRegular);
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(limit + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge(limit));
    }
    Ok(bytes)
}

impl FileContents {
    pub(crate) const EXPECTED: &'static str = "a readable file of at most 1 MiB";

    const MAX_BYTES: u64 = 1 << 20;

    pub(super) fn read(path: &path::Path) -> Result<Self, ReadError> {
        read_regular_file(path, Self::MAX_BYTES).map(Self)
    }

    /// Returns the contents as text, without line breaks at the end.
    ///
    /// # Errors
    /// The problem, if the contents are not UTF-8.
    pub fn text(&self) -> Result<&str, &'static str> {
        let text = std::str::from_utf8(&self.0).map_err(|_| "is not UTF-8")?;
        Ok(text.trim_end_matches(['\r', '\n']))
    }
}

impl std::fmt::Debug for FileContents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "File({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[track_caller]
    fn check(path: &path::Path, limit: u64, expected: Result<&[u8], &str>) {
        let read = read_regular_file(path, limit).map_err(|error| error.to_string());
        assert_eq!(read.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(b"12345").expect("room for five bytes");
        check(file.path(), 5, Ok(b"12345"));
        check(file.path(), 4, Err("is larger than 4 bytes"));
    }

    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        check(directory.path(), 5, Err("is not a regular file"));
        check(
            path::Path::new("/dev/zero"),
            5,
            Err("is not a regular file"),
        );
        check(
            &directory.path().join("nothing"),
            5,
            Err("cannot be read: No such file or directory"),
        );
    }
}
