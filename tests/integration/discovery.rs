//! Sources of targets that behave, or do not: what was good stays.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{MX, NS, SRV},
    },
};
use monitoringdaemon::{
    config,
    discovery::{
        BuildMonitor, DiscoveredMonitor, Discovery, LastGoodTargets, Settings, SourceStatus, Stats,
    },
    net::{Net, Resolver, tls::TrustStore},
    value::{Fields, Node, Path, Problems},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{
    PATIENCE, SOON,
    lab::config_of,
    nameserver::{Act, NameServer},
    pki,
    report::assert_success,
    server::{Server, Step, ok, redirect, response},
};

/// Discovery of one block, `b`.
struct Bench {
    discovery: Discovery<DiscoveredMonitor>,
    stats: Stats,
}

impl Bench {
    fn new(sources: Value) -> Self {
        Self::with_net(sources, &system())
    }

    fn with_net(sources: Value, net: &Net) -> Self {
        Self::start(&Self::settings(sources), net)
    }

    /// Does not wait for refresh intervals, which are at least a second.
    fn polling(sources: Value, net: &Net) -> Self {
        let settings = Self::settings(sources);
        Self::start(&settings.with_poll_interval(Duration::from_millis(20)), net)
    }

    fn settings(sources: Value) -> Settings {
        let mut block = sources;
        block["template"] = json!("web");
        settings(&json!({ "b": block }))
    }

    fn start(settings: &Settings, net: &Net) -> Self {
        let stats = Stats::default();
        let make: Arc<BuildMonitor<DiscoveredMonitor>> = Arc::new(Ok);
        let shutdown = CancellationToken::new();
        let kept = LastGoodTargets::default();
        Self {
            discovery: Discovery::start(settings, net, make, &stats, kept, &shutdown),
            stats,
        }
    }

    /// The targets of the next list of all.
    async fn next(&mut self) -> Vec<String> {
        let changed = tokio::time::timeout(PATIENCE, self.discovery.changed());
        let monitors = changed.await.expect("another list").expect("it goes on");
        monitors
            .iter()
            .map(|monitor| monitor.target.clone())
            .collect()
    }

    fn findings(&self) -> SourceStatus {
        self.stats.sources()[0].2
    }

    /// Waits until so many looks have failed.
    async fn until_failed(&self, times: u64) {
        let failed = async {
            while self.findings().failures < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let failed = tokio::time::timeout(PATIENCE, failed).await;
        failed.expect("failures are counted");
    }
}

fn system() -> Net {
    Net::new(Resolver::system(), TrustStore::new(pki::AUTHORITY.roots()))
}

fn settings(section: &Value) -> Settings {
    let problems = Problems::default();
    let node = node(section);
    let fields = Fields::from_node(&node, Path::default(), &problems).expect("a mapping");
    let settings = Settings::read(&fields, Some(&["web"]));
    let (found, _) = problems.into_vec();
    assert!(found.is_empty(), "{found:?}");
    settings
}

fn node(value: &Value) -> Node {
    match value {
        Value::Null => Node::Null,
        Value::Bool(value) => Node::Bool(*value),
        Value::Number(number) => Node::Int(number.as_i64().expect("whole").into()),
        Value::String(text) => Node::Text(text.clone()),
        Value::Array(items) => Node::List(items.iter().map(node).collect()),
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| (key.clone(), node(value));
            Node::Map(entries.iter().map(entry).collect())
        }
    }
}

fn list(targets: &[&str]) -> String {
    json!([{ "targets": targets, "labels": { "env": "prod" } }]).to_string()
}

fn as_json(body: &str) -> String {
    response("200 OK", &["content-type: application/json"], body)
}

/// Answers the first time with a list of `a` and `b`, then as `bad` says, until `is_well` is set.
fn moody(bad: String) -> (Server, Arc<AtomicUsize>) {
    let well = Arc::new(AtomicUsize::new(0));
    let is_well = well.clone();
    let asked = AtomicUsize::new(0);
    let server = Server::answering(move |_| {
        let is_first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        match is_well.load(Ordering::SeqCst) {
            0 if is_first => as_json(&list(&["a", "b"])),
            0 => bad.clone(),
            _ => as_json(&list(&["c"])),
        }
    });
    (server, well)
}

#[tokio::test]
async fn http_sd_sends_the_request_of_prometheus() {
    let identity = &pki::IDENTITY;
    let server = Server::start([
        identity.tls(),
        Step::answer(|_| as_json(&list(&["a", "https://b/"]))),
    ]);
    let url = server.https("/targets?team=x");
    let mut bench = Bench::new(json!({
        "http_sd_configs": [{
            "url": url,
            "refresh_interval": "90s",
            "basic_auth": { "username": "me", "password": "hunter2" },
            "http_headers": { "X-Team": { "values": ["a"], "secrets": ["b"] } },
        }],
        "relabel_configs": [{ "action": "labelmap", "regex": "__meta_(url)" }],
    }));
    let monitors = bench.discovery.changed().await.expect("it goes on");
    let names: Vec<_> = monitors
        .iter()
        .map(|monitor| (&*monitor.name, &*monitor.url))
        .collect();
    assert_eq!(names, [("b/a", "http://a"), ("b/https://b/", "https://b/")]);
    let shown = url.split('?').next().unwrap_or_default();
    let text = |text: &str| Node::Text(text.to_owned());
    let labels = [
        ("env".to_owned(), text("prod")),
        ("url".to_owned(), text(shown)),
    ];
    assert_eq!(
        monitors[0].keys,
        [("labels".to_owned(), Node::Map(labels.into()))]
    );
    let request = server.request();
    assert_eq!(
        (&*request.method, &*request.target),
        ("GET", "/targets?team=x")
    );
    let teams = request.headers.iter().filter(|(name, _)| name == "x-team");
    let teams: Vec<_> = teams.map(|(_, value)| &**value).collect();
    assert_eq!(teams, ["a", "b"]);
    assert_eq!(
        request.header("x-prometheus-refresh-interval-seconds"),
        Some("90")
    );
    assert_eq!(request.header("accept"), Some("application/json"));
    assert_eq!(
        request.header("authorization"),
        Some("Basic bWU6aHVudGVyMg==")
    );
    let findings = bench.findings();
    assert_eq!((findings.targets, findings.failures), (Some(2), 0));
}

#[tokio::test]
async fn an_invalid_list_keeps_the_last_valid_one() {
    for bad in [
        response(
            "200 OK",
            &["content-type: text/html"],
            "<html>Sign in</html>",
        ),
        response(
            "200 OK",
            &["content-type: application/json"],
            "<html>Sign in</html>",
        ),
        response(
            "200 OK",
            &["content-type: application/json"],
            "[{\"targets\": [\"a\"",
        ),
        response("503 Unavailable", &["content-type: application/json"], "[]"),
        response("200 OK", &[], "[]"),
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n[]"
            .to_owned(),
        "SSH-2.0-OpenSSH\r\n".to_owned(),
    ] {
        let (server, well) = moody(bad);
        let mut bench = Bench::polling(
            json!({
                "http_sd_configs": [{ "url": server.http("/"), "refresh_interval": 1 }],
            }),
            &system(),
        );
        assert_eq!(bench.next().await, ["a", "b"]);
        bench.until_failed(1).await;
        assert_eq!(bench.findings().targets, Some(2));
        well.store(1, Ordering::SeqCst);
        assert_eq!(bench.next().await, ["c"]);
    }
}

#[tokio::test]
async fn an_endless_list_is_cut_off() {
    let mut head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2147483648\r\n\r\n["
            .to_owned();
    head.push_str(&" ".repeat(1000));
    let server = Server::start([
        Step::Request,
        Step::send(head),
        Step::Flood(vec![b' '; 1 << 16].into()),
    ]);
    let mut bench = Bench::new(json!({
        "http_sd_configs": [{ "url": server.http("/"), "refresh_interval": "1m" }],
    }));
    assert!(bench.next().await.is_empty());
    bench.until_failed(1).await;
    let seen = server.seen();
    assert!(seen.sent < 64 << 20, "{}", seen.sent);
}

#[tokio::test]
async fn a_silent_source_does_not_delay_the_others() {
    let silent = Server::start([Step::Hang]);
    let server = Server::answering(|_| as_json(&list(&["a"])));
    let mut bench = Bench::new(json!({
        "http_sd_configs": [
            { "url": silent.http("/"), "refresh_interval": 1 },
            { "url": server.http("/"), "refresh_interval": "1m" },
        ],
    }));
    assert_eq!(bench.next().await, ["a"]);
    bench.until_failed(1).await;
    assert_eq!(bench.findings().targets, None);
}

#[tokio::test]
async fn redirects_stay_with_the_host() {
    let server = Server::answering(|request| match request.target.as_str() {
        "/" => redirect(302, "/targets"),
        _ => as_json(&list(&["a"])),
    });
    let credentials = json!({ "credentials": "hunter2" });
    let mut bench = Bench::new(json!({
        "http_sd_configs": [{ "url": server.http("/"), "authorization": credentials }],
    }));
    assert_eq!(bench.next().await, ["a"]);
    let requests = server.seen().requests;
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].header("authorization"), Some("Bearer hunter2"));

    let other = Server::answering(|_| as_json(&list(&["b"])));
    // Another host, and the same one on another port.
    for elsewhere in [other.named("http", "localhost", "/"), other.http("/")] {
        let server = Server::answering(move |_| redirect(302, &elsewhere));
        let mut bench = Bench::new(json!({
            "http_sd_configs": [{ "url": server.http("/"), "authorization": credentials }],
        }));
        assert!(bench.next().await.is_empty());
        assert_eq!(
            (bench.findings().failures, other.seen().connections),
            (1, 0)
        );
    }
}

#[tokio::test]
async fn changed_target_files_are_read_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("targets.yml");
    // Whole or not at all.
    let write = |text: &str| {
        let new = folder.path().join("new");
        fs::write(&new, text).expect("room for a file");
        fs::rename(&new, &path).expect("the same folder");
    };
    write("- targets: [a, b]\n");
    let mut bench = Bench::polling(
        json!({ "file_sd_configs": [{ "files": [path] }] }),
        &system(),
    );
    assert_eq!(bench.next().await, ["a", "b"]);
    write("- targets: [a\n");
    bench.until_failed(1).await;
    fs::remove_file(&path).expect("it is there");
    bench.until_failed(2).await;
    assert_eq!(bench.findings().targets, Some(2));
    write("- targets: [c]\n");
    assert_eq!(bench.next().await, ["c"]);
}

fn srv(query: &hickory_proto::op::Message, target: &str, port: u16) -> Record {
    let name = query.queries[0].name().clone();
    let target = Name::from_ascii(target).expect("a name");
    Record::from_rdata(name, 300, RData::SRV(SRV::new(10, 10, port, target)))
}

fn net_of(server: &NameServer) -> Net {
    Net::new(
        Resolver::with_servers(&[server.address]),
        TrustStore::new(pki::AUTHORITY.roots()),
    )
}

#[tokio::test]
async fn services_are_discovered_from_srv_records() {
    let phase = Arc::new(AtomicUsize::new(0));
    let now = phase.clone();
    let server = NameServer::start(move |asked| {
        let message = match now.load(Ordering::SeqCst) {
            0 => asked.response(|message| {
                message.add_answer(srv(&asked.message, "two.example.com.", 8081));
                message.add_answer(srv(&asked.message, "one.example.com.", 8080));
            }),
            1 => asked.code(ResponseCode::ServFail),
            _ => asked.code(ResponseCode::NXDomain),
        };
        vec![Act::Send(message)]
    });
    let mut bench = Bench::polling(
        json!({
            "dns_sd_configs": [{ "names": ["_http._tcp.example.com."], "refresh_interval": 1 }],
            "relabel_configs": [
                { "action": "labelmap", "regex": "__meta_dns_(.*)" },
            ],
        }),
        &net_of(&server),
    );
    let monitors = tokio::time::timeout(SOON, bench.discovery.changed())
        .await
        .expect("a list")
        .expect("it goes on");
    let targets: Vec<_> = monitors.iter().map(|monitor| &*monitor.target).collect();
    assert_eq!(targets, ["one.example.com:8080", "two.example.com:8081"]);
    let labels = [
        ("name", "_http._tcp.example.com."),
        ("srv_record_port", "8080"),
        ("srv_record_target", "one.example.com."),
    ];
    let labels = labels.map(|(name, value)| (name.to_owned(), Node::Text(value.to_owned())));
    assert_eq!(
        monitors[0].keys,
        [("labels".to_owned(), Node::Map(labels.into()))]
    );
    assert_eq!(
        server.seen()[0].message.queries[0].query_type(),
        RecordType::SRV
    );
    phase.store(1, Ordering::SeqCst);
    bench.until_failed(1).await;
    assert_eq!(bench.findings().targets, Some(2));
    // That there are none is an answer.
    phase.store(2, Ordering::SeqCst);
    assert!(bench.next().await.is_empty());
}

#[tokio::test]
async fn addresses_have_the_port_of_the_settings() {
    let server = NameServer::start(|asked| vec![Act::Send(asked.good())]);
    let mut bench = Bench::with_net(
        json!({ "dns_sd_configs": [{ "names": ["example.com."], "type": "A", "port": 443 }] }),
        &net_of(&server),
    );
    assert_eq!(bench.next().await, ["192.0.2.1:443"]);
}

#[tokio::test]
async fn mail_exchangers_and_name_servers_have_the_port_of_the_settings() {
    let server = NameServer::start(|asked| {
        let query = &asked.message.queries[0];
        let host = |text| Name::from_ascii(text).expect("a name");
        let data = |text| match query.query_type() {
            RecordType::MX => RData::MX(MX::new(10, host(text))),
            _ => RData::NS(NS(host(text))),
        };
        let record = |text| Record::from_rdata(query.name().clone(), 300, data(text));
        vec![Act::Send(asked.response(|message| {
            // A record of the root says that there is no such host.
            message.add_answers(["b.example.com.", ".", "a.example.com."].map(record));
        }))]
    });
    for (kind, asked_for) in [("MX", RecordType::MX), ("NS", RecordType::NS)] {
        let mut bench = Bench::with_net(
            json!({
                "dns_sd_configs": [{ "names": ["example.com"], "type": kind, "port": 25 }],
                "relabel_configs": [{ "action": "labelmap", "regex": "__meta_dns_(.*)" }],
            }),
            &net_of(&server),
        );
        let monitors = tokio::time::timeout(SOON, bench.discovery.changed());
        let monitors = monitors.await.expect("a list").expect("it goes on");
        let targets: Vec<_> = monitors.iter().map(|monitor| &*monitor.target).collect();
        assert_eq!(targets, ["a.example.com:25", "b.example.com:25"]);
        let target = format!("{}_record_target", kind.to_lowercase());
        let labels = [(&*target, "a.example.com."), ("name", "example.com")];
        let labels = labels.map(|(name, value)| (name.to_owned(), Node::Text(value.to_owned())));
        let [(key, Node::Map(found))] = &monitors[0].keys[..] else {
            panic!("{:?}", monitors[0].keys);
        };
        assert_eq!(key, "labels");
        for label in &labels {
            assert!(found.contains(label), "{label:?} is missing: {found:?}");
        }
        let seen = server.seen();
        let last = seen.last().expect("a query");
        assert_eq!(last.message.queries[0].query_type(), asked_for);
    }
}

#[tokio::test]
async fn a_reload_keeps_the_lists_of_failing_sources() {
    let (server, _) = moody(response("500 Oops", &[], ""));
    let section = json!({ "b": {
        "template": "web",
        "http_sd_configs": [{ "url": server.http("/"), "refresh_interval": "1m" }],
    }});
    let net = Net::system();
    let stats = Stats::default();
    let shutdown = CancellationToken::new();
    let start = |kept| {
        let make: Arc<BuildMonitor<DiscoveredMonitor>> = Arc::new(Ok);
        Discovery::start(&settings(&section), &net, make, &stats, kept, &shutdown)
    };
    let mut before = start(LastGoodTargets::default());
    assert_eq!(before.changed().await.expect("it goes on").len(), 2);
    let kept = before.stop().await;
    let mut after = start(kept);
    assert_eq!(after.changed().await.expect("it goes on").len(), 2);
    assert_eq!(stats.sources()[0].2.failures, 1);
}

#[tokio::test]
async fn targets_become_monitors_of_their_template() {
    let checked = Server::ok();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("targets.json");
    let targets = json!([
        { "targets": [checked.http("/"), "not a target"], "labels": { "env": "prod", "__check_every__": "20s" } },
        { "targets": [checked.address.to_string()], "labels": { "monitor": "by address", "env": "test" } },
    ]);
    fs::write(&path, targets.to_string()).expect("room for a file");
    let files = json!([{ "files": [path] }]);
    let config = config_of(&json!({
        "defaults": { "labels": { "site": "one" } },
        "templates": {
            "web": { "timeout": 4, "labels": { "env": "unknown" } },
            "base": { "type": "tcp" },
            "port": { "extends": "base" },
        },
        "discovery": {
            "pages": { "template": "web", "file_sd_configs": files },
            "ports": {
                "template": "port",
                "file_sd_configs": files,
                "relabel_configs": [
                    { "action": "keep", "source_labels": ["env"], "regex": "test" },
                    { "action": "labeldrop", "regex": "monitor" },
                ],
            },
        },
    }));
    let net = Net::system();
    let stats = Stats::default();
    let monitor_builder = config.monitor_builder.clone();
    let make: Arc<BuildMonitor<config::Monitor>> =
        Arc::new(move |wanted| monitor_builder.build_discovered(wanted));
    let shutdown = CancellationToken::new();
    let kept = LastGoodTargets::default();
    let mut discovery = Discovery::start(&config.discovery, &net, make, &stats, kept, &shutdown);
    let monitors = discovery.changed().await.expect("it goes on");
    let shown: Vec<_> = monitors
        .iter()
        .map(|monitor| {
            let labels: Vec<_> = monitor.labels.values().map(String::as_str).collect();
            let seconds = (monitor.check_every.as_secs(), monitor.timeout.as_secs());
            (monitor.name.clone(), seconds, labels.join(" "))
        })
        .collect();
    let first = format!("pages/{}", checked.http("/"));
    let last = format!("ports/{}", checked.address);
    assert_eq!(
        shown,
        [
            (first, (20, 4), "prod one".to_owned()),
            ("by address".to_owned(), (60, 4), "test one".to_owned()),
            (last, (60, 5), "test one".to_owned()),
        ]
    );
    for monitor in &*monitors {
        let mut job = monitor.settings.bind(&monitor.name, &net);
        job.timeout = PATIENCE;
        assert_success(&job.check_once().await);
    }
    let outcomes: Vec<_> = stats
        .blocks()
        .into_iter()
        .map(|(_, outcomes)| outcomes)
        .collect();
    assert_eq!(
        outcomes
            .iter()
            .map(|outcomes| outcomes.rejected)
            .collect::<Vec<_>>(),
        [1, 0]
    );
}

/// The monitors of a whole configuration, once its sources have been looked at.
async fn discovered(whole: &Value, net: &Net) -> (Arc<[Arc<config::Monitor>]>, Stats) {
    let config = config_of(whole);
    let stats = Stats::default();
    let monitor_builder = config.monitor_builder.clone();
    let make: Arc<BuildMonitor<config::Monitor>> =
        Arc::new(move |wanted| monitor_builder.build_discovered(wanted));
    let shutdown = CancellationToken::new();
    let kept = LastGoodTargets::default();
    let mut discovery = Discovery::start(&config.discovery, net, make, &stats, kept, &shutdown);
    let monitors = tokio::time::timeout(PATIENCE, discovery.changed()).await;
    (monitors.expect("monitors").expect("it goes on"), stats)
}

#[tokio::test]
async fn targets_can_be_listed_in_the_configuration() {
    let groups = json!([
        { "targets": ["a.example:80", "b.example:80"], "labels": { "env": "prod", "shard": 7, "none": "" } },
        { "targets": ["c.example:80"] },
    ]);
    let whole = json!({
        "templates": { "port": { "type": "tcp" } },
        "discovery": { "ports": { "template": "port", "static_configs": groups } },
    });
    let (monitors, stats) = discovered(&whole, &Net::system()).await;
    let shown: Vec<_> = monitors
        .iter()
        .map(|monitor| {
            let labels: Vec<_> = monitor.labels.iter().collect();
            format!("{} {labels:?}", monitor.name)
        })
        .collect();
    let labels = r#"[("env", "prod"), ("shard", "7")]"#;
    assert_eq!(
        shown,
        [
            format!("ports/a.example:80 {labels}"),
            format!("ports/b.example:80 {labels}"),
            "ports/c.example:80 []".to_owned(),
        ]
    );
    let (_, source, findings) = stats.sources()[0].clone();
    assert_eq!((&*source, findings.targets), ("static/0", Some(3)));
}

#[tokio::test]
async fn a_target_label_sets_the_host_header() {
    let web = Server::start([pki::IDENTITY.tls(), Step::Request, Step::send(ok("hello"))]);
    let port = Server::start([pki::IDENTITY.tls(), Step::Hang]);
    let list = |server: &Server| {
        let labels = json!({ "__param_hostname": "service.test", "__scheme__": "https" });
        json!([{ "targets": [server.address.to_string()], "labels": labels }])
    };
    let whole = json!({
        "templates": {
            "web": { "headers": { "X-Other": "kept" } },
            "own": { "tls_config": { "server_name": "own.test", "insecure_skip_verify": true } },
            "tls": { "type": "tls" },
            "plain": { "type": "tcp" },
        },
        "discovery": {
            "web": { "template": "web", "static_configs": list(&web) },
            "own": { "template": "own", "static_configs": list(&web) },
            "tls": { "template": "tls", "static_configs": list(&port) },
            "plain": { "template": "plain", "static_configs": list(&port) },
        },
    });
    let net = Net::new(Resolver::system(), TrustStore::new(pki::AUTHORITY.roots()));
    let (monitors, _) = discovered(&whole, &net).await;
    assert_eq!(monitors.len(), 4);
    for monitor in &*monitors {
        let mut job = monitor.settings.bind(&monitor.name, &net);
        job.timeout = PATIENCE;
        assert_success(&job.check_once().await);
    }
    let requests = web.seen().requests.into_iter().map(|request| {
        let header = |name| request.header(name).unwrap_or_default().to_owned();
        let (host, other) = (header("host"), header("x-other"));
        (host, request.server_name.unwrap_or_default(), other)
    });
    let expected = [
        ("service.test", "own.test", ""),
        ("service.test", "service.test", "kept"),
    ];
    let expected = expected.map(|(host, name, other)| (host.into(), name.into(), other.into()));
    assert_eq!(
        requests.collect::<Vec<(String, String, String)>>(),
        expected
    );
}
