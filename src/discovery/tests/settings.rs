//! Tests of the section `discovery` and its messages.

use super::read;
use crate::discovery::settings::Block;

#[track_caller]
fn check_wrong(block: &str, expected: &[&str]) {
    let wrong = read(&format!("shops: {block}")).expect_err(block);
    assert_eq!(wrong, expected, "{block}");
}

#[test]
fn every_key_that_prometheus_has_for_it_is_read() {
    let settings = read(
        "shops:
           template: web
           file_sd_configs:
             - files: [targets/*.json, more.yml]
             - {files: [a.yaml], refresh_interval: 10m}
           http_sd_configs:
             - url: https://user:hunter2@inventory.example.com/targets?token=hunter2
               refresh_interval: 30s
               tls_config: {server_name: inventory.internal}
               proxy_url: http://proxy.example.com:3128
               follow_redirects: false
               enable_http2: false
             - {url: http://localhost/, authorization: {credentials: hunter2}}
           dns_sd_configs:
             - {names: [_http._tcp.example.com]}
             - {names: [example.com], type: a, port: 443, refresh_interval: 1m}
           static_configs:
             - {targets: ['a:80', 'b:80'], labels: {env: prod, __param_hostname: a.example}}
             - targets: ['c:80']
           relabel_configs:
             - {source_labels: [env], regex: prod, action: keep}
routers: {template: port, dns_sd_configs: [{names: [r.example.com], type: AAAA, port: 22}]}",
    )
    .unwrap_or_else(|wrong| panic!("{wrong:?}"));
    let names: Vec<_> = settings.blocks.iter().map(Block::source_names).collect();
    let shops = [
        "file_sd/0",
        "file_sd/1",
        "http_sd/0",
        "http_sd/1",
        "dns_sd/0",
        "dns_sd/1",
        "static/0",
    ];
    assert_eq!(names, [&shops[..], &["dns_sd/0"]]);
    assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
    assert!(read("").is_ok_and(|settings| settings.is_empty()));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let sources = "file_sd_configs, http_sd_configs, dns_sd_configs, static_configs";
    let at = "discovery.shops";
    check_wrong(
        "{template: web}",
        &[&format!(
            "{at}: no target source: expected one of {sources}"
        )],
    );
    check_wrong(
        "{file_sd_configs: [{files: [a.json]}]}",
        &[&format!(
            "{at}: template is missing: expected the name of a template"
        )],
    );
    check_wrong(
        "{template: wbe, file_sd_configs: [{files: [a.json]}]}",
        &[&format!(
            "{at}.template: unknown template \"wbe\", did you mean web?"
        )],
    );
    check_wrong(
        "{template: web, file_sd_config: [{files: [a.json]}]}",
        &[
            &format!("{at}: no target source: expected one of {sources}"),
            &format!("{at}.file_sd_config: unknown key, did you mean file_sd_configs?"),
        ],
    );
    let files = "a path ending in .json, .yml or .yaml, with * only in the last part";
    for (given, wrong) in [
        ("{}", format!(": files is missing: expected {files}")),
        (
            "{files: []}",
            format!(": files is missing: expected {files}"),
        ),
        (
            "{files: [a.txt]}",
            format!(".files[0]: unsupported file name \"a.txt\": expected {files}"),
        ),
        (
            "{files: ['*/a.yml']}",
            format!(".files[0]: * in a folder of \"*/a.yml\": expected {files}"),
        ),
        (
            "{files: [a.yml], refresh_interval: 10ms}",
            ".refresh_interval: too short: expected 1s or more".to_owned(),
        ),
    ] {
        check_wrong(
            &format!("{{template: web, file_sd_configs: [{given}]}}"),
            &[&format!("{at}.file_sd_configs[0]{wrong}")],
        );
    }
    for (given, wrong) in [
        (
            "{}",
            ": url is missing: expected a URL that starts with http:// or https://",
        ),
        (
            "{url: 'ftp://hunter2@a/'}",
            ".url: unsupported scheme ftp: expected a URL that starts with http:// or https://",
        ),
        (
            "{url: 'http://a/', bearer_token: x}",
            ".bearer_token: unknown key, did you mean authorization?",
        ),
    ] {
        check_wrong(
            &format!("{{template: web, http_sd_configs: [{given}]}}"),
            &[&format!("{at}.http_sd_configs[0]{wrong}")],
        );
    }
    for (given, wrong) in [
        ("{}", ": names is missing: expected names to look up"),
        (
            "{names: [a], type: A}",
            ": port is missing (only SRV records have one): expected a port from 1 to 65535",
        ),
        (
            "{names: [a], type: TXT}",
            ".type: unknown record type \"TXT\": expected SRV, A, AAAA, MX or NS",
        ),
        (
            "{names: [a], type: A, port: 70000}",
            ".port: 70000 is out of range: expected a port from 1 to 65535",
        ),
    ] {
        check_wrong(
            &format!("{{template: web, dns_sd_configs: [{given}]}}"),
            &[&format!("{at}.dns_sd_configs[0]{wrong}")],
        );
    }
    let wrong = read("{\"a\\nb\": {template: web, file_sd_configs: [{files: [a.yml]}]}}")
        .expect_err("a name");
    assert_eq!(
        wrong,
        [
            "discovery.\"a\\nb\": invalid name: expected 1 to 100 characters without control characters"
        ]
    );
}

#[test]
fn what_is_wrong_with_a_list_of_targets_is_told_with_its_place() {
    let at = "discovery.shops";
    for (given, wrong) in [
        (
            "{}",
            ": targets is missing: expected a list of addresses or URLs",
        ),
        (
            "{targets: ['']}",
            ".targets: has an empty target: expected addresses or URLs",
        ),
        (
            "{targets: ['a:80'], label: {}}",
            ".label: unknown key, did you mean labels?",
        ),
    ] {
        check_wrong(
            &format!("{{template: web, static_configs: [{given}]}}"),
            &[&format!("{at}.static_configs[0]{wrong}")],
        );
    }
}
