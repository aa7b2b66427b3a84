//! Targets that are discovered are checked as long as they are there.

use std::{fs, path::Path};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    daemon::Daemon,
    page::Page,
    server::{Server, ok, response},
};

fn config(folder: &Path, every: f64) -> Value {
    json!({
        "log": { "checks": "none", "format": "%(message)s" },
        "templates": { "web": { "check_every": every, "labels": { "team": "a" } } },
        "discovery": { "shops": {
            "template": "web",
            "file_sd_configs": [{ "files": [folder.join("*.json")] }],
            "relabel_configs": [
                { "source_labels": ["__address__"], "regex": "(.+)", "target_label": "monitor",
                  "replacement": "shop $1" },
                { "source_labels": ["env"], "regex": "test", "action": "drop" },
            ],
        } },
    })
}

fn write(folder: &Path, targets: &[(&str, &str)]) {
    let groups = targets.iter();
    let groups: Vec<_> = groups
        .map(|(target, env)| json!({ "targets": [target], "labels": { "env": env } }))
        .collect();
    // Whole or not at all, as whoever writes such files does it.
    let new = folder.join("new");
    fs::write(&new, json!(groups).to_string()).expect("room for it");
    fs::rename(new, folder.join("targets.json")).expect("the same folder");
}

fn completed(page: &Page, monitor: &str) -> f64 {
    page.sum("monitor_checks_total", &[("monitor", monitor)])
}

fn targets(page: &Page) -> f64 {
    page.sum("monitoringdaemon_discovery_targets", &[])
}

#[test]
fn discovered_targets_are_checked_while_they_are_listed() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let server = Server::ok();
    let [one, two, three] = ["/1", "/2", "/3"].map(|path| server.http(path));
    let name = |url: &str| format!("shop {url}");
    write(
        folder.path(),
        &[(&one, "live"), (&two, "live"), (&three, "test")],
    );
    let mut daemon = Daemon::start(config(folder.path(), 0.1));
    let before = daemon.until_page("both are checked", |page| {
        completed(page, &name(&one)) >= 3.0 && completed(page, &name(&two)) >= 1.0
    });
    let labels = [("team", "a"), ("env", "live"), ("target", &*one)];
    assert_eq!(before.values("monitor_info", &labels), [1.0]);
    assert!(
        before
            .values("monitor_info", &[("target", &*three)])
            .is_empty(),
        "it is dropped"
    );

    write(folder.path(), &[(&one, "live"), (&three, "live")]);
    let after = daemon.until_page("the other is checked", |page| {
        completed(page, &name(&three)) >= 1.0
            && page
                .values("monitor_up", &[("monitor", &name(&two))])
                .is_empty()
    });
    after.assert_slots_add_up();
    assert!(completed(&after, &name(&one)) >= completed(&before, &name(&one)));

    fs::write(folder.path().join("targets.json"), "[{\"targets\": [").expect("room for it");
    daemon.until_page("that is counted", |page| {
        page.sum("monitoringdaemon_discovery_failures_total", &[]) >= 1.0
    });
    let kept = daemon.page();
    assert!(completed(&kept, &name(&one)) >= completed(&after, &name(&one)));
    assert!(targets(&kept) >= 2.0, "{}", kept.text);

    // The template is another; the list is still the last good one.
    daemon.rewrite(config(folder.path(), 0.2));
    daemon.signal(Signal::HUP);
    daemon.until_page("they are of the new template", |page| {
        let every = [("check_every", "200ms"), ("target", &*one)];
        page.values("monitor_info", &every) == [1.0] && completed(page, &name(&three)) >= 1.0
    });
    daemon.rewrite(json!({
        "log": { "checks": "none", "format": "%(message)s" },
        "monitors": { "shop": { "url": one } },
    }));
    daemon.signal(Signal::HUP);
    daemon.until_page("they are gone", |page| {
        page.values("monitor_info", &[]).len() == 1
    });
    daemon.stop();
    let log = daemon.whole_log();
    let started = format!(
        "Monitoring task has been started monitor=\"{}\" type=http",
        name(&one)
    );
    let lives = log.iter().filter(|line| **line == started).count();
    assert_eq!(
        lives, 2,
        "the template's change alone began it anew: {log:#?}"
    );
}

#[test]
fn discovered_targets_are_sharded() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let server = Server::ok();
    let urls: Vec<_> = (0..20)
        .map(|number| server.http(&format!("/{number}")))
        .collect();
    let all: Vec<_> = urls.iter().map(|url| (&**url, "live")).collect();
    write(folder.path(), &all);
    let daemons: Vec<_> = (0..2)
        .map(|index| {
            Daemon::start_as(config(folder.path(), 1.0), |command| {
                command.arg(format!("--shard={index}/2"));
            })
        })
        .collect();
    let counts: Vec<_> = daemons
        .iter()
        .map(|daemon| {
            daemon.until_logged("Discovered monitors changed");
            daemon.page().values("monitor_info", &[]).len()
        })
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), urls.len(), "{counts:?}");
}

#[test]
fn discovery_and_relabelling_pause_monitors_and_set_what_they_depend_on() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let server = Server::answering(|request| match request.target.as_str() {
        "/spare" => ok(""),
        _ => response("500 Internal Server Error", &[], ""),
    });
    let [labelled, relabelled, paused, spare] =
        ["/labelled", "/relabelled", "/paused", "/spare"].map(|path| server.http(path));
    let groups = |spare_runs: bool| {
        json!([
            { "targets": [labelled], "labels": { "__depends_on__": "gateway" } },
            { "targets": [relabelled], "labels": { "behind": "gateway" } },
            { "targets": [paused], "labels": { "__enabled__": "false" } },
            { "targets": [spare], "labels": { "role": if spare_runs { "main" } else { "spare" } } },
        ])
    };
    let write = |groups: Value| {
        let new = folder.path().join("new");
        fs::write(&new, groups.to_string()).expect("room for it");
        fs::rename(new, folder.path().join("targets.json")).expect("the same folder");
    };
    write(groups(false));
    let mut config = config(folder.path(), 0.2);
    config["monitors"] = json!({
        "gateway": { "url": server.http("/gateway"), "check_every": 0.2 },
    });
    let rules = config["discovery"]["shops"]["relabel_configs"].as_array_mut();
    rules.expect("a list").extend([
        json!({ "source_labels": ["behind"], "regex": "(.+)", "target_label": "__depends_on__" }),
        json!({ "source_labels": ["role"], "regex": "spare", "target_label": "__enabled__",
            "replacement": "false" }),
    ]);
    let mut daemon = Daemon::start(config);
    let is = |page: &Page, target: &str, state: &str| {
        let monitor = format!("shop {target}");
        let labels = [("monitor", &*monitor), ("state", state)];
        page.values("monitor_state", &labels) == [1.0]
    };
    let page = daemon.until_page("each is in its state", |page| {
        is(page, &labelled, "unreachable")
            && is(page, &relabelled, "unreachable")
            && is(page, &paused, "paused")
            && is(page, &spare, "paused")
    });
    assert_eq!(
        page.values("monitor_dependency_info", &[("depends_on", "gateway")]),
        [1.0, 1.0]
    );
    assert!(completed(&page, &format!("shop {paused}")) < 1.0);
    write(groups(true));
    daemon.until_page("the spare one is up", |page| is(page, &spare, "up"));
    daemon.stop();
}

#[test]
fn a_deep_list_is_refused_at_once() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let server = Server::ok();
    let list = folder.path().join("list.yml");
    let write = |text: String| {
        let new = folder.path().join("new");
        fs::write(&new, text).expect("room for it");
        fs::rename(new, &list).expect("the same folder");
    };
    write(format!("[{{targets: ['{}']}}]", server.http("/")));
    let daemon = Daemon::start(json!({
        "log": { "checks": "none" },
        "templates": { "web": { "check_every": 0.1 } },
        "discovery": { "shops": { "template": "web", "file_sd_configs": [{ "files": [list] }] } },
    }));
    daemon.until_page("it is checked", |page| {
        page.sum("monitor_checks_total", &[]) >= 1.0
    });
    let before = daemon.page();
    // It took 16 s of the processor's time.
    write("[".repeat(300_000));
    daemon.until_logged("nested more than 128 levels deep");
    let after = daemon.page();
    let spent = |page: &Page| page.value("process_cpu_seconds_total", &[]);
    assert!(spent(&after) - spent(&before) < 8.0);
    assert!(targets(&after) >= 1.0, "{}", after.text);
}
