//! Tests in networks of their own, which go with their process.

use std::{
    env,
    process::{Command, Stdio},
};

use super::process::text;

const WITHIN: &str = "MONITORINGDAEMON_TEST_NETWORKS";

/// Runs `body`, the rest of the test `name`, in networks that the shell script `setup` makes before it runs `"$@"`, if
/// that is permitted. The script knows `variables`.
#[track_caller]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn in_networks(
    name: &str,
    setup: &str,
    variables: &[(&str, String)],
    body: impl AsyncFnOnce(),
) {
    if env::var_os(WITHIN).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        return runtime.expect("a runtime").block_on(body());
    }
    let ways = [&["--net"][..], &["--user", "--map-root-user", "--net"]];
    let Some(way) = ways.into_iter().find(|way| can_unshare(way)) else {
        eprintln!("SKIPPED: {name} needs network namespaces and iproute2");
        return;
    };
    let output = Command::new("unshare")
        .args(way)
        .args(["sh", "-c", setup, "sh"])
        .arg(env::current_exe().expect("the test's own path"))
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(WITHIN, "1")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("it could be started before");
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("1 passed"),
        "no test is called {name}: {text}"
    );
}

fn can_unshare(way: &[&str]) -> bool {
    let script = "ip link add near type veth peer name far";
    let mut unshare = Command::new("unshare");
    unshare.args(way).args(["sh", "-c", script]);
    let status = unshare.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
