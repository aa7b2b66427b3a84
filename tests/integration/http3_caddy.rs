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
    pki::{AUTHORITY, YEARS},
    process::helper,
    report::{assert_failure, assert_success, reached},
};

/// An address that no other server of the tests listens on.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

struct Caddy {
    server: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Caddy {
    fn start(program: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path();
        let write = |name: &str, bytes: &[u8]| fs::write(root.join(name), bytes).expect("room");
        let identity = AUTHORITY.issue(&[&ADDRESS.to_string()], YEARS);
        write("cert.pem", identity.certificate_pem.as_bytes());
        write("key.pem", identity.key_pem().as_bytes());
        write("page", &b"all is well, ".repeat(50_000));
        let free = UdpSocket::bind((ADDRESS, 0)).expect("a port of loopback");
        let address = free.local_addr().expect("a bound socket");
        let config = format!(
            "{{
                admin off
                auto_https off
                servers {{
                    protocols h3
                }}
            }}
            https://{address} {{
                bind {ADDRESS}
                tls cert.pem key.pem
                root * {root}
                redir /old /page
                redir /plain http://{address}/
                respond /post \"{{http.request.body}}\"
                respond /broken 503
                file_server
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
            address,
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
    let caddy = Caddy::start(program);
    let began = Instant::now();
    while check(caddy.address, "/page", json!({}))
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
        let report = check(caddy.address, path, whole.clone()).await;
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
    assert_success(&check(caddy.address, "/page", json!({ "method": "HEAD" })).await);
    let echo = json!({
        "method": "POST",
        "body": "is it there?",
        "fail_if_body_not_matches_regexp": ["^is it there\\?$"],
    });
    assert_success(&check(caddy.address, "/post", echo).await);
    let report = check(caddy.address, "/broken", json!({})).await;
    assert_failure(&report, Phase::Processing, Reason::StatusCode);
    let report = check(caddy.address, "/plain", json!({})).await;
    assert_failure(&report, Phase::Processing, Reason::ProtocolError);
    let name = json!({ "tls_config": { "server_name": "other.test" } });
    let report = check(caddy.address, "/", name).await;
    let reason = report.failure.as_ref().map(|failure| failure.reason);
    let refused = [Some(Reason::TlsWrongHost), Some(Reason::TlsHandshake)];
    assert!(refused.contains(&reason), "{report:#?}");
}
