//! Gives the crate the revision, date, compiler and platform of the build, for `--version` and
//! `monitoringdaemon_build_info`.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Of a path that does not exist, cargo thinks that it has always just changed.
    let head = first_line("git", &["rev-parse", "--git-path", "logs/HEAD"]);
    if let Some(head) = head.filter(|head| Path::new(head).exists()) {
        println!("cargo::rerun-if-changed={head}");
    }
    println!("cargo::rerun-if-env-changed=MONITORINGDAEMON_REVISION");
    let revision = env::var("MONITORINGDAEMON_REVISION")
        .ok()
        .filter(|revision| !revision.is_empty())
        .or_else(|| first_line("git", &["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=MONITORINGDAEMON_REVISION={revision}");

    println!("cargo::rerun-if-env-changed=MONITORINGDAEMON_DATE");
    // Not the time of the build, with which no build could be reproduced.
    let date = env::var("MONITORINGDAEMON_DATE")
        .ok()
        .filter(|date| !date.is_empty())
        .or_else(|| first_line("git", &["log", "-1", "--format=%cs"]))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=MONITORINGDAEMON_DATE={date}");

    let target = env::var("TARGET").unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo::rustc-env=MONITORINGDAEMON_TARGET={target}");

    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = first_line(&rustc, &["--version"]).unwrap_or_default();
    let version = version.split(' ').nth(1).unwrap_or("unknown");
    println!("cargo::rustc-env=MONITORINGDAEMON_RUSTC={version}");
}

fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines()
        .next()
        .filter(|_| output.status.success())
        .map(ToOwned::to_owned)
}
