//! The command line: what each command prints where, and its exit code.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use regex::Regex;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    daemon::config_file,
    process::{program, text},
    server::Server,
};

/// The file that the tutorial has.
const TUTORIAL: &str = r#"log:
  level: "INFO"
  format: "[%(asctime)s] [%(levelname)s] [%(name)s]: %(message)s"

monitors:

  example:
    method: "GET"
    url: "http://example.com"
    timeout: 5
    check_every: 5

  httpbin:
    method: "GET"
    url: "https://httpbin.org/get"
    timeout: 5
    check_every: 5
"#;

/// Each command that reads a configuration; the first is the daemon itself.
const COMMANDS: [&[&str]; 5] = [&[], &["validate"], &["plan"], &["rules"], &["once"]];

fn run(command: &mut Command) -> Output {
    command.output().expect("the program can be started")
}

#[track_caller]
fn assert_exit(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", text(output));
}

fn lines(stream: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stream);
    text.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn validate_prints_warnings_and_succeeds() {
    let folder = folder_with(
        "monitors:\n  a:\n    url: https://example.com\n    \
         fail_if_certificate_expires_within: 14\n",
    );
    let output = run(program().arg("validate").current_dir(folder.path()));
    assert_exit(&output, 0);
    let warning = "warning: config.yml:4:41: monitors.a.fail_if_certificate_expires_within: \
                   14 without a unit is seconds; 14d is days";
    assert_eq!(lines(&output.stderr), [warning]);
}

/// A folder with this text as `config.yml`.
fn folder_with(config: &str) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    fs::write(folder.path().join("config.yml"), config).expect("room for a temporary file");
    folder
}

#[test]
fn the_version_tells_of_the_build() {
    let output = run(program().arg("--version"));
    assert_exit(&output, 0);
    let version = env!("CARGO_PKG_VERSION").replace('.', r"\.");
    let expected = format!(
        r"^monitoringdaemon {version} \(revision: [0-9a-z]+\)\n  date:     \S+\n  compiler: rustc \S+\n  platform: \S+\n$"
    );
    let found = text(&output);
    assert!(
        Regex::new(&expected).expect("a pattern").is_match(&found),
        "{found}"
    );
    let short = format!("monitoringdaemon {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&run(program().arg("-V"))), short);
}

#[test]
fn several_configurations_are_validated_and_standard_input_is_one() {
    let folder = folder_with("monitors: { a: { url: http://a } }");
    fs::write(
        folder.path().join("bad.yml"),
        "monitors: { b: { urk: http://b } }",
    )
    .expect("room for a temporary file");
    let validate = |arguments: &[&str]| {
        let mut command = program();
        command
            .arg("validate")
            .args(arguments)
            .current_dir(folder.path());
        command
    };
    let output = run(&mut validate(&["config.yml", "bad.yml"]));
    assert_exit(&output, 2);
    assert_eq!(lines(&output.stdout), ["config.yml is valid: 1 monitor"]);
    assert_has(&text(&output), &["bad.yml:1:18: monitors.b.urk: "]);
    let mut child = validate(&["-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(b"monitors: {}").expect("a reader");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(lines(&output.stdout), ["- is valid: 0 monitors"]);
}

#[test]
fn problems_and_warnings_are_json_for_editors() {
    let folder =
        folder_with("monitors:\n  a: { url: https://a, fail_if_certificate_expires_within: 14 }\n");
    fs::write(
        folder.path().join("bad.yml"),
        "monitors:\n  b: { check_every: 0 }\n",
    )
    .expect("room for a temporary file");
    let validate = |arguments: &[&str]| {
        let output = run(program()
            .args(["validate", "--output", "json"])
            .args(arguments)
            .current_dir(folder.path()));
        let findings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code(), findings)
    };
    let (code, findings) = validate(&["bad.yml"]);
    assert_eq!(code, Some(2));
    let first = &findings[0];
    assert_eq!(first["file"], "bad.yml");
    assert_eq!((&first["line"], &first["column"]), (&json!(2), &json!(3)));
    assert_eq!(first["severity"], "error");
    for (arguments, expected) in [(&[][..], Some(0)), (&["--strict"], Some(2))] {
        let (code, findings) = validate(arguments);
        assert_eq!(code, expected);
        assert_eq!(findings[0]["severity"], "warning");
        assert_eq!(
            findings[0]["path"],
            "monitors.a.fail_if_certificate_expires_within"
        );
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = program()
        .arg("schema")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_exit(&output, 0);
    assert!(output.stderr.is_empty());
}

#[test]
fn a_script_of_completions_and_a_manual_page_name_every_command() {
    let commands = ["validate", "plan", "once", "targets", "healthcheck"];
    for shell in ["bash", "zsh", "fish"] {
        let output = run(program().args(["completions", shell]));
        assert_exit(&output, 0);
        assert_has(&text(&output), &commands);
    }
    let output = run(program().arg("man"));
    assert_exit(&output, 0);
    let page = text(&output);
    assert!(page.contains(".TH monitoringdaemon 1"), "{page}");
    assert_has(&page.to_lowercase(), &commands);
    assert_has(&page, &[".SH \"HISTORY PRUNE\"", ".SH \"IMPORT GATUS\""]);
}

#[test]
fn help_shows_the_defaults() {
    let output = run(program().arg("--help"));
    assert_exit(&output, 0);
    assert!(output.stderr.is_empty());
    assert_has(
        &text(&output),
        &["[default: config.yml]", "validate", "plan", "rules", "once"],
    );
    let help = text(&run(program().args(["once", "--help"])));
    assert_has(
        &help,
        &["[default: config.yml]", "[MONITOR]...", "[default: table]"],
    );
    assert_has(&help, &["- table: ", "- json: ", "- junit: "]);
}

#[track_caller]
#[test]
fn help_shows_no_flag_that_a_command_does_not_use() {
    for (command, has_config, has_shard) in [
        ("", true, true),
        ("validate", true, true),
        ("targets", true, true),
        ("healthcheck", true, false),
        ("history", true, false),
        ("history check", true, false),
        ("schema", false, false),
        ("man", false, false),
        ("completions", false, false),
        ("import", false, false),
        ("blackbox", false, false),
    ] {
        let arguments = command.split_whitespace().chain(["--help"]);
        let help = text(&run(program().args(arguments)));
        for (flag, is_used) in [
            ("--config <FILE>", has_config),
            ("--shard <I/N>", has_shard),
        ] {
            assert_eq!(help.contains(flag), is_used, "{command}: {flag}\n{help}");
        }
    }
    // They are the same wherever they stand.
    for arguments in [
        ["--config", "none.yml", "schema"],
        ["schema", "--config", "none.yml"],
    ] {
        assert_exit(&run(program().args(arguments)), 0);
    }
}

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

#[test]
fn a_wrong_command_line_is_bad_usage() {
    let wrong: [&[&str]; 6] = [
        &["--verbose"],
        &["check"],
        &["--config"],
        &["validate", "--output", "xml"],
        &["plan", "example"],
        &["once", "--output", "xml"],
    ];
    for arguments in wrong {
        let output = run(program().args(arguments));
        assert_exit(&output, 2);
        assert!(output.stdout.is_empty(), "{}", text(&output));
        assert!(text(&output).contains("error: "), "{}", text(&output));
    }
}

#[test]
fn a_missing_configuration_file_is_bad_configuration() {
    let folder = TempDir::new().expect("a temporary folder");
    let expected = Regex::new(r"^config\.yml:1:1: file: no such file; name one with --config\n$")
        .expect("a pattern");
    for command in COMMANDS {
        let output = run(program().args(command).current_dir(folder.path()));
        assert_exit(&output, 2);
        assert!(output.stdout.is_empty(), "{}", text(&output));
        assert!(expected.is_match(&text(&output)), "{}", text(&output));
    }
}

#[test]
fn a_valid_configuration_is_one_line_with_the_number_of_monitors() {
    let one = "monitors: { a: { url: 'http://127.0.0.1' } }";
    for (config, monitors) in [
        (TUTORIAL, "2 monitors"),
        (one, "1 monitor"),
        ("", "0 monitors"),
    ] {
        let folder = folder_with(config);
        let output = run(program().arg("validate").current_dir(folder.path()));
        assert_exit(&output, 0);
        let expected = format!("config.yml is valid: {monitors}\n");
        assert_eq!(text(&output), expected);

        let path = folder.path().join("config.yml");
        let given = run(program().arg("validate").arg("--config").arg(&path));
        assert_exit(&given, 0);
        let expected = format!("{} is valid: {monitors}\n", path.display());
        assert_eq!(text(&given), expected);
    }
}

#[test]
fn every_problem_has_a_line_and_nothing_is_checked() {
    let server = Server::ok();
    let config = format!(
        "log: {{ levl: INFO }}\n\
         monitors:\n  good: {{ url: '{}' }}\n  bad:\n    url: 'ftp://127.0.0.1'\n    timeout: soon\n",
        server.http("/")
    );
    let folder = folder_with(&config);
    for command in COMMANDS {
        let output = run(program().args(command).current_dir(folder.path()));
        assert_exit(&output, 2);
        assert!(output.stdout.is_empty(), "{}", text(&output));
        let lines = lines(&output.stderr);
        let places = [
            "config.yml:1:8: log.levl: ",
            "config.yml:5:10: monitors.bad.url: ",
            "config.yml:6:14: monitors.bad.timeout: ",
        ];
        assert_eq!(lines.len(), places.len(), "{lines:#?}");
        for (line, place) in lines.iter().zip(places) {
            let rest = line.strip_prefix(place);
            let rest = rest.unwrap_or_else(|| panic!("{line:?} is not about {place:?}"));
            assert!(
                rest.contains(": expected ") || rest.ends_with("did you mean level?"),
                "{line}"
            );
        }
    }
    assert_eq!(server.seen().connections, 0);
}

#[test]
fn problems_hide_secrets() {
    let config = r#"
monitors:
  userinfo: { url: "http://s3cr3t:s3cr3t@host:99999/?s3cr3t" }
  query: { url: "host/?s3cr3t" }
  header: { url: "http://host", headers: { X-Key: ["s3cr3t"], Y-Key: "s3cr3t\n" } }
  password: { url: "http://host", basic_auth: { username: u, password: [s3cr3t] } }
  both: { url: "http://host", basic_auth: { username: u, password: s3cr3t, password_file: / } }
  token: { url: "http://host", authorization: { credentials: { s3cr3t: s3cr3t } } }
  body: { url: "http://host", body: { s3cr3t: 1 } }
  key: { url: "https://host", tls_config: { cert: s3cr3t, key: s3cr3t } }
"#;
    let output = run(program()
        .arg("validate")
        .current_dir(folder_with(config).path()));
    assert_exit(&output, 2);
    let text = text(&output);
    assert!(!text.contains("s3cr3t"), "{text}");
    for monitor in [
        "userinfo", "query", "header", "password", "both", "token", "body", "key",
    ] {
        assert!(
            text.contains(&format!(": monitors.{monitor}.")),
            "{monitor}: {text}"
        );
    }
}

#[test]
fn a_port_in_use_is_a_failure_and_nothing_is_checked() {
    let (server, taken) = (Server::ok(), Server::ok());
    let config = config_file(json!({
        "server": { "listen": taken.address.to_string() },
        "monitors": { "example": { "url": server.http("/") } },
    }));
    let output = run(program().arg("--config").arg(config.path()));
    assert_exit(&output, 1);
    let expected = format!("monitoringdaemon: failed to listen on {}: ", taken.address);
    let message = lines(&output.stderr);
    assert_eq!(message.len(), 1, "{message:#?}");
    assert!(message[0].starts_with(&expected), "{message:#?}");
    assert!(!text(&output).contains("Dispatcher"), "{}", text(&output));
    assert_eq!(server.seen().connections, 0);
}

#[test]
fn the_shipped_configuration_is_that_of_the_tutorial() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shipped = fs::read_to_string(root.join("config.yml")).expect("it is in the repository");
    assert_eq!(shipped, TUTORIAL);
    let output = run(program().arg("validate").current_dir(root));
    assert_exit(&output, 0);
    assert_eq!(text(&output), "config.yml is valid: 2 monitors\n");
}

#[test]
fn included_files_and_environment_variables_are_read() {
    let folder = folder_with("include: [conf.d/*.yml]\nlog: {level: \"${LEVEL}\"}\n");
    let parts = folder.path().join("conf.d");
    fs::create_dir(&parts).expect("room for a folder");
    let part = "monitors:\n  example: {url: \"http://${HOST_NAME}/\"}\n";
    fs::write(parts.join("example.yml"), part).expect("room for a file");
    let validate = || {
        let mut command = program();
        command.arg("validate").current_dir(folder.path());
        command
    };
    let output = run(validate()
        .env("LEVEL", "INFO")
        .env("HOST_NAME", "localhost"));
    assert_exit(&output, 0);
    assert_eq!(lines(&output.stdout), ["config.yml is valid: 1 monitor"]);

    let output = run(validate().env("LEVEL", "hunter2").env_remove("HOST_NAME"));
    assert_exit(&output, 2);
    let complaints = lines(&output.stderr);
    assert_eq!(complaints.len(), 2, "{complaints:?}");
    assert!(
        complaints[0].starts_with("config.yml:2:14: log.level: invalid value from the environment"),
        "{complaints:?}"
    );
    assert!(
        complaints[1]
            .starts_with("conf.d/example.yml:2:18: monitors.example.url: HOST_NAME is not set: "),
        "{complaints:?}"
    );
}

#[test]
fn the_schema_is_printed_whatever_the_configuration_is() {
    let folder = folder_with("nonsense: [");
    let output = run(program().arg("schema").current_dir(folder.path()));
    assert_exit(&output, 0);
    let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert!(schema["properties"]["monitors"].is_object());
}
