//! `type: websocket` against servers that speak it, and others.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::Datelike;
use futures_util::{SinkExt, StreamExt, future::join_all};
use monitoringdaemon::check::{Fact, Phase, Reason, Report};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use crate::support::{
    PATIENCE, SOON,
    dns::{Answer, Dns},
    lab::{Lab, config, millis},
    pki::{AUTHORITY, IDENTITY, YEARS},
    report::{assert_failure, assert_success, reached, spent},
    server::{Closed, Deaf, Request, Server, Step, redirect},
    websocket::{Peer, response, upgraded},
};

type Socket = WebSocketStream<TcpStream>;

const ALL: [Phase; 5] = [
    Phase::Resolve,
    Phase::Connect,
    Phase::Tls,
    Phase::Processing,
    Phase::Transfer,
];
const PLAIN: [Phase; 3] = [Phase::Connect, Phase::Processing, Phase::Transfer];

/// An unmasked frame of text, as a server sends it.
const HELLO: &[u8] = b"\x81\x05hello";
/// An unmasked frame that closes with code 1000.
const CLOSE: &[u8] = b"\x88\x02\x03\xe8";

/// Upgrades as asked, and says this right away.
fn greeting(frames: &'static [u8]) -> Step {
    Step::answer(move |request| [upgraded(request, &[]).as_bytes(), frames].concat())
}

async fn check(target: &str, mut settings: Value) -> Report {
    settings["type"] = json!("websocket");
    settings["target"] = json!(target);
    Lab::new().check(settings).await
}

async fn check_peer(peer: &Peer, settings: Value) -> Report {
    check(&format!("ws://{}/", peer.address), settings).await
}

async fn check_server(server: &Server, settings: Value) -> Report {
    check(&format!("ws://{}/", server.address), settings).await
}

/// A server that says this, one message after the other, and then only listens.
fn saying(messages: impl IntoIterator<Item = Message>) -> Peer {
    let messages: Vec<_> = messages.into_iter().collect();
    Peer::start(move |mut socket| {
        let messages = messages.clone();
        async move {
            for message in messages {
                let _ = socket.feed(message).await;
            }
            let _ = socket.flush().await;
            listen(&mut socket).await;
        }
    })
}

/// A server that only listens, and repeats what it hears.
fn listening() -> (Peer, UnboundedReceiver<Message>) {
    let (heard, receiver) = unbounded_channel();
    let peer = Peer::start(move |mut socket| {
        let heard = heard.clone();
        async move {
            while let Some(Ok(message)) = socket.next().await {
                let _ = heard.send(message);
            }
        }
    });
    (peer, receiver)
}

/// Reads until the client leaves; closes as it closes.
async fn listen(socket: &mut Socket) {
    while let Some(Ok(_)) = socket.next().await {}
}

async fn next(heard: &mut UnboundedReceiver<Message>) -> Message {
    let message = timeout(PATIENCE, heard.recv()).await;
    message.ok().flatten().expect("never heard")
}

fn expecting(pattern: &str) -> Value {
    json!({ "query_response": [{ "expect": pattern }] })
}

mod upgrade {
    use super::*;

    #[tokio::test]
    async fn an_established_websocket_is_a_success() {
        let server = Server::start([greeting(CLOSE)]);
        let lab = Lab::new();
        let target = format!("ws://{}/", server.address);
        let job = lab.job(json!({ "type": "websocket", "target": target }));
        let report = job.check_once().await;
        assert_success(&report);
        assert_eq!(reached(&report), PLAIN);
        assert_eq!(job.phases(), PLAIN);
        assert_eq!((job.kind(), job.target()), ("websocket", target));
        assert_eq!(job.host().as_deref(), Some("127.0.0.1"));
        assert_eq!(report.address(), Some(server.address.ip()));
        assert_eq!(
            (report.status(), report.response_bytes()),
            (Some(101), Some(0))
        );
        server.until(|seen| seen.left == 1).await;
    }

    #[tokio::test]
    async fn http_headers_are_accepted() {
        let server = Server::start([greeting(CLOSE)]);
        let headers = json!({ "X-Key": { "values": ["a"], "secrets": ["b"] } });
        assert_success(&check_server(&server, json!({ "http_headers": headers })).await);
        let request = server.request();
        let values = request.headers.iter().filter(|(name, _)| name == "x-key");
        let values: Vec<_> = values.map(|(_, value)| &**value).collect();
        assert_eq!(values, ["a", "b"]);
    }

    #[tokio::test]
    async fn the_upgrade_request_follows_the_rfc() {
        let server = Server::start([greeting(CLOSE)]);
        let target = format!("ws://us%65r:p@{}/path?query#fragment", server.address);
        let headers = json!({ "X-Key": "v" });
        assert_success(&check(&target, json!({ "headers": headers })).await);
        let request = server.request();
        assert_eq!((&*request.method, &*request.target), ("GET", "/path?query"));
        assert_eq!(request.header("host"), Some(&*server.address.to_string()));
        assert_eq!(request.header("connection"), Some("Upgrade"));
        assert_eq!(request.header("upgrade"), Some("websocket"));
        assert_eq!(request.header("sec-websocket-version"), Some("13"));
        assert_eq!(request.header("sec-websocket-key").map(str::len), Some(24));
        assert_eq!(request.header("sec-websocket-protocol"), None);
        assert_eq!(request.header("sec-websocket-extensions"), None);
        assert_eq!(request.header("authorization"), Some("Basic dXNlcjpw"));
        assert_eq!(request.header("x-key"), Some("v"));
        let agent = request.header("user-agent").expect("one");
        assert!(agent.starts_with("monitoringdaemon/"), "{agent}");
    }

    #[tokio::test]
    async fn each_check_has_its_own_key() {
        let server = Server::start([greeting(CLOSE)]);
        for _ in 0..2 {
            assert_success(&check_server(&server, json!({})).await);
        }
        let requests = server.seen().requests;
        let key = |at: usize| requests[at].header("sec-websocket-key");
        assert_ne!(key(0), key(1));
    }

    #[tokio::test]
    async fn wss_verifies_the_name_of_the_target() {
        let server = Server::start([IDENTITY.tls(), greeting(CLOSE)]);
        let lab = Lab::new();
        let target = format!("wss://service.test:{}/", server.address.port());
        let credentials = json!({ "credentials": "token" });
        let job = lab.job(json!({
            "type": "websocket",
            "target": target,
            "authorization": credentials,
        }));
        let report = job.check_once().await;
        assert_success(&report);
        assert_eq!(reached(&report), ALL);
        assert_eq!(job.phases(), ALL);
        assert!(report.tls().is_some());
        let request = server.request();
        assert_eq!(request.server_name.as_deref(), Some("service.test"));
        assert_eq!(request.header("authorization"), Some("Bearer token"));
    }

    #[tokio::test]
    async fn server_name_is_sent_as_sni_and_verified() {
        let inside = AUTHORITY.issue(&["inside.test"], YEARS);
        let server = Server::start([inside.tls(), greeting(CLOSE)]);
        let target = format!("wss://service.test:{}/", server.address.port());
        for settings in [
            json!({ "headers": { "Host": "inside.test:444" } }),
            json!({ "tls_config": { "server_name": "inside.test" } }),
        ] {
            assert_success(&check(&target, settings).await);
            let request = server.seen().requests.pop().expect("a request");
            assert_eq!(request.server_name.as_deref(), Some("inside.test"));
        }
        let hosts = server.seen().requests;
        assert_eq!(hosts[0].header("host"), Some("inside.test:444"));
        let report = check(&target, json!({})).await;
        assert_failure(&report, Phase::Tls, Reason::TlsWrongHost);
    }

    #[tokio::test]
    async fn a_certificate_that_expires_soon_fails_a_successful_check() {
        let next_year = chrono::Utc::now().year() + 1;
        let identity = AUTHORITY.issue(&["127.0.0.1"], 2020..next_year);
        let server = Server::start([identity.tls(), greeting(CLOSE)]);
        let target = format!("wss://{}/", server.address);
        let within = |time| json!({ "fail_if_certificate_expires_within": time });
        let report = check(&target, within("366d")).await;
        assert_failure(&report, Phase::Tls, Reason::TlsExpiresSoon);
        assert_eq!(reached(&report), ALL[1..]);
        assert_success(&check(&target, within("1ms")).await);
    }

    #[tokio::test]
    async fn a_response_without_upgrade_reports_its_status() {
        let not_found = "HTTP/1.1 404 Not Found\r\ncontent-length: 6\r\n\r\ns3cr3t".to_owned();
        for (answer, status) in [
            (not_found, 404),
            (redirect(302, "/there"), 302),
            ("HTTP/1.1 200 OK\r\n\r\n".to_owned(), 200),
        ] {
            let server = Server::answering(move |_| answer.clone());
            let report = check_server(&server, json!({})).await;
            let failure = assert_failure(&report, Phase::Processing, Reason::StatusCode);
            assert_eq!(failure.error, format!("HTTP {status}, expected 101"));
            assert_eq!(report.status(), Some(status));
            assert_eq!(server.seen().connections, 1);
        }
    }

    async fn check_answer(
        answer: impl Fn(&Request) -> String + Send + Sync + 'static,
        settings: Value,
    ) -> Report {
        let answer = move |request: &Request| [answer(request).as_bytes(), CLOSE].concat();
        let server = Server::answering(answer);
        check_server(&server, settings).await
    }

    #[tokio::test]
    async fn an_upgrade_to_another_protocol_is_a_protocol_error() {
        type Change = fn(String) -> String;
        let changes: [Change; 7] = [
            |right| right.replace("accept: ", "accept: x"),
            |right| right.replace("sec-websocket-accept", "x-accept"),
            |right| right.replace("upgrade: websocket", "upgrade: h2c"),
            |right| right.replace("upgrade: websocket\r\n", ""),
            |right| right.replace("connection: Upgrade", "connection: close"),
            |right| right.replace("upgrade: w", "sec-websocket-extensions: x\r\nupgrade: w"),
            |right| right.replace("upgrade: w", "sec-websocket-protocol: x\r\nupgrade: w"),
        ];
        for change in changes {
            let report =
                check_answer(move |request| change(upgraded(request, &[])), json!({})).await;
            assert_failure(&report, Phase::Processing, Reason::ProtocolError);
            assert_eq!(report.status(), Some(101));
        }
    }

    #[tokio::test]
    async fn header_lists_and_case_are_ignored() {
        let answers: [fn(String) -> String; 2] = [
            |right| right.replace("connection: Upgrade", "Connection: keep-alive, upgrade"),
            |right| right.replace("upgrade: websocket", "UPGRADE: WebSocket"),
        ];
        for answer in answers {
            let report =
                check_answer(move |request| answer(upgraded(request, &[])), json!({})).await;
            assert_success(&report);
        }
    }

    #[tokio::test]
    async fn interim_responses_are_skipped() {
        let report = check_answer(
            |request| {
                let right = upgraded(request, &[]);
                format!(
                    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n{right}"
                )
            },
            json!({}),
        )
        .await;
        assert_success(&report);
    }

    #[tokio::test]
    async fn invalid_http_is_a_protocol_error() {
        let long = format!("HTTP/1.1 101 x\r\nx: {}", "y".repeat(20_000));
        let interim = |count| "HTTP/1.1 100 Continue\r\n\r\n".repeat(count);
        for (said, reason) in [
            ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), Reason::ProtocolError),
            ("HTTP/1.0 101 x\r\n\r\n".to_owned(), Reason::ProtocolError),
            (
                "HTTP/1.1 101 x\r\ns3cr3t\r\n\r\n".to_owned(),
                Reason::ProtocolError,
            ),
            (long, Reason::ProtocolError),
            (response(&[]), Reason::ProtocolError),
            (interim(10), Reason::ConnectionReset),
            (interim(100), Reason::ProtocolError),
            ("HTTP/1.1 101 x\r\nx: y".to_owned(), Reason::ConnectionReset),
            (String::new(), Reason::ConnectionReset),
        ] {
            let server = Server::start([Step::Request, Step::send(said)]);
            let report = check_server(&server, json!({})).await;
            let failure = assert_failure(&report, Phase::Processing, reason);
            assert!(!failure.error.contains("s3cr3t"), "{failure:?}");
        }
        let server = Server::start([Step::Request, Step::Reset]);
        let report = check_server(&server, json!({})).await;
        assert_failure(&report, Phase::Processing, Reason::ConnectionReset);
    }

    #[tokio::test]
    async fn the_server_must_choose_a_subprotocol_that_was_offered() {
        let choosing = |chosen: &'static str| {
            move |request: &Request| {
                let offered = request.header("sec-websocket-protocol");
                assert_eq!(offered, Some("chat.v1, chat.v2"));
                upgraded(request, &[chosen])
            }
        };
        let offer = || json!({ "subprotocols": ["chat.v1", "chat.v2"] });
        let chosen = "sec-websocket-protocol: chat.v2";
        assert_success(&check_answer(choosing(chosen), offer()).await);
        for chosen in ["x: y", "sec-websocket-protocol: chat.v3"] {
            let report = check_answer(choosing(chosen), offer()).await;
            assert_failure(&report, Phase::Processing, Reason::ResponseMismatch);
        }
    }

    #[tokio::test]
    async fn an_address_of_the_wrong_family_is_dns_not_found() {
        let only = json!({ "preferred_ip_protocol": "ip6", "ip_protocol_fallback": false });
        let report = check("ws://127.0.0.1:1/", only).await;
        assert_failure(&report, Phase::Resolve, Reason::DnsNotFound);
    }

    #[tokio::test]
    async fn a_closed_port_is_connection_refused() {
        let report = check(&format!("ws://{}/", Closed::new().address), json!({})).await;
        assert_failure(&report, Phase::Connect, Reason::ConnectionRefused);
        assert_eq!(report.status(), None);
    }
}

mod dialogue {
    use super::*;

    #[tokio::test]
    async fn captures_are_sent_and_reported() {
        let (heard, mut receiver) = unbounded_channel();
        let peer = Peer::start(move |mut socket| {
            let heard = heard.clone();
            async move {
                let noise = [Message::text("noise"), Message::binary(&b"\xff\0"[..])];
                let question = [Message::Ping(Bytes::new()), Message::text("incoming_42 é")];
                for message in noise.into_iter().chain(question) {
                    let _ = socket.send(message).await;
                }
                while let Some(Ok(message)) = socket.next().await {
                    if message == Message::text("outgoing_42") {
                        let _ = socket.send(Message::binary(&b"passed\xfe"[..])).await;
                    }
                    let _ = heard.send(message);
                }
            }
        });
        let labels =
            json!([{ "name": "n", "value": "number ${n}" }, { "name": "all", "value": "$0" }]);
        let dialogue = json!([
            { "expect": "^incoming_(?<n>[0-9]+)", "send": "outgoing_${1}", "labels": labels },
            { "expect": r"^passed\x{FFFD}$", "labels": [{ "name": "last", "value": "x" }] },
            { "send": "bye ${1}" },
        ]);
        let report = check_peer(&peer, json!({ "query_response": dialogue })).await;
        assert_success(&report);
        assert_eq!(reached(&report), PLAIN);
        assert_eq!(report.response_bytes(), Some(5 + 2 + 14 + 7));
        let caught = ["n", "all", "last"]
            .into_iter()
            .zip(["number 42", "incoming_42", "x"]);
        let caught = caught.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert!(
            report.facts.contains(&Fact::Captured(caught.collect())),
            "{report:#?}"
        );
        assert!(next(&mut receiver).await.is_pong());
        assert_eq!(next(&mut receiver).await, Message::text("outgoing_42"));
        assert_eq!(next(&mut receiver).await, Message::text("bye ${1}"));
        assert!(next(&mut receiver).await.is_close());
    }

    #[tokio::test]
    async fn messages_that_came_with_the_response_are_read() {
        let server = Server::start([greeting(b"\x81\x05hello\x88\x02\x03\xe8")]);
        let report = check_server(&server, expecting("^hello$")).await;
        assert_success(&report);
        assert_eq!(report.response_bytes(), Some(HELLO.len() as u64 - 2));
    }

    #[tokio::test]
    async fn a_long_message_is_matched_as_a_whole() {
        let peer = saying([Message::text("x".repeat(500_000) + "end")]);
        assert_success(&check_peer(&peer, expecting("xend$")).await);
    }

    #[tokio::test]
    async fn a_close_before_the_expected_message_is_a_mismatch() {
        let server = Server::start([greeting(b"\x81\x05hello\x88\x08\x03\xf0s3cr3t")]);
        for (settings, error) in [
            (
                expecting("^bye$"),
                "the server closed the WebSocket with code 1008 before a message that matches \"^bye$\"",
            ),
            (
                json!({ "ping": true }),
                "the server closed the WebSocket with code 1008 before it answered the ping",
            ),
        ] {
            let report = check_server(&server, settings).await;
            let failure = assert_failure(&report, Phase::Transfer, Reason::ResponseMismatch);
            assert_eq!(failure.error, error);
            assert_eq!(report.response_bytes(), Some(5));
        }
        let server = Server::start([greeting(b"\x88\0")]);
        let report = check_server(&server, expecting("x")).await;
        let failure = assert_failure(&report, Phase::Transfer, Reason::ResponseMismatch);
        assert!(
            failure
                .error
                .starts_with("the server closed the WebSocket before"),
            "{failure:?}"
        );
    }

    #[tokio::test]
    async fn a_connection_closed_during_query_response_is_a_reset() {
        let dropping = Peer::start(async |socket| drop(socket));
        let resetting = Peer::start(async |socket: Socket| {
            socket.get_ref().set_zero_linger().expect("an open socket");
        });
        for peer in [dropping, resetting] {
            for settings in [expecting("x"), json!({ "ping": true })] {
                let report = check_peer(&peer, settings).await;
                assert_failure(&report, Phase::Transfer, Reason::ConnectionReset);
                assert_eq!(report.status(), Some(101));
            }
        }
        // Without a word of TLS.
        let upgrade = Step::Reply(Arc::new(|request| Bytes::from(upgraded(request, &[]))));
        for (step, phase) in [
            (Step::Request, Phase::Processing),
            (upgrade, Phase::Transfer),
        ] {
            let server = Server::start([IDENTITY.tls(), step, Step::Drop]);
            let report = check(&format!("wss://{}/", server.address), expecting("x")).await;
            assert_failure(&report, phase, Reason::ConnectionReset);
        }
    }

    #[tokio::test]
    async fn endless_messages_are_a_protocol_error() {
        let pings = (0..1100).map(|_| Message::Ping(Bytes::new()));
        let short = (0..1100).map(|_| Message::text("x"));
        let long = (0..4).map(|_| Message::binary(vec![b'x'; 300_000]));
        let too_long = [Message::binary(vec![b'x'; (1 << 20) + 1])];
        let many = "the server sent more than 1000 messages before";
        let much = "the server sent more than 1048576 bytes before";
        for (peer, error) in [
            (saying(pings), many),
            (saying(short), many),
            (saying(long), much),
            (saying(too_long), much),
        ] {
            let report = check_peer(&peer, expecting("y")).await;
            let failure = assert_failure(&report, Phase::Transfer, Reason::ProtocolError);
            assert!(failure.error.starts_with(error), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn a_rejected_message_ends_the_check_immediately() {
        let peer = saying([Message::text("hello"), Message::text("busy, go away")]);
        let entries = json!([{ "expect": "ready", "reject": ["^busy", "down"] }]);
        let report = check_peer(&peer, json!({ "query_response": entries })).await;
        let failure = assert_failure(&report, Phase::Transfer, Reason::ResponseMismatch);
        let error = "the server sent \"busy, go away\", which matches reject \"^busy\"";
        assert_eq!(failure.error, error);
        let peer = saying([Message::text("hello"), Message::text("ready")]);
        let entries = json!([{ "expect": "ready", "reject": ["^busy", "down"] }]);
        assert_success(&check_peer(&peer, json!({ "query_response": entries })).await);
    }

    #[tokio::test]
    async fn a_timeout_says_what_was_awaited_and_what_came_last() {
        for (said, sent, last) in [
            ("hello", "hi", "; the last message was \"hello\""),
            (
                "unknown hunter2",
                "hunter2",
                "; the last message was something that repeats what was sent",
            ),
        ] {
            let peer = saying([Message::text(said)]);
            let entries = json!([{ "send": sent }, { "expect": "^ready$" }]);
            let keys = json!({ "query_response": entries, "timeout": "300ms" });
            let report = check_peer(&peer, keys).await;
            let failure = assert_failure(&report, Phase::Transfer, Reason::Timeout);
            let awaited = "still waiting for a message that matches \"^ready$\"";
            let error = format!("no result within 300ms, {awaited} (query_response[1]){last}");
            assert_eq!(failure.error, error);
        }
    }

    #[tokio::test]
    async fn a_reply_that_the_server_made_too_long_is_not_sent() {
        let peer = saying([Message::text("x".repeat(600_000))]);
        let dialogue = json!([{ "expect": "(x*)", "send": "${1}${1}" }]);
        let report = check_peer(&peer, json!({ "query_response": dialogue })).await;
        let failure = assert_failure(&report, Phase::Transfer, Reason::ResponseMismatch);
        assert_eq!(
            failure.error,
            "the message to send is longer than 1048576 bytes"
        );
    }

    #[tokio::test]
    async fn invalid_websocket_frames_are_a_protocol_error() {
        let frames: [&'static [u8]; 9] = [
            b"HTTP/1.1 200 OK\r\n\r\n",
            // Reserved bits, and opcodes.
            b"\xf1\x01x",
            b"\x83\x01x",
            b"\x8b\x01x",
            // Masked, as only a client's frames may be.
            b"\x81\x81\0\0\0\0x",
            // Text that is no UTF-8.
            b"\x81\x01\xff",
            // Control frames that are long, or in pieces.
            b"\x89\x7e\0\x7e",
            b"\x09\x00",
            // The rest of nothing.
            b"\x80\x01x",
        ];
        for said in frames {
            for settings in [expecting("y"), json!({ "ping": true }), json!({})] {
                // A frame is judged when it is whole.
                let server = Server::start([Step::answer(move |request| {
                    [upgraded(request, &[]).as_bytes(), said, &[0; 200]].concat()
                })]);
                let report = check_server(&server, settings).await;
                assert_failure(&report, Phase::Transfer, Reason::ProtocolError);
            }
        }
        // A length that nobody has.
        let server = Server::start([greeting(b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff")]);
        let report = check_server(&server, expecting("y")).await;
        assert_failure(&report, Phase::Transfer, Reason::ProtocolError);
    }
}

mod ping_and_close {
    use super::*;

    #[tokio::test]
    async fn a_ping_waits_for_its_own_pong() {
        let peer = Peer::start(async |mut socket: Socket| {
            let _ = socket.send(Message::Pong(Bytes::from("another"))).await;
            let _ = socket.send(Message::text("noise")).await;
            listen(&mut socket).await;
        });
        let report = check_peer(&peer, json!({ "ping": true })).await;
        assert_success(&report);
        assert_eq!(report.response_bytes(), Some(5));
        // One that answers with what it was not asked for.
        let server = Server::start([greeting(b"\x8a\x05wrong\x88\x02\x03\xe8")]);
        let report = check_server(&server, json!({ "ping": true })).await;
        assert_failure(&report, Phase::Transfer, Reason::ResponseMismatch);
    }

    #[tokio::test]
    async fn ping_payloads_are_unpredictable() {
        let (peer, mut heard) = listening();
        let mut payloads = Vec::new();
        for _ in 0..2 {
            assert_success(&check_peer(&peer, json!({ "ping": true })).await);
            let ping = next(&mut heard).await;
            assert!(ping.is_ping());
            payloads.push(ping.into_data());
            assert!(next(&mut heard).await.is_close());
        }
        assert_ne!(payloads[0], payloads[1]);
        assert_success(&check_peer(&peer, json!({})).await);
        assert!(next(&mut heard).await.is_close());
    }

    #[tokio::test]
    async fn the_websocket_is_closed_with_a_normal_code() {
        let (peer, mut heard) = listening();
        assert_success(&check_peer(&peer, json!({})).await);
        let Message::Close(Some(farewell)) = next(&mut heard).await else {
            panic!("not closed in good order");
        };
        assert_eq!(u16::from(farewell.code), 1000);
    }

    #[tokio::test]
    async fn a_server_that_is_gone_before_the_close_is_no_failure() {
        let dropping = Peer::start(async |socket| drop(socket));
        let resetting = Peer::start(async |socket: Socket| {
            socket.get_ref().set_zero_linger().expect("an open socket");
        });
        let late = Peer::start(async |mut socket: Socket| {
            let _ = socket.get_mut().readable().await;
        });
        let talking = saying((0..1100).map(|_| Message::text("x".repeat(2000))));
        let endless = Peer::start(async |mut socket: Socket| {
            let frames = HELLO.repeat(1000);
            while socket.get_mut().write_all(&frames).await.is_ok() {}
        });
        for peer in [dropping, resetting, late, talking, endless] {
            assert_success(&check_peer(&peer, json!({})).await);
        }
    }
}

mod time {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(500);

    /// Asserts that a check of `target` times out in the last of `phases`.
    async fn assert_timeout(lab: &Lab, target: &str, mut settings: Value, phases: &[Phase]) {
        settings["type"] = json!("websocket");
        settings["target"] = json!(target);
        settings["timeout"] = millis(500);
        let report = lab.check(settings).await;
        let last = *phases.last().expect("a phase");
        assert_failure(&report, last, Reason::Timeout);
        assert_eq!(reached(&report), phases, "{report:#?}");
        assert!(report.duration < TIMEOUT + SOON, "{report:#?}");
        assert!(spent(&report, last) > Some(TIMEOUT / 5), "{report:#?}");
    }

    #[tokio::test]
    async fn silence_is_a_timeout_in_the_phase_it_begins_in() {
        let silent_dns = Lab::with_dns(Dns::start(Duration::ZERO, |_| Answer::Silence));
        assert_timeout(&silent_dns, "ws://service.test/", json!({}), &ALL[..1]).await;
        let lab = Lab::new();
        let deaf = Deaf::new().await;
        let target = format!("ws://service.test:{}/", deaf.address.port());
        assert_timeout(&lab, &target, json!({}), &ALL[..2]).await;
        let server = Server::start([Step::Hang]);
        let target = format!("wss://service.test:{}/", server.address.port());
        assert_timeout(&lab, &target, json!({}), &ALL[..3]).await;
        server.until(|seen| seen.left == 1).await;
    }

    #[tokio::test]
    async fn silence_before_the_upgrade_is_a_timeout_in_processing() {
        let lab = Lab::new();
        let check = async |start: &'static str| {
            let server =
                Server::start([IDENTITY.tls(), Step::Request, Step::send(start), Step::Hang]);
            let target = format!("wss://service.test:{}/", server.address.port());
            assert_timeout(&lab, &target, json!({}), &ALL[..4]).await;
            server.until(|seen| seen.left == 1).await;
        };
        let half = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket";
        join_all(["", "HTTP/1.1 10", half, "HTTP/1.1 100 Continue\r\n\r\n"].map(check)).await;
    }

    #[tokio::test]
    async fn silence_after_the_upgrade_is_a_timeout_in_transfer() {
        let lab = Lab::new();
        let said: [&'static [u8]; 4] = [b"", HELLO, &HELLO[..1], &HELLO[..4]];
        let check = async |said: &'static [u8]| {
            for settings in [expecting("never"), json!({ "ping": true }), json!({})] {
                let server = Server::start([IDENTITY.tls(), greeting(said)]);
                let target = format!("wss://service.test:{}/", server.address.port());
                assert_timeout(&lab, &target, settings, &ALL).await;
                server.until(|seen| seen.left == 1).await;
            }
        };
        join_all(said.map(check)).await;
    }

    #[tokio::test]
    async fn endless_empty_fragments_are_a_protocol_error() {
        let pieces = b"\x02\x01x"
            .iter()
            .chain(&b"\0\0".repeat(5000))
            .copied()
            .collect::<Vec<_>>();
        let peer = Peer::start(move |mut socket: Socket| {
            let pieces = pieces.clone();
            async move {
                let stream = socket.get_mut();
                while stream.write_all(&pieces[..3]).await.is_ok() {
                    while stream.write_all(&pieces[3..]).await.is_ok() {}
                }
            }
        });
        let report = check_peer(&peer, expecting("y")).await;
        let failure = assert_failure(&report, Phase::Transfer, Reason::ProtocolError);
        let error = "the server sent more than 1048576 bytes before";
        assert!(failure.error.starts_with(error), "{failure:?}");
        assert_success(&check_peer(&peer, json!({})).await);
    }

    #[tokio::test]
    async fn a_slow_response_head_counts_for_processing() {
        let server = Server::start(
            [Step::Request, Step::send("HTTP/1.1 4")]
                .into_iter()
                .chain("04 Not Found\r\n\r\n".bytes().flat_map(|byte| {
                    let wait = Step::Wait(Duration::from_millis(10));
                    [wait, Step::send(vec![byte])]
                }))
                .collect::<Vec<_>>(),
        );
        let report = check_server(&server, json!({})).await;
        assert_failure(&report, Phase::Processing, Reason::StatusCode);
        assert!(spent(&report, Phase::Processing) > Some(Duration::from_millis(150)));
    }
}

mod secrets {
    use super::*;

    fn settings() -> Value {
        json!({
            "type": "websocket",
            "headers": { "X-Key": "s3cr3t-key" },
            "query_response": [{ "send": "s3cr3t-text" }, { "expect": "never" }],
        })
    }

    #[tokio::test]
    async fn failures_hide_secrets() {
        let echo = |status: &'static str| {
            Step::answer(move |request| {
                let all = format!("{request:?}").replace(|c: char| c.is_control(), "");
                format!("HTTP/1.1 {status}\r\nx: {all}\r\n\r\n{all}")
            })
        };
        let closing: Vec<u8> = [b"\x88\x0d\x03\xf0".as_slice(), b"s3cr3t-text"].concat();
        let closing =
            Step::answer(move |request| [upgraded(request, &[]).as_bytes(), &closing].concat());
        for script in [
            vec![echo("404 s3cr3t")],
            vec![echo("101 s3cr3t")],
            vec![closing],
        ] {
            let server = Server::start(script);
            let mut monitor = settings();
            let authority = server.address;
            monitor["target"] = json!(format!("ws://s3cr3t:s3cr3t@{authority}/path?s3cr3t"));
            let lab = Lab::new();
            let job = lab.job(monitor);
            let report = job.check_once().await;
            assert!(report.failure.is_some());
            assert!(
                !format!("{report:?}{job:?}").contains("s3cr3t"),
                "{report:?}"
            );
            assert_eq!(job.target(), format!("ws://{authority}/path"));
        }
    }

    #[test]
    fn debug_output_hides_secrets() {
        let mut monitor = settings();
        monitor["target"] = json!("wss://s3cr3t:s3cr3t@service.test/path?s3cr3t");
        let config = config(monitor);
        let shown = format!("{config:?} {config:#?}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}
