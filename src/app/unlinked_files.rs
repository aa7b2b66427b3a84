//! Warns of watched files that their folder no longer has, which never change.
//!
//! A file that is mounted into a container stays what it was when an editor or a checkout replaces it on the host.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::LOG_TARGET;

/// The files that were warned of.
#[derive(Clone, Debug, Default)]
pub(super) struct UnlinkedFiles(BTreeSet<PathBuf>);

impl UnlinkedFiles {
    /// Warns of each of `files` that has become unlinked, once.
    pub(super) fn warn<'f>(&mut self, files: impl IntoIterator<Item = &'f PathBuf>) {
        for file in files {
            if !is_unlinked(file) {
                self.0.remove(file);
            } else if self.0.insert(file.clone()) {
                tracing::warn!(
                    target: LOG_TARGET,
                    file = %file.display(),
                    "Watched file has been deleted or replaced where it is mounted from, so changes of it are not \
                     seen; mount its folder instead"
                );
            }
        }
    }
}

/// Returns true if the file can be read, and no folder has it.
fn is_unlinked(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 0)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsRawFd};

    use super::*;

    #[test]
    fn a_file_is_unlinked_if_its_last_name_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.yml");
        let file = File::create(&path).expect("room for a file");
        let seen = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        assert!(!is_unlinked(&path) && !is_unlinked(&seen));
        fs::remove_file(&path).expect("it is there");
        assert!(is_unlinked(&seen));
        assert!(!is_unlinked(&path), "a missing file is another matter");
        let mut files = UnlinkedFiles::default();
        files.warn([&seen, &path]);
        assert_eq!(files.0.len(), 1);
    }
}
