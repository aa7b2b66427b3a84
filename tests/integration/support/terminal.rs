//! Programs on a terminal.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::Read,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    process::{Command, ExitStatus},
};

use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

/// A terminal of a certain size.
pub struct Terminal {
    screen: OwnedFd,
}

impl Terminal {
    pub fn new(columns: u16, rows: u16) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&screen).expect("it is ours");
        unlockpt(&screen).expect("it is ours");
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&screen, size).expect("a terminal has a size");
        Self { screen }
    }

    /// Runs `command` on the terminal, and returns everything that was shown. As soon as `is_enough` says so,
    /// the program is interrupted.
    pub fn run(
        self,
        command: &mut Command,
        is_enough: impl Fn(&str) -> bool,
    ) -> (String, ExitStatus) {
        let name = ptsname(&self.screen, Vec::new()).expect("a terminal has a name");
        let open = || {
            let mut options = OpenOptions::new();
            let path = OsString::from_vec(name.clone().into_bytes());
            options
                .read(true)
                .write(true)
                .open(path)
                .expect("it is there")
        };
        command.env("TERM", "xterm").stdout(open()).stderr(open());
        let mut child = command.spawn().expect("the program can be started");
        // Else it would have a side that nobody closes.
        command.stdout(File::open("/dev/null").expect("it is there"));
        command.stderr(File::open("/dev/null").expect("it is there"));
        let mut screen = File::from(self.screen);
        let mut shown = Vec::new();
        let mut is_interrupted = false;
        let mut buffer = [0; 4096];
        // The error is that of a terminal that no process has any more.
        while let Ok(count @ 1..) = screen.read(&mut buffer) {
            shown.extend_from_slice(&buffer[..count]);
            if !is_interrupted && is_enough(&String::from_utf8_lossy(&shown)) {
                is_interrupted = true;
                kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
            }
        }
        let status = child.wait().expect("it ends");
        // A terminal goes to the first column for a new line.
        let shown = String::from_utf8_lossy(&shown).replace("\r\n", "\n");
        (shown, status)
    }
}
