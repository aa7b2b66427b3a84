//! The yardsticks of benches/run.py that are written in Rust: requests on a schedule like the
//! daemon's, and next to nothing else. Prints how many were answered and the CPU time of each.

#![expect(clippy::print_stdout, reason = "a program whose output is its result")]

use std::{
    env,
    error::Error,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rustix::time::{ClockId, clock_gettime};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs::{
        cipher_suite::TLS13_AES_256_GCM_SHA384, default_provider, kx_group::X25519,
    },
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::TlsConnector;

const USAGE: &str = "usage: bare MODE ADDRESS RATE SECONDS WORKERS [CA_FILE]

MODE     tcp      connect, write, read to the end, close
         rustls   the same behind a full, verified TLS 1.3 handshake; needs CA_FILE
         hyper    hyper's HTTP/1 client on a connection of its own
RATE     requests a second, each second one by each of as many tasks
SECONDS  that are measured, after a second that is not
WORKERS  threads that run them";

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bare\r\nConnection: close\r\n\r\n";

/// From one request of a task to its next one.
const EVERY: Duration = Duration::from_secs(1);

/// Duration of the run before the measurement.
const WARM_UP: Duration = Duration::from_secs(1);

/// Maximum duration of a response.
const PATIENCE: Duration = Duration::from_secs(5);

type Failure = Box<dyn Error + Send + Sync>;

/// A way of making one request, and what all of them share.
enum Client {
    Tcp,
    Rustls(TlsConnector),
    Hyper,
}

impl Client {
    fn new(mode: &str, authorities: Option<&String>) -> Result<Self, Failure> {
        Ok(match mode {
            "tcp" => Self::Tcp,
            "rustls" => Self::Rustls(connector(authorities.ok_or("rustls needs CA_FILE")?)?),
            "hyper" => Self::Hyper,
            _ => return Err(USAGE.into()),
        })
    }

    /// One request and the whole of its answer.
    async fn get(&self, address: SocketAddr) -> Result<(), Failure> {
        match self {
            Self::Tcp => exchange(TcpStream::connect(address).await?).await,
            Self::Rustls(connector) => {
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                let name = ServerName::from(address.ip());
                exchange(connector.connect(name, tcp).await?).await
            }
            Self::Hyper => by_hyper(address).await,
        }
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), Failure> {
    stream.write_all(REQUEST).await?;
    let mut answer = [0; 4096];
    let mut length = 0;
    while length < answer.len() {
        match stream.read(&mut answer[length..]).await? {
            0 => break,
            read => length += read,
        }
    }
    if answer.starts_with(b"HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err("not the answer that it should be".into())
    }
}

async fn by_hyper(address: SocketAddr) -> Result<(), Failure> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await?;
    let connection = tokio::spawn(connection);
    let request = http::Request::get("/")
        .header("Host", "127.0.0.1")
        .header("User-Agent", "bare")
        .header("Connection", "close")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    response.into_body().collect().await?;
    drop(sender);
    connection.await??;
    if status == http::StatusCode::OK {
        Ok(())
    } else {
        Err(status.to_string().into())
    }
}

/// The settings that `benches/nginx.conf` accepts and no others, so that all handshakes are the same.
fn connector(authorities: &str) -> Result<TlsConnector, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&fs::read(authorities)?) {
        roots.add(certificate?)?;
    }
    let mut provider = default_provider();
    provider.cipher_suites = vec![TLS13_AES_256_GCM_SHA384];
    provider.kx_groups = vec![X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config).into())
}

/// When in each second the task with this index is due: like the daemon's, places are by a hash,
/// and not at even distances, so that timers coincide as often.
fn place(index: u64) -> Duration {
    let mut hasher = DefaultHasher::new();
    index.hash(&mut hasher);
    Duration::from_nanos(hasher.finish() % 1_000_000_000)
}

/// User and system time of all threads of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("CPU time is not negative");
    Duration::new(
        seconds,
        u32::try_from(time.tv_nsec).expect("less than a second"),
    )
}

async fn measure(client: Client, address: SocketAddr, rate: u64, span: Duration) {
    let client = Arc::new(client);
    let (done, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let start = Instant::now() + Duration::from_millis(200);
    for index in 0..rate {
        let (client, done, failed) = (client.clone(), done.clone(), failed.clone());
        // Ends with the runtime.
        tokio::spawn(async move {
            let mut due = start + place(index);
            loop {
                sleep_until(due).await;
                due += EVERY;
                match timeout(PATIENCE, client.get(address)).await {
                    Ok(Ok(())) => done.fetch_add(1, Relaxed),
                    _ => failed.fetch_add(1, Relaxed),
                };
            }
        });
    }
    sleep_until(start + WARM_UP).await;
    let (cpu, before) = (cpu_time(), done.load(Relaxed));
    sleep_until(start + WARM_UP + span).await;
    let cpu = cpu_time().saturating_sub(cpu);
    let requests = done.load(Relaxed) - before;
    println!("requests: {requests}\nfailures: {}", failed.load(Relaxed));
    if let Ok(requests) = u32::try_from(requests)
        && requests > 0
    {
        let micros = cpu.as_secs_f64() * 1e6 / f64::from(requests);
        println!("CPU µs a request: {micros:.3}");
    }
}

fn run(arguments: &[String]) -> Result<(), Failure> {
    let [mode, address, rate, seconds, workers, authorities @ ..] = arguments else {
        return Err(USAGE.into());
    };
    let address = address.parse()?;
    let client = Client::new(mode, authorities.first())?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(workers.parse::<usize>()?.max(1))
        .enable_all()
        .build()?;
    let span = Duration::from_secs(seconds.parse()?);
    runtime.block_on(measure(client, address, rate.parse()?, span));
    runtime.shutdown_background();
    Ok(())
}

fn main() -> ExitCode {
    // `cargo bench` passes `--bench`; without a server, no measurement is possible.
    let arguments: Vec<_> = env::args().skip(1).filter(|it| it != "--bench").collect();
    if arguments.is_empty() {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
