//! The stamp of a file's metadata, by which a changed file is noticed without reading it.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Device, inode, size and times of a file: if they change, the file may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// Reads the metadata of the file at `path`. None if there is no such file or it cannot be examined.
    #[must_use]
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_changes_with_contents_and_with_the_file_of_the_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list.json");
        assert_eq!(FileStamp::read(&path), None);
        fs::write(&path, "[]").expect("room for it");
        let first = FileStamp::read(&path);
        assert!(first.is_some());
        assert_eq!(FileStamp::read(&path), first);
        fs::write(&path, "[{}]").expect("room for it");
        let second = FileStamp::read(&path);
        assert_ne!(second, first);
        let other = folder.path().join("other");
        fs::write(&other, "[{}]").expect("room for it");
        fs::rename(&other, &path).expect("the same folder");
        assert_ne!(FileStamp::read(&path), second);
    }
}
