//! Imports Cloudprober's file, in the text format of protocol buffers, YAML or JSON.

use std::path::Path;

use super::{
    includes::{self, Located},
    probes,
    targets::{self, SharedTargets},
    text_proto,
};
use crate::{
    commands::import::{
        context::Context,
        section::Section,
        sources::{ImportError, error_at},
        uptime_kuma::snake_case,
    },
    value::{self, Node, parse_json},
};

/// Imports the file at `path`.
///
/// # Errors
/// Where it cannot be read.
pub(crate) fn import(path: &Path, context: &mut Context) -> Result<(), ImportError> {
    let (top, mut node) = read(path, context)?;
    context.add_remarks("File");
    rewrite(&mut node, &|name| context.secrets.reserve(name));
    let report = context.report.clone();
    let Some(mut section) = Section::open(&node, top, &report) else {
        return Ok(());
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut shared = SharedTargets::new();
    for mut entry in section.sections("shared_targets") {
        let name = entry.text("name").unwrap_or_default();
        let place = entry.path().clone();
        let found = entry
            .section("targets")
            .ok_or("it has no targets".to_owned());
        match found.and_then(|found| targets::read(found, folder, &shared, context)) {
            Ok(found) => shared.push((name, found)),
            Err(why) => report.left_out(&place, why),
        }
        entry.finish();
    }
    context.add_remarks("shared_targets");
    for probe in section.sections("probe") {
        probes::read(probe, folder, &shared, context);
    }
    report.begin(&section.path().clone());
    section.drop_keys(
        &["surfacer"],
        "metrics are served at /metrics, for Prometheus",
    );
    section.leave_out(&["server"], "the daemon is not a server to be probed");
    section.leave_out(&["rds_server"], "targets are not served to others");
    section.drop_keys(
        &["port", "host", "grpc_port", "grpc_tls_config"],
        "set server.listen and server.tls for the address and TLS of the daemon",
    );
    section.drop_keys(
        &["sysvars_interval_msec", "sysvars_env_var"],
        "there are no such variables",
    );
    section.drop_keys(&["disable_jitter"], "checks are spread over their interval");
    section.ignore(&["stop_time_sec"]);
    section.leave_out(
        &["global_targets_options", "global_artifacts_options"],
        "there is no such setting",
    );
    section.finish();
    context.add_remarks("Cloudprober");
    Ok(())
}

fn read(path: &Path, context: &Context) -> Result<(value::Path, Node), ImportError> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension {
        Some("yaml" | "yml") => {
            let text = context.sources.read_text(path)?;
            let text = without_templates(&text, path, context);
            let parsed = context.sources.parse_yaml(path, text);
            let (top, mut node) = parsed.map_err(|error| with_hint(error, path))?;
            rename(&mut node);
            Ok((top, node))
        }
        Some("json") => {
            let text = context.sources.read_text(path)?;
            let mut node = parse_json(&text).map_err(|error| {
                ImportError(format!("{}: invalid JSON: {error}", path.display()))
            })?;
            rename(&mut node);
            Ok((context.sources.add_without_positions(path), node))
        }
        Some("jsonnet") => {
            let path = path.display();
            Err(ImportError(format!(
                "{path}: jsonnet is not supported: render it with `cloudprober --dumpconfig` first"
            )))
        }
        _ => {
            let located = includes::read(path, &context.sources)?;
            read_text_proto(&located, path, context)
        }
    }
}

fn read_text_proto(
    located: &Located,
    path: &Path,
    context: &Context,
) -> Result<(value::Path, Node), ImportError> {
    // Lines keep their places.
    let text = without_templates(located.text(), path, context);
    let (node, positions) = text_proto::parse(&text, located).map_err(|problem| {
        let origin = located.origin(problem.at);
        let error = error_at(&origin.file, origin.position, problem.message);
        with_hint_if(error, text.contains("{{"))
    })?;
    Ok((context.sources.add_located(path, positions), node))
}

fn with_hint(error: ImportError, path: &Path) -> ImportError {
    let has_templates = std::fs::read_to_string(path).is_ok_and(|text| text.contains("{{"));
    with_hint_if(error, has_templates)
}

fn with_hint_if(ImportError(message): ImportError, has_templates: bool) -> ImportError {
    if has_templates {
        ImportError(format!(
            "{message}; the file has templates: render them with `cloudprober --dumpconfig` first"
        ))
    } else {
        ImportError(message)
    }
}

/// `text` with spaces in place of lines that are templates and nothing else.
fn without_templates(text: &str, path: &Path, context: &Context) -> String {
    if !text.lines().any(is_template) {
        return text.to_owned();
    }
    let place = context.sources.add_without_positions(path);
    context.report.begin(&place);
    context.report.left_out(
        &place,
        "templates were skipped: render them with `cloudprober --dumpconfig` first",
    );
    let mut cleaned = String::with_capacity(text.len());
    for line in text.lines() {
        if is_template(line) {
            cleaned.extend(std::iter::repeat_n(' ', line.len()));
        } else {
            cleaned.push_str(line);
        }
        cleaned.push('\n');
    }
    cleaned
}

/// Returns whether there is a template in `line`, and nothing beside it.
fn is_template(line: &str) -> bool {
    let mut rest = line.trim();
    if !rest.starts_with("{{") {
        return false;
    }
    while let Some(inner) = rest.strip_prefix("{{") {
        let Some((_, after)) = inner.split_once("}}") else {
            return false;
        };
        rest = after.trim_start();
    }
    rest.is_empty()
}

/// Gives the keys of JSON the names that they have in the text format.
fn rename(node: &mut Node) {
    match node {
        Node::Map(entries) => {
            for (name, node) in entries {
                *name = snake_case(name);
                // The keys of maps are names of users.
                if !matches!(name.as_str(), "header" | "proxy_connect_header" | "labels") {
                    rename(node);
                }
            }
        }
        Node::List(items) => items.iter_mut().for_each(rename),
        _ => {}
    }
}

/// Rewrites `**$NAME**`, which stands for a variable, and escapes what would be one here.
fn rewrite(node: &mut Node, use_variable: &dyn Fn(&str)) {
    node.edit_texts(&mut |text| {
        if text.contains('$') {
            *text = rewritten(text, use_variable);
        }
    });
}

fn rewritten(text: &str, use_variable: &dyn Fn(&str)) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("**$") {
        result.push_str(&before.replace("${", "$${"));
        let end = after.find("**").unwrap_or(0);
        let (name, behind) = after.split_at(end);
        if name.is_empty() {
            result.push_str("**$");
            rest = after;
            continue;
        }
        use_variable(name);
        result.push_str("${");
        result.push_str(name);
        result.push('}');
        rest = &behind[2..];
    }
    result.push_str(&rest.replace("${", "$${"));
    result
}
