//! Names, and name servers that are slow, silent, broken or forged.

use std::{
    collections::HashSet,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType, rdata},
};
use monitoringdaemon::{
    check::{Failure, Phase, Reason},
    net::{Net, Resolver, Route, tls::TrustStore},
    value::IpFamily,
};
use serde_json::json;
use tokio::time::{Instant, advance, timeout};

use crate::support::{
    SOON,
    dns::{Answer, Dns},
    lab::Lab,
    nameserver::{Act, Asked, NameServer, address},
    pki,
    report::{assert_failure, assert_success},
    server::Server,
};

const ANY: Route = Route {
    family: IpFamily::Auto,
    fallback: true,
    source: None,
};

fn only(family: IpFamily) -> Route {
    Route {
        family,
        fallback: false,
        source: None,
    }
}

fn good() -> NameServer {
    NameServer::start(|asked| vec![Act::Send(asked.good())])
}

fn coded(code: ResponseCode) -> NameServer {
    NameServer::start(move |asked| vec![Act::Send(asked.code(code))])
}

/// Has nothing, and says so with recursion available.
fn empty(asked: &Asked) -> Vec<u8> {
    asked.response(|message| message.metadata.recursion_available = true)
}

fn query_type(asked: &Asked) -> RecordType {
    asked.message.queries[0].query_type()
}

fn query_name(asked: &Asked) -> String {
    asked.message.queries[0].name().to_ascii()
}

fn names(server: &NameServer) -> Vec<String> {
    server.seen().iter().map(query_name).collect()
}

/// An address at which no name server is.
fn nowhere() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("a bound socket has an address")
}

fn servers(servers: &[&NameServer]) -> Resolver {
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    Resolver::with_servers(&addresses)
}

fn configured(server: &NameServer, resolv_conf: &str, hosts: &str) -> Resolver {
    Resolver::with_texts(&[server.address], resolv_conf, hosts)
}

const GOOD: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

async fn resolve(resolver: &Resolver, name: &str) -> Result<IpAddr, Failure> {
    resolver.resolve(name, ANY).await
}

#[track_caller]
fn assert_failed<T: std::fmt::Debug>(found: Result<T, Failure>, reason: Reason, error: &str) {
    let failure = found.expect_err("there is no such name");
    assert_eq!(
        (failure.phase, failure.reason, &*failure.error),
        (Phase::Resolve, reason, error)
    );
}

#[tokio::test]
async fn names_with_underscores_are_checked() {
    let server = Server::start(vec![]);
    let web = Server::ok();
    let net = |hosts: &str| {
        let dns = NameServer::start(|asked| {
            vec![Act::Send(asked.response(|message| {
                message.add_answer(address(&asked.message, [127, 0, 0, 1]));
            }))]
        });
        let resolver = configured(&dns, "", hosts);
        (
            Net::new(resolver, TrustStore::new(pki::AUTHORITY.roots())),
            dns,
        )
    };
    for (name, hosts) in [
        ("a_b.c.test", ""),
        ("my_svc", "127.0.0.1 my_svc"),
        ("-a-.test", ""),
    ] {
        let (net, dns) = net(hosts);
        let lab = Lab {
            dns: Dns::loopback(),
            net,
        };
        let report = lab
            .check(json!({ "url": web.named("http", name, "/") }))
            .await;
        assert_success(&report);
        let target = format!("{name}:{}", server.address.port());
        let report = lab.check(json!({ "type": "tcp", "target": target })).await;
        assert_success(&report);
        assert_eq!(dns.seen().len(), if hosts.is_empty() { 2 } else { 0 });
    }
}

#[tokio::test]
async fn a_later_server_is_not_asked_while_the_first_answers() {
    let first = Dns::start(Duration::from_millis(15), |_| Answer::loopback());
    let second = Dns::start(Duration::ZERO, |_| Answer::NoSuchName);
    let resolver = Resolver::with_servers(&[first.address, second.address]);
    for _ in 0..5 {
        let found = resolve(&resolver, "a.test").await;
        assert_eq!(found, Ok(Ipv4Addr::LOCALHOST.into()));
    }
    assert_eq!(second.questions(), []);
    // That there is no such name is an answer too.
    let resolver = Resolver::with_servers(&[second.address, first.address]);
    let found = resolve(&resolver, "a.test").await;
    assert_failed(found, Reason::DnsNotFound, "the name does not exist");
    assert_eq!(first.questions().len(), 5);
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_fails() {
    let second = good();
    for code in [
        ResponseCode::ServFail,
        ResponseCode::Refused,
        ResponseCode::NotImp,
    ] {
        let first = coded(code);
        let found = resolve(&servers(&[&first, &second]), "a.test").await;
        assert_eq!(found, Ok(GOOD));
        assert_eq!(first.seen().len(), 1);
    }
    let closed = Resolver::with_servers(&[nowhere(), second.address]);
    assert_eq!(resolve(&closed, "a.test").await, Ok(GOOD));
    let malformed = NameServer::start(|asked| {
        let mut bytes = asked.good();
        bytes.truncate(bytes.len() - 1);
        vec![Act::Send(bytes)]
    });
    let found = resolve(&servers(&[&malformed, &second]), "a.test").await;
    assert_eq!(found, Ok(GOOD));
    // Neither an authority nor one to ask for more.
    let referring = NameServer::start(|asked| {
        vec![Act::Send(asked.response(|message| {
            message.metadata.recursion_available = false;
        }))]
    });
    let found = resolve(&servers(&[&referring, &second]), "a.test").await;
    assert_eq!(found, Ok(GOOD));
    let found = resolve(&servers(&[&referring]), "a.test").await;
    let error = "the name server does not offer recursion";
    assert_failed(found, Reason::DnsFailure, error);
}

#[tokio::test]
async fn the_first_failure_is_reported_when_all_servers_fail() {
    let (first, second) = (coded(ResponseCode::ServFail), coded(ResponseCode::Refused));
    let found = resolve(&servers(&[&first, &second]), "a.test").await;
    let error = "the name server answered SERVFAIL";
    assert_failed(found, Reason::DnsFailure, error);
    // As often as `attempts` says.
    assert_eq!((first.seen().len(), second.seen().len()), (2, 2));
    let once = Resolver::with_texts(&[nowhere()], "options attempts:1", "");
    let failure = resolve(&once, "a.test").await.expect_err("nobody is there");
    assert_eq!(failure.reason, Reason::DnsFailure);
    let error = "failed to reach the name servers: Connection refused";
    assert!(failure.error.starts_with(error), "{failure:?}");
    // Other codes are an answer.
    let first = coded(ResponseCode::NotAuth);
    let found = resolve(&servers(&[&first, &good()]), "a.test").await;
    assert_failed(
        found,
        Reason::DnsFailure,
        "the name server answered NOTAUTH",
    );
}

#[tokio::test]
async fn a_check_succeeds_behind_a_silent_server() {
    let silent = NameServer::start(|_| vec![]);
    let (web, second) = (Server::ok(), Dns::loopback());
    let resolver = Resolver::with_servers(&[silent.address, second.address]);
    let lab = Lab {
        dns: second,
        net: Net::new(resolver, TrustStore::new(pki::AUTHORITY.roots())),
    };
    let url = web.named("http", "service.test", "/");
    let report = lab.check(json!({ "url": url, "timeout": 4 })).await;
    assert_success(&report);
    // Nor does a later one wait for it.
    let report = lab.check(json!({ "url": url, "timeout": "500ms" })).await;
    assert_success(&report);
}

#[tokio::test]
async fn a_cancelled_lookup_marks_a_server_as_silent() {
    let alive = Arc::new(AtomicBool::new(false));
    let is_alive = alive.clone();
    let first = NameServer::start(move |asked| {
        if is_alive.load(Ordering::SeqCst) {
            vec![Act::Send(asked.response(|message| {
                message.add_answer(address(&asked.message, [192, 0, 2, 2]));
            }))]
        } else {
            vec![]
        }
    });
    let second = NameServer::start(|asked| {
        vec![Act::Send(match &*query_name(asked) {
            "a.test." => asked.good(),
            _ => asked.code(ResponseCode::NXDomain),
        })]
    });
    let resolver = servers(&[&first, &second]);
    let given_up = timeout(Duration::from_millis(150), resolve(&resolver, "a.test")).await;
    assert!(given_up.is_err(), "{given_up:?}");
    assert_eq!(second.seen().len(), 0);
    // Both are asked; that there is no such name counts when the first has had a moment.
    let start = Instant::now();
    assert_eq!(resolve(&resolver, "a.test").await, Ok(GOOD));
    assert!(
        start.elapsed() < Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
    let start = Instant::now();
    let found = resolve(&resolver, "b.test").await;
    assert_failed(found, Reason::DnsNotFound, "the name does not exist");
    assert!(
        start.elapsed() < Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
    // In which it may know better.
    alive.store(true, Ordering::SeqCst);
    let found = resolve(&resolver, "b.test").await;
    assert_eq!(found, Ok([192, 0, 2, 2].into()));
    // It is back, so it alone is asked, unless this machine takes long over an answer.
    for lookup in 1.. {
        let before = second.seen().len();
        let found = resolve(&resolver, "b.test").await;
        assert_eq!(found, Ok([192, 0, 2, 2].into()));
        if second.seen().len() == before {
            break;
        }
        assert!(lookup < 50, "the second server is still asked");
    }
}

#[tokio::test]
async fn a_query_that_was_lost_is_sent_again() {
    let lost = AtomicBool::new(true);
    let server = NameServer::start(move |asked| {
        if lost.swap(false, Ordering::SeqCst) {
            vec![]
        } else {
            vec![Act::Send(asked.good())]
        }
    });
    let found = timeout(SOON, resolve(&servers(&[&server]), "a.test")).await;
    assert_eq!(found.expect("an answer"), Ok(GOOD));
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_ne!(seen[0].from, seen[1].from);
}

#[tokio::test]
async fn a_name_in_hosts_is_not_asked_of_name_servers() {
    let dns = good();
    let hosts = "::1 v6only.test\n127.0.0.1 both.test\n::1 both.test";
    let resolver = configured(&dns, "search test", hosts);
    let (ip4, ip6): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [0, 0, 0, 0, 0, 0, 0, 1].into());
    assert_eq!(resolve(&resolver, "V6only.test").await, Ok(ip6));
    assert_eq!(resolve(&resolver, "both.test").await, Ok(ip4));
    let found = resolver.resolve("both.test", only(IpFamily::Ip6)).await;
    assert_eq!(found, Ok(ip6));
    let all = resolver.resolve_all("both.test", ANY).await;
    assert_eq!(all, Ok(vec![ip4, ip6]));
    let found = resolver.resolve("v6only.test", only(IpFamily::Ip4)).await;
    let error = "/etc/hosts has no IPv4 address for the name";
    assert_failed(found, Reason::DnsNotFound, error);
    let found = resolver.lookup_family("v6only.test", IpFamily::Ip4).await;
    assert_eq!(found, Ok(vec![]));
    assert_eq!(resolve(&resolver, "localhost").await, Ok(ip4));
    assert_eq!(names(&dns), <[String; 0]>::default());
    assert_eq!(resolve(&resolver, "other.test").await, Ok(GOOD));
}

#[tokio::test]
async fn the_search_list_is_tried_in_order() {
    let dns = NameServer::start(|asked| {
        let message = match (&*query_name(asked), query_type(asked)) {
            ("svc.b.test.", RecordType::AAAA) => asked.response(|message| {
                let name = message.queries[0].name().clone();
                let data = RData::AAAA(rdata::AAAA([0, 0, 0, 0, 0, 0, 0, 1].into()));
                message.add_answer(Record::from_rdata(name, 60, data));
            }),
            ("svc.b.test.", _) => empty(asked),
            ("svc.c.test.", _) => asked.good(),
            _ => asked.code(ResponseCode::NXDomain),
        };
        vec![Act::Send(message)]
    });
    let resolver = configured(&dns, "search a.test b.test c.test", "");
    // The first name that has an address of any family is the one.
    let found = resolve(&resolver, "svc").await;
    assert_eq!(found, Ok([0, 0, 0, 0, 0, 0, 0, 1].into()));
    assert_eq!(names(&dns), ["svc.a.test.", "svc.b.test.", "svc.b.test."]);
    let found = resolver.resolve("svc", only(IpFamily::Ip4)).await;
    assert_eq!(found, Ok(GOOD));
    let found = resolve(&resolver, "svc.").await;
    assert_failed(found, Reason::DnsNotFound, "the name does not exist");
    assert_eq!(names(&dns).last().map(String::as_str), Some("svc."));
}

#[tokio::test]
async fn an_error_of_the_name_itself_is_not_hidden_by_the_search_list() {
    let failing = |failing: &'static str| {
        NameServer::start(move |asked| {
            let code = if query_name(asked) == failing {
                ResponseCode::ServFail
            } else {
                ResponseCode::NXDomain
            };
            vec![Act::Send(asked.code(code))]
        })
    };
    let error = "the name server answered SERVFAIL";
    for (name, which) in [
        ("a.test", "a.test."),
        ("svc", "svc.h.test."),
        ("svc", "svc."),
    ] {
        let dns = failing(which);
        let resolver = configured(&dns, "search h.test\noptions attempts:1", "");
        assert_failed(resolve(&resolver, name).await, Reason::DnsFailure, error);
        assert_eq!(dns.seen().len(), 2);
    }
    // What a domain says does not make the name exist.
    let dns = failing("a.test.h.test.");
    let resolver = configured(&dns, "search h.test\noptions attempts:1", "");
    let found = resolve(&resolver, "a.test").await;
    assert_failed(found, Reason::DnsNotFound, "the name does not exist");
}

#[tokio::test]
async fn a_name_without_records_differs_from_a_missing_name() {
    let dns = NameServer::start(|asked| {
        vec![Act::Send(match &*query_name(asked) {
            "none.test." => asked.code(ResponseCode::NXDomain),
            "alias.test." => asked.response(|message| {
                let name = message.queries[0].name().clone();
                let target = Name::from_ascii("gone.test.").expect("a name");
                let data = RData::CNAME(rdata::CNAME(target));
                message.add_answer(Record::from_rdata(name, 60, data));
            }),
            _ => empty(asked),
        })]
    });
    let resolver = servers(&[&dns]);
    let check = async |name: &str, route: Route, error: &str| {
        let found = resolver.resolve(name, route).await;
        assert_failed(found, Reason::DnsNotFound, error);
    };
    check("a.test", ANY, "the name has no address").await;
    check(
        "a.test",
        only(IpFamily::Ip4),
        "the name has no IPv4 address",
    )
    .await;
    check(
        "a.test",
        only(IpFamily::Ip6),
        "the name has no IPv6 address",
    )
    .await;
    check("none.test", ANY, "the name does not exist").await;
    let error = "the name is an alias for gone.test., which has no address";
    check("alias.test", ANY, error).await;
    assert_eq!(resolver.lookup_srv("a.test").await, Ok(vec![]));
    let found = resolver.resolve_all("a.test", ANY).await;
    assert_failed(found, Reason::DnsNotFound, "the name has no address");
    for name in ["", "a..test", &"x".repeat(64)] {
        let error = format!("invalid host name {name:?}");
        assert_failed(resolve(&resolver, name).await, Reason::DnsFailure, &error);
    }
}

#[tokio::test]
async fn ip4_is_tried_where_servers_deny_names_without_an_ip6_address() {
    let dns = NameServer::start(|asked| {
        vec![Act::Send(match query_type(asked) {
            RecordType::A => asked.good(),
            _ => asked.code(ResponseCode::NXDomain),
        })]
    });
    let prefer_ip6 = Route {
        family: IpFamily::Ip6,
        ..ANY
    };
    let found = servers(&[&dns]).resolve("a.test", prefer_ip6).await;
    assert_eq!(found, Ok(GOOD));
}

#[tokio::test]
async fn a_forged_response_is_ignored() {
    fn forged(asked: &Asked) -> Vec<u8> {
        asked.response(|message| {
            message.add_answer(address(&asked.message, [192, 0, 2, 66]));
        })
    }
    let other_id = |asked: &Asked| {
        let mut bytes = forged(asked);
        bytes[1] ^= 1;
        bytes
    };
    let other_question = |asked: &Asked| {
        let mut bytes = forged(asked);
        // The first letter of the name.
        bytes[13] = b'x';
        bytes
    };
    let dns = NameServer::start(move |asked| {
        // From another port, so from another address.
        let stranger = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let _ = stranger.send_to(&forged(asked), asked.from);
        vec![
            Act::Send(other_id(asked)),
            Act::Send(other_question(asked)),
            Act::Send(asked.bytes.clone()),
            Act::Send(b"garbage".to_vec()),
            Act::Send(vec![]),
            Act::Send(asked.good()),
        ]
    });
    let resolver = servers(&[&dns]);
    for _ in 0..20 {
        assert_eq!(resolve(&resolver, "a.test").await, Ok(GOOD));
    }
    // Each was taken for an answer neither at once nor later.
    assert_eq!(dns.seen().len(), 20);
}

#[tokio::test]
async fn ids_and_ports_are_unpredictable() {
    let dns = good();
    let resolver = servers(&[&dns]);
    for _ in 0..200 {
        assert_eq!(resolve(&resolver, "a.test").await, Ok(GOOD));
    }
    let seen = dns.seen();
    let ids: HashSet<_> = seen.iter().map(|asked| asked.message.metadata.id).collect();
    assert!(ids.len() > 190, "{}", ids.len());
    let ports: HashSet<_> = seen.iter().map(|asked| asked.from.port()).collect();
    assert!(ports.len() >= 200 / 32, "{}", ports.len());
}

#[tokio::test]
async fn a_thousand_concurrent_lookups_get_their_own_answers() {
    let dns = NameServer::start(|asked| {
        let name = query_name(asked);
        let number = name.trim_start_matches('n').split('.').next();
        let number: u16 = number.and_then(|n| n.parse().ok()).expect("a number");
        let [high, low] = number.to_be_bytes();
        vec![Act::Send(asked.response(|message| {
            message.add_answer(address(&asked.message, [10, 0, high, low]));
        }))]
    });
    let resolver = servers(&[&dns]);
    let lookups = (0..1000_u16).map(async |number| {
        let found = resolve(&resolver, &format!("n{number}.test")).await;
        let [high, low] = number.to_be_bytes();
        assert_eq!(found, Ok([10, 0, high, low].into()));
    });
    futures_util::future::join_all(lookups).await;
}

#[tokio::test]
async fn a_truncated_answer_is_retried_over_tcp() {
    let many = |asked: &Asked| {
        asked.response(|message| {
            for last in 1..=250 {
                message.add_answer(address(&asked.message, [192, 0, 2, last]));
            }
        })
    };
    let dns = NameServer::start(move |asked| {
        let message = if asked.over_tcp {
            many(asked)
        } else {
            // Cut in the middle of a record.
            let mut bytes = many(asked);
            bytes.truncate(505);
            bytes[2] |= 2;
            bytes
        };
        vec![Act::Send(message)]
    });
    let resolver = servers(&[&dns]);
    let found = resolver.resolve_all("a.test", only(IpFamily::Ip4)).await;
    let found = found.expect("addresses");
    assert_eq!((found.len(), found[0]), (250, GOOD));
    let over_tcp: Vec<_> = dns.seen().iter().map(|asked| asked.over_tcp).collect();
    assert_eq!(over_tcp, [false, true]);
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_fails_over_tcp() {
    let second = good();
    let replies: [fn(&Asked) -> Act; 3] = [
        |_| Act::Close,
        |_| Act::Write(b"\0\x05short".to_vec()),
        |asked| {
            let mut bytes = asked.good();
            bytes[0] ^= 1;
            Act::Send(bytes)
        },
    ];
    for reply in replies {
        let first = NameServer::start(move |asked| {
            vec![if asked.over_tcp {
                reply(asked)
            } else {
                Act::Send(asked.truncated())
            }]
        });
        let found = resolve(&servers(&[&first, &second]), "a.test").await;
        assert_eq!(found, Ok(GOOD));
    }
}

#[tokio::test]
async fn options_of_resolv_conf_are_followed() {
    let dns = good();
    let resolver = configured(&dns, "options use-vc", "");
    assert_eq!(resolve(&resolver, "a.test").await, Ok(GOOD));
    assert!(dns.asked().over_tcp);
    assert!(dns.asked().message.edns.is_none());

    let dns = NameServer::start(|asked| vec![Act::Send(empty(asked))]);
    let resolver = configured(&dns, "options no-aaaa", "");
    let found = resolve(&resolver, "a.test").await;
    assert_failed(found, Reason::DnsNotFound, "the name has no address");
    assert_eq!(query_type(&dns.asked()), RecordType::A);

    let dns = NameServer::start(|asked| {
        vec![Act::Send(match asked.message.edns {
            Some(_) => asked.code(ResponseCode::FormErr),
            None => asked.good(),
        })]
    });
    let resolver = configured(&dns, "options edns0", "");
    assert_eq!(resolve(&resolver, "a.test").await, Ok(GOOD));
    assert_eq!(dns.seen().len(), 2, "once with EDNS, and once without");

    let (first, second) = (good(), good());
    let addresses = [first.address, second.address];
    let resolver = Resolver::with_texts(&addresses, "options rotate", "");
    for _ in 0..4 {
        assert_eq!(resolve(&resolver, "a.test").await, Ok(GOOD));
    }
    assert_eq!((first.seen().len(), second.seen().len()), (2, 2));
}

#[tokio::test]
async fn names_of_any_length_are_asked_for() {
    let dns = good();
    let resolver = configured(&dns, "search example.test", "");
    let label = "x".repeat(63);
    let longest = [&*label, &label, &label, &label[..61]].join(".");
    assert_eq!(resolve(&resolver, &longest).await, Ok(GOOD));
    assert_eq!(names(&dns), [format!("{longest}.")]);
}

#[tokio::test(start_paused = true)]
async fn files_are_read_again_when_they_change() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (resolv_conf, hosts) = (
        folder.path().join("resolv.conf"),
        folder.path().join("hosts"),
    );
    fs::write(&hosts, "192.0.2.7 a.test").expect("room for a file");
    let resolver = Resolver::from_files(&resolv_conf, &hosts);
    assert_eq!(
        resolve(&resolver, "a.test").await,
        Ok([192, 0, 2, 7].into())
    );
    fs::write(&hosts, "192.0.2.80 a.test").expect("room for a file");
    assert_eq!(
        resolve(&resolver, "a.test").await,
        Ok([192, 0, 2, 7].into())
    );
    advance(Duration::from_secs(5)).await;
    assert_eq!(
        resolve(&resolver, "a.test").await,
        Ok([192, 0, 2, 80].into())
    );
    fs::remove_file(&hosts).expect("it is there");
    fs::write(
        &resolv_conf,
        "nameserver 127.0.0.77\noptions attempts:1 no-reload",
    )
    .expect("room");
    advance(Duration::from_secs(5)).await;
    let failure = resolve(&resolver, "a.test")
        .await
        .expect_err("nobody is there");
    assert_eq!(failure.reason, Reason::DnsFailure);
}

#[tokio::test]
async fn silence_ends_a_check_in_the_phase_resolve() {
    let silent = NameServer::start(|_| vec![]);
    let lab = Lab {
        dns: Dns::loopback(),
        net: Net::new(servers(&[&silent]), TrustStore::new(pki::AUTHORITY.roots())),
    };
    let report = lab
        .check(json!({ "url": "http://a.test/", "timeout": "50ms" }))
        .await;
    assert_failure(&report, Phase::Resolve, Reason::Timeout);
}
