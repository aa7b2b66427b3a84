//! The corpus in `tests/config`: good files, and bad files each with its exact message.
//!
//! `UPDATE_EXPECT=1 cargo test corpus` writes the messages anew.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

use super::{reading::read_with, *};
use crate::{
    monitors,
    value::{self, Node},
};

fn corpus(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/config")
        .join(folder);
    let entries = fs::read_dir(folder).expect("the corpus is there");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("the corpus can be listed").path())
        .filter(|path| path.extension() == Some(OsStr::new("yml")))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The environment of the corpus.
fn variables(name: &str) -> Option<OsString> {
    match name {
        "SECRET" => Some("hunter2".into()),
        "NUMBER" => Some("98765".into()),
        "TIMEOUT" => Some("3".into()),
        "INTERVAL" => Some("1m30s".into()),
        "SWITCH" => Some("true".into()),
        "TEMPLATE" => Some("web".into()),
        "EMPTY" => Some(OsString::new()),
        _ => None,
    }
}

/// The configuration, or the problems of the text and how many more there are.
fn parse(text: &str) -> Result<Config, (Vec<LocatedProblem>, usize)> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    io::Write::write_all(&mut file, text.as_bytes()).expect("room for it");
    read_with(file.path(), &variables).map_err(|invalid| (invalid.problems, invalid.more))
}

/// A good file, in the environment of the corpus alone.
fn with_variables() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/environment.yml")
}

fn good(name: &str) -> PathBuf {
    let mut files = corpus("good").into_iter();
    let found = files.find(|file| file.ends_with(name));
    found.expect("it is in the corpus")
}

#[test]
fn good_files_of_the_corpus_are_valid() {
    for file in corpus("good").into_iter().chain([with_variables()]) {
        if let Err(invalid) = read_with(&file, &variables) {
            panic!("{invalid}");
        }
    }
}

#[test]
fn bad_files_of_the_corpus_have_their_exact_messages() {
    let mut wrong = Vec::new();
    for file in corpus("bad") {
        let Err(invalid) = read_with(&file, &variables) else {
            wrong.push(format!("{} is valid", file.display()));
            continue;
        };
        let folder = format!("{}/", file.parent().expect("a folder").display());
        let messages = format!("{invalid}\n").replace(&folder, "");
        let expected = file.with_extension("txt");
        if env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&expected, &messages).expect("the corpus can be written");
        } else if fs::read_to_string(&expected).unwrap_or_default() != messages {
            wrong.push(messages);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_allowed_and_surely_not_meant_is_warned_of_at_its_place() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/warnings.yml");
    let config = read(&file).unwrap_or_else(|invalid| panic!("{invalid}"));
    let folder = format!("{}/", file.parent().expect("a folder").display());
    let warnings: String = config
        .warnings
        .iter()
        .map(|warning| format!("{warning}\n").replace(&folder, ""))
        .collect();
    let expected = file.with_extension("txt");
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&expected, &warnings).expect("the corpus can be written");
    } else {
        let expected = fs::read_to_string(&expected).expect("there are warnings");
        assert_eq!(warnings, expected);
    }
    for file in corpus("good") {
        let config = read_with(&file, &variables).expect("a good file");
        let warnings = config.warnings.iter().map(ToString::to_string);
        let unmeant: Vec<_> = warnings
            .filter(|warning| {
                let is_of_the_place = ["not looked up here", "include[2]", "include[3]"];
                !is_of_the_place.iter().any(|known| warning.contains(known))
            })
            .collect();
        assert_eq!(unmeant, [""; 0], "{}", file.display());
    }
}

#[test]
fn no_message_repeats_a_secret() {
    for file in corpus("bad") {
        let invalid = read_with(&file, &variables).expect_err("a bad file");
        let messages = invalid.to_string();
        for secret in ["hunter2", "12345678", "99999999", "98765"] {
            assert!(!messages.contains(secret), "{messages}");
        }
    }
}

#[track_caller]
fn check_bytes(bytes: &[u8], expected: &str) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    io::Write::write_all(&mut file, bytes).expect("room for it");
    let invalid = read(file.path()).expect_err("no configuration");
    let path = file.path().display().to_string();
    assert_eq!(invalid.to_string().replace(&path, "config.yml"), expected);
}

#[test]
fn what_is_no_text_is_refused() {
    check_bytes(
        b"log:\n  level: \xff",
        "config.yml:2:10: file: not UTF-8: expected YAML in UTF-8",
    );
    check_bytes(
        &[0; 64],
        "config.yml:1:1: file: invalid YAML: control characters are not allowed",
    );
    let large = vec![b'#'; 17 << 20];
    check_bytes(
        &large,
        "config.yml:1:1: file: is larger than 16777216 bytes: expected a regular file of at most 16 MiB",
    );
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("config.yml");
    for (path, wrong) in [
        (folder.path(), "is not a regular file"),
        (Path::new("/dev/zero"), "is not a regular file"),
        (&missing, "no such file"),
    ] {
        let message = read(path).expect_err("no file").to_string();
        let place = format!("{}:1:1: file: {wrong}", path.display());
        assert!(message.starts_with(&place), "{message}");
    }
}

#[test]
fn settings_mean_what_they_say() {
    let config = read(&good("everything.yml")).expect("a good file");
    let monitor = |name: &str| {
        let found = config.monitors.iter().find(|monitor| monitor.name == name);
        found.expect("a monitor of the file")
    };
    assert_eq!(config.dispatcher.max_concurrent_checks, 50);
    assert_eq!(config.dispatcher.max_concurrent_checks_per_host, Some(5));
    let everything = monitor("everything");
    assert_eq!(everything.check_every.as_secs(), 90);
    assert_eq!(everything.timeout.as_secs(), 10);
    let labels: Vec<_> = everything
        .labels
        .iter()
        .map(|(k, v)| (&**k, &**v))
        .collect();
    assert_eq!(labels, [("env", "prod"), ("team", "web")]);
    let named = monitor("a name with spaces, ünïcode and: a colon");
    assert_eq!(
        named.timeout, named.check_every,
        "which is below the default timeout"
    );
    assert_eq!(monitor("alias").timeout.as_millis(), 1500);
    assert_eq!(monitor("200").timeout.as_secs(), 86_400);
}

#[test]
fn ten_thousand_monitors_with_a_mistake_each_are_all_reported() {
    let mut text = String::from("monitors:\n");
    for index in 0..10_000 {
        writeln!(
            text,
            "  service-{index}: {{url: http://example.com, tiemout: 5}}"
        )
        .expect("a String takes all text");
    }
    let (problems, more) = parse(&text).expect_err("mistakes");
    assert_eq!(more, 0);
    assert_eq!(problems.len(), 10_000);
    for (index, problem) in problems.iter().enumerate() {
        assert_eq!(problem.position.line, index + 2);
    }
}

#[test]
fn an_alias_of_patterns_compiles_each_of_them_once() {
    let patterns: Vec<_> = (0..20).map(|n| format!("'\\w{{8}}x{n}'")).collect();
    let mut text = format!(
        "monitors:\n  first: {{url: http://example.com, fail_if_body_matches_regexp: &p [{}]}}\n",
        patterns.join(", ")
    );
    for n in 0..200 {
        writeln!(
            text,
            "  m{n}: {{url: http://example.com, fail_if_body_matches_regexp: *p}}"
        )
        .expect("a String takes all text");
    }
    let before = resident_bytes();
    let config = parse(&text).expect("a valid file");
    assert_eq!(config.monitors.len(), 201);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes");
}

fn resident_bytes() -> u64 {
    let process = procfs::process::Process::myself().expect("a process has its folder");
    let pages = process.statm().expect("it can be read").resident;
    pages * procfs::page_size()
}

#[test]
fn problems_beyond_bounds_are_counted() {
    let monitor = "{url: http://example.com, qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq: 1}";
    let lines: Vec<_> = (0..10_005).map(|n| format!("  m{n}: {monitor}")).collect();
    let text = format!("monitors:\n{}", lines.join("\n"));
    let (problems, more) = parse(&text).expect_err("unknown keys");
    assert_eq!((problems.len(), more), (10_000, 5));
}

fn text(text: &str) -> Node {
    Node::Text(text.to_owned())
}

fn mapping(entries: &[(&str, Node)]) -> Node {
    let entries = entries.iter().cloned();
    Node::Map(entries.map(|(key, node)| (key.to_owned(), node)).collect())
}

#[test]
fn a_monitor_lies_over_its_templates_and_they_over_the_defaults() {
    let config = read(&good("templates.yml")).expect("a good file");
    let monitor = |name: &str| {
        let found = config.monitors.iter().find(|monitor| monitor.name == name);
        found.expect("a monitor of the file")
    };
    let labels = |name: &str| {
        let labels = monitor(name).labels.iter();
        let labels: Vec<_> = labels
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        labels.join(" ")
    };
    let http = |name: &str| match &monitor(name).settings {
        monitors::Settings::Http(settings) => settings.clone(),
        other => panic!("{other:?}"),
    };
    let header = |name: &str, header: &str| {
        let settings = http(name);
        let found = settings.headers.iter().find(|(name, _)| name == header);
        found.map(|(_, value)| value.to_str().expect("text").to_owned())
    };

    assert_eq!(monitor("site").check_every.as_secs(), 30);
    assert_eq!(monitor("site").timeout.as_secs(), 3);
    assert_eq!(labels("site"), "env=prod kind=web team=web");
    assert_eq!(monitor("intranet").timeout.as_secs(), 2);
    assert_eq!(labels("intranet"), "env=prod team=intranet zone=internal");
    assert_eq!(header("intranet", "x-probe").as_deref(), Some("mine"));
    assert_eq!(header("intranet", "accept").as_deref(), Some("*/*"));
    assert!(header("intranet", "authorization").is_some());
    assert!(http("intranet").tls.insecure_skip_verify);
    assert_eq!(http("intranet").tls.versions.min, value::TlsVersion::Tls13);
    let ok = http::StatusCode::NO_CONTENT;
    assert!(
        http("intranet")
            .valid_status_codes
            .iter()
            .any(|codes| codes.contains(ok))
    );
    assert_eq!(
        http("intranet").valid_status_codes.len(),
        1,
        "a list replaces one"
    );
    let latency = monitor("intranet")
        .slo
        .and_then(|slo| slo.latency)
        .expect("one of the two");
    assert_eq!(latency.threshold.as_millis(), 500);
    assert_eq!(latency.objective.get().to_string(), "99.9");
    assert_eq!(
        header("open", "authorization"),
        None,
        "nothing takes it away"
    );
    assert!(matches!(
        monitor("gateway").settings,
        monitors::Settings::Icmp(_)
    ));
}

#[test]
fn built_monitors_equal_those_of_a_file() {
    let config = read(&good("templates.yml")).expect("a good file");
    let monitor_builder = config.monitor_builder.clone();
    let own = mapping(&[
        ("url", text("https://found.example")),
        ("labels", mapping(&[("zone", text("found"))])),
    ]);
    let monitor = monitor_builder
        .build("found", "internal", own)
        .expect("a monitor");
    assert_eq!(monitor.name, "found");
    assert_eq!(monitor.timeout.as_secs(), 2);
    assert_eq!(monitor.labels["zone"], "found");
    assert_eq!(monitor.labels["team"], "web");
    assert_eq!(monitor.labels["env"], "prod");

    let own = mapping(&[("url", text("found.example")), ("labels", text("x"))]);
    let wrong = monitor_builder
        .build("found", "internal", own)
        .expect_err("no URL");
    assert_eq!(
        wrong,
        [
            "monitors.found.labels: expected a mapping, found text",
            "monitors.found.url: no scheme: expected a URL that starts with http:// or https://",
        ]
    );
    let wrong = monitor_builder
        .build("found", "webb", mapping(&[]))
        .expect_err("no template");
    assert_eq!(
        wrong,
        ["monitors.found: unknown template \"webb\", did you mean web?"]
    );
    assert!(!format!("{monitor_builder:?}").contains("hunter2"));
}

#[test]
fn templates_do_not_multiply_without_bounds() {
    let mut whole = format!(
        "templates:\n  big: {{body: {}}}\nmonitors:\n",
        "x".repeat(100_000)
    );
    for n in 0..1_000 {
        writeln!(whole, "  m{n}: {{extends: big, url: http://example.com}}")
            .expect("a String takes all text");
    }
    let (problems, _) = parse(&whole).expect_err("100 MB");
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].message.contains("too large"),
        "{}",
        problems[0].message
    );
}

#[test]
fn included_files_are_a_part_of_the_configuration() {
    let config = read_with(&good("includes.yml"), &variables).expect("a good file");
    let names: Vec<_> = config
        .monitors
        .iter()
        .map(|monitor| &*monitor.name)
        .collect();
    assert_eq!(names, ["main", "one", "two", "three"]);
    for monitor in &config.monitors {
        assert_eq!(monitor.labels["env"], "prod", "{}", monitor.name);
    }
    assert_eq!(config.monitors[1].check_every.as_secs(), 10);
    assert_eq!(config.monitors[1].timeout.as_secs(), 2);
    let folder = good("includes.yml");
    let folder = folder.parent().expect("a folder");
    let expected = [
        "../included/good",
        "../included/good/empty.yml",
        "../included/good/one.yml",
        "../included/good/templates.yaml",
        "../included/good/two.yml",
        "includes.yml",
        "nothing",
    ];
    assert_eq!(config.files, expected.map(|file| folder.join(file)));
}

#[test]
fn relative_paths_begin_at_the_folder_of_the_file_that_they_stand_in() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("room for a folder");
        fs::write(path, text).expect("room for a file");
    };
    write("body.txt", "of the main file");
    write("conf.d/body.txt", "of the included file");
    write("conf.d/secrets/token", "hunter2");
    write("conf.d/x-trace", "traced");
    write(
        "config.yml",
        "include: [conf.d/*.yml]\n\
         monitors:\n  main:\n    extends: api\n    url: http://a.example\n    \
         body_file: body.txt\n    labels: {log_file: app.log}\n    \
         headers: {X-Trace_file: trace.log}\n",
    );
    write(
        "conf.d/api.yml",
        "templates:\n  api: {authorization: {credentials_file: secrets/token}}\n\
         monitors:\n  included:\n    url: http://a.example\n    body_file: ./body.txt\n    \
         http_headers: {X-Trace: {files: [x-trace]}}\n",
    );
    let config = read(&folder.path().join("config.yml")).expect("a good configuration");
    let files = |monitor: &Monitor| -> Vec<_> {
        let files = monitor.files.iter();
        files
            .map(|file| file.strip_prefix(folder.path()).expect("in it").to_owned())
            .collect()
    };
    let body = |monitor: &Monitor| match &monitor.settings {
        monitors::Settings::Http(settings) => settings.body.clone(),
        other => panic!("{other:?}"),
    };
    let [main, included] = &config.monitors[..] else {
        panic!("two monitors")
    };
    // A label and a header are no files, whatever they are called.
    let expected = ["body.txt", "conf.d/secrets/token"].map(PathBuf::from);
    assert_eq!(files(main), expected);
    assert_eq!(body(main), "of the main file");
    let expected = ["conf.d/./body.txt", "conf.d/x-trace"].map(PathBuf::from);
    assert_eq!(files(included), expected);
    assert_eq!(body(included), "of the included file");

    let own = mapping(&[("url", text("https://found.example"))]);
    let found = config.monitor_builder.build("found", "api", own.clone());
    let found = found.expect("a monitor");
    assert_eq!(files(&found), [PathBuf::from("conf.d/secrets/token")]);
    write("conf.d/secrets/token", "hunter3");
    let renewed = config.monitor_builder.build("found", "api", own);
    let renewed = renewed.expect("a monitor");
    assert_eq!(renewed.fingerprint.settings, found.fingerprint.settings);
    assert_ne!(renewed.fingerprint.files, found.fingerprint.files);
}

/// The messages for a file that has this under `include`, in a folder with `files` of `contents`.
fn messages(include: &str, files: usize, contents: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let main = folder.path().join("config.yml");
    fs::write(&main, format!("include: [{include}]\n")).expect("room for a file");
    for n in 0..files {
        let path = folder.path().join(format!("{n:05}.yaml"));
        fs::write(path, contents).expect("room for a file");
    }
    let messages = match read(&main) {
        Ok(_) => String::new(),
        Err(invalid) => invalid.to_string(),
    };
    messages.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn what_is_included_is_bounded() {
    assert_eq!(messages("'*.yaml'", 1000, ""), "");
    assert_eq!(
        messages("'*.yaml'", 1001, ""),
        "config.yml:1:11: include[0]: more than 1000 included files: \
         expected fewer, larger files"
    );
    let comment = format!("#{}\n", "x".repeat(6 << 20));
    assert_eq!(
        messages("'*.yaml'", 3, &comment),
        "config.yml:1:11: include[0]: 00002.yaml is too large with the files before it: \
         expected regular files of at most 16 MiB together"
    );
    let aliases = format!(
        "x: &x [{}]\ny: [{}]\n",
        "1, ".repeat(1000),
        "*x, ".repeat(400)
    );
    let many = messages("'*.yaml'", 20, &aliases);
    assert!(
        many.contains("00012.yaml configuration too large"),
        "{many}"
    );
    assert_eq!(
        messages("/dev/zero", 0, ""),
        "config.yml:1:11: include[0]: /dev/zero is not a regular file: \
         expected regular files of at most 16 MiB together"
    );
}

#[test]
fn variables_mean_what_the_environment_has() {
    let config = read_with(&with_variables(), &variables).expect("a good file");
    let monitor = |name: &str| {
        let found = config.monitors.iter().find(|monitor| monitor.name == name);
        found.expect("a monitor of the file")
    };
    assert_eq!(config.dispatcher.max_concurrent_checks, 20);
    assert!(!config.server.status_page);
    assert_eq!(monitor("secrets").timeout.as_secs(), 3);
    assert_eq!(monitor("secrets").check_every.as_secs(), 90);
    let labels: Vec<_> = monitor("password").labels.values().collect();
    assert_eq!(labels, ["", "other"]);
    let monitors::Settings::Http(settings) = &monitor("secrets").settings else {
        panic!("of type http")
    };
    let header = |wanted: &str| {
        let found = settings.headers.iter().find(|(name, _)| name == wanted);
        found.and_then(|(_, value)| value.to_str().ok())
    };
    assert_eq!(header("x-token"), Some("hunter2"));
    assert_eq!(
        header("x-number"),
        Some("98765"),
        "a text, whatever it is like"
    );
    assert!(settings.follow_redirects);
}
