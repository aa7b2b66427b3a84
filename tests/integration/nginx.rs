//! `type: http` against a real nginx, which is the server of a good part of all targets.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use flate2::{Compression, write::GzEncoder};
use monitoringdaemon::check::{Phase, Reason, Report};
use serde_json::{Value, json};
use std::io::Write;
use tempfile::TempDir;

use crate::support::{
    eventually,
    lab::Lab,
    pki::{AUTHORITY, Authority, Identity, YEARS},
    process::helper,
    report::{assert_failure, assert_success},
};

/// An address that no other server of the tests listens on.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);

struct Nginx {
    server: Child,
    plain: SocketAddr,
    tls: SocketAddr,
    /// The server that demands a certificate.
    strict: SocketAddr,
    _directory: TempDir,
}

impl Nginx {
    fn start(program: &str, clients: &Authority) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path();
        let write = |name: &str, bytes: &[u8]| fs::write(root.join(name), bytes).expect("room");
        let identity = AUTHORITY.issue(&[&ADDRESS.to_string()], YEARS);
        write("cert.pem", identity.certificate_pem.as_bytes());
        write("key.pem", identity.key_pem().as_bytes());
        write("clients.pem", clients.pem().as_bytes());
        write("page", b"all is well");
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(b"all is well").expect("room in memory");
        write("page.gz", &gzip.finish().expect("room in memory"));
        // Held together, so that they differ.
        let free: [_; 3] = [(); 3].map(|()| {
            let free = TcpListener::bind((ADDRESS, 0)).expect("a port of loopback");
            let address = free.local_addr().expect("a bound socket");
            (free, address)
        });
        let [plain, tls, strict] = [&free[0].1, &free[1].1, &free[2].1].map(ToOwned::to_owned);
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path temp_{kind};\n"));
        let config = format!(
            "daemon off; master_process off; pid pid; error_log error.log;
             events {{ }}
             http {{
                 {paths} access_log off; root {root};
                 ssl_certificate cert.pem; ssl_certificate_key key.pem;
                 server {{
                     listen {plain}; listen {tls} ssl http2;
                     location /unasked/ {{ alias {root}/; gzip_static always; }}
                     location /old {{ return 301 /page; }}
                 }}
                 server {{
                     listen {strict} ssl http2;
                     ssl_client_certificate clients.pem; ssl_verify_client on;
                 }}
             }}",
            paths = paths.concat(),
            root = root.display(),
        );
        write("nginx.conf", config.as_bytes());
        drop(free);
        let server = Command::new(program)
            .arg("-p")
            .arg(root)
            .arg("-c")
            .arg(root.join("nginx.conf"))
            .args(["-e", "error.log"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program, which was just asked for its version");
        eventually("nginx listens", || TcpStream::connect(strict).ok());
        Self {
            server,
            plain,
            tls,
            strict,
            _directory: directory,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

async fn check(url: String, mut keys: Value) -> Report {
    keys["url"] = json!(url);
    Lab::new().check(keys).await
}

#[tokio::test]
async fn http_checks_work_with_nginx() {
    let Some(program) = helper("nginx") else {
        return;
    };
    let clients = Authority::new("clients");
    let nginx = Nginx::start(program, &clients);
    let matcher = json!({ "fail_if_body_not_matches_regexp": ["all is well"] });

    let plain = |path: &str| format!("http://{}{path}", nginx.plain);
    let report = check(plain("/page"), matcher.clone()).await;
    assert_success(&report);
    let report = check(plain("/old"), matcher.clone()).await;
    assert_success(&report);
    let report = check(plain("/old"), json!({ "follow_redirects": false })).await;
    assert_eq!(report.status(), Some(301));

    // It compresses what nobody asked to be compressed.
    let report = check(plain("/unasked/page"), matcher.clone()).await;
    let failure = assert_failure(&report, Phase::Transfer, Reason::BodyMismatch);
    let error = failure.error.to_string();
    assert!(error.contains("is encoded in gzip"), "{error}");
    let mut asked = matcher.clone();
    asked["compression"] = json!("gzip");
    assert_success(&check(plain("/unasked/page"), asked).await);

    let over_tls = |path: &str| format!("https://{}{path}", nginx.tls);
    for version in ["HTTP/2.0", "HTTP/1.1"] {
        let mut keys = matcher.clone();
        keys["valid_http_versions"] = json!([version]);
        keys["enable_http2"] = json!(version == "HTTP/2.0");
        assert_success(&check(over_tls("/old"), keys).await);
    }

    let strict = format!("https://{}/page", nginx.strict);
    let of = |client: &Identity| json!({ "tls_config": { "cert": client.certificate_pem, "key": client.key_pem() } });
    let client = clients.issue(&["client.test"], YEARS);
    assert_success(&check(strict.clone(), of(&client)).await);
    // It completes the handshake, and answers with 400.
    let stranger = AUTHORITY.issue(&["client.test"], YEARS);
    for keys in [json!({}), of(&stranger)] {
        let report = check(strict.clone(), keys).await;
        assert_eq!(report.status(), Some(400), "{report:#?}");
        let reason = report.failure.map(|failure| failure.reason);
        assert_eq!(reason, Some(Reason::StatusCode));
    }
}
