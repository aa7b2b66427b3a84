//! Imports a configuration file of Gatus, or all files of a directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{endpoints, maintenance, variables};
use crate::commands::import::{context::Context, section::Section, sources::ImportError};

/// Files of a directory, at most, and how deep they may be.
const MAX_FILES: usize = 1000;
const MAX_DEPTH: usize = 10;

/// Imports the file or the directory at `path`.
///
/// # Errors
/// Where it cannot be read.
pub(crate) fn import(path: &Path, context: &mut Context) -> Result<(), ImportError> {
    let mut files = Vec::new();
    if path.is_dir() {
        find_files(path, 0, &mut files)?;
        if files.is_empty() {
            let path = path.display();
            return Err(ImportError(format!(
                "{path}: no .yml or .yaml file in this directory"
            )));
        }
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    for file in files {
        let (top, mut node) = context.sources.read_yaml(&file)?;
        let secrets = context.secrets.clone();
        variables::rewrite(&mut node, &|name| secrets.reserve(name));
        let report = context.report.clone();
        if let Some(section) = Section::open(&node, top, &report) {
            read(section, context);
        }
    }
    Ok(())
}

/// Adds the files of `folder` that Gatus would read.
fn find_files(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), ImportError> {
    let failed = |error: std::io::Error| {
        ImportError(format!("{}: cannot be read: {error}", folder.display()))
    };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        // Links are not followed, as they may lead in a circle.
        if entry.file_type().map_err(failed)?.is_dir() {
            if depth < MAX_DEPTH {
                find_files(&path, depth + 1, files)?;
            }
            continue;
        }
        let is_yaml = path
            .extension()
            .is_some_and(|extension| extension == "yml" || extension == "yaml");
        if is_yaml && files.len() < MAX_FILES {
            files.push(path);
        }
    }
    Ok(())
}

/// Imports the top of a file.
fn read(mut section: Section<'_>, context: &mut Context) {
    let report = context.report.clone();
    for endpoint in section.sections("endpoints") {
        endpoints::read(endpoint, context);
    }
    if let Some(window) = section.section("maintenance") {
        maintenance::read(window, None, context);
    }
    let top = section.path().clone();
    for (key, why) in [
        (
            "external-endpoints",
            "results are not accepted from outside",
        ),
        ("suites", "suites are not supported"),
    ] {
        for mut part in section.sections(key) {
            let path = part.path().clone();
            let name = part.text("name").unwrap_or_default();
            report.begin(&path);
            report.left_out(&path, why);
            context.add_remarks(&format!("{key}: {name}"));
        }
    }
    report.begin(&top);
    for (keys, why) in [
        (
            &["alerting"][..],
            "alerts are sent by Alertmanager; the repository has rules and an example configuration",
        ),
        (
            &["security"],
            "set server.basic_auth_users, or put a proxy in front",
        ),
        (
            &["remote"],
            "other daemons are not included; Prometheus can scrape all of them",
        ),
        (
            &["connectivity"],
            "there is no such check of the daemon's own connection",
        ),
        (&["tunneling"], "SSH tunnels are not supported"),
        (&["announcements"], "the status page has no announcements"),
    ] {
        section.leave_out(keys, why);
    }
    section.drop_keys(
        &["web"],
        "set server.listen and server.tls for the address and TLS of the daemon",
    );
    section.drop_keys(
        &["storage"],
        "set storage.path to keep states and results beyond a restart",
    );
    section.drop_keys(&["ui"], "there is no such setting for the status page");
    section.drop_keys(&["metrics"], "metrics are always served");
    section.drop_keys(
        &["concurrency", "disable-monitoring-lock"],
        "set dispatcher.max_concurrent_checks; its default is 1000",
    );
    section.drop_keys(&["debug"], "set log.level");
    section.drop_keys(
        &["skip-invalid-config-update"],
        "an invalid configuration is never applied",
    );
    section.finish();
    context.add_remarks("Gatus");
}
