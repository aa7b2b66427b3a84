//! The status page in a browser: `tests/browser/status_page.mjs`, where node and Chromium are.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::process::{helper, program, text};

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn the_status_page_works_in_a_browser() {
    let (Some(node), Some(chromium)) = (helper("node"), helper("chromium")) else {
        return;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    if !folder.join("node_modules").is_dir() {
        assert!(
            env::var_os("CI").is_none(),
            "CI needs `npm ci` in tests/browser"
        );
        eprintln!(
            "SKIPPED: the status page is not tested in a browser: run `npm ci` in tests/browser"
        );
        return;
    }
    let output = Command::new(node)
        .args(["--test", "--test-reporter=spec", "status_page.mjs"])
        .current_dir(&folder)
        .env(
            "PROGRAM",
            fs::canonicalize(program().get_program()).expect("it was built"),
        )
        .env("CHROMIUM", chromium)
        .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .expect("it has just been found");
    assert!(output.status.success(), "{}", text(&output));
}
