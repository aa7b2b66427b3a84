//! Every slot of every monitor is accounted for, on every page.

use std::{
    cell::Cell,
    io::Write,
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    daemon::Daemon,
    page::Page,
    pause,
    server::{Server, Step, ok, response},
};

/// Looks at pages until one says so, and finds every slot on each of them.
#[track_caller]
fn until_on_every_page(daemon: &Daemon, what: &str, condition: impl Fn(&Page) -> bool) -> Page {
    let mut pages = 0;
    daemon.until_page(what, |page| {
        page.assert_slots_add_up();
        pages += 1;
        pages >= 50 && condition(page)
    })
}

fn monitors(number: usize, monitor: &Value) -> Value {
    let monitors = (0..number).map(|index| (format!("monitor {index}"), monitor.clone()));
    Value::Object(monitors.collect())
}

#[test]
fn slots_add_up_while_checks_run() {
    let server = Server::ok();
    let monitor = json!({ "url": server.http("/"), "check_every": 0.05 });
    let mut daemon = Daemon::start(json!({
        "log": { "checks": "none" },
        "monitors": monitors(10, &monitor),
    }));
    until_on_every_page(&daemon, "many checks", |page| page.completed() >= 200.0);
    daemon.stop();
}

#[track_caller]
fn check_places(key: &str) {
    let silent = Server::start([Step::Hang]);
    let monitor = json!({ "url": silent.http("/"), "check_every": 0.3 });
    let mut daemon = Daemon::start(json!({
        "log": { "checks": "none" },
        "dispatcher": { key: 3 },
        "monitors": monitors(12, &monitor),
    }));
    let page = until_on_every_page(&daemon, "slots that got no place", |page| {
        assert!(page.in_flight() < 3.5, "{}", page.text);
        page.skipped("saturated") >= 20.0 && page.completed() >= 5.0
    });
    assert!(page.skipped("shutdown") < 0.5, "{}", page.text);
    daemon.stop();
}

#[test]
fn slots_add_up_when_concurrency_is_exhausted() {
    check_places("max_concurrent_checks");
}

#[test]
fn slots_add_up_when_the_concurrency_of_a_host_is_exhausted() {
    check_places("max_concurrent_checks_per_host");
}

#[test]
fn counters_start_at_zero() {
    let silent = Server::start([Step::Hang]);
    let daemon = Daemon::start(json!({ "monitors": { "silent": { "url": silent.http("/") } } }));
    let page = daemon.until_page("it is in flight", |page| page.in_flight() > 0.5);
    let of = |name, label, value| page.values(name, &[("monitor", "silent"), (label, value)]);
    for outcome in ["success", "failure"] {
        assert_eq!(of("monitor_checks_total", "outcome", outcome), [0.0]);
    }
    for reason in ["overrun", "saturated", "stalled", "shutdown"] {
        assert_eq!(of("monitor_checks_skipped_total", "reason", reason), [0.0]);
    }
    assert_eq!(page.values("monitor_checks_scheduled_total", &[]), [1.0]);
    assert_eq!(page.values("monitor_up", &[]), [0.0; 0]);
}

#[test]
fn missed_slots_are_counted_and_not_caught_up() {
    const EVERY: Duration = Duration::from_millis(100);
    const STILL: Duration = Duration::from_secs(3);

    let times = Arc::new(Mutex::new(Vec::new()));
    let server = Server::answering({
        let times = times.clone();
        move |_| {
            times
                .lock()
                .expect("nothing panics with it")
                .push(Instant::now());
            ok("hello")
        }
    });
    let after = |moment: Instant| {
        let times = times.lock().expect("nothing panics with it");
        times.iter().filter(|time| **time > moment).count()
    };
    let mut daemon = Daemon::start(json!({ "monitors": {
        "example": { "url": server.http("/"), "check_every": EVERY.as_secs_f64() },
    } }));
    daemon.until_page("it runs", |page| page.completed() >= 3.0);

    let due = |time: Duration| time.as_secs_f64() / EVERY.as_secs_f64();
    let began = Instant::now();
    let before = daemon.page();
    daemon.signal(Signal::STOP);
    let stopped = Instant::now();
    pause(STILL);
    daemon.signal(Signal::CONT);
    let continued = Instant::now();
    // The page that is found was asked for after this.
    let asked = Cell::new(continued);
    let page = until_on_every_page(&daemon, "ten checks more", |_| {
        let enough = after(continued) >= 10;
        if !enough {
            asked.set(Instant::now());
        }
        enough
    });
    let checks = after(continued);
    let ended = Instant::now();

    // What comes due within a second is not missed yet, and neither is what a check in flight ran
    // over for so long; a machine that is busy may stand still for longer.
    let missed = page.skipped("stalled") - before.skipped("stalled");
    let most = due(ended - stopped) + 1.0;
    assert!((15.0..=most).contains(&missed), "{missed} of {most}");
    let slots = |page: &Page| page.value("monitor_checks_scheduled_total", &[]);
    let scheduled = slots(&page) - slots(&before);
    let (least, most) = (due(asked.get() - stopped) - 12.0, due(ended - began) + 2.0);
    assert!(
        (least..=most).contains(&scheduled),
        "{scheduled}, not {least} to {most}"
    );
    let most = due(ended - continued) + 3.0;
    let checks = f64::from(u32::try_from(checks).expect("few"));
    assert!(checks <= most, "{checks} of {most}");
    daemon.stop();
}

#[test]
fn a_check_during_a_pause_of_the_daemon_is_tainted() {
    const STILL: Duration = Duration::from_secs(1);

    let target = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = target.local_addr().expect("it is bound");
    let daemon = Daemon::start(json!({ "monitors": {
        "example": { "url": format!("http://{address}/"), "check_every": "1d", "timeout": "60s" },
    } }));
    let (mut check, _) = target.accept().expect("the first check");
    daemon.signal(Signal::STOP);
    pause(STILL);
    daemon.signal(Signal::CONT);
    check
        .write_all(response("200 OK", &[], "hello").as_bytes())
        .expect("it still waits");
    let page = daemon.until_page("the check is over", |page| page.completed() > 0.5);
    let tainted = page.value("monitoringdaemon_checks_tainted_total", &[]);
    assert!((tainted - 1.0).abs() < 0.5, "{tainted}");
    let delays = |le| {
        page.value(
            "monitoringdaemon_runtime_delay_seconds_bucket",
            &[("le", le)],
        )
    };
    assert!(delays("0.5") < delays("+Inf"), "{}", page.text);
}
