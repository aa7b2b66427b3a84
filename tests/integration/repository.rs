//! The code follows ARCHITECTURE.md and its own style: modules use only what they may, and no text has retired phrases.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The modules that each module may use besides itself; one that is not listed may use all.
const MAY_USE: &[(&str, &[&str])] = &[
    ("check", &[]),
    ("value", &[]),
    ("logging", &[]),
    ("net", &["check", "value"]),
    ("settings", &["net", "value"]),
    ("monitors", &["check", "net", "settings", "value"]),
    (
        "config",
        &[
            "check",
            "discovery",
            "dispatcher",
            "heartbeat",
            "logging",
            "metrics",
            "monitors",
            "net",
            "probe",
            "server",
            "state",
            "storage",
            "telemetry",
            "value",
        ],
    ),
    ("discovery", &["check", "net", "settings", "value"]),
    ("dispatcher", &["check"]),
    ("probe", &["check", "monitors", "value"]),
    ("state", &["check", "value"]),
    ("telemetry", &["check", "net", "settings", "value"]),
    (
        "heartbeat",
        &["check", "dispatcher", "net", "settings", "state", "value"],
    ),
    (
        "metrics",
        &[
            "check",
            "discovery",
            "heartbeat",
            "probe",
            "storage",
            "telemetry",
            "value",
        ],
    ),
    ("history", &["check"]),
    ("storage", &["check", "history", "value"]),
    ("status", &["check", "history", "probe", "storage", "value"]),
    (
        "server",
        &["history", "metrics", "probe", "status", "value"],
    ),
];

/// Single files that use nothing of the crate, and that every module may use.
const LEAVES: &[&str] = &[
    "counter",
    "descriptors",
    "exit_code",
    "offload",
    "runtime",
    "text",
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
fn modules_use_only_what_the_architecture_allows() {
    let mut wrong = Vec::new();
    for (module, allowed) in MAY_USE {
        for file in files(&root().join("src").join(module)) {
            let text = fs::read_to_string(&file).expect("source is UTF-8");
            for used in used_modules(&text) {
                let may_use = allowed.contains(&&*used) || LEAVES.contains(&&*used);
                if used != *module && !may_use {
                    wrong.push(format!("{} uses {used}", file.display()));
                }
            }
        }
    }
    for leaf in LEAVES {
        let file = root().join("src").join(leaf).with_extension("rs");
        let text = fs::read_to_string(file).expect("source is UTF-8");
        let used = used_modules(&text);
        if !used.is_empty() {
            wrong.push(format!("{leaf}.rs uses {used:?}"));
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
fn connections_read_no_settings() {
    let readers = ["Fields", "FromNode", "Node", "Problems"];
    for file in files(&root().join("src/net")) {
        let text = fs::read_to_string(&file).expect("source is UTF-8");
        let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        let found = words.find(|word| readers.contains(word));
        assert_eq!(found, None, "{}", file.display());
    }
}

#[test]
fn one_module_alone_knows_the_yaml_library() {
    for file in files(&root().join("src")) {
        let text = fs::read_to_string(&file).expect("source is UTF-8");
        let knows = text.contains("serde_yaml::");
        let is_the_one = file.ends_with("value/yaml/text.rs");
        assert_eq!(knows, is_the_one, "{}", file.display());
    }
}

/// Phrases that read like a literal translation, in lower case, each in two parts so that this file has none of them.
const RETIRED_PHRASES: &[(&str, &str)] = &[
    ("where there", " is one"),
    ("of one's", " own"),
    ("such as", " it is"),
    ("by what", " it is known"),
    ("in", " earnest"),
    ("is told", " of"),
    ("there is", " nothing"),
    ("for", " people"),
    ("is no", " duration"),
    ("is no", " host"),
    ("is no", " url"),
    ("is no", " text"),
    ("is no", " number"),
];

/// First words of doc comments that a noun is better than.
const RETIRED_BEGINNINGS: &[&str] = &["What ", "Whether ", "How "];

/// The retired phrases in `text`, of a file of Rust or another, with their lines.
fn retired_in(text: &str, is_rust: bool) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let lower = line.to_lowercase();
        let comment = line.trim_start();
        let doc = ["/// ", "//! "]
            .iter()
            .find_map(|start| comment.strip_prefix(start));
        let begins_badly = |doc: &str| RETIRED_BEGINNINGS.iter().any(|word| doc.starts_with(word));
        let has_phrase = RETIRED_PHRASES.iter().any(|(start, end)| {
            let phrase = format!("{start}{end}");
            lower.match_indices(&phrase).any(|(at, _)| {
                let before = lower[..at].chars().next_back();
                let after = lower[at + phrase.len()..].chars().next();
                !before.is_some_and(char::is_alphanumeric)
                    && !after.is_some_and(char::is_alphanumeric)
            })
        });
        if has_phrase || (is_rust && doc.is_some_and(begins_badly)) {
            found.push(format!("{}: {line}", index + 1));
        }
    }
    found
}

#[test]
fn no_text_has_retired_phrases() {
    let kinds = [
        "rs", "md", "py", "yml", "yaml", "html", "js", "mjs", "json", "service", "toml", "txt",
    ];
    let folders = [
        "benches",
        "deploy",
        "docs",
        "examples",
        "fuzz",
        "grafana",
        "prometheus",
        "src",
        "tests",
    ];
    // Texts of others, and what tools generate or fetch.
    let foreign = [
        "node_modules",
        "target",
        "corpus",
        "artifacts",
        "tests/import",
    ];
    let is_own = |path: &PathBuf| {
        let path = path.strip_prefix(root()).expect("a file of the repository");
        let path = path.to_string_lossy();
        !foreign
            .iter()
            .any(|part| path.contains(&format!("{part}/")))
    };
    let mut texts: Vec<_> = folders
        .iter()
        .flat_map(|name| files(&root().join(name)))
        .collect();
    let pages = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "README.md",
        "SECURITY.md",
    ];
    texts.extend(pages.iter().map(|name| root().join(name)));
    let mut wrong = Vec::new();
    let mut read = 0;
    for path in texts.into_iter().filter(is_own) {
        let kind = path
            .extension()
            .and_then(|kind| kind.to_str())
            .unwrap_or_default();
        if !kinds.contains(&kind) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        read += 1;
        let found = retired_in(&text, kind == "rs").into_iter();
        wrong.extend(found.map(|line| format!("{}:{line}", path.display())));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(read > 400, "only {read} files were read");
}

#[test]
fn retired_phrases_are_found() {
    for (start, end) in RETIRED_PHRASES {
        let text = format!("fine\nIt {start}{end}, maybe");
        assert_eq!(retired_in(&text, false).len(), 1, "{text}");
        let inside = format!("x{start}{end}, {start}{end}x");
        assert_eq!(retired_in(&inside, false), [""; 0], "{inside}");
    }
    for word in RETIRED_BEGINNINGS {
        assert_eq!(
            retired_in(&format!("    /// {word}it is"), true).len(),
            1,
            "{word}"
        );
    }
}

#[test]
fn a_use_of_several_modules_is_parsed() {
    let text = "use crate::{\n    check::{Attempt, Fact},\n    net,\n    value::Node,\n};\nlet x = crate::once::run();";
    let used: Vec<_> = used_modules(text).into_iter().collect();
    assert_eq!(used, ["check", "net", "once", "value"]);
}
