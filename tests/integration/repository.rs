//! What the repository says of itself holds: README's reference, and the direction of dependencies.
//!
//! `UPDATE_EXPECT=1 cargo test readme` writes the generated parts of README anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use monitoringdaemon::{check::Reason, config, metrics::FAMILIES, monitors::Type};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("there is a README")
}

/// Holds the part of README between the comments of `name` against `expected`.
#[track_caller]
fn check_part(name: &str, expected: &str) {
    let readme = readme();
    let start = readme
        .find(&format!("<!-- {name}: "))
        .expect("the part has a beginning");
    let start = start
        + readme[start..]
            .find('\n')
            .expect("the comment ends its line")
        + 1;
    let end = readme
        .find(&format!("<!-- /{name} -->"))
        .expect("the part has an end");
    let expected = format!("\n{expected}\n");
    if env::var_os("UPDATE_EXPECT").is_some() {
        let updated = format!("{}{expected}{}", &readme[..start], &readme[end..]);
        fs::write(root().join("README.md"), updated).expect("README can be written");
    } else {
        assert_eq!(readme[start..end], expected);
    }
}

#[test]
fn readme_lists_every_metric_and_every_reason() {
    let mut metrics =
        "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for family in FAMILIES {
        let kind = format!("{:?}", family.kind).to_lowercase();
        let labels: Vec<_> = family
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let (name, labels, help) = (family.name, labels.join(" "), family.help);
        writeln!(metrics, "| `{name}` | {kind} | {labels} | {help} |").expect("a String takes all");
    }
    check_part("metrics", &metrics);
    let reasons: Vec<_> = Reason::ALL
        .iter()
        .map(|reason| format!("`{reason}`"))
        .collect();
    check_part("reasons", &format!("{}\n", reasons.join(" ")));
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
        if let Some((place, keys)) = message.split_once(": unknown key (known here: ") {
            let path = place.rsplit_once(": ").expect("a path behind the place").1;
            let keys = keys
                .trim_end_matches(')')
                .split(", ")
                .map(ToOwned::to_owned)
                .collect();
            known.insert(path.to_owned(), keys);
        }
    }
    known
}

/// The blocks of code in `text`, by the word behind their fence.
fn blocks(text: &str) -> Vec<(&str, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(word), None) => open = Some((word, String::new())),
            (Some(end), Some(_)) => {
                assert!(end.is_empty(), "a fence within a block: {line}");
                blocks.extend(open.take());
            }
            (None, Some((_, block))) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed: {open:?}");
    blocks
}

#[test]
fn readme_has_an_example_of_every_type_that_is_valid() {
    let readme = readme();
    let examples = blocks(&readme).into_iter();
    let examples = examples.filter(|(word, block)| *word == "yaml" && block.contains("monitors:"));
    let mut all = String::new();
    for (_, example) in examples {
        // Files that are not here.
        let example = example.replace(
            "client_secret_file: /run/secrets/orders",
            "client_secret: x",
        );
        let example = example.replace("tls_config: {ca_file: internal-ca.pem}", "tls_config: {}");
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), &example).expect("room for it");
        if let Err(wrong) = config::read(file.path()) {
            panic!("{wrong}\n{example}");
        }
        all += &example;
    }
    for of_type in Type::ALL.iter().map(|of_type| of_type.as_str()) {
        let has = of_type == "http" || all.contains(&format!("type: {of_type}"));
        assert!(has, "README has no example of type {of_type}");
    }
}

#[test]
fn every_table_has_a_head() {
    let readme = readme();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('|') {
            let rule = lines.next().unwrap_or_default();
            assert!(rule.starts_with("| ---"), "a table without a head: {line}");
            lines
                .by_ref()
                .take_while(|line| line.starts_with('|'))
                .for_each(drop);
        }
    }
}

/// Whether a table in `text` has `key` in the first cell of a row.
fn has_row(text: &str, key: &str) -> bool {
    let first_cells = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let mut keys = first_cells.flat_map(|cell| cell.split(", "));
    keys.any(|known| known == format!("`{key}`"))
}

#[test]
fn readme_has_a_row_for_every_key_of_the_configuration() {
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
    let monitors = monitors
        .map(|(of_type, keys)| format!("  {of_type}: {{type: {of_type}, {keys}, {UNKNOWN}: 1}}\n"));
    let monitors = monitors.concat();
    let known = known_keys(&format!(
        "{UNKNOWN}: 1\nlog: {{{UNKNOWN}: 1}}\nserver: {{{UNKNOWN}: 1}}\ndefaults: {{{UNKNOWN}: 1}}\n\
         dispatcher: {{{UNKNOWN}: 1}}\nmetrics: {{{UNKNOWN}: 1}}\nmonitors:\n{monitors}",
    ));
    let readme = readme();
    let mut missing = BTreeSet::new();
    for (path, keys) in &known {
        let section = path
            .strip_suffix(UNKNOWN)
            .expect("the unknown key is at the end");
        for key in keys {
            let documented = match section.strip_prefix("monitors.") {
                // The sections themselves, each of which has rows of its own.
                None if section.is_empty() => true,
                None => has_row(&readme, &format!("{section}{key}")),
                Some(of_type) => {
                    let of_type = of_type.trim_end_matches('.');
                    let (general, rest) = readme.split_once("\n### `type: ").expect("types");
                    let rest = format!("{rest}\n### ");
                    let own = format!("\n### `type: {of_type}`");
                    let rest = format!("\n### `type: {rest}");
                    let own = rest.split_once(&own).map_or("", |(_, own)| own);
                    let own = own.split("\n### ").next().unwrap_or_default();
                    has_row(general, key) || has_row(own, key)
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
    assert!(missing.is_empty(), "README lacks {missing:?}");
}

/// What each module may use of the others, beside itself; what is not listed may use all.
const MAY_USE: &[(&str, &[&str])] = &[
    ("check", &[]),
    ("value", &[]),
    ("logging", &[]),
    ("net", &["check", "value"]),
    ("monitors", &["check", "net", "value"]),
    (
        "config",
        &[
            "check",
            "discovery",
            "logging",
            "metrics",
            "monitors",
            "server",
            "value",
        ],
    ),
    ("discovery", &["check", "net", "value"]),
    ("dispatcher", &["check"]),
    ("metrics", &["check", "discovery", "value"]),
    ("history", &["check"]),
    ("status", &["check", "history", "value"]),
    ("server", &["history", "metrics", "status", "value"]),
    (
        "plan",
        &["app", "check", "config", "dispatcher", "metrics", "net"],
    ),
    ("rules", &["config", "value"]),
];

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The modules of the crate that `text` names, in `use crate::{…}` and in paths.
fn used_modules(text: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let word = |text: &str| -> String {
            text.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        };
        if !rest.starts_with('{') {
            used.insert(word(rest));
            continue;
        }
        // The first word of each entry of the outermost braces.
        let mut depth = 0;
        let mut entry_begins = false;
        for (at, c) in rest.char_indices() {
            match c {
                '{' => {
                    depth += 1;
                    entry_begins = depth == 1;
                }
                '}' if depth == 1 => break,
                '}' => depth -= 1,
                ',' if depth == 1 => entry_begins = true,
                c if entry_begins && c.is_alphabetic() => {
                    used.insert(word(&rest[at..]));
                    entry_begins = false;
                }
                _ => {}
            }
        }
    }
    used
}

#[test]
fn modules_use_only_what_the_architecture_lets_them() {
    let mut wrong = Vec::new();
    for (module, allowed) in MAY_USE {
        for file in files(&root().join("src").join(module)) {
            let text = fs::read_to_string(&file).expect("source is UTF-8");
            for used in used_modules(&text) {
                if used != *module && !allowed.contains(&&*used) {
                    wrong.push(format!("{} uses {used}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_architecture_page_has_the_same_table() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("there is a page");
    for (module, allowed) in MAY_USE {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `src/{module}/`")));
        let row = row.unwrap_or_else(|| panic!("ARCHITECTURE.md lacks {module}"));
        let uses = row
            .trim_end_matches('|')
            .rsplit('|')
            .next()
            .unwrap_or_default()
            .trim();
        assert_eq!(uses, allowed.join(", "), "{module}");
    }
}

#[test]
fn one_module_alone_knows_the_yaml_library() {
    for file in files(&root().join("src")) {
        let text = fs::read_to_string(&file).expect("source is UTF-8");
        let knows = text.contains("serde_yaml::");
        assert_eq!(knows, file.ends_with("value/yaml.rs"), "{}", file.display());
    }
}

#[test]
fn a_use_of_several_modules_is_read_right() {
    let text = "use crate::{\n    check::{Attempt, Fact},\n    net,\n    value::Node,\n};\nlet x = crate::once::run();";
    let used: Vec<_> = used_modules(text).into_iter().collect();
    assert_eq!(used, ["check", "net", "once", "value"]);
}
