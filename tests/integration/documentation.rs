//! The documents hold: tables of keys, metrics and reasons, examples, links.
//!
//! `UPDATE_EXPECT=1 cargo test documentation` writes the generated parts anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write,
    fs,
    path::{Component, Path, PathBuf},
};

use monitoringdaemon::{
    check::{Cause, Phase, Reason, StepKind},
    config,
    metrics::FAMILIES,
    monitors::Type,
};
use regex::Regex;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{
    daemon::Daemon,
    pki::{AUTHORITY, IDENTITY},
    server::Closed,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Markdown file of the repository, relative to its root.
fn documents() -> Vec<PathBuf> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(root().join(folder)).expect("a folder of the repository") {
            let entry = entry.expect("it can be listed");
            let name = entry.file_name();
            let path = folder.join(&name);
            let kind = entry.file_type().expect("it can be listed");
            let foreign = name == "target" || name == "node_modules" || name == ".git";
            if kind.is_dir() && !foreign {
                collect(&path, found);
            } else if kind.is_file() && path.extension().is_some_and(|end| end == "md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(Path::new(""), &mut found);
    found.sort();
    assert!(found.len() > 20, "documents are missing: {found:?}");
    found
}

/// README and everything under `docs/`: what is written for users.
fn user_documents() -> Vec<PathBuf> {
    let mut documents = documents();
    documents.retain(|path| path.starts_with("docs") || path == Path::new("README.md"));
    documents
}

/// Compares the part of `document` between the comments of `name` with `expected`.
#[track_caller]
fn check_part(document: &str, name: &str, expected: &str) {
    let text = read(document);
    let start = text
        .find(&format!("<!-- {name}: "))
        .expect("the part has a beginning");
    let start = start + text[start..].find('\n').expect("the comment ends its line") + 1;
    let end = text
        .find(&format!("<!-- /{name} -->"))
        .expect("the part has an end");
    let expected = format!("\n{expected}\n");
    if env::var_os("UPDATE_EXPECT").is_some() {
        let updated = format!("{}{expected}{}", &text[..start], &text[end..]);
        fs::write(root().join(document), updated).expect("the document can be written");
    } else {
        assert_eq!(text[start..end], expected);
    }
}

#[test]
fn every_metric_and_every_reason_is_listed() {
    let mut metrics =
        "| metric | type | labels | monitors | compact | meaning |\n| --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for family in FAMILIES {
        let kind = family.kind.as_str();
        let labels: Vec<_> = family
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let (name, labels, help) = (family.name, labels.join(" "), family.help);
        let monitors = family.monitors().unwrap_or_default();
        let compact = if family.is_per_monitor() {
            family.compact_series()
        } else {
            String::new()
        };
        writeln!(
            metrics,
            "| `{name}` | {kind} | {labels} | {monitors} | {compact} | {help} |"
        )
        .expect("a String takes all");
    }
    check_part("docs/metrics.md", "metrics", &metrics);
    let reasons: Vec<_> = Reason::ALL
        .iter()
        .map(|reason| format!("`{reason}`"))
        .collect();
    check_part(
        "docs/metrics.md",
        "reasons",
        &format!("{}\n", reasons.join(" ")),
    );
}

#[test]
fn the_metrics_table_uses_existing_types_and_phases() {
    let types = Type::ALL.iter().map(|of_type| of_type.as_str());
    let phases = Phase::ALL.iter().map(|phase| phase.as_str());
    let known: BTreeSet<_> = types.chain(phases).collect();
    for family in FAMILIES {
        let monitors = family.monitors().unwrap_or_default();
        for word in monitors.split('`').skip(1).step_by(2) {
            assert!(known.contains(word), "{}: {word}", family.name);
        }
    }
}

#[test]
fn every_kind_of_step_and_every_cause_is_explained() {
    let text = read("docs/explain.md");
    let kinds = StepKind::ALL.iter().map(|kind| kind.as_str());
    let causes = Cause::ALL.iter().map(|cause| cause.as_str());
    for word in kinds.chain(causes) {
        assert!(has_row(&text, word), "docs/explain.md: {word}");
    }
}

#[test]
fn every_phase_is_explained() {
    let text = read("docs/metrics.md");
    for phase in Phase::ALL {
        assert!(has_row(&text, phase.as_str()), "docs/metrics.md: {phase}");
    }
}

/// The keys that are known in each mapping, as the message for an unknown one lists them.
fn known_keys(text: &str) -> BTreeMap<String, Vec<String>> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), text).expect("room for it");
    let messages = config::read(file.path())
        .expect_err("unknown keys")
        .to_string();
    let mut known = BTreeMap::new();
    for message in messages.lines() {
        if let Some((place, keys)) = message.split_once(": unknown key: expected one of ") {
            let path = place.rsplit_once(": ").expect("a path behind the place").1;
            let keys = keys.split(", ").map(ToOwned::to_owned).collect();
            known.insert(path.to_owned(), keys);
        }
    }
    known
}

/// A block of code, and where it begins.
struct Block {
    language: String,
    code: String,
    line: usize,
}

/// The blocks of code in `text`.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open = Some(Block {
                    language: language.to_owned(),
                    code: String::new(),
                    line: number + 1,
                });
            }
            (Some(end), Some(_)) => {
                assert!(end.is_empty(), "a fence within a block: {line}");
                blocks.extend(open.take());
            }
            (None, Some(block)) => {
                block.code.push_str(line);
                block.code.push('\n');
            }
            (None, None) => {}
        }
    }
    if let Some(block) = open {
        panic!("the block in line {} is not closed", block.line);
    }
    blocks
}

/// Keys at the top of a configuration.
const SECTIONS: &[&str] = &[
    "include",
    "log",
    "server",
    "defaults",
    "dispatcher",
    "metrics",
    "forbid_targets",
    "templates",
    "discovery",
    "probe",
    "telemetry",
    "maintenance",
    "self_check",
    "heartbeat",
    "storage",
    "monitors",
];

/// Returns whether `yaml` is a configuration of this program, and not one of Prometheus' or of another's.
fn is_configuration(yaml: &str) -> bool {
    let keys = yaml.lines().filter_map(|line| {
        let (key, _) = line.split_once(':')?;
        key.starts_with(char::is_alphabetic).then_some(key)
    });
    keys.into_iter().any(|key| SECTIONS.contains(&key))
}

/// A folder with stand-ins for the files that examples name.
struct Examples(TempDir);

impl Examples {
    fn new() -> Self {
        let examples = Self(tempfile::tempdir().expect("a temporary folder"));
        let files = [
            ("ca.pem", AUTHORITY.pem()),
            ("cert.pem", IDENTITY.certificate_pem.clone()),
            ("key.pem", IDENTITY.key_pem()),
            ("text", "text".to_owned()),
            (
                "blackbox.yml",
                "modules: {http_2xx: {prober: http}}\n".to_owned(),
            ),
            ("templates.yml", "templates: {}\n".to_owned()),
        ];
        for (name, content) in files {
            examples.write(name, &content);
        }
        examples
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        let folder = path.parent().expect("a file in the folder");
        fs::create_dir_all(folder).expect("a temporary folder");
        fs::write(&path, text).expect("room for it");
    }

    /// Writes `example` to `name`, with the stand-ins in place of the files that it names.
    fn write_example(&self, name: &str, example: &str) {
        let file_keys = Regex::new(r"\b([a-z_]+)_file: [^,}\s]+").expect("a pattern");
        let example = file_keys.replace_all(example, |found: &regex::Captures<'_>| {
            let stand_in = match &found[1] {
                "ca" | "client_ca" => "ca.pem",
                "cert" => "cert.pem",
                "key" => "key.pem",
                "config" => "blackbox.yml",
                _ => "text",
            };
            format!("{}_file: {}", &found[1], self.path(stand_in).display())
        });
        let templates = self.path("templates.yml").display().to_string();
        self.write(name, &example.replace("shared/templates.yml", &templates));
    }

    /// The problems of the configuration in `name`.
    fn problems(&self, name: &str) -> Option<String> {
        let read = config::read(&self.path(name));
        read.err().map(|invalid| invalid.to_string())
    }
}

#[test]
fn every_example_of_a_configuration_is_valid() {
    let examples = Examples::new();
    let mut read_examples = 0;
    let mut invalid = String::new();
    for document in user_documents() {
        let text = read(&document);
        for block in blocks(&text) {
            if block.language == "yaml" && is_configuration(&block.code) {
                read_examples += 1;
                examples.write_example("config.yml", &block.code);
                if let Some(message) = examples.problems("config.yml") {
                    let (name, line) = (document.display(), block.line);
                    writeln!(invalid, "{name}, the block in line {line}:\n{message}")
                        .expect("a String takes all");
                }
            }
        }
    }
    assert!(invalid.is_empty(), "{invalid}");
    assert!(
        read_examples > 10,
        "examples are not found: {read_examples}"
    );
}

/// The YAML files in `folder` of the repository and below, relative to it.
fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(folder.join(&below)).expect("a folder of the repository") {
            let entry = entry.expect("it can be listed");
            let path = below.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "yml") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn every_file_of_examples_is_valid() {
    let folder = root().join("examples/config");
    let files = yaml_files(&folder);
    let examples = Examples::new();
    let mut all = String::new();
    for file in &files {
        let text = fs::read_to_string(folder.join(file)).expect("an example in UTF-8");
        let name = file.to_str().expect("a path in UTF-8");
        examples.write_example(name, &text);
        all += &text;
    }
    for file in files {
        let name = file.to_str().expect("a path in UTF-8");
        let is_part = name.starts_with("targets/") || name.contains("/conf.d/");
        if !is_part {
            let problems = examples.problems(name);
            assert_eq!(problems, None, "examples/config/{name}");
        }
    }
    for kind in ["dns", "grpc", "icmp", "tcp", "tls"] {
        let of_kind = format!("type: {kind}\n");
        assert!(all.contains(&of_kind), "no example of {kind}");
    }
}

#[test]
fn every_type_has_a_page_with_an_example_of_it() {
    for kind in Type::ALL.iter().map(|kind| kind.as_str()) {
        let text = read(format!("docs/types/{kind}.md"));
        let has_example = blocks(&text).iter().any(|block| {
            let names_type = block.code.contains(&format!("type: {kind}"));
            block.language == "yaml" && (names_type || kind == "http")
        });
        assert!(has_example, "docs/types/{kind}.md has no example");
    }
}

#[test]
fn every_table_has_a_head() {
    for document in documents() {
        let text = read(&document);
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with('|') {
                let rule = lines.next().unwrap_or_default();
                let name = document.display();
                assert!(rule.starts_with("| ---"), "{name}: no head above: {line}");
                lines
                    .by_ref()
                    .take_while(|line| line.starts_with('|'))
                    .for_each(drop);
            }
        }
    }
}

/// Returns whether a table in `text` has `key` in the first cell of a row.
fn has_row(text: &str, key: &str) -> bool {
    let first_cells = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let mut keys = first_cells.flat_map(|cell| cell.split(", "));
    keys.any(|known| known == format!("`{key}`"))
}

#[test]
fn every_key_of_the_configuration_has_a_row() {
    const UNKNOWN: &str = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";
    // One of each type, with what it cannot do without.
    let monitors = [
        ("dns", "target: localhost, query_name: example.com"),
        ("grpc", "target: localhost"),
        ("http", "url: http://localhost"),
        ("icmp", "target: localhost"),
        ("tcp", "target: localhost:1"),
        ("tls", "target: localhost"),
        ("unix", "target: /socket"),
        ("websocket", "target: ws://localhost"),
    ];
    let monitors =
        monitors.map(|(kind, keys)| format!("  {kind}: {{type: {kind}, {keys}, {UNKNOWN}: 1}}\n"));
    let monitors = monitors.concat();
    let known = known_keys(&format!(
        "{UNKNOWN}: 1\nlog: {{{UNKNOWN}: 1}}\nserver: {{{UNKNOWN}: 1}}\ndefaults: {{{UNKNOWN}: 1}}\n\
         dispatcher: {{{UNKNOWN}: 1}}\nmetrics: {{{UNKNOWN}: 1}}\nmonitors:\n{monitors}",
    ));
    let general = read("docs/configuration.md");
    let mut missing = BTreeSet::new();
    for (path, keys) in &known {
        let section = path
            .strip_suffix(UNKNOWN)
            .expect("the unknown key is at the end");
        for key in keys {
            let documented = match section.strip_prefix("monitors.") {
                None if section.is_empty() => {
                    assert!(
                        SECTIONS.contains(&&**key),
                        "SECTIONS of this test lacks {key}"
                    );
                    // The sections themselves, each of which has rows of its own.
                    true
                }
                None => has_row(&general, &format!("{section}{key}")),
                Some(kind) => {
                    let page = read(format!("docs/types/{}.md", kind.trim_end_matches('.')));
                    has_row(&general, key) || has_row(&page, key)
                }
            };
            if !documented {
                missing.insert(format!("{section}{key}"));
            }
        }
    }
    let reported = 6 + Type::ALL.len();
    assert_eq!(
        known.len(),
        reported,
        "a section did not report its keys, or a type is not asked here: {known:?}"
    );
    assert!(missing.is_empty(), "docs/ lacks {missing:?}");
}

/// The names of the fields in `value` and below, apart from those whose names are data.
fn field_names(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                names.insert(name.clone());
                if !matches!(&**name, "labels" | "phases") {
                    field_names(value, names);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| field_names(value, names)),
        _ => {}
    }
}

#[test]
fn every_field_of_the_json_is_explained() {
    let closed = Closed::new();
    let url = format!("http://{}/", closed.address);
    let daemon = Daemon::start(json!({ "monitors": { "closed": { "url": url } } }));
    daemon.until_page("it is checked", |page| page.completed() > 0.5);
    let mut names = BTreeSet::new();
    for path in ["/api/v1/monitors", "/api/v1/monitors/closed"] {
        let answer = daemon.get(path);
        let body = serde_json::from_slice(&answer.body).expect("JSON");
        field_names(&body, &mut names);
    }
    assert!(names.len() > 25, "fields are missing: {names:?}");
    let text = read("docs/http-api.md");
    for name in names {
        assert!(has_row(&text, &name), "docs/http-api.md: {name}");
    }
}

/// The text of a document without its blocks of code and its inline code.
fn prose(text: &str) -> String {
    let code = Regex::new("`+[^`]*`+").expect("a pattern");
    let mut in_block = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            prose += &code.replace_all(line, "");
            prose.push('\n');
        }
    }
    prose
}

/// The anchors of a document's headings, as GitHub and mdBook derive them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut in_block = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        }
        let heading = line.trim_start_matches('#');
        if in_block || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let anchor: String = heading
            .trim()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| {
                if c == ' ' {
                    '-'
                } else {
                    c.to_ascii_lowercase()
                }
            })
            .collect();
        // A second heading of the same name gets a number.
        let names = (1..).map(|number| format!("{anchor}-{number}"));
        let mut names = std::iter::once(anchor.clone()).chain(names);
        anchors.extend(names.find(|name| !anchors.contains(name)));
    }
    anchors
}

/// `path` without `.` and `..`, or nothing if it leaves the repository.
fn normalized(path: &Path) -> Option<PathBuf> {
    let mut normalized = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normalized.push(name),
            Component::ParentDir => {
                if !normalized.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(normalized)
}

/// The problem of `link` in `document`.
fn broken(document: &Path, link: &str) -> Option<&'static str> {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = if file.is_empty() {
        document.to_owned()
    } else {
        let folder = document.parent().unwrap_or(Path::new(""));
        match normalized(&folder.join(file)) {
            Some(path) => path,
            None => return Some("leaves the repository"),
        }
    };
    if !root().join(&path).exists() {
        return Some("no such file");
    }
    let has_anchor = anchor.is_empty()
        || path.extension().is_none_or(|end| end != "md")
        || anchors(&read(&path)).contains(anchor);
    (!has_anchor).then_some("no such heading")
}

#[test]
fn every_link_within_the_repository_is_valid() {
    let inline = Regex::new(r#"\]\(<?([^)>\s]+)>?(?: "[^"]*")?\)"#).expect("a pattern");
    let reference = Regex::new(r"(?m)^\[[^\]]+\]: (\S+)").expect("a pattern");
    let mut links = 0;
    let mut wrong = Vec::new();
    for document in documents() {
        let text = prose(&read(&document));
        let found = inline
            .captures_iter(&text)
            .chain(reference.captures_iter(&text));
        for found in found {
            let link = &found[1];
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            links += 1;
            if let Some(why) = broken(&document, link) {
                wrong.push(format!("{}: {link}: {why}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(links > 50, "links are not found: {links}");
}

#[test]
fn the_book_has_every_page() {
    let summary = read("docs/SUMMARY.md");
    for page in user_documents() {
        let Ok(page) = page.strip_prefix("docs") else {
            continue;
        };
        let entry = format!("]({})", page.display());
        let is_listed = summary.contains(&entry) || page == Path::new("SUMMARY.md");
        assert!(is_listed, "docs/SUMMARY.md lacks {}", page.display());
    }
}

#[test]
fn every_fuzz_target_is_listed() {
    let guide = read("CONTRIBUTING.md");
    let manifest = read("fuzz/Cargo.toml");
    let targets = fs::read_dir(root().join("fuzz/fuzz_targets")).expect("a folder");
    for target in targets.map(|entry| entry.expect("it can be listed").path()) {
        let name = target.file_stem().and_then(|name| name.to_str());
        let name = name.expect("a name in UTF-8");
        if target.is_file() {
            assert!(has_row(&guide, name), "CONTRIBUTING.md lacks {name}");
            let path = format!("path = \"fuzz_targets/{name}.rs\"");
            assert!(manifest.contains(&path), "fuzz/Cargo.toml lacks {name}");
        }
    }
}

#[test]
fn broken_links_are_noticed() {
    let document = Path::new("docs/runbook.md");
    for (link, why) in [
        ("#monitordown", None),
        ("#monitor-down", Some("no such heading")),
        ("alerts.md", None),
        ("alerts.md#nothing", Some("no such heading")),
        ("../README.md", None),
        ("README.md", Some("no such file")),
        ("../../README.md", Some("leaves the repository")),
        ("/README.md", Some("leaves the repository")),
    ] {
        assert_eq!(broken(document, link), why, "{link}");
    }
}

#[test]
fn anchors_are_derived_as_github_does() {
    let text =
        "# `type: http`\n```\n# no heading\n```\n## Thanos & Mimir\n## A_b-c\n## A_b-c\n#no\n";
    let found: Vec<_> = anchors(text).into_iter().collect();
    assert_eq!(found, ["a_b-c", "a_b-c-1", "thanos--mimir", "type-http"]);
}
