//! Signals: how the daemon stops, however busy it is.

use std::{
    env,
    fs::{self, Permissions},
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use monitoringdaemon::{
    app,
    check::{Attempt, Failure, Job, Monitor},
    config::Config,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    PATIENCE,
    client::{Answer, connect, read_to_end},
    daemon::{Daemon, STOP, config_file},
    eventually, eventually_within, pause,
    process::{helper, program, raise_descriptor_limit, text},
    server::{Server, Step},
};

/// Number of runs: on a busy machine, a single one may fail by chance.
const RUNS: usize = 5;

/// A server that answers nothing.
fn silent() -> Server {
    Server::start([Step::Hang])
}

fn monitors(number: usize, monitor: &Value) -> Value {
    let monitors = (0..number).map(|index| (format!("monitor {index}"), monitor.clone()));
    Value::Object(monitors.collect())
}

/// A daemon whose one check is in flight and stays there.
fn busy_daemon(server: &Server) -> Daemon {
    let monitors = json!({ "silent": { "url": server.http("/") } });
    let daemon = Daemon::start(json!({ "monitors": monitors }));
    daemon.until_page("it runs", |page| page.in_flight() > 0.5);
    daemon
}

/// A connection whose request is not sent to its end: the daemon waits for that before it exits.
fn half_request(daemon: &Daemon, path: &str) -> TcpStream {
    let mut stream = connect(daemon.address);
    let half = format!("GET {path} HTTP/1.1\r\nhost: x\r\n");
    stream
        .write_all(half.as_bytes())
        .expect("an open connection");
    stream
}

#[test]
fn either_signal_stops_it_while_a_check_is_in_flight() {
    for signal in [Signal::TERM, Signal::INT] {
        let silent = silent();
        let mut daemon = Daemon::start(json!({ "monitors": {
            "silent": { "url": silent.http("/") },
            "later": { "url": silent.http("/"), "check_every": 5 },
        } }));
        daemon.until_page("two checks in flight", |page| page.in_flight() > 1.5);
        daemon.stop_by(signal);
        let log = daemon.whole_log();
        let check = log.iter().find(|line| line.contains("]: Check "));
        assert_eq!(check, None, "a check that was cancelled is none");
        let last = log.last().expect("it logs");
        assert!(last.ends_with(": Dispatcher shutting down finished successfully"));
        assert_eq!(daemon.whole_stderr(), [""; 0]);
    }
}

/// Few descriptors to begin with, as a login shell has them.
fn with_few_descriptors(command: &mut Command) {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -S -n 256 && exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .env_remove("RUST_LOG");
    *command = shell;
}

#[test]
fn a_thousand_checks_in_flight_do_not_delay_the_shutdown() {
    raise_descriptor_limit();
    let silent = silent();
    let monitor = json!({ "url": silent.http("/"), "timeout": 5, "check_every": 5 });
    let config = json!({
        "log": { "checks": "none" },
        "monitors": monitors(1000, &monitor),
    });
    let mut daemon = Daemon::start_as(config, with_few_descriptors);
    // Asked of the server: pages of a thousand monitors take their time where nothing is optimised.
    eventually_within(3 * PATIENCE, "a thousand connections", || {
        (silent.seen().connections >= 1000).then_some(())
    });
    // The first may have had their time by then, and begin anew.
    let page = eventually_within(3 * PATIENCE, "most of them are in flight", || {
        Some(daemon.page()).filter(|page| page.in_flight() > 900.0)
    });
    let ours = page.sum("monitor_check_failures_total", &[("reason", "agent_error")]);
    assert!(ours < 0.5, "it did not raise its own limit: {ours}");
    daemon.stop();
    assert_eq!(daemon.whole_stderr(), [""; 0]);
}

#[test]
fn open_connections_do_not_delay_the_shutdown() {
    let silent = silent();
    let mut daemon = busy_daemon(&silent);
    let _idle: Vec<_> = (0..20).map(|_| connect(daemon.address)).collect();
    let _half: Vec<_> = (0..20).map(|_| half_request(&daemon, "/metrics")).collect();
    let _unread: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = half_request(&daemon, "/metrics");
            stream.write_all(b"\r\n").expect("an open connection");
            stream
        })
        .collect();
    daemon.stop();
}

/// Stops the daemon, asks something of it when it has nothing left but to finish its answers, and
/// returns what came.
fn ask_while_it_stops(path: &str) -> Option<Answer> {
    let silent = silent();
    let mut daemon = busy_daemon(&silent);
    let mut stream = half_request(&daemon, path);
    // Answered on the same accept queue, so that the one before is known to be there too.
    daemon.get("/-/healthy");
    daemon.signal(Signal::TERM);
    daemon.until_logged("Dispatcher shutting down finished successfully");
    let sent = stream.write_all(b"\r\n");
    let answer = sent.and_then(|()| read_to_end(&mut stream)).ok();
    let (status, took) = daemon.wait();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < STOP, "{took:?}");
    // Nothing, where this machine was too busy to ask before the daemon was gone.
    let answer = answer.filter(|bytes| !bytes.is_empty())?;
    Some(Answer::parse(&answer))
}

#[test]
fn a_stopping_daemon_is_healthy_and_not_ready() {
    for (path, expected) in [("/-/ready", 503), ("/-/healthy", 200), ("/metrics", 200)] {
        let answer = (0..RUNS).find_map(|_| ask_while_it_stops(path));
        let answer = answer.unwrap_or_else(|| panic!("{path} is never answered"));
        assert_eq!(answer.status, expected, "{path}: {answer:?}");
    }
}

#[test]
fn a_second_signal_exits_at_once() {
    let silent = silent();
    let daemon = || {
        let daemon = busy_daemon(&silent);
        let half = half_request(&daemon, "/metrics");
        daemon.get("/-/healthy");
        (daemon, half)
    };
    // While it stands still, so that both are there when it goes on; which comes first is open.
    let (mut both, _half) = daemon();
    for signal in [Signal::STOP, Signal::TERM, Signal::INT, Signal::CONT] {
        both.signal(signal);
    }
    let (status, _) = both.wait();
    assert!(matches!(status.code(), Some(130 | 143)), "{status}");

    for (signal, expected) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let codes: Vec<_> = (0..RUNS)
            .map(|_| {
                let (mut daemon, _half) = daemon();
                daemon.signal(Signal::TERM);
                daemon.until_logged("Dispatcher shutting down finished successfully");
                daemon.signal(signal);
                daemon.wait().0.code()
            })
            .take_while(|code| *code != Some(expected))
            .collect();
        // 0 where this machine was too busy to send the second before the daemon was gone.
        assert!(codes.len() < RUNS, "{codes:?}");
        assert!(codes.iter().all(|code| *code == Some(0)), "{codes:?}");
    }
}

#[test]
fn a_second_signal_does_not_wait_for_a_log_that_nobody_reads() {
    let silent = silent();
    let config = json!({
        // The lines of the start alone fill the pipe: more monitors have no lines of their own.
        "log": { "format": format!("%(message)s {:900}", "x") },
        "monitors": monitors(100, &json!({ "url": silent.http("/") })),
    });
    let codes: Vec<_> = (0..RUNS)
        .map(|_| {
            let (mut daemon, _stdout) = Daemon::start_unread(config.clone());
            daemon.until_page("it runs", |page| page.in_flight() > 0.5);
            let mut half = half_request(&daemon, "/metrics");
            daemon.get("/-/healthy");
            daemon.signal(Signal::TERM);
            // Until the server has ended, which is the last but the log.
            let _ = read_to_end(&mut half);
            pause(Duration::from_millis(50));
            daemon.signal(Signal::INT);
            daemon.wait().0.code()
        })
        .take_while(|code| *code != Some(130))
        .collect();
    assert!(codes.len() < RUNS, "{codes:?}");
}

#[test]
fn a_daemon_without_monitors_logs_it_and_exits() {
    let config = config_file(json!({
        "log": { "format": "%(message)s" },
        "server": { "listen": "127.0.0.1:0" },
    }));
    let began = Instant::now();
    let output = program()
        .arg("--config")
        .arg(config.path())
        .output()
        .expect("the program can be started");
    let took = began.elapsed();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(took < STOP, "{took:?}");
    assert!(output.stderr.is_empty(), "{}", text(&output));
    let text = text(&output);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("Starting monitoringdaemon version="));
    assert!(lines[1].starts_with("Server is listening address=127.0.0.1:"));
    let expected = [
        "No monitors are configured",
        "Dispatcher is starting up",
        "Dispatcher is shutting down",
        "Dispatcher shutting down finished successfully",
    ];
    assert_eq!(lines[2..], expected);
}

#[test]
fn a_daemon_without_monitors_keeps_running_if_some_may_be_discovered() {
    let server = Server::ok();
    let mut config = json!({ "log": { "format": "%(message)s" } });
    let mut daemon = Daemon::start_as(config.clone(), |command| {
        command.arg("--watch");
    });
    daemon.until_logged("No monitors are configured here yet");
    config["monitors"] = json!({ "a": { "url": server.http("/") } });
    daemon.rewrite(config);
    daemon.until_page("it is checked", |page| page.completed() > 0.5);
    daemon.stop();
}

/// Blocks the thread that checks it, for ever.
struct Blocks;

impl Monitor for Blocks {
    fn kind(&self) -> &'static str {
        "blocks"
    }

    fn target(&self) -> String {
        "nowhere".to_owned()
    }

    async fn check(&self, _: &Attempt) -> Result<(), Failure> {
        tracing::info!("Blocked");
        loop {
            thread::park();
        }
    }
}

#[test]
#[ignore = "run by the one below, in a process of its own"]
fn blocked_daemon() {
    let mut config = Config::default();
    config.server.listen = Vec::new();
    let jobs = (0..8).map(|index| Job::new(format!("blocks {index}"), Blocks));
    app::run_with_jobs(&config, jobs.collect()).expect("it starts");
}

#[test]
fn a_second_signal_exits_at_once_though_every_thread_that_runs_checks_is_blocked() {
    let mut command = Command::new(env::current_exe().expect("a program"));
    command.args([
        "--exact",
        "--ignored",
        "--nocapture",
        "daemon_signals::blocked_daemon",
    ]);
    command.stdout(Stdio::piped()).env_remove("RUST_LOG");
    let mut child = Killed(command.spawn().expect("the program can be started"));
    let stdout = child.0.stdout.take().expect("it was asked for");
    let mut lines = BufReader::new(stdout).lines();
    lines
        .find(|line| line.as_ref().is_ok_and(|line| line.contains("Blocked")))
        .expect("it checks something")
        .expect("text");
    let process = Pid::from_child(&child.0);
    for _ in 0..2 {
        kill_process(process, Signal::TERM).expect("it has not been waited for");
        // Two of a kind that wait at the same time are one.
        pause(Duration::from_millis(50));
    }
    let status = eventually("it ends", || child.0.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(143), "{status}");
}

/// A process that ends with its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_failure_to_start_threads_is_an_error() {
    if !rustix::process::geteuid().is_root() || helper("setpriv").is_none() {
        return;
    }
    let config = config_file(json!({
        "server": { "listen": "off" },
        "monitors": { "a": { "url": "http://127.0.0.1:1/" } },
    }));
    fs::set_permissions(config.path(), Permissions::from_mode(0o644)).expect("it is ours");
    let folder = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let copy = folder.path().join("monitoringdaemon");
    fs::copy(program().get_program(), &copy).expect("room for it");
    // The main thread, and one for the log; limits count all processes of a user, who has no others.
    let output = Command::new("setpriv")
        .args([
            "--reuid=4242424",
            "--clear-groups",
            "prlimit",
            "--nproc=2:2",
        ])
        .arg(copy)
        .arg("--config")
        .arg(config.path())
        .output()
        .expect("it can be started");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("monitoringdaemon: failed to start: "),
        "{stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
}
