//! `import`: what comes of the configurations of other programs.

use std::{fmt::Write, fs, path::Path};

use clap::Parser;
use monitoringdaemon::{commands::import, config};
use rusqlite::Connection;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::{
    daemon::config_file,
    process::program,
    server::{Server, ok},
};

/// The arguments as they follow the name of the command.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: import::Options,
}

/// The output of an import.
struct Imported {
    configuration: String,
    report: String,
    is_complete: bool,
}

fn import(arguments: &[&str]) -> Result<Imported, String> {
    let arguments = [&["import"], arguments].concat();
    let Arguments { options } = Arguments::parse_from(arguments);
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let is_complete =
        import::run(&options, &mut out, &mut notes).map_err(|error| error.to_string())?;
    let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
    Ok(Imported {
        configuration: text(out),
        report: text(notes),
        is_complete,
    })
}

/// Compares `text` with the file, or writes it there.
#[track_caller]
fn expect_file(file: &str, text: &str) {
    let path = Path::new("tests/import").join(file);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, text).expect("the file can be written");
    }
    let expected = fs::read_to_string(&path).expect("UPDATE_EXPECT=1 writes it");
    assert_eq!(text, expected, "{file}");
}

/// Reads `configuration` as the daemon does; variables that are references get a value.
#[track_caller]
fn validate(configuration: &str) -> config::Config {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("config.yml");
    fs::write(&file, configuration).expect("there is room");
    match config::read(&file) {
        Ok(config) => config,
        Err(invalid) => panic!("{invalid}\n{configuration}"),
    }
}

#[track_caller]
fn check(name: &str, arguments: &[&str]) -> Imported {
    let imported = import(arguments).unwrap_or_else(|error| panic!("{error}"));
    expect_file(&format!("{name}.expected.yml"), &imported.configuration);
    expect_file(&format!("{name}.expected.txt"), &imported.report);
    assert!(
        !imported.configuration.contains("hunter2"),
        "a secret is printed"
    );
    assert!(!imported.report.contains("hunter2"), "a secret is reported");
    let problems = config::problems_of_draft(&imported.configuration, Path::new(""));
    assert_eq!(problems, Ok(Vec::new()), "{}", imported.configuration);
    imported
}

const BLACKBOX: [&str; 5] = [
    "blackbox",
    "--modules",
    "tests/import/blackbox/blackbox.yml",
    "--prometheus",
    "tests/import/blackbox/prometheus.yml",
];

#[test]
fn modules_and_scrape_jobs_become_templates_monitors_and_discovery() {
    let imported = check("blackbox/all", &BLACKBOX);
    assert!(!imported.is_complete);
    let modules = check("blackbox/modules", &BLACKBOX[..3]);
    assert!(modules.configuration.contains("http_2xx"));
}

#[test]
fn what_is_left_out_does_not_matter_if_one_is_lenient() {
    let imported = import(&[&["--lenient"], &BLACKBOX[..]].concat()).expect("an import");
    assert!(imported.is_complete);
    assert!(imported.report.contains("left out"));
}

#[test]
fn secrets_are_printed_if_that_is_asked_for() {
    let imported = import(&[&["--include-secrets"], &BLACKBOX[..]].concat()).expect("an import");
    assert!(imported.configuration.contains("password: hunter2"));
    assert!(!imported.report.contains("environment variables"));
}

#[test]
fn endpoints_of_gatus_become_monitors() {
    let imported = check("gatus/config", &["gatus", "tests/import/gatus/config.yaml"]);
    assert!(!imported.is_complete);
    let several = check("gatus/several", &["gatus", "tests/import/gatus/several"]);
    assert!(several.is_complete);
    assert_eq!(validate(&several.configuration).monitors.len(), 2);
}

/// Imports a database with the tables in a file of SQL.
#[track_caller]
fn check_database(name: &str) -> Imported {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("kuma.db");
    let sql =
        fs::read_to_string(format!("tests/import/uptime-kuma/{name}.sql")).expect("a fixture");
    let connection = Connection::open(&file).expect("a database");
    connection.execute_batch(&sql).expect("the fixture is SQL");
    drop(connection);
    let path = file.to_str().expect("a plain path");
    let imported = import(&["uptime-kuma", path]).unwrap_or_else(|error| panic!("{error}"));
    let report = imported.report.lines().map(|line| {
        // The path is as long as the name of the temporary directory.
        let words: Vec<_> = line
            .split("  ")
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .collect();
        words.join(" | ").replace(path, "kuma.db")
    });
    let report: Vec<_> = report.collect();
    expect_file(
        &format!("uptime-kuma/{name}.expected.txt"),
        &(report.join("\n") + "\n"),
    );
    expect_file(
        &format!("uptime-kuma/{name}.expected.yml"),
        &imported.configuration,
    );
    assert!(
        !imported.configuration.contains("hunter2"),
        "a secret is printed"
    );
    assert!(!imported.report.contains("hunter2"), "a secret is reported");
    let problems = config::problems_of_draft(&imported.configuration, Path::new(""));
    assert_eq!(problems, Ok(Vec::new()), "{}", imported.configuration);
    imported
}

#[test]
fn monitors_of_uptime_kuma_become_monitors() {
    assert!(!check_database("version2").is_complete);
    let old = check_database("version1");
    assert!(old.is_complete);
    assert_eq!(validate(&old.configuration).monitors.len(), 2);
    check(
        "uptime-kuma/backup",
        &["uptime-kuma", "tests/import/uptime-kuma/backup.json"],
    );
}

#[test]
fn a_database_that_someone_writes_to_can_be_imported() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("kuma.db");
    let writer = Connection::open(&file).expect("a database");
    writer
        .pragma_update(None, "journal_mode", "wal")
        .expect("a log");
    let sql = fs::read_to_string("tests/import/uptime-kuma/version1.sql").expect("a fixture");
    writer.execute_batch(&sql).expect("the fixture is SQL");
    let path = file.to_str().expect("a plain path");
    let imported = import(&["uptime-kuma", path]).unwrap_or_else(|error| panic!("{error}"));
    assert!(imported.configuration.contains("https://www.example.com"));
}

#[test]
fn a_database_that_is_none_is_refused() {
    let source = &["uptime-kuma"];
    check_refused(source, "kuma.db", b"", "neither a database");
    check_refused(source, "kuma.db", b"\x7fELF", "neither a database");
    check_refused(
        source,
        "kuma.db",
        b"SQLite format 3\0 and no more",
        "not a database",
    );
    let random = [&b"SQLite format 3\0"[..], &vec![7; 100_000]].concat();
    check_refused(source, "kuma.db", &random, "not a database");
    check_refused(source, "backup.json", b"{\"a\": [", "invalid JSON");
    check_refused(source, "backup.json", b"{\"a\": []}", "has no monitorList");
    let deep = "{\"monitorList\": ".to_owned() + &"[".repeat(1 << 20);
    check_refused(source, "backup.json", deep.as_bytes(), "invalid JSON");
}

#[track_caller]
fn check_hostile(sql: &str, expected: &str) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("kuma.db");
    let connection = Connection::open(&file).expect("a database");
    connection.execute_batch(sql).expect("SQL");
    drop(connection);
    let started = Instant::now();
    let path = file.to_str().expect("a plain path");
    let refused = import(&["uptime-kuma", path]).map(|imported| imported.report);
    let error = refused.expect_err("it cannot be imported");
    assert!(error.contains(expected), "{error}");
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn a_database_that_was_made_to_harm_is_refused() {
    check_hostile("CREATE TABLE other (id INTEGER)", "has no table monitor");
    let endless =
        "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id FROM n";
    check_hostile(
        &format!("CREATE VIEW monitor AS {endless}"),
        "has no table monitor",
    );
    let large = "CREATE TABLE monitor (id INTEGER, name TEXT);
        WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n LIMIT 200)
        INSERT INTO monitor SELECT id, printf('%.*c', 1000000, 'x') FROM n";
    check_hostile(large, "more than 67108864 bytes");
    let huge = "CREATE TABLE monitor (id INTEGER, name TEXT);
        INSERT INTO monitor VALUES (1, printf('%.*c', 100000000, 'x'))";
    check_hostile(huge, "too big");
}

#[test]
fn probes_of_cloudprober_become_monitors() {
    let file = "tests/import/cloudprober/cloudprober.cfg";
    assert!(!check("cloudprober/text", &["cloudprober", file]).is_complete);
    let file = "tests/import/cloudprober/cloudprober.yaml";
    check("cloudprober/yaml", &["cloudprober", file]);
}

#[test]
fn includes_that_lead_in_a_circle_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    fs::write(folder.path().join("a.cfg"), "\ninclude \"b.cfg\"\n").expect("there is room");
    fs::write(folder.path().join("b.cfg"), "include \"./a.cfg\"\n").expect("there is room");
    let file = folder.path().join("a.cfg");
    let error = import(&["cloudprober", file.to_str().expect("a plain path")]);
    let error = error.map(|_| ()).expect_err("a circle");
    assert!(error.contains("b.cfg:1:1: include "), "{error}");
    assert!(error.contains("leads in a circle"), "{error}");
}

#[test]
fn a_text_proto_that_is_broken_or_too_large_is_refused() {
    let source = &["cloudprober"];
    check_refused(source, "a.cfg", b"probe {\n  name: 'x", "a.cfg:2:");
    check_refused(
        source,
        "a.cfg",
        b"include \"none/*.cfg\"",
        "matches no file",
    );
    check_refused(
        source,
        "a.cfg",
        "probe{".repeat(1 << 20).as_bytes(),
        "levels deep",
    );
    check_refused(
        source,
        "a.cfg",
        "a:1 ".repeat(1 << 20).as_bytes(),
        "too large",
    );
    check_refused(source, "a.cfg", &vec![b'#'; 50 << 20], "too large");
    check_refused(source, "a.yaml", bomb().as_bytes(), "aliases expand");
    check_refused(source, "a.json", b"{", "invalid JSON");
    check_refused(source, "a.jsonnet", b"{}", "--dumpconfig");
    check_refused(source, "a.cfg", b"probe {{range .x}} {", "--dumpconfig");
}

/// Conditions of Gatus on the JSON below, each with what Gatus makes of it.
const CONDITIONS: [(&str, bool); 24] = [
    ("[STATUS] == pat(2*)", true),
    ("[STATUS] != 200", false),
    ("[BODY].n == 5", true),
    ("[BODY].s == 5", true),
    ("[BODY].b == true", true),
    ("[BODY].n != x", true),
    ("[BODY].n != 5", false),
    ("[BODY].missing != x", true),
    ("[BODY].missing == x", false),
    ("[BODY].n < 6", true),
    ("[BODY].n > 6", false),
    ("[BODY].n == any(4, 5)", true),
    ("[BODY].a[0] == 1", true),
    ("[BODY].a[2] == 1", false),
    ("len([BODY].a) == 2", true),
    ("len([BODY].name) > 8", false),
    ("has([BODY].o.k) == true", true),
    ("has([BODY].o.z) == true", false),
    ("has([BODY].q.z) == false", true),
    ("[BODY].name == pat(john*)", true),
    ("[BODY].name != pat(john*)", false),
    ("[BODY] == pat(*john*)", true),
    ("[BODY] == pat(john*)", false),
    ("len([BODY]) > 0", true),
];

#[test]
fn conditions_judge_as_in_gatus() {
    let body = r#"{"n": 5, "s": "5", "b": true, "a": [1, 2], "name": "john doe", "o": {"k": ""}}"#;
    let server = Server::answering(move |_| ok(body));
    let mut endpoints = String::from("endpoints:\n");
    for (index, (condition, _)) in CONDITIONS.iter().enumerate() {
        let url = server.http("/");
        let _ = writeln!(
            endpoints,
            "  - {{name: c{index}, url: '{url}', conditions: ['{condition}']}}"
        );
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("gatus.yaml");
    fs::write(&file, endpoints).expect("there is room");
    let imported = import(&["gatus", file.to_str().expect("a plain path")]);
    let imported = imported.unwrap_or_else(|error| panic!("{error}"));
    assert!(imported.is_complete, "{}", imported.report);
    let config = config_file(imported.configuration);
    let mut once = program();
    once.args(["once", "--output", "json", "--config"])
        .arg(config.path());
    let output = once.output().expect("the program can be started");
    let mut judged = 0;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let result: Value = serde_json::from_str(line).expect("a line of JSON");
        let name = result["monitor"].as_str().expect("a name");
        let index: usize = name[1..].parse().expect("a number");
        let (condition, is_true) = CONDITIONS[index];
        assert_eq!(
            result["outcome"] == "success",
            is_true,
            "{condition}: {line}"
        );
        judged += 1;
    }
    assert_eq!(judged, CONDITIONS.len());
}

#[track_caller]
fn check_refused(source: &[&str], name: &str, contents: &[u8], expected: &str) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join(name);
    fs::write(&file, contents).expect("there is room");
    let file = file.to_str().expect("a plain path");
    let started = Instant::now();
    let arguments = [source, &[file]].concat();
    let refused = import(&arguments).map(|imported| imported.report);
    let error = refused.expect_err("it cannot be imported");
    assert!(error.contains(expected), "{error}");
    assert!(error.lines().count() == 1, "{error}");
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

/// Nine lists of nine of the lists before, and so on: ten billion values.
fn bomb() -> String {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let items = vec![format!("*a{}", level - 1); 9].join(", ");
        let _ = writeln!(text, "a{level}: &a{level} [{items}]");
    }
    text
}

#[test]
fn yaml_that_is_too_large_or_too_deep_is_refused() {
    for source in [&["blackbox", "--modules"][..], &["gatus"]] {
        let large = "modules: {}\n".to_owned() + &"#".repeat(50 << 20);
        check_refused(source, "large.yml", large.as_bytes(), "too large");
        check_refused(source, "bomb.yml", bomb().as_bytes(), "aliases expand");
        let deep = "[".repeat(1 << 20);
        check_refused(source, "deep.yml", deep.as_bytes(), "invalid YAML");
        check_refused(source, "binary.yml", &[0xff, 0xfe], "not UTF-8");
        check_refused(source, "broken.yml", b"modules: [", "invalid YAML");
    }
}

#[test]
fn a_file_that_is_missing_is_named() {
    let error = import(&["gatus", "no/such/file.yaml"])
        .map(|_| ())
        .expect_err("no file");
    assert_eq!(error, "no/such/file.yaml: no such file");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().to_str().expect("a plain path");
    let error = import(&["gatus", path]).map(|_| ()).expect_err("no file");
    assert!(error.contains("no .yml or .yaml file"), "{error}");
}
