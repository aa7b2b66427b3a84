//! Tests that need a process of their own, and the program itself.

use std::{
    env, fs,
    process::{Command, Output, Stdio},
};

use procfs::process::{FDTarget, Process};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const ALONE: &str = "MONITORINGDAEMON_TEST_ALONE";

/// Runs `body`, the rest of the test `name`, in a process where no other test runs.
///
/// `name` is the test's path within its crate.
#[track_caller]
pub fn alone(name: &str, body: impl FnOnce()) {
    if env::var_os(ALONE).is_some() {
        return body();
    }
    let output = Command::new(env::current_exe().expect("the test's own path"))
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .expect("this program can be started once more");
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("1 passed"),
        "no test is called {name}: {text}"
    );
}

/// The program, to be given arguments.
pub fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_monitoringdaemon"));
    program.env_remove("RUST_LOG");
    program
}

/// Everything that a process wrote.
pub fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes))
        .concat()
}

/// The port that a process listens on, once it does, where it tells nobody which one the system chose.
pub fn listening_port(process: u32) -> Option<u16> {
    const LISTEN: &str = "0A";
    let table = fs::read_to_string(format!("/proc/{process}/net/tcp")).ok()?;
    let process = Process::new(process.try_into().ok()?).ok()?;
    let sockets = process.fd().ok()?.filter_map(|fd| match fd.ok()?.target {
        FDTarget::Socket(inode) => Some(inode.to_string()),
        _ => None,
    });
    let sockets: Vec<_> = sockets.collect();
    // proc_pid_net(5); by hand, because thousands of connections of other tests stand there too.
    table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        if *state != LISTEN || !sockets.iter().any(|socket| socket == inode) {
            return None;
        }
        let (_, port) = local.split_once(':')?;
        u16::from_str_radix(port, 16).ok()
    })
}

/// A program that a test cannot do without; where there is none, the test is skipped, but not in CI.
#[track_caller]
pub fn helper(name: &'static str) -> Option<&'static str> {
    let found = Command::new(name)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match found {
        Ok(_) => Some(name),
        Err(error) => {
            skip(&format!("what needs {name} is not tested: {error}"));
            None
        }
    }
}

/// Says that a test is skipped, and why; fails in CI, where none may be.
#[track_caller]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn skip(why: &str) {
    assert!(env::var_os("CI").is_none(), "skipped in CI: {why}");
    eprintln!("SKIPPED: {why}");
}

/// Lets this process, which holds the other end of many connections, have as many descriptors as it may.
pub fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).expect("not above the maximum");
}

/// Memory that this process has in use.
pub fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: u64 = kibibytes.and_then(|n| n.parse().ok()).expect("proc(5)");
    kibibytes << 10
}
