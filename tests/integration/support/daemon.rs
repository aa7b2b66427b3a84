//! The daemon as a process: started with a configuration, watched, told to stop, killed when dropped.

use std::{
    fmt::Display,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::Instant;

use super::{
    PATIENCE, POLL,
    client::{self, Answer},
    eventually,
    page::Page,
    pause,
    process::program,
};

/// Time that a daemon may take to stop. It promises a second, and the machine may be busy.
pub const STOP: Duration = Duration::from_secs(3);

const ANY_PORT: &str = "127.0.0.1:0";

/// A daemon that listens on a port of its own; dropped, it is killed.
pub struct Daemon {
    child: Child,
    config: NamedTempFile,
    stdout: Lines,
    stderr: Lines,
    pub address: SocketAddr,
}

impl Daemon {
    /// Starts it and reads what it logs. Where it listens is not for `config` to say.
    #[track_caller]
    pub fn start(config: Value) -> Self {
        Self::start_as(config, |_| {})
    }

    /// The same, with an environment of its own.
    #[track_caller]
    pub fn start_as(mut config: Value, prepare: impl FnOnce(&mut Command)) -> Self {
        complete(&mut config, ANY_PORT);
        Self::start_listening(config, prepare)
    }

    /// The same with YAML, whose monitors have an order; it ends with a new line.
    #[track_caller]
    pub fn start_yaml(config: &str) -> Self {
        let config = format!("{config}server: {{ listen: \"{ANY_PORT}\" }}\n");
        Self::start_listening(config, |_| {})
    }

    #[track_caller]
    fn start_listening(config: impl Display, prepare: impl FnOnce(&mut Command)) -> Self {
        let (mut daemon, stdout) = Self::spawn(config, prepare);
        daemon.read(stdout);
        let lines = daemon.stdout.until("it listens", |lines| {
            lines.iter().any(|line| listening_address(line).is_some())
        });
        let mut addresses = lines.iter().filter_map(|line| listening_address(line));
        daemon.address = addresses.next().expect("it was waited for");
        daemon
    }

    /// Starts it and reads no more of what it logs than where it listens.
    pub fn start_unread(mut config: Value) -> (Self, BufReader<ChildStdout>) {
        complete(&mut config, ANY_PORT);
        let (mut daemon, stdout) = Self::spawn(config, |_| {});
        let mut stdout = BufReader::new(stdout);
        let mut lines = stdout
            .by_ref()
            .lines()
            .map(|line| line.expect("a line in UTF-8"));
        let address = lines.find_map(|line| listening_address(&line));
        daemon.address = address.expect("it listens");
        (daemon, stdout)
    }

    /// Starts one that serves nothing.
    pub fn start_unserved(mut config: Value, prepare: impl FnOnce(&mut Command)) -> Self {
        complete(&mut config, "off");
        let (mut daemon, stdout) = Self::spawn(config, prepare);
        daemon.read(stdout);
        daemon
    }

    fn spawn(config: impl Display, prepare: impl FnOnce(&mut Command)) -> (Self, ChildStdout) {
        let config = config_file(config);
        let mut command = program();
        command.arg("--config").arg(config.path());
        // Tests have no time to wait for what nobody waits for.
        command.args(["--poll-interval=100ms", "--min-reload-interval=10ms"]);
        prepare(&mut command);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let stdout = child.stdout.take().expect("it was asked for");
        let stderr = Lines::of(child.stderr.take().expect("it was asked for"));
        let daemon = Self {
            child,
            config,
            stdout: Lines::default(),
            stderr,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        (daemon, stdout)
    }

    /// Gives it another configuration to read, with the same place to listen.
    pub fn rewrite(&self, mut config: Value) {
        complete(&mut config, ANY_PORT);
        fs::write(self.config.path(), config.to_string()).expect("room for a configuration");
    }

    /// Reads from now on what it logs.
    pub fn read(&mut self, stdout: impl Read + Send + 'static) {
        self.stdout = Lines::of(stdout);
    }

    /// Waits for a line with this text in it.
    #[track_caller]
    pub fn until_logged(&self, text: &str) -> String {
        let what = format!("a line with {text:?}");
        let has_text = |line: &String| line.contains(text);
        let lines = self.stdout.until(&what, |lines| lines.iter().any(has_text));
        lines
            .into_iter()
            .find(has_text)
            .expect("it has been waited for")
    }

    /// Every line of its whole life; for one that has ended.
    #[track_caller]
    pub fn whole_log(&self) -> Vec<String> {
        self.stdout.whole("standard output")
    }

    /// Everything that it wrote to standard error; for one that has ended.
    #[track_caller]
    pub fn whole_stderr(&self) -> Vec<String> {
        self.stderr.whole("standard error")
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let process = Pid::from_child(&self.child);
        kill_process(process, signal).expect("it has not been waited for");
    }

    /// Waits for its end, and tells how it ended and how long that took.
    #[track_caller]
    pub fn wait(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let status = eventually("the daemon ends", || {
            self.child.try_wait().expect("a child of this process")
        });
        (status, began.elapsed())
    }

    /// Tells it to stop, and makes sure that it does so in time and in good order.
    #[track_caller]
    pub fn stop(&mut self) {
        self.stop_by(Signal::TERM);
    }

    #[track_caller]
    pub fn stop_by(&mut self, signal: Signal) {
        self.signal(signal);
        let (status, took) = self.wait();
        assert_eq!(status.code(), Some(0), "{status}: {:?}", self.stderr.all());
        assert!(took < STOP, "it took {took:?} to stop");
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        client::get(self.address, path)
    }

    /// The parsed page of `/metrics`.
    #[track_caller]
    pub fn page(&self) -> Page {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{answer:?}");
        Page::parse(&answer.text())
    }

    /// Waits for a page that says so.
    #[track_caller]
    pub fn until_page(&self, what: &str, mut condition: impl FnMut(&Page) -> bool) -> Page {
        let began = Instant::now();
        loop {
            let page = self.page();
            if condition(&page) {
                return page;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "never: {what}; but {}",
                page.text
            );
            pause(POLL);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail for one that has been waited for only.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Adds where to listen and an interval, where there is none: a machine that is so busy that a first
/// check is too late to be run has to wait for the second.
fn complete(config: &mut Value, listen: &str) {
    if config["server"].get("listen").is_none() {
        config["server"]["listen"] = json!(listen);
    }
    if config.get("defaults").is_none() {
        config["defaults"] = json!({ "check_every": 3 });
    }
}

/// The address that a line has, in whatever format, where it is the one that tells of it.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, fields) = line.split_once("Server is listening")?;
    let (_, address) = fields.split_once("127.0.0.1:")?;
    let end = address.find(|c: char| !c.is_ascii_digit());
    let port = address[..end.unwrap_or(address.len())].parse().ok()?;
    Some(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// A file with this configuration; JSON is YAML, and needs nobody to think of indentation.
pub fn config_file(config: impl Display) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    write!(file, "{config}").expect("room for a temporary file");
    file
}

/// The lines of a stream, read by a thread of their own as they come.
#[derive(Clone, Default)]
struct Lines(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let reader = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n') {
                let Ok(line) = line else { break };
                let line = String::from_utf8(line).expect("lines are UTF-8");
                reader.lock().lines.push(line);
                reader.0.1.notify_all();
            }
            reader.lock().ended = true;
            reader.0.1.notify_all();
        });
        lines
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().expect("nothing panics with it")
    }

    fn all(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    #[track_caller]
    fn until(&self, what: &str, condition: impl Fn(&[String]) -> bool) -> Vec<String> {
        let waiting = |read: &mut State| !read.ended && !condition(&read.lines);
        let (read, _) = self
            .0
            .1
            .wait_timeout_while(self.lock(), PATIENCE, waiting)
            .expect("nothing panics with it");
        assert!(
            condition(&read.lines),
            "never: {what}; but {:#?}",
            read.lines
        );
        read.lines.clone()
    }

    #[track_caller]
    fn whole(&self, what: &str) -> Vec<String> {
        let (read, _) = self
            .0
            .1
            .wait_timeout_while(self.lock(), PATIENCE, |read| !read.ended)
            .expect("nothing panics with it");
        assert!(read.ended, "{what} stays open");
        read.lines.clone()
    }
}
