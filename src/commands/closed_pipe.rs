//! Tolerates output to a pipe that nobody reads any more, as in `… | head`.

use std::io;

/// Takes output to a pipe that its reader has closed, such as `head`, for printed.
pub(crate) fn ignore_closed_pipe(printed: io::Result<()>) -> io::Result<()> {
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}
