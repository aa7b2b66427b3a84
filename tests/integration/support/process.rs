//! Tests that need a process of their own, and the program itself.

use std::{
    env,
    process::{Command, Output},
};

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
