//! The store of a daemon that runs, is killed, and finds a full disk.

use std::{
    env, fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    daemon::{Daemon, config_file},
    eventually,
    page::Page,
    pause,
    process::{program, skip, text},
    server::{Server, ok, response},
};

/// A server whose paths that begin with `/down` answer with status 500, and whose `/flips` does so every other time.
fn server() -> Server {
    let flips = std::sync::atomic::AtomicBool::new(false);
    Server::answering(move |request| {
        let path = request.target.as_str();
        let flipped = flips.fetch_not(std::sync::atomic::Ordering::Relaxed);
        if path.starts_with("/down") || (path.starts_with("/flips") && flipped) {
            response("500 Internal Server Error", &[], "")
        } else {
            ok("")
        }
    })
}

fn config(folder: &Path, monitors: &Value) -> Value {
    json!({
        "log": { "checks": "none", "format": "%(message)s" },
        "storage": { "path": folder },
        "monitors": monitors,
    })
}

/// Starts a daemon that writes twenty times a second.
fn start(config: Value) -> Daemon {
    Daemon::start_as(config, |command| {
        command.arg("--storage-interval=50ms");
    })
}

fn kill(daemon: &mut Daemon) {
    daemon.signal(Signal::KILL);
    daemon.wait();
}

fn monitor_json(daemon: &Daemon, monitor: &str) -> Value {
    let answer = daemon.get(&format!("/api/v1/monitors/{monitor}"));
    serde_json::from_str(&answer.text()).expect("JSON")
}

fn is(page: &Page, monitor: &str, state: &str) -> bool {
    let labels = [("monitor", monitor), ("state", state)];
    page.values("monitor_state", &labels) == [1.0]
}

fn history(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = program();
    command.arg("history").args(arguments);
    command.arg("--path").arg(folder);
    command.output().expect("the program can be started")
}

/// The lines of an export of `folder` that are of this kind.
#[track_caller]
fn export(folder: &Path, record: &str) -> Vec<Value> {
    let output = history(folder, &["export"]);
    assert!(output.status.success(), "{}", text(&output));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = lines.lines().map(serde_json::from_str);
    let lines = lines.map(|line: Result<Value, _>| line.expect("JSON Lines"));
    lines.filter(|line| line["record"] == record).collect()
}

#[track_caller]
fn assert_sound(folder: &Path) {
    let output = history(folder, &["check"]);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.starts_with("ok: "), "{text}");
}

/// Waits until the store was written after all that has happened up to now.
fn until_written(daemon: &Daemon) {
    let last_write = |page: &Page| {
        page.values("monitoringdaemon_storage_last_write_timestamp_seconds", &[])
            .first()
            .copied()
            .unwrap_or_default()
    };
    let before = last_write(&daemon.page());
    // Of two writes, the second began after now.
    let next = daemon.until_page("it is written", |page| last_write(page) > before);
    let next = last_write(&next);
    daemon.until_page("it is written again", |page| last_write(page) > next);
}

#[test]
fn a_restart_continues_a_state_an_incident_and_the_last_checks() {
    let (server, folder) = (server(), TempDir::new().expect("a temporary folder"));
    let config = |path| {
        config(
            folder.path(),
            &json!({ "shop": { "url": server.http(path), "check_every": 30 } }),
        )
    };
    let mut daemon = start(config("/down"));
    daemon.until_page("it is down", |page| is(page, "shop", "down"));
    until_written(&daemon);
    let before = monitor_json(&daemon, "shop");
    let since = |page: &Page| page.sum("monitor_state_since_timestamp_seconds", &[]);
    let since_before = since(&daemon.page());
    kill(&mut daemon);
    assert_sound(folder.path());

    let mut daemon = start(config("/down"));
    let page = daemon.page();
    assert!(is(&page, "shop", "down"), "{}", page.text);
    assert_eq!(page.values("monitor_up", &[]), [0.0]);
    // The JSON has seconds, the store milliseconds.
    let moved = (since(&page) - since_before).abs();
    assert!(moved < 0.002, "{moved}");
    let after = monitor_json(&daemon, "shop");
    for key in ["state", "since", "up"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    assert_eq!(after["incident"], before["incident"]);
    let checks = after["checks"].as_array().expect("a list");
    assert!(checks.contains(&before["checks"][0]), "{checks:?} {before}");
    daemon.stop();
    let began = export(folder.path(), "incident");
    assert_eq!(began.len(), 1, "{began:?}");

    // A target that changed while the daemon was away is another one.
    let daemon = start(config("/"));
    daemon.until_page("it is up", |page| is(page, "shop", "up"));
    let after = monitor_json(&daemon, "shop");
    assert_eq!(after["incident"]["end_reason"], "target_changed");
    assert_eq!(after["incident"]["began"], before["incident"]["began"]);
    assert_eq!(after["checks"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_changed_target_ends_the_incident_and_a_reload_changes_the_retention() {
    let (server, folder) = (server(), TempDir::new().expect("a temporary folder"));
    let monitors = |path| json!({ "shop": { "url": server.http(path), "check_every": 30 } });
    let mut daemon = start(config(folder.path(), &monitors("/down")));
    daemon.until_page("it is down", |page| is(page, "shop", "down"));
    let mut changed = config(folder.path(), &monitors("/down/other"));
    changed["storage"]["retention"] = json!("2y");
    daemon.rewrite(changed.clone());
    daemon.signal(Signal::HUP);
    daemon.until_logged("The configuration has been reloaded started=0 restarted=1");
    daemon.until_page("it is down again", |page| is(page, "shop", "down"));
    assert_eq!(
        daemon
            .page()
            .values("monitoringdaemon_config_restart_required", &[]),
        [0.0]
    );
    changed["storage"]["path"] = json!("/nowhere");
    daemon.rewrite(changed);
    daemon.signal(Signal::HUP);
    daemon.until_logged("take effect after a restart only keys=storage.path");
    daemon.stop();
    let incidents = export(folder.path(), "incident");
    let reasons: Vec<_> = incidents.iter().map(|line| &line["end_reason"]).collect();
    assert_eq!(reasons, [&json!("target_changed"), &Value::Null]);
    assert_sound(folder.path());
}

#[test]
fn a_monitor_that_is_removed_has_no_open_incident() {
    let (server, folder) = (server(), TempDir::new().expect("a temporary folder"));
    let shop = json!({ "url": server.http("/down") });
    let other = json!({ "url": server.http("/") });
    let mut daemon = start(config(
        folder.path(),
        &json!({ "shop": shop, "other": other }),
    ));
    daemon.until_page("it is down", |page| is(page, "shop", "down"));
    daemon.rewrite(config(folder.path(), &json!({ "other": other })));
    daemon.signal(Signal::HUP);
    daemon.until_logged("The configuration has been reloaded started=0 restarted=0");
    daemon.stop();
    let incidents = export(folder.path(), "incident");
    assert_eq!(incidents[0]["end_reason"], "removed");
    let states = export(folder.path(), "state");
    assert_eq!(states.len(), 1, "{states:?}");
    assert_eq!(states[0]["monitor"], "other");
    assert_sound(folder.path());
}

#[test]
fn uptimes_are_on_the_page_and_in_the_json() {
    let (server, folder) = (server(), TempDir::new().expect("a temporary folder"));
    let monitors = json!({
        "good": { "url": server.http("/"), "check_every": 0.5 },
        "bad": { "url": server.http("/down"), "check_every": 0.5 },
    });
    let mut daemon = start(config(folder.path(), &monitors));
    let uptime = |daemon: &Daemon, name| {
        eventually("the journal is folded", || {
            let json = monitor_json(daemon, name);
            let uptime = json["uptimes"]["24h"].clone();
            uptime["uptime"].is_number().then_some(uptime)
        })
    };
    let good = uptime(&daemon, "good");
    // The time before the first check is not known.
    assert_eq!(good["uptime"], 1.0, "{good}");
    assert_eq!(good["failures"], 0);
    assert!(
        good["latency_seconds"]["p50"].as_f64() > Some(0.0),
        "{good}"
    );
    assert_eq!(uptime(&daemon, "bad")["uptime"], 0.0);
    let page = daemon.get("/monitors/good").text();
    assert!(page.contains("24h: 100 %"), "{page}");
    for share in ["<small>24h: 100 %</small>", "<small>24h: 0.000 %</small>"] {
        eventually(&format!("{share} is in the overview"), || {
            daemon.get("/").text().contains(share).then_some(())
        });
    }
    let all: Value = serde_json::from_str(&daemon.get("/api/v1/monitors").text()).expect("JSON");
    let of_good = &all["monitors"].as_array().expect("a list");
    let of_good = of_good.iter().find(|monitor| monitor["name"] == "good");
    let of_good = of_good.expect("it is one of them");
    assert_eq!(of_good["uptimes"]["24h"]["uptime"], 1.0, "{of_good}");
    daemon.stop();
    let days = export(folder.path(), "day");
    let of_bad = days.iter().find(|day| day["monitor"] == "bad");
    let of_bad = of_bad.expect("a day");
    assert_eq!(of_bad["checks"], of_bad["failures"]);
    assert!(of_bad["seconds"]["down"].as_f64() > Some(0.0), "{of_bad}");
    let unknown = history(folder.path(), &["export", "other"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown));
    let pruned = history(folder.path(), &["prune", "--older-than", "30d"]);
    assert!(text(&pruned).starts_with("deleted 0 hours"), "{pruned:?}");
    assert_sound(folder.path());
}

#[test]
fn a_second_daemon_refuses_to_start() {
    let (server, folder) = (server(), TempDir::new().expect("a temporary folder"));
    let monitors = json!({ "a": { "url": server.http("/") } });
    let config = config(folder.path(), &monitors);
    let mut first = start(config.clone());
    let mut second = Daemon::start_unserved(config.clone(), |_| {});
    let (status, _) = second.wait();
    assert_eq!(status.code(), Some(1));
    let stderr = second.whole_stderr().join("\n");
    let expected = "failed to start: another daemon uses the store in ";
    assert!(stderr.contains(expected), "{stderr}");
    kill(&mut first);
    start(config).stop();
}

#[test]
fn the_state_directory_of_systemd_is_used_unless_the_store_is_off() {
    let (server, folder) = (server(), TempDir::new().expect("a temporary folder"));
    let monitors = json!({ "a": { "url": server.http("/") } });
    let start = |storage: Value| {
        let mut config = config(folder.path(), &monitors);
        config["storage"] = storage;
        Daemon::start_as(config, |command| {
            command.env("STATE_DIRECTORY", folder.path());
        })
    };
    let off = start(json!({ "path": "off" }));
    assert!(!off.page().text.contains("monitoringdaemon_storage"));
    let files = || fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(files(), 0);
    let on = start(json!({}));
    on.until_page("it is written", |page| {
        page.sum("monitoringdaemon_storage_size_bytes", &[]) > 0.0
    });
    assert!(files() > 0);
}

#[test]
fn a_directory_that_cannot_be_used_stops_no_check() {
    let server = server();
    let monitors = json!({ "a": { "url": server.http("/") } });
    // Not even root can create anything there.
    let mut daemon = start(config(Path::new("/proc/self/store"), &monitors));
    daemon
        .until_logged("The store cannot be used; nothing is stored until the daemon is restarted");
    let page = daemon.until_page("it is checked", |page| is(page, "a", "up"));
    let errors = page.values("monitoringdaemon_storage_errors_total", &[]);
    assert_eq!(errors, [1.0]);
    let size = page.values("monitoringdaemon_storage_size_bytes", &[]);
    assert!(size.is_empty(), "there is none");
    daemon.stop();
}

/// A file system of `size` at `folder`, if this process may mount one; dropped, it is unmounted.
struct Mounted<'f>(&'f Path);

impl<'f> Mounted<'f> {
    fn new(folder: &'f Path, size: &str) -> Option<Self> {
        let options = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            Ok(output) => {
                skip(&format!("a small tmpfs needs root: {}", text(&output)));
                None
            }
            Err(error) => {
                skip(&format!("a small tmpfs needs mount(8): {error}"));
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        let mount = mount.args(["-o", options]).arg(self.0);
        let output = mount.output().expect("it was there before");
        assert!(output.status.success(), "{}", text(&output));
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // The daemon that used it may not have ended yet.
        let _ = Command::new("umount").arg("--lazy").arg(self.0).output();
    }
}

#[test]
fn a_full_disk_stops_no_check_and_is_written_again_later() {
    let (server, folder) = (server(), TempDir::new().expect("a temporary folder"));
    let Some(_mounted) = Mounted::new(folder.path(), "1m") else {
        return;
    };
    let monitors = json!({
        "flips": { "url": server.http("/flips"), "check_every": 0.05 },
        "down": { "url": server.http("/down"), "check_every": 0.05 },
    });
    let mut daemon = start(config(folder.path(), &monitors));
    until_written(&daemon);
    let filler = folder.path().join("filler");
    // As much as there is room for.
    let full = fs::write(&filler, vec![1; 2 << 20]);
    assert!(full.is_err(), "it must be full");
    daemon.until_logged("The store cannot be written; checks go on, and writing is tried again");
    let errors = |page: &Page| page.sum("monitoringdaemon_storage_errors_total", &[]);
    let checks = |page: &Page| page.sum("monitor_checks_total", &[]);
    let before = daemon.page();
    daemon.until_page("checks go on, and so do errors", |page| {
        checks(page) > checks(&before) + 20.0 && errors(page) > errors(&before) + 2.0
    });
    fs::remove_file(&filler).expect("it is there");
    daemon.until_logged("The store is written again");
    daemon.stop();
    let log = daemon.whole_log();
    let lines = log
        .iter()
        .filter(|line| line.contains("store cannot be written"));
    assert_eq!(lines.count(), 1, "once: {log:#?}");
    assert_sound(folder.path());
    let days = export(folder.path(), "day");
    let stored: u64 = days.iter().filter_map(|day| day["checks"].as_u64()).sum();
    let counted = checks(&before) + 20.0;
    #[expect(clippy::cast_precision_loss, reason = "some dozens")]
    let stored = stored as f64;
    assert!(stored >= counted, "{stored} {counted}: nothing was lost");
}

#[test]
fn a_directory_that_becomes_read_only_stops_no_check() {
    let (server, folder) = (server(), TempDir::new().expect("a temporary folder"));
    let Some(mounted) = Mounted::new(folder.path(), "4m") else {
        return;
    };
    let monitors = json!({ "flips": { "url": server.http("/flips"), "check_every": 0.05 } });
    start(config(folder.path(), &monitors)).stop();
    mounted.remount("remount,ro");
    let mut daemon = start(config(folder.path(), &monitors));
    daemon
        .until_logged("The store cannot be used; nothing is stored until the daemon is restarted");
    daemon.until_page("it is checked", |page| {
        page.sum("monitor_checks_total", &[]) > 5.0
    });
    daemon.stop();
}

/// The number of times that a daemon is killed; 200 for a thorough test.
fn kills() -> u32 {
    let kills = env::var("MONITORINGDAEMON_TEST_KILLS");
    kills.ok().and_then(|kills| kills.parse().ok()).unwrap_or(6)
}

#[test]
fn a_daemon_that_is_killed_again_and_again_leaves_a_sound_store() {
    let (server, folder) = (server(), TempDir::new().expect("a temporary folder"));
    let monitors: serde_json::Map<_, _> = (0..30)
        .map(|index| {
            let path = ["/", "/flips", "/down"][index % 3];
            let monitor = json!({
                "url": server.http(path),
                "check_every": 0.05,
                "confirm": { "failures": 1 + index % 2 },
            });
            (format!("m{index}"), monitor)
        })
        .collect();
    let config = config(folder.path(), &monitors.into());
    let mut known = 0;
    for round in 0..kills() {
        let mut daemon = start(config.clone());
        let counted = |page: &Page| page.sum("monitor_checks_total", &[]);
        daemon.until_page("it checks", |page| counted(page) > 30.0);
        until_written(&daemon);
        // At another moment of a batch, or of a fold, each time.
        pause(Duration::from_millis(u64::from(round * 37 % 600)));
        kill(&mut daemon);
        assert_sound(folder.path());
        // What was known is still known, and what was written is added.
        let days = export(folder.path(), "day");
        let stored: u64 = days.iter().filter_map(|day| day["checks"].as_u64()).sum();
        assert!(stored >= known + 30, "round {round}: {known} {stored}");
        known = stored;
        assert_sound(folder.path());
    }
    let states = export(folder.path(), "state");
    assert_eq!(states.len(), 30);
    start(config.clone()).stop();
    let file = config_file(&config);
    let mut command = program();
    command
        .args(["history", "check", "--config"])
        .arg(file.path());
    let output = command.output().expect("the program can be started");
    assert!(output.status.success(), "{}", text(&output));
}
