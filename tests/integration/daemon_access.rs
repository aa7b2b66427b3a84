//! Access to the server: passwords, TLS, sockets, limits.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener},
    os::{
        fd::AsRawFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::Path,
    process::Command,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use monitoringdaemon::check::{Phase, Reason};
use rustix::process::Signal;
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::time::Instant;

use crate::support::{
    client::{Answer, ask, connect, get, read_to_end},
    daemon::{Daemon, config_file},
    eventually,
    lab::Lab,
    pki::{AUTHORITY, Authority, Identity, YEARS},
    process::{program, text},
    report::{assert_failure, assert_success},
    server::Server,
};

/// Of `right`, at the least cost that there is.
const HASH: &str = "$2b$04$8H8gNpIpEJI5zUxcKk26sOaOyvQXIh.4rboC1zBi4igs5wrnOkdeW";

fn config(server: &Value) -> Value {
    let target = Server::ok();
    // Gone at once, as what is checked is of no matter here.
    let url = target.http("/");
    json!({
        "log": { "checks": "none", "format": "%(message)s" },
        "server": server,
        "monitors": { "a": { "url": url, "check_every": 0.1 } },
    })
}

fn as_user(daemon: &Daemon, path: &str, encoded: &str) -> Answer {
    let header = format!("authorization: Basic {encoded}\r\n");
    ask(daemon.address, "GET", path, &header)
}

/// `prometheus:right`, `prometheus:wrong` and `somebody:right` in base64.
const RIGHT: &str = "cHJvbWV0aGV1czpyaWdodA==";
const WRONG: &str = "cHJvbWV0aGV1czp3cm9uZw==";
const UNKNOWN: &str = "c29tZWJvZHk6cmlnaHQ=";

#[test]
fn requests_without_a_password_are_refused() {
    let users = json!({ "basic_auth_users": { "prometheus": HASH } });
    let mut daemon = Daemon::start(config(&users));
    for path in [
        "/metrics",
        "/",
        "/api/v1/events",
        "/-/healthy",
        "/-/reload",
        "/nothing",
    ] {
        for answer in [
            get(daemon.address, path),
            as_user(&daemon, path, WRONG),
            as_user(&daemon, path, UNKNOWN),
            as_user(&daemon, path, "?"),
        ] {
            assert_eq!(answer.status, 401, "{path}");
            let challenge = answer.header("www-authenticate");
            let expected = r#"Basic realm="monitoringdaemon", charset="UTF-8""#;
            assert_eq!(challenge, Some(expected));
            let text = if path.starts_with("/api/") {
                "{\"error\":\"Unauthorized\"}\n"
            } else {
                "Unauthorized\n"
            };
            assert_eq!(answer.text(), text);
        }
    }
    for _ in 0..3 {
        assert_eq!(as_user(&daemon, "/metrics", RIGHT).status, 200);
    }
    assert_eq!(as_user(&daemon, "/nothing", RIGHT).status, 404);
    assert_eq!(
        as_user(&daemon, "/metrics", WRONG).status,
        401,
        "the right one was remembered"
    );
    daemon.stop();

    let open = json!({ "basic_auth_users": { "prometheus": HASH }, "open_probes": true });
    let mut daemon = Daemon::start(config(&open));
    for (path, status) in [("/-/healthy", 200), ("/metrics", 401), ("/-/reload", 401)] {
        assert_eq!(get(daemon.address, path).status, status, "{path}");
    }
    daemon.stop();
}

#[test]
fn a_flood_of_wrong_passwords_stops_neither_checks_nor_scrapes() {
    // A tenth of a second each.
    let dear = "$2b$10$SWjGtWqHyoJ93hs/5en4IOZFFhrt5flFtpA7mDhvRRvJv9Iw4/HPm";
    let users = json!({ "basic_auth_users": { "prometheus": HASH, "other": dear } });
    let mut daemon = Daemon::start(config(&users));
    let page = |daemon: &Daemon| {
        let answer = as_user(daemon, "/metrics", RIGHT);
        assert_eq!(answer.status, 200);
        crate::support::page::Page::parse(&answer.text())
    };
    page(&daemon);
    // `other:wrong`; nobody waits for the answers.
    let flood: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = connect(daemon.address);
            let head =
                "GET /metrics HTTP/1.1\r\nhost: x\r\nauthorization: Basic b3RoZXI6d3Jvbmc=\r\n\r\n";
            stream
                .write_all(head.as_bytes())
                .expect("an open connection");
            stream
        })
        .collect();
    let before = page(&daemon).completed();
    eventually("checks go on", || {
        let page = page(&daemon);
        page.assert_slots_add_up();
        (page.completed() >= before + 10.0).then_some(())
    });
    drop(flood);
    daemon.stop();
}

#[test]
fn wrong_passwords_delay_a_right_one_by_a_few_hashes_at_most() {
    let hash = bcrypt::hash("right", 7).expect("a hash");
    let users = json!({ "basic_auth_users": { "prometheus": hash }, "open_probes": true });
    let mut daemon = Daemon::start(config(&users));
    // So long does one hash take.
    let began = Instant::now();
    assert_eq!(as_user(&daemon, "/metrics", WRONG).status, 401);
    let one = began.elapsed();
    // All of the same client and user, each another one; nobody waits for the answers.
    let flood: Vec<_> = (0..100)
        .map(|index| {
            let encoded = BASE64_STANDARD.encode(format!("prometheus:wrong {index}"));
            let mut stream = connect(daemon.address);
            let head = format!(
                "GET /metrics HTTP/1.1\r\nhost: x\r\nauthorization: Basic {encoded}\r\n\r\n"
            );
            stream
                .write_all(head.as_bytes())
                .expect("an open connection");
            stream
        })
        .collect();
    // Answered by the same thread, which has read the others' requests by then.
    for _ in 0..3 {
        assert_eq!(daemon.get("/-/healthy").status, 200);
    }
    let began = Instant::now();
    assert_eq!(as_user(&daemon, "/metrics", RIGHT).status, 200);
    let took = began.elapsed();
    assert!(took < 20 * one, "{took:?}, and one takes {one:?}");
    drop(flood);
    daemon.stop();
}

#[test]
fn wrong_passwords_of_a_user_who_has_logged_in_cost_no_hash() {
    let hash = bcrypt::hash("right", 10).expect("a hash");
    let users = json!({ "basic_auth_users": { "prometheus": hash }, "open_probes": true });
    let mut daemon = Daemon::start(config(&users));
    let began = Instant::now();
    assert_eq!(as_user(&daemon, "/metrics", RIGHT).status, 200);
    let one = began.elapsed();
    let began = Instant::now();
    let flood: Vec<_> = (0..50)
        .map(|index| {
            let encoded = BASE64_STANDARD.encode(format!("prometheus:wrong {index}"));
            let head = format!(
                "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Basic {encoded}\r\n\r\n"
            );
            let mut stream = connect(daemon.address);
            stream.write_all(head.as_bytes()).expect("an open connection");
            stream
        })
        .collect();
    assert_eq!(as_user(&daemon, "/metrics", RIGHT).status, 200);
    for mut stream in flood {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
    let took = began.elapsed();
    assert!(
        took < 20 * one,
        "{took:?} for 50 passwords, and one hash takes {one:?}"
    );
    daemon.stop();
}

#[test]
fn requests_need_one_host_and_responses_have_nosniff() {
    let mut daemon = Daemon::start(config(&json!({})));
    let send = |head: &str| {
        let mut stream = connect(daemon.address);
        stream
            .write_all(format!("GET {head}\r\n\r\n").as_bytes())
            .expect("an open connection");
        Answer::parse(&read_to_end(&mut stream).expect("an answer"))
    };
    for (head, status) in [
        ("/metrics HTTP/1.0", 200),
        ("/metrics HTTP/1.1\r\nhost: a\r\nconnection: close", 200),
        ("/metrics HTTP/1.1\r\nconnection: close", 400),
        (
            "/metrics HTTP/1.1\r\nhost: a\r\nhost: a\r\nconnection: close",
            400,
        ),
        ("/metrics HTTP/1.1\r\nhost: a b\r\nconnection: close", 400),
        ("/nothing HTTP/1.0", 404),
        ("/-/healthy HTTP/1.0", 200),
        ("/-/reload HTTP/1.0", 405),
    ] {
        let answer = send(head);
        assert_eq!(answer.status, status, "{head}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    daemon.stop();
}

#[test]
fn a_connection_with_a_response_in_progress_is_not_idle() {
    let monitors = (0..300).map(|index| (format!("monitor {index}"), json!({
        "url": "http://127.0.0.1:1/", "check_every": "1h", "labels": { "a": "x".repeat(1000) },
    })));
    let monitors: serde_json::Map<_, _> = monitors.collect();
    let mut daemon = Daemon::start(json!({
        "log": { "checks": "none" },
        "server": { "max_connections": 3 },
        "monitors": monitors,
    }));
    let size = daemon.get("/metrics").body.len();
    let mut slow = connect(daemon.address);
    let _ = SockRef::from(&slow).set_recv_buffer_size(4096);
    slow.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
        .expect("an open connection");
    let mut first = [0; 1];
    slow.read_exact(&mut first).expect("the answer begins");
    let mut idle: Vec<_> = (0..8)
        .map(|_| {
            let stream = connect(daemon.address);
            assert_eq!(daemon.get("/-/healthy").status, 200);
            stream
        })
        .collect();
    let rest = read_to_end(&mut slow).expect("the rest of the answer");
    assert!(rest.len() >= size, "{} of {size} bytes", rest.len());
    let mut rest = Vec::new();
    let ended = idle[0].read_to_end(&mut rest);
    assert!(matches!(ended, Ok(0)) || ended.is_err(), "{ended:?}");
    daemon.stop();
}

#[test]
fn idle_clients_leave_checks_their_descriptors() {
    let target = Server::ok();
    let url = target.http("/");
    let daemon = Daemon::start_as(
        json!({
            "log": { "checks": "none", "format": "%(message)s" },
            "monitors": { "a": { "url": url, "check_every": 0.1 } },
        }),
        |command| {
            let mut shell = Command::new("sh");
            shell
                .args(["-c", "ulimit -n 100 && exec \"$0\" \"$@\""])
                .arg(command.get_program())
                .args(command.get_args())
                .env_remove("RUST_LOG");
            *command = shell;
        },
    );
    daemon.until_logged(
        "RLIMIT_NOFILE is too low for the configured limits, which are lowered limit=100 \
         max_concurrent_checks=25 max_concurrent_probes=0 max_connections=17",
    );
    let _idle: Vec<_> = (0..150).map(|_| connect(daemon.address)).collect();
    let before = daemon.page().completed();
    let page = daemon.until_page("checks go on", |page| page.completed() >= before + 10.0);
    // A busy machine may make a check late; what the clients could make it is a failure of the daemon.
    let failures = page.sum("monitor_check_failures_total", &[("reason", "agent_error")]);
    assert!(failures < 0.5, "{failures}");
}

/// Certificates in files of their own.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn write(&self, name: &str, contents: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, contents).expect("room for it");
        path.display().to_string()
    }

    fn tls(&self, identity: &Identity) -> Value {
        json!({
            "cert_file": self.write("cert.pem", &identity.certificate_pem),
            "key_file": self.write("key.pem", &identity.key_pem()),
        })
    }
}

fn healthy(daemon: &Daemon, tls: &Value) -> Value {
    json!({ "url": format!("https://{}/-/healthy", daemon.address), "tls_config": tls })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_certificate_is_reloaded() {
    let folder = Folder::new();
    let first = AUTHORITY.issue(&["127.0.0.1"], YEARS);
    let tls = folder.tls(&first);
    let mut daemon = Daemon::start(config(&json!({ "tls": tls })));
    let report = Lab::new().check(healthy(&daemon, &json!({}))).await;
    assert_success(&report);
    // Who does not speak TLS is not answered, and holds nothing up.
    let _silent: Vec<_> = (0..300).map(|_| connect(daemon.address)).collect();
    assert_success(&Lab::new().check(healthy(&daemon, &json!({}))).await);

    let other = Authority::new("another root");
    let trusting = json!({ "ca": other.pem() });
    let report = Lab::new().check(healthy(&daemon, &trusting)).await;
    assert_failure(&report, Phase::Tls, Reason::TlsUntrusted);
    folder.write("cert.pem", "half of a certif");
    daemon.until_logged("Failed to reload server certificate; keeping the previous one");
    assert_success(&Lab::new().check(healthy(&daemon, &json!({}))).await);
    folder.tls(&other.issue(&["127.0.0.1"], YEARS));
    daemon.until_logged("Server certificate reloaded");
    assert_success(&Lab::new().check(healthy(&daemon, &trusting)).await);
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificates_can_be_required() {
    let folder = Folder::new();
    let clients = Authority::new("clients");
    let client = clients.issue(&["client.test"], YEARS);
    let stranger = AUTHORITY.issue(&["client.test"], YEARS);
    let of = |client: &Identity| json!({ "cert": client.certificate_pem, "key": client.key_pem() });
    for (kind, without) in [
        ("RequireAndVerifyClientCert", false),
        ("VerifyClientCertIfGiven", true),
    ] {
        let mut tls = folder.tls(&AUTHORITY.issue(&["127.0.0.1"], YEARS));
        tls["client_ca_file"] = json!(folder.write("clients.pem", &clients.pem()));
        tls["client_auth_type"] = json!(kind);
        let mut daemon = Daemon::start(config(&json!({ "tls": tls })));
        assert_success(&Lab::new().check(healthy(&daemon, &of(&client))).await);
        let report = Lab::new().check(healthy(&daemon, &of(&stranger))).await;
        assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
        let report = Lab::new().check(healthy(&daemon, &json!({}))).await;
        assert_eq!(report.failure.is_none(), without, "{report:#?}");
        daemon.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_can_be_in_client_ca_file() {
    let folder = Folder::new();
    let own = Identity::self_signed(&["client.test"]);
    let expired = Identity::self_signed_authority(&["client.test"], 2020..2021);
    let stranger = Identity::self_signed(&["client.test"]);
    let pem = format!("{}{}", own.certificate_pem, expired.certificate_pem);
    let mut tls = folder.tls(&AUTHORITY.issue(&["127.0.0.1"], YEARS));
    tls["client_ca_file"] = json!(folder.write("clients.pem", &pem));
    tls["client_auth_type"] = json!("RequireAndVerifyClientCert");
    let mut daemon = Daemon::start(config(&json!({ "tls": tls })));
    let of = |client: &Identity| json!({ "cert": client.certificate_pem, "key": client.key_pem() });
    assert_success(&Lab::new().check(healthy(&daemon, &of(&own))).await);
    for refused in [&expired, &stranger] {
        let report = Lab::new().check(healthy(&daemon, &of(refused))).await;
        assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
    }
    daemon.stop();
}

fn ask_over(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).expect("somebody listens");
    let head = "GET /-/healthy HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream
        .write_all(head.as_bytes())
        .expect("an open connection");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The exit code and the message of `healthcheck` with these arguments.
fn healthcheck(arguments: &[&str]) -> (Option<i32>, String) {
    let output = program().arg("healthcheck").args(arguments).output();
    let output = output.expect("the program can be started");
    (output.status.code(), text(&output))
}

#[test]
fn healthcheck_asks_the_daemon_of_the_configuration() {
    let folder = Folder::new();
    let socket = format!("unix:{}", folder.0.path().join("socket").display());
    let tls = folder.tls(&AUTHORITY.issue(&["daemon.test"], YEARS));
    let users = json!({ "prometheus": HASH });
    for (name, server, over_tls) in [
        (
            "a unix socket",
            json!({ "listen": [socket, "127.0.0.1:0"] }),
            false,
        ),
        ("a password", json!({ "basic_auth_users": users }), false),
        ("TLS", json!({ "tls": tls }), true),
    ] {
        let mut daemon = Daemon::start(config(&server));
        let scheme = if over_tls { "https" } else { "http" };
        let url = format!("{scheme}://{}", daemon.address);
        let mut server = server;
        if server.get("listen").is_none() {
            server["listen"] = json!(daemon.address.to_string());
        }
        // Problems elsewhere do not matter: the daemon has read the file before it was broken.
        let file = config_file(json!({ "server": server, "monitors": { "a": { "urk": 1 } } }));
        let path = file.path().to_str().expect("a path is text");
        assert_eq!(
            healthcheck(&["--config", path]),
            (Some(0), String::new()),
            "{name}"
        );
        let (code, message) = healthcheck(&[&url]);
        let expected = match name {
            "a unix socket" => "",
            "a password" => "/-/healthy: HTTP 401, expected 200",
            _ => "/-/healthy: the certificate's issuer is not trusted",
        };
        assert_eq!(
            code,
            Some(i32::from(!expected.is_empty())),
            "{name}: {message}"
        );
        assert!(message.contains(expected), "{name}: {message}");
        daemon.stop();
        let (code, message) = healthcheck(&["--config", path]);
        assert_eq!(code, Some(1), "{name}");
        let asked = match name {
            "a unix socket" => socket.clone(),
            _ => format!("{url}/-/healthy"),
        };
        let begin = format!("monitoringdaemon: {asked}: ");
        assert!(message.starts_with(&begin), "{name}: {message}");
    }
}

#[test]
fn a_port_without_an_address_is_open_to_both_families() {
    let mut daemon = Daemon::start(config(&json!({ "listen": ["127.0.0.1:0", ":0"] })));
    let line = daemon.until_logged("Server is listening address=[::]:");
    let (_, port) = line.rsplit_once(':').expect("a port");
    let port: u16 = port.parse().expect("a port");
    for address in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ] {
        assert_eq!(
            get((address, port).into(), "/-/healthy").status,
            200,
            "{address}"
        );
    }
    daemon.stop();
}

#[test]
fn it_listens_on_every_configured_address() {
    let folder = Folder::new();
    let path = folder.0.path().join("socket");
    // One that nobody listens on any more is no obstacle.
    drop(UnixListener::bind(&path).expect("a socket"));
    let unix = format!("unix:{}", path.display());
    let listen = json!({ "listen": ["127.0.0.1:0", unix, "127.0.0.1:0"] });
    let mut daemon = Daemon::start(config(&listen));
    daemon.until_logged(&format!("Server is listening address={unix}"));
    assert!(ask_over(&path).ends_with("healthy\n"));
    assert_eq!(get(daemon.address, "/-/healthy").status, 200);

    let taken = |address: &str| {
        let file = config_file(config(&json!({ "listen": [address] })));
        let output = program().arg("--config").arg(file.path()).output();
        let output = output.expect("the program can be started");
        assert_eq!(output.status.code(), Some(1));
        text(&output)
    };
    assert!(taken(&unix).contains(&format!(
        "failed to listen on {unix}: another process listens there"
    )));
    let file = folder.write("file", "precious");
    assert!(
        taken(&format!("unix:{file}")).contains("the path is taken by a file that is not a socket")
    );
    assert_eq!(fs::read_to_string(file).expect("it is there"), "precious");
    assert!(taken("systemd").contains("the process was started without sockets"));
    daemon.stop();
    assert!(!path.exists(), "it goes with the daemon");
    let log = daemon.whole_log();
    let lines = log
        .iter()
        .filter(|line| line.starts_with("Server is listening "));
    assert_eq!(lines.count(), 3);
}

#[test]
fn socket_activation_and_readiness_notification_work() {
    let folder = Folder::new();
    let notified = folder.0.path().join("notify");
    let manager = UnixDatagram::bind(&notified).expect("a socket");
    manager
        .set_read_timeout(Some(crate::support::PATIENCE))
        .expect("a timeout above zero");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let file = config_file(config(&json!({ "listen": "systemd" })));
    // sd_listen_fds(3): descriptor 3, of the process that LISTEN_PID names.
    let script = "exec 3<&$0; exec env LISTEN_PID=$$ LISTEN_FDS=1 \"$@\"";
    let descriptor = listener.as_raw_fd().to_string();
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).expect("it is open");
    let mut child = Command::new("bash")
        .args([
            "-c",
            script,
            &descriptor,
            program().get_program().to_str().expect("a path"),
        ])
        .arg("--config")
        .arg(file.path())
        .env("NOTIFY_SOCKET", &notified)
        .spawn()
        .expect("bash, as a plain shell may know no descriptors beyond 9");
    let told = |manager: &UnixDatagram| {
        let mut buffer = [0; 100];
        let length = manager.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    assert_eq!(told(&manager), "READY=1");
    assert_eq!(get(address, "/-/ready").status, 200);
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, Signal::TERM).expect("it runs");
    assert_eq!(told(&manager), "STOPPING=1");
    assert_eq!(child.wait().expect("a child").code(), Some(0));
}

#[test]
fn requests_and_connections_have_limits() {
    let limits = json!({ "max_requests_per_second": 5, "max_connections": 3 });
    let mut daemon = Daemon::start(config(&limits));
    let answers: Vec<_> = (0..200).map(|_| daemon.get("/metrics")).collect();
    let refused: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 429)
        .collect();
    assert!(!refused.is_empty());
    assert!(refused.len() < answers.len());
    assert_eq!(refused[0].header("retry-after"), Some("1"));
    assert_eq!(
        daemon.get("/-/healthy").status,
        200,
        "whoever asks whether it lives is told"
    );
    let mut idle: Vec<_> = (0..4).map(|_| connect(daemon.address)).collect();
    assert_eq!(daemon.get("/-/healthy").status, 200);
    // The one that was idle for longest made room.
    let mut rest = Vec::new();
    let ended = idle[0].read_to_end(&mut rest);
    assert!(matches!(ended, Ok(0)) || ended.is_err(), "{ended:?}");
    daemon.stop();
}
