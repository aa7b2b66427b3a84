//! The targets of a Cloudprober probe.

use std::path::{Path, PathBuf};

use url::Url;

use super::{includes, text_proto};
use crate::{
    commands::import::{
        context::Context,
        section::{Section, scalar_text},
        sources::error_at,
    },
    value::{self, Node, Pattern, parse_json},
};

/// One target.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    /// Its name, which is also its host if nothing else is.
    pub name: String,
    /// Its address.
    pub ip: Option<String>,
    /// Its port.
    pub port: Option<u32>,
    /// `http` or `https`, if it says so.
    pub scheme: Option<String>,
    /// Its host, if that is not its name.
    pub host: Option<String>,
    /// The path of its URL.
    pub path: Option<String>,
    /// Its labels.
    pub labels: Vec<(String, String)>,
}

/// Lists of targets that others have, by name.
pub(super) type SharedTargets = Vec<(String, Vec<Target>)>;

/// The targets in `section`.
///
/// # Errors
/// Why they are not known.
pub(super) fn read(
    mut section: Section<'_>,
    folder: &Path,
    shared: &SharedTargets,
    context: &Context,
) -> Result<Vec<Target>, String> {
    let mut targets = Vec::new();
    if let Some(names) = section.text("host_names") {
        let names = names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        targets.extend(names.map(from_host_name));
    }
    for endpoint in section.sections("endpoint") {
        targets.extend(from_endpoint(endpoint));
    }
    if let Some(name) = section.text("shared_targets") {
        let found = shared.iter().find(|(known, _)| *known == name);
        let (_, found) = found.ok_or_else(|| format!("unknown shared_targets {name:?}"))?;
        targets.extend(found.iter().cloned());
    }
    if let Some(file) = section.section("file_targets") {
        targets.extend(from_file(file, folder, context)?);
    }
    for (key, why) in [
        ("gce_targets", "targets from GCE are not supported"),
        ("rds_targets", "targets from RDS are not supported"),
        ("k8s", "targets from Kubernetes are not supported"),
        ("dummy_targets", "it has no targets"),
    ] {
        if section.node(key).is_some() {
            return Err(format!("{why}; write them to a file for file_sd_configs"));
        }
    }
    if let Some(pattern) = section.text("regex").filter(|text| !text.is_empty()) {
        let pattern = Pattern::new(&pattern)?;
        targets.retain(|target| pattern.matches(target.name.as_bytes()));
    }
    section.leave_out(
        &["dns_options", "dns_server"],
        "names are looked up by the system's resolver",
    );
    section.drop_keys(&["exclude_lameducks"], "there are no lame ducks");
    section.finish();
    if targets.is_empty() {
        return Err("it has no targets".to_owned());
    }
    Ok(targets)
}

/// A name, a name with a port, or a URL.
fn from_host_name(text: &str) -> Target {
    if text.contains("://") {
        return from_url(text, text);
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            (name, port.parse().ok())
        }
        _ => (text, None),
    };
    let name = if port.is_some() { name } else { text };
    Target {
        name: name.trim_matches(['[', ']']).to_owned(),
        port,
        ..Target::default()
    }
}

fn from_url(name: &str, text: &str) -> Target {
    let Ok(url) = Url::parse(text) else {
        return Target {
            name: name.to_owned(),
            ..Target::default()
        };
    };
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    Target {
        name: name.to_owned(),
        ip: None,
        port: url.port().map(u32::from),
        scheme: Some(url.scheme().to_owned()),
        host: url
            .host_str()
            .map(|host| host.trim_matches(['[', ']']).to_owned()),
        path: Some(path),
        labels: Vec::new(),
    }
}

fn from_endpoint(mut section: Section<'_>) -> Option<Target> {
    let name = section.text("name")?;
    let mut target = match section.text("url").filter(|url| !url.is_empty()) {
        Some(url) => from_url(&name, &url),
        None => Target {
            name,
            ..Target::default()
        },
    };
    target.ip = section.text("ip").filter(|ip| !ip.is_empty());
    if let Some(port) = section.text("port").and_then(|port| port.parse().ok()) {
        target.port = Some(port);
    }
    target.labels = read_map(&mut section, "labels");
    section.finish();
    for (label, value) in &target.labels {
        match label.as_str() {
            "fqdn" | "__cp_host__" => target.host = Some(value.clone()),
            "__cp_scheme__" => target.scheme = Some(value.to_lowercase()),
            "relative_url" | "__cp_path__" => target.path = Some(value.clone()),
            _ => {}
        }
    }
    Some(target)
}

/// A map, which in the text format is a list of `key` and `value`.
pub(super) fn read_map(section: &mut Section<'_>, key: &'static str) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    let report = section.report();
    for (node, path) in section.repeated(key) {
        let Some(mut entry) = Section::open(node, path, report) else {
            continue;
        };
        let names = entry.names();
        let is_pair = names
            .iter()
            .all(|(name, _)| matches!(*name, "key" | "value"));
        if is_pair && !names.is_empty() {
            let key = entry.text("key").unwrap_or_default();
            entries.push((key, entry.text("value").unwrap_or_default()));
            continue;
        }
        for (name, node, _) in entry.into_entries() {
            entries.extend(scalar_text(node).map(|value| (name.to_owned(), value)));
        }
    }
    entries
}

/// Targets in a file, which is read once.
fn from_file(
    mut section: Section<'_>,
    folder: &Path,
    context: &Context,
) -> Result<Vec<Target>, String> {
    let file = section.text("file_path").unwrap_or_default();
    let format = section.text("format");
    section.drop_keys(
        &["re_eval_sec"],
        "the file was read once; for a list that changes, use file_sd_configs",
    );
    let mut filters = Vec::new();
    for mut filter in section.sections("filter") {
        let key = filter.text("key").unwrap_or_default();
        let pattern = Pattern::new(&filter.text("value").unwrap_or_default())?;
        filters.push((key, pattern));
        filter.finish();
    }
    section.finish();
    let path: PathBuf = folder.join(file.trim_start_matches("{{configDir}}/"));
    let node = read_file(&path, format.as_deref(), context)?;
    let report = context.report.clone();
    let mut targets = Vec::new();
    // Its places are those of another file.
    if let Some(mut section) = Section::open(&node, section_path(&path, context), &report) {
        for resource in section.sections("resource") {
            targets.extend(from_endpoint(resource));
        }
        section.finish();
    }
    targets.retain(|target| {
        filters.iter().all(|(key, pattern)| {
            let value = match key.strip_prefix("labels.") {
                Some(label) => target
                    .labels
                    .iter()
                    .find(|(name, _)| name == label)
                    .map_or("", |(_, value)| value),
                None => &target.name,
            };
            pattern.matches(value.as_bytes())
        })
    });
    Ok(targets)
}

fn section_path(path: &Path, context: &Context) -> value::Path {
    context.sources.add_without_positions(path)
}

fn read_file(path: &Path, format: Option<&str>, context: &Context) -> Result<Node, String> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match (format, extension) {
        (Some("YAML"), _) | (None, Some("yaml" | "yml")) => {
            let read = context.sources.read_yaml(path);
            read.map(|(_, node)| node)
                .map_err(|error| error.to_string())
        }
        (Some("JSON"), _) | (None, Some("json")) => {
            let text = context
                .sources
                .read_text(path)
                .map_err(|error| error.to_string())?;
            parse_json(&text).map_err(|error| format!("{}: {error}", path.display()))
        }
        _ => {
            let located =
                includes::read(path, &context.sources).map_err(|error| error.to_string())?;
            let parsed = text_proto::parse(located.text(), &located);
            parsed.map(|(node, _)| node).map_err(|problem| {
                let origin = located.origin(problem.at);
                error_at(&origin.file, origin.position, problem.message).to_string()
            })
        }
    }
}
