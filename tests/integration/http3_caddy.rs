//! HTTP/3 against a real Caddy, whose QUIC is quic-go.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    time::Duration,
};

use monitoringdaemon::check::{Fact, Phase, Reason, Report};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::support::{
    PATIENCE,
    lab::Lab,
    pki::{AUTHORITY, Authority, YEARS},
    process::helper,
    report::{assert_failure, assert_success, reached},
};

/// An address that no other server of the tests listens on.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

struct Caddy {
    server: Child,
    open: SocketAddr,
    /// The server that demands a certificate.
    strict: SocketAddr,
    _directory: TempDir,
}

impl Caddy {
    fn start(program: &str, clients: &Authority) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path();
        let write = |name: &str, bytes: &[u8]| fs::write(root.join(name), bytes).expect("room");
        let identity = AUTHORITY.issue(&[&ADDRESS.to_string()], YEARS);
        write("cert.pem", identity.certificate_pem.as_bytes());
        write("key.pem", identity.key_pem().as_bytes());
        write("clients.pem", clients.pem().as_bytes());
        write("page", &b"all is well, ".repeat(50_000));
        // Held together, so that they differ.
        let free = [(); 2].map(|()| UdpSocket::bind((ADDRESS, 0)).expect("a port of loopback"));
        let [open, strict] =
            [&free[0], &free[1]].map(|free| free.local_addr().expect("a bound socket"));
        let config = format!(
            "{{
                admin off
                auto_https off
                servers {{
                    protocols h3
                }}
            }}
            https://{open} {{
                bind {ADDRESS}
                tls cert.pem key.pem
                root * {root}
                redir /old /page
                redir /plain http://{open}/
                respond /post \"{{http.request.body}}\"
                respond /broken 503
                file_server
            }}
            https://{strict} {{
                bind {ADDRESS}
                tls cert.pem key.pem {{
                    client_auth {{
                        mode require_and_verify
                        trusted_ca_cert_file clients.pem
                    }}
                }}
                respond \"hello\"
            }}\n",
            root = root.display(),
        );
        write("Caddyfile", config.as_bytes());
        drop(free);
        let server = Command::new(program)
            .args(["run", "--adapter", "caddyfile", "--config", "Caddyfile"])
            .current_dir(root)
            .env("XDG_CONFIG_HOME", root)
            .env("XDG_DATA_HOME", root)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program, which was just asked for its version");
        Self {
            server,
            open,
            strict,
            _directory: directory,
        }
    }
}

impl Drop for Caddy {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

async fn check(address: SocketAddr, path: &str, mut keys: Value) -> Report {
    keys["url"] = json!(format!("https://{address}{path}"));
    keys["enable_http3"] = json!(true);
    Lab::new().check(keys).await
}

#[tokio::test]
async fn caddy_is_checked_over_http3() {
    let Some(program) = helper("caddy") else {
        return;
    };
    let clients = Authority::new("clients");
    let caddy = Caddy::start(program, &clients);
    let began = Instant::now();
    while check(caddy.open, "/page", json!({}))
        .await
        .failure
        .is_some()
    {
        assert!(began.elapsed() < PATIENCE, "Caddy does not listen");
        sleep(Duration::from_millis(50)).await;
    }
    let whole = json!({
        "valid_http_versions": ["HTTP/3"],
        "fail_if_body_not_matches_regexp": ["all is well, $"],
        "fail_if_header_not_matches": [{ "header": "Server", "regexp": "Caddy" }],
    });
    for path in ["/page", "/old"] {
        let report = check(caddy.open, path, whole.clone()).await;
        assert_success(&report);
        let phases = [
            Phase::Connect,
            Phase::Tls,
            Phase::Processing,
            Phase::Transfer,
        ];
        assert_eq!(reached(&report), phases);
        assert!(report.facts.iter().any(|fact| matches!(
            fact,
            Fact::Tls {
                version: "TLS 1.3",
                ..
            }
        )));
    }
    assert_success(&check(caddy.open, "/page", json!({ "method": "HEAD" })).await);
    let echo = json!({
        "method": "POST",
        "body": "is it there?",
        "fail_if_body_not_matches_regexp": ["^is it there\\?$"],
    });
    assert_success(&check(caddy.open, "/post", echo).await);
    let report = check(caddy.open, "/broken", json!({})).await;
    assert_failure(&report, Phase::Processing, Reason::StatusCode);
    let report = check(caddy.open, "/plain", json!({})).await;
    assert_failure(&report, Phase::Processing, Reason::ProtocolError);
    let name = json!({ "tls_config": { "server_name": "other.test" } });
    let report = check(caddy.open, "/", name).await;
    let reason = report.failure.as_ref().map(|failure| failure.reason);
    let refused = [Some(Reason::TlsWrongHost), Some(Reason::TlsHandshake)];
    assert!(refused.contains(&reason), "{report:#?}");

    let report = check(caddy.strict, "/", json!({})).await;
    assert_failure(&report, Phase::Tls, Reason::TlsHandshake);
    let client = clients.issue(&["client.test"], YEARS);
    let keys = json!({
        "tls_config": { "cert": client.certificate_pem, "key": client.key_pem() },
    });
    assert_success(&check(caddy.strict, "/", keys).await);
}
