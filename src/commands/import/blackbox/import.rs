//! Imports the configuration of blackbox_exporter and that of Prometheus.

use std::path::{Path, PathBuf};

use super::{
    jobs::{self, Jobs},
    modules,
};
use crate::{
    commands::import::{context::Context, section::Section, sources::ImportError},
    value::Node,
};

/// Files of `scrape_config_files`, at most.
const MAX_FILES: usize = 100;

/// The files to import.
#[derive(Debug)]
pub(crate) struct Files {
    /// blackbox.yml
    pub modules: PathBuf,
    /// prometheus.yml
    pub prometheus: Option<PathBuf>,
}

/// Imports `files`.
///
/// # Errors
/// Where one of them cannot be read.
pub(crate) fn import(files: &Files, context: &mut Context) -> Result<(), ImportError> {
    let (top, node) = context.sources.read_yaml(&files.modules)?;
    let report = context.report.clone();
    let modules = match Section::open(&node, top, &report) {
        Some(section) => modules::read(section, context),
        None => Vec::new(),
    };
    let Some(prometheus) = &files.prometheus else {
        if context.configuration.monitors.is_empty() {
            let remark = "These are the modules. Import the targets too with --prometheus prometheus.yml, or \
                          add monitors such as: {extends: http_2xx, url: https://example.com}";
            context.configuration.comments.push(remark.to_owned());
        }
        return Ok(());
    };
    let (top, node) = context.sources.read_yaml(prometheus)?;
    let Some(mut section) = Section::open(&node, top, &report) else {
        return Ok(());
    };
    let timing = jobs::Timing::global(&mut section);
    let mut jobs = Jobs::new(&modules, timing);
    jobs.read(&mut section, context);
    for (pattern, place) in section.texts("scrape_config_files") {
        for file in matching_files(prometheus, &pattern) {
            let Ok(files) = file else {
                report.left_out(&place, "not a pattern of files");
                continue;
            };
            let (top, node): (_, Node) = context.sources.read_yaml(&files)?;
            if let Some(mut section) = Section::open(&node, top, &report) {
                jobs.read(&mut section, context);
                section.finish();
            }
        }
    }
    // The rest of it is no matter of the exporter.
    jobs.finish(context);
    Ok(())
}

/// The files that `pattern` in the file `prometheus` names.
fn matching_files(prometheus: &Path, pattern: &str) -> Vec<Result<PathBuf, ()>> {
    let folder = prometheus.parent().unwrap_or(Path::new(""));
    let pattern = folder.join(pattern);
    match glob::glob(&pattern.to_string_lossy()) {
        Ok(found) => found
            .take(MAX_FILES)
            .map(|file| file.map_err(|_| ()))
            .collect(),
        Err(_) => vec![Err(())],
    }
}
