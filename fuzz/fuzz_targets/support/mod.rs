//! Checks with a peer whose words come from the fuzzer, and what is asserted of every check and every message.

// Each target uses a part of it.
#![allow(dead_code)]

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    pin::pin,
    sync::{Arc, LazyLock, Mutex},
    task::Poll,
    thread,
    time::Duration,
};

use monitoringdaemon::{
    check::{Job, Reason, Report},
    config::{self, Config},
    net::Net,
};
use rcgen::{CertificateParams, KeyPair};
use rustix::time::{ClockId, clock_gettime};
use rustls::{
    ServerConfig, ServerConnection, Stream,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tempfile::{NamedTempFile, TempDir};
use tokio::runtime::{Builder, Runtime};

/// The text that no error may repeat: every monitor sends it where it can, and the corpus has peers that send it.
pub const SECRET: &str = "hunter2secret";

/// The same as user and password in Basic authentication.
const BASIC: &str = "aHVudGVyMnNlY3JldDpodW50ZXIyc2VjcmV0";

/// Stands in a script for what the peer has heard.
const HEARD: &[u8] = b"<heard>";

/// The longest error, in bytes.
const MAX_ERROR: usize = 512;

/// The longest time that a check may keep its thread, in CPU time: 10 ms, and what the coverage costs.
const MAX_POLL: Duration = Duration::from_millis(100);

/// The bytes that the peer sends over the next connection.
#[derive(Clone, Default)]
pub struct Script {
    pub bytes: Vec<u8>,
    /// True if requests begin with a length of two bytes, as in DNS over TCP, and an id of two bytes to repeat.
    pub is_dns: bool,
}

static SCRIPT: Mutex<Script> = Mutex::new(Script {
    bytes: Vec::new(),
    is_dns: false,
});

/// The peer: a port that speaks plain TCP, one that speaks TLS, and the files that monitors need to trust it.
pub struct Peer {
    plain: SocketAddr,
    tls: SocketAddr,
    files: TempDir,
}

pub static PEER: LazyLock<Peer> = LazyLock::new(Peer::start);

impl Peer {
    fn start() -> Self {
        let files = tempfile::tempdir().expect("a temporary folder");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs_write(&files, "ca.pem", &certificate.pem());
        fs_write(&files, "secret", SECRET);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("they fit together");
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let server = Arc::new(server);
        let plain = listen(serve);
        let tls = listen(move |connection| {
            let Ok(mut session) = ServerConnection::new(server.clone()) else {
                return;
            };
            let mut connection = connection;
            if session.complete_io(&mut connection).is_ok() {
                serve(Stream::new(&mut session, &mut connection));
                session.send_close_notify();
                let _ = session.write_tls(&mut connection);
            }
        });
        Self { plain, tls, files }
    }

    /// The configuration `text`, with the peer's addresses for `PLAIN` and `TLS`, and its files for `FILES`.
    pub fn config(&self, text: &str) -> Result<Config, String> {
        let text = text
            .replace("PLAIN", &self.plain.to_string())
            .replace("TLS", &self.tls.to_string())
            .replace("FILES", &self.files.path().display().to_string());
        let file = written(text.as_bytes());
        config::read(file.path()).map_err(|invalid| invalid.to_string())
    }
}

fn fs_write(folder: &TempDir, name: &str, text: &str) {
    std::fs::write(Path::join(folder.path(), name), text).expect("room for it");
}

fn listen(serve: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let _ = connection.set_read_timeout(Some(Duration::from_millis(100)));
            let _ = connection.set_write_timeout(Some(Duration::from_secs(2)));
            serve(connection);
        }
    });
    address
}

/// Says what is in the script, and hears the client out, so that a reset loses nothing of it.
fn serve(mut connection: impl Read + Write) {
    let script = SCRIPT.lock().expect("nobody panics with it").clone();
    if script.is_dns {
        let mut query = [0; 4];
        if connection.read_exact(&mut query).is_err() {
            return;
        }
        let length = u16::try_from(script.bytes.len() + 2).unwrap_or(u16::MAX);
        let _ = connection.write_all(&length.to_be_bytes());
        let _ = connection.write_all(&query[2..]);
    }
    let mut heard = [0; 4096];
    if let Some(at) = position(&script.bytes, HEARD) {
        let length = connection.read(&mut heard).unwrap_or_default();
        let after = &script.bytes[at + HEARD.len()..];
        let _ = connection.write_all(&[&script.bytes[..at], &heard[..length], after].concat());
    } else {
        let _ = connection.write_all(&script.bytes);
    }
    let _ = connection.flush();
    // Until the client has closed, or has nothing to say for a while.
    while connection.read(&mut heard).is_ok_and(|length| length > 0) {}
}

fn position(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// A runtime with one thread, as checks have it.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime")
});

/// The monitors of `config`, bound to the system's network.
pub fn jobs(config: &Config) -> Vec<Job> {
    let net = Net::system();
    let monitors = config.monitors.iter().map(|monitor| {
        let mut job = monitor.settings.bind(&monitor.name, &net);
        job.timeout = monitor.timeout;
        job
    });
    monitors.collect()
}

/// Checks `job` against a peer that says `script`, and asserts what holds of every check.
pub fn check(job: &Job, script: Script) -> Report {
    *SCRIPT.lock().expect("nobody panics with it") = script;
    let mut longest = Duration::ZERO;
    let report = RUNTIME.block_on(async {
        let mut check = pin!(job.check_once());
        std::future::poll_fn(|context| {
            let start = cpu_time();
            let polled = check.as_mut().poll(context);
            longest = longest.max(cpu_time() - start);
            match polled {
                Poll::Ready(report) => Poll::Ready(report),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    });
    assert!(longest < MAX_POLL, "the thread was kept for {longest:?}");
    if let Some(failure) = &report.failure {
        let mut shown = String::new();
        write!(shown, "{failure:?}").expect("a String takes all");
        assert!(failure.reason != Reason::AgentError, "{shown}");
        assert!(
            failure.error.len() <= MAX_ERROR,
            "{} bytes",
            failure.error.len()
        );
        assert!(!failure.error.contains(SECRET), "a secret: {shown}");
        assert!(!failure.error.contains(BASIC), "a secret: {shown}");
        assert!(
            !failure.error.contains(char::is_control),
            "a control character: {shown}"
        );
    }
    let sum: Duration = report.phases.iter().map(|(_, spent)| *spent).sum();
    assert!(sum <= report.duration, "phases overlap: {report:?}");
    report
}

/// A file with `text`.
pub fn written(text: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(text).expect("room for it");
    file
}

/// Asserts that `message` says something and has no control character.
pub fn assert_readable(message: &str) {
    assert!(!message.is_empty(), "no message");
    let is_control = |c: char| c.is_control() && c != '\n';
    assert!(!message.contains(is_control), "{message:?}");
}

/// CPU time of this thread, which does not grow while others run.
pub fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}
