//! A rule file that is written completely or not at all.

use std::{
    ffi::OsString,
    fmt::{self, Display, Formatter},
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    process,
};

use crate::{
    exit_code::{self, WithExitCode},
    text,
};

/// The reason why the file was not written. An earlier file is unchanged.
#[derive(Debug, thiserror::Error)]
#[error("failed to write {}: {}", .file.display(), text::io_error(.source))]
pub struct Error {
    file: PathBuf,
    source: io::Error,
}

impl WithExitCode for Error {
    fn exit_code(&self) -> u8 {
        exit_code::FAILURE
    }
}

/// The result of writing a file. Its `Display` says what to do next.
#[derive(Debug)]
pub struct Written<'f> {
    file: &'f Path,
    is_changed: bool,
}

impl Display for Written<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        if self.is_changed {
            write!(
                f,
                "{file} written; Prometheus uses it after a reload: SIGHUP, or POST /-/reload with \
                 --web.enable-lifecycle"
            )
        } else {
            write!(f, "{file} is up to date")
        }
    }
}

/// Writes `rules` to `file`, or keeps the file as it is. The mode and the owner of an earlier file are kept.
///
/// # Errors
/// If the file or its folder cannot be written.
pub fn write<'f>(file: &'f Path, rules: &str) -> Result<Written<'f>, Error> {
    let written = replace(file, rules.as_bytes());
    let is_changed = written.map_err(|source| Error {
        file: file.to_owned(),
        source,
    })?;
    Ok(Written { file, is_changed })
}

/// Returns true if the file had other contents.
fn replace(file: &Path, contents: &[u8]) -> io::Result<bool> {
    // A link stays a link.
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let earlier = match fs::metadata(&target) {
        Ok(earlier) if !earlier.is_file() => {
            // A device or a pipe cannot be replaced.
            OpenOptions::new()
                .write(true)
                .open(&target)?
                .write_all(contents)?;
            return Ok(true);
        }
        Ok(earlier) => Some(earlier),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let length = contents.len() as u64;
    if earlier.as_ref().is_some_and(|file| file.len() == length) && fs::read(&target)? == contents {
        return Ok(false);
    }
    let temporary = temporary_path(&target);
    let written = (|| {
        let mut new = File::create_new(&temporary)?;
        new.write_all(contents)?;
        if let Some(earlier) = earlier {
            // Only root may give a file to somebody else.
            let _ = fchown(&new, Some(earlier.uid()), Some(earlier.gid()));
            new.set_permissions(Permissions::from_mode(earlier.mode() & 0o7777))?;
        }
        new.sync_all()?;
        fs::rename(&temporary, &target)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.map(|()| true)
}

/// A path in the same folder, because a file can only be renamed within a file system.
fn temporary_path(file: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", process::id()));
    file.with_file_name(name)
}
