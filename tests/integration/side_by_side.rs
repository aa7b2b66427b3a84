//! `/probe` beside the real blackbox_exporter, on the same targets: the same families, labels and values.
//!
//! It is Debian's, or the one that `BLACKBOX_EXPORTER` names.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use hickory_proto::op::ResponseCode;
use serde_json::{Value, json};
use tempfile::TempDir;

#[cfg(feature = "http3")]
use crate::support::http3::{HANDSHAKE, Http3Server};
use crate::support::{
    client::get,
    daemon::Daemon,
    eventually,
    nameserver::{Act, NameServer},
    pki::{AUTHORITY, Identity, YEARS},
    process::helper,
    server::{Closed, Frame, Server, Step, ok, redirect, response},
};

/// Families that blackbox_exporter has not.
const OURS: [&str; 2] = ["probe_failure_info", "probe_timeout_seconds"];

/// Families and labels that versions before 0.28, such as Debian's, have not, and those that they have in more
/// cases.
const NEWER: [&str; 3] = [
    "probe_failed_due_to_bytes",
    "probe_failed_due_to_cel",
    "probe_tls_cipher_info",
];
const NEWER_LABEL: &str = "serialnumber";
const EXPIRY: &str = "probe_ssl_earliest_cert_expiry";
const NOT_ALWAYS: &str = "probe_failed_due_to_regex";

/// Words of families whose values differ from one probe to the next.
const VOLATILE: [&str; 2] = ["duration", "lookup_time"];

struct BlackboxExporter {
    server: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl BlackboxExporter {
    fn start(program: &str, modules: &Value) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("blackbox.yml");
        std::fs::write(&file, json!({ "modules": modules }).to_string()).expect("room");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback");
        let address = free.local_addr().expect("a bound socket");
        drop(free);
        let mut config = std::ffi::OsString::from("--config.file=");
        config.push(&file);
        let server = Command::new(program)
            .arg(config)
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it was just started");
        eventually("blackbox_exporter listens", || {
            TcpStream::connect(address).ok()
        });
        Self {
            server,
            address,
            _directory: directory,
        }
    }
}

/// Returns true if `program` is older than 0.28, the version that `/probe` follows.
fn is_older(program: &str) -> bool {
    let version = Command::new(program).arg("--version").output();
    let version = version.expect("it can be started");
    let version = [version.stdout, version.stderr].concat();
    let version = String::from_utf8_lossy(&version);
    (0..28).any(|minor| version.contains(&format!("version 0.{minor}.")))
}

impl Drop for BlackboxExporter {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The lines that must be the same, of a page of a probe.
fn comparable(page: &str, is_older: bool) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    // Older versions say so of gRPC.
    let is_without_certificate = page.contains(&format!("\n{EXPIRY} 0\n"));
    for line in page.lines() {
        let line = match line.strip_prefix("# ") {
            Some(rest) => rest.split_once(' ').expect("a name").1,
            None => line,
        };
        let name = line.split(['{', ' ']).next().expect("a name");
        if OURS.contains(&name) || is_older && (NEWER.contains(&name) || name == NOT_ALWAYS) {
            continue;
        }
        if is_older && is_without_certificate && name == EXPIRY {
            continue;
        }
        if page.contains(&format!("# HELP {line}\n")) || page.contains(&format!("# TYPE {line}\n"))
        {
            lines.insert(format!("# {line}"));
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let mut series = series.to_owned();
        if is_older && let Some(at) = series.find(&format!("{NEWER_LABEL}=")) {
            let end = series[at..].find("\",").map(|end| at + end + 2);
            series.replace_range(at..end.expect("more labels"), "");
        }
        // Which suite is preferred is a matter of the library, and of the processor.
        if let Some((name, _)) = series.split_once("{cipher=") {
            series.truncate(name.len());
        }
        if VOLATILE.iter().any(|word| name.contains(word)) {
            lines.insert(series);
        } else {
            let value: f64 = value.parse().expect("a number");
            lines.insert(format!("{series} {value}"));
        }
    }
    lines
}

/// The modules of the cases, and their targets.
struct Cases {
    modules: BTreeMap<String, Value>,
    targets: Vec<(String, String)>,
}

impl Cases {
    /// Adds a probe of `target` by `prober` with these keys.
    #[expect(clippy::needless_pass_by_value, reason = "shorter where it is called")]
    fn add(&mut self, name: &str, prober: &str, mut keys: Value, target: impl ToString) {
        if prober != "unix" && keys.get("preferred_ip_protocol").is_none() {
            keys["preferred_ip_protocol"] = json!("ip4");
        }
        let module = json!({ "prober": prober, "timeout": "5s", prober: keys });
        self.modules.insert(name.to_owned(), module);
        self.targets.push((name.to_owned(), target.to_string()));
    }
}

/// Adds probes over HTTP/3, and returns their servers.
#[cfg(feature = "http3")]
fn add_http3(cases: &mut Cases, trusted: &Value) -> [Http3Server; 2] {
    let identity = AUTHORITY.issue(&["127.0.0.1"], YEARS);
    let server = Http3Server::answering(HANDSHAKE.step(&identity), |received| {
        let missing = received.head.uri().path() == "/missing";
        let response = http::Response::builder().status(if missing { 404 } else { 200 });
        let response = response.header("content-length", "5");
        response.body("hello").expect("a response")
    });
    let unknown = Identity::self_signed(&["127.0.0.1"]);
    let untrusted =
        Http3Server::answering(HANDSHAKE.step(&unknown), |_| http::Response::new("hello"));
    let mut keys = trusted.clone();
    keys["enable_http2"] = json!(false);
    keys["enable_http3"] = json!(true);
    keys["valid_http_versions"] = json!(["HTTP/3.0"]);
    let plain = server.url("/").replace("https", "http");
    cases.add("http3", "http", keys.clone(), server.url("/"));
    cases.add(
        "http3 missing",
        "http",
        keys.clone(),
        server.url("/missing"),
    );
    cases.add("http3 by an http URL", "http", keys.clone(), plain);
    cases.add("http3 untrusted", "http", keys.clone(), untrusted.url("/"));
    keys["fail_if_body_matches_regexp"] = json!(["hello"]);
    cases.add("http3 body", "http", keys, server.url("/"));
    [server, untrusted]
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn grpc(frames: Vec<Frame>) -> Server {
    Server::start([Step::Http2(frames)])
}

fn grpc_answer(body: &'static [u8], code: &str) -> Vec<Frame> {
    let kind = ("content-type", "application/grpc".to_owned());
    vec![
        Frame::HeadWith(200, vec![kind]),
        Frame::Data(body.into()),
        Frame::Trailers(vec![("grpc-status", code.to_owned())]),
    ]
}

#[expect(clippy::too_many_lines, reason = "a list of cases")]
#[tokio::test(flavor = "multi_thread")]
async fn families_labels_and_values_are_those_of_blackbox_exporter() {
    let program = env::var("BLACKBOX_EXPORTER").ok().map(|path| &*path.leak());
    let Some(program) = program.or_else(|| helper("prometheus-blackbox-exporter")) else {
        return;
    };
    let is_older = is_older(program);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, AUTHORITY.pem()).expect("room");
    let trusted = json!({ "tls_config": { "ca_file": ca } });
    let with = |base: &Value, more: Value| {
        let mut all = base.clone();
        for (key, value) in more.as_object().expect("an object") {
            all[key] = value.clone();
        }
        all
    };
    let mut cases = Cases {
        modules: BTreeMap::new(),
        targets: Vec::new(),
    };

    let page = |request: &crate::support::server::Request| match &*request.target {
        "/missing" => response("404 Not Found", &["x-kind: none"], "nothing here"),
        "/old" => redirect(302, "/"),
        "/loop" => redirect(302, "/loop"),
        "/empty" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        "/until-close" => "HTTP/1.0 200 OK\r\n\r\nuntil the end".to_owned(),
        "/chunked" => {
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                .to_owned()
        }
        "/json" => ok(r#"{"state": "green"}"#),
        _ => response(
            "200 OK",
            &[
                "last-modified: Wed, 21 Oct 2015 07:28:00 GMT",
                "x-kind: page",
            ],
            "all is well",
        ),
    };
    let http = Server::answering(page);
    let plain = json!({});
    for path in ["/", "/missing", "/old", "/loop", "/empty", "/chunked"] {
        let name = format!("http {path}");
        cases.add(&name, "http", plain.clone(), http.http(path));
    }
    let bare = http.address.to_string();
    cases.add("http without a scheme", "http", plain.clone(), bare);
    cases.add(
        "http by name",
        "http",
        plain.clone(),
        http.named("http", "localhost", "/"),
    );
    for (name, keys, path) in [
        (
            "body matches",
            json!({ "fail_if_body_not_matches_regexp": ["all is"] }),
            "/",
        ),
        (
            "body does not match",
            json!({ "fail_if_body_not_matches_regexp": ["down"] }),
            "/",
        ),
        (
            "body must not match",
            json!({ "fail_if_body_matches_regexp": ["well"] }),
            "/",
        ),
        (
            "header matches",
            json!({ "fail_if_header_matches": [{ "header": "X-Kind", "regexp": "page" }] }),
            "/",
        ),
        (
            "header is missing",
            json!({ "fail_if_header_not_matches": [{ "header": "X-None", "regexp": "." }] }),
            "/",
        ),
        (
            "status is valid",
            json!({ "valid_status_codes": [404] }),
            "/missing",
        ),
        (
            "status is invalid",
            json!({ "valid_status_codes": [200] }),
            "/missing",
        ),
        (
            "version is invalid",
            json!({ "valid_http_versions": ["HTTP/2.0"] }),
            "/",
        ),
        ("tls is missing", json!({ "fail_if_not_ssl": true }), "/"),
        ("body is too large", json!({ "body_size_limit": "5B" }), "/"),
        ("body is not gzip", json!({ "compression": "gzip" }), "/"),
        ("head", json!({ "method": "HEAD" }), "/"),
    ] {
        cases.add(name, "http", keys, http.http(path));
    }
    let closed = Closed::new();
    cases.add(
        "http refused",
        "http",
        plain.clone(),
        format!("http://{}/", closed.address),
    );
    cases.add(
        "http unknown name",
        "http",
        plain.clone(),
        "http://name.invalid/",
    );
    let ip6_only = json!({ "preferred_ip_protocol": "ip6", "ip_protocol_fallback": false });
    cases.add("http wrong family", "http", ip6_only, http.http("/"));
    let silent = Server::start([Step::Reset]);
    cases.add("http reset", "http", plain.clone(), silent.http("/"));

    let identity = AUTHORITY.issue(&["127.0.0.1", "localhost", "service.test"], YEARS);
    let answer = || Step::answer(|_| ok("over tls"));
    let https = Server::start([identity.tls(), answer()]);
    let unknown = Identity::self_signed(&["127.0.0.1"]);
    let self_signed = Server::start([unknown.tls(), answer()]);
    cases.add("https", "http", trusted.clone(), https.https("/"));
    let by_name = https.named("https", "localhost", "/");
    cases.add("https by name", "http", trusted.clone(), by_name);
    cases.add(
        "https untrusted",
        "http",
        plain.clone(),
        self_signed.https("/"),
    );
    cases.add(
        "https is forbidden",
        "http",
        with(&trusted, json!({ "fail_if_ssl": true })),
        https.https("/"),
    );

    #[cfg(feature = "http3")]
    let _over_quic = (!is_older).then(|| add_http3(&mut cases, &trusted));

    let tcp = Server::start([Step::send("220 mail.test ESMTP ready\r\n"), Step::Hang]);
    let steps = |steps: Value| json!({ "query_response": steps });
    cases.add("tcp", "tcp", plain.clone(), tcp.address);
    cases.add("tcp refused", "tcp", plain.clone(), closed.address);
    cases.add("tcp without a port", "tcp", plain.clone(), "127.0.0.1");
    if !is_older {
        cases.add(
        "tcp labels",
        "tcp",
        steps(json!([{
            "expect": "^220 ([^ ]+) ESMTP (.+)$",
            "labels": [{ "name": "host", "value": "${1}" }, { "name": "about", "value": "${2}" }],
        }])),
        tcp.address,
    );
    }
    let brief = Server::start([Step::send("500 no\r\n")]);
    cases.add(
        "tcp mismatch",
        "tcp",
        steps(json!([{ "expect": "^220" }])),
        brief.address,
    );
    let tls = Server::start([identity.tls(), Step::Hang]);
    let over_tls = with(&trusted, json!({ "tls": true }));
    cases.add("tcp tls", "tcp", over_tls.clone(), tls.address);
    let verified = json!({ "tls": true });
    cases.add("tcp tls untrusted", "tcp", verified, self_signed.address);
    let upgrading = Server::start([
        Step::send("220 ready\r\n"),
        Step::hear("STARTTLS\r\n"),
        Step::send("220 go on\r\n"),
        identity.tls(),
        Step::Hang,
    ]);
    let dialogue = json!([
        { "expect": "^220" },
        { "send": "STARTTLS\r" },
        { "expect": "^220" },
        { "starttls": true },
    ]);
    cases.add(
        "tcp starttls",
        "tcp",
        with(&trusted, steps(dialogue)),
        upgrading.address,
    );

    let name_server = NameServer::start(|asked| {
        let name = asked.message.queries[0].name().to_string();
        vec![Act::Send(if name.starts_with("broken") {
            asked.code(ResponseCode::ServFail)
        } else {
            asked.good()
        })]
    });
    let query = |name: &str, kind: &str| json!({ "query_name": name, "query_type": kind });
    cases.add("dns", "dns", query("www.test", "A"), name_server.address);
    cases.add(
        "dns soa",
        "dns",
        query("www.test", "SOA"),
        name_server.address,
    );
    cases.add(
        "dns servfail",
        "dns",
        query("broken.test", "A"),
        name_server.address,
    );
    let over_tcp = with(
        &query("www.test", "A"),
        json!({ "transport_protocol": "tcp" }),
    );
    cases.add("dns over tcp", "dns", over_tcp, name_server.address);
    let rules = |key: &str| {
        let rules = json!({ "validate_answer_rrs": { key: ["nothing"] } });
        with(&query("www.test", "A"), rules)
    };
    for key in [
        "fail_if_all_match_regexp",
        "fail_if_none_matches_regexp",
        "fail_if_matches_regexp",
    ] {
        cases.add(
            &format!("dns {key}"),
            "dns",
            rules(key),
            name_server.address,
        );
    }
    cases.add("dns refused", "dns", query("www.test", "A"), closed.address);

    cases.add("icmp", "icmp", plain.clone(), "127.0.0.1");
    cases.add("icmp unknown name", "icmp", plain.clone(), "name.invalid");

    let serving = grpc(grpc_answer(b"\0\0\0\0\x02\x08\x01", "0"));
    let not_serving = grpc(grpc_answer(b"\0\0\0\0\x02\x08\x02", "0"));
    let unknown_service = grpc(grpc_answer(b"", "5"));
    cases.add("grpc", "grpc", plain.clone(), serving.address);
    cases.add(
        "grpc not serving",
        "grpc",
        plain.clone(),
        not_serving.address,
    );
    cases.add(
        "grpc not found",
        "grpc",
        plain.clone(),
        unknown_service.address,
    );
    cases.add("grpc refused", "grpc", plain.clone(), closed.address);
    let grpc_tls = Server::start([
        identity.tls_h2(),
        Step::Http2(grpc_answer(b"\0\0\0\0\x02\x08\x01", "0")),
    ]);
    cases.add("grpc tls", "grpc", over_tls, grpc_tls.address);

    let Cases { modules, targets } = cases;
    let modules = json!(modules);
    let theirs = BlackboxExporter::start(program, &modules);
    let ours = Daemon::start(json!({ "probe": { "modules": modules } }));
    let mut differences = String::new();
    for (module, target) in targets {
        let path = format!(
            "/probe?module={}&target={}",
            encoded(&module),
            encoded(&target)
        );
        let [theirs_page, our_page] = [theirs.address, ours.address].map(|address| {
            let answer = get(address, &path);
            assert_eq!(answer.status, 200, "{module}: {}", answer.text());
            answer.text()
        });
        let expected = comparable(&theirs_page, is_older);
        let found = comparable(&our_page, is_older);
        for missing in expected.difference(&found) {
            let _ = writeln!(differences, "{module}: missing {missing}");
        }
        for excess in found.difference(&expected) {
            let _ = writeln!(differences, "{module}: only here {excess}");
        }
    }
    assert!(differences.is_empty(), "{differences}");
}
