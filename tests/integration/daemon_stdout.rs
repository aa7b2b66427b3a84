//! Standard output that takes nothing: the daemon goes on without it.

use std::io::{BufRead, BufReader};

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::support::{SOON, daemon::Daemon, eventually, page::Page, server::Closed};

/// Fifty monitors that check every 20 ms, and lines so long that they fill whatever holds them.
fn config(closed: &Closed) -> Value {
    let monitor = json!({ "url": format!("http://{}/", closed.address), "check_every": 0.02 });
    let monitors = (0..50).map(|index| (format!("monitor {index}"), monitor.clone()));
    // Widths end at a thousand.
    let long = " %(levelname)1000s".repeat(4);
    json!({
        "log": { "format": format!("%(message)s{long}") },
        "monitors": monitors.collect::<Map<_, _>>(),
    })
}

fn dropped(page: &Page) -> f64 {
    page.value("monitoringdaemon_log_lines_dropped_total", &[])
}

/// Asserts that checks go on.
#[track_caller]
fn assert_checks_go_on(daemon: &Daemon) {
    let before = daemon.page().completed();
    let page = daemon.until_page("more checks", |page| page.completed() >= before + 100.0);
    page.assert_slots_add_up();
}

#[test]
fn a_blocked_output_only_drops_lines() {
    let closed = Closed::new();
    let (mut daemon, stdout) = Daemon::start_unread(config(&closed));
    let page = daemon.until_page("lines are dropped", |page| dropped(page) > 0.0);
    assert_checks_go_on(&daemon);
    let asked = Instant::now();
    let later = daemon.page();
    let took = asked.elapsed();
    assert!(took < SOON, "{took:?}");
    assert!(dropped(&later) > dropped(&page));
    daemon.stop();

    // What had been written is whole lines; the last was cut off with the process.
    let lines: Result<Vec<_>, _> = BufReader::new(stdout).lines().collect();
    let mut lines = lines.expect("a pipe with a closed end is read to its end");
    lines.pop();
    assert!(lines[0].starts_with("Dispatcher is starting up "));
    assert!(
        lines
            .iter()
            .all(|line| line.ends_with("INFO") || line.ends_with("WARNING"))
    );
}

#[test]
fn log_lines_continue_once_the_output_is_read_again() {
    let closed = Closed::new();
    let (mut daemon, stdout) = Daemon::start_unread(config(&closed));
    daemon.until_page("lines are dropped", |page| dropped(page) > 0.0);
    daemon.read(stdout);
    eventually("no more lines are dropped", || {
        let before = dropped(&daemon.page());
        assert_checks_go_on(&daemon);
        (dropped(&daemon.page()) - before < 0.5).then_some(())
    });
    daemon.stop();
    let log = daemon.whole_log();
    let last = log.last().expect("it logs");
    assert!(last.starts_with("Dispatcher shutting down finished successfully"));
    assert!(
        log.iter()
            .all(|line| line.ends_with("INFO") || line.ends_with("WARNING"))
    );
}

#[test]
fn a_closed_output_only_drops_lines() {
    let closed = Closed::new();
    let (mut daemon, stdout) = Daemon::start_unread(config(&closed));
    drop(stdout);
    daemon.until_page("lines are dropped", |page| dropped(page) > 0.0);
    assert_checks_go_on(&daemon);
    daemon.stop();
    assert_eq!(daemon.whole_stderr(), [""; 0]);
}
