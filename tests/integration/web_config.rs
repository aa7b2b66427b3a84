//! TLS as a web configuration of Prometheus' exporters says, with real clients.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use monitoringdaemon::{
    config,
    metrics::{self, Metrics},
    server::{self, Readiness, Server, Services},
    value::{FromNode, Node},
};
use rustls::{
    CipherSuite, ClientConfig, NamedGroup, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::support::{
    PATIENCE,
    pki::{AUTHORITY, Authority, Identity, YEARS},
};

/// A server with a web configuration; dropped, it is gone.
struct Web {
    address: SocketAddr,
    _folder: TempDir,
    _serving: AbortOnDropHandle<()>,
}

impl Web {
    /// The server of the keys `tls` in `tls_server_config`, beside a certificate for 127.0.0.1.
    async fn start(tls: Value) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut settings = read(folder.path(), tls).unwrap_or_else(|wrong| panic!("{wrong}"));
        let address = server::Address::from_node(&Node::Text("127.0.0.1:0".to_owned()));
        settings.listen = vec![address.expect("an address")];
        let services = Services {
            metrics: Arc::new(Metrics::new(&metrics::Settings::default(), || 0)),
            readiness: Readiness::default(),
            status: None,
            probe: None,
            reload: None,
            poll_interval: Duration::from_secs(60),
        };
        let server = Server::bind(&settings, services).await;
        let server = server.unwrap_or_else(|(address, error)| panic!("{address}: {error}"));
        let address = server.addresses()[0].parse().expect("an address");
        let serving = tokio::spawn(server.serve(CancellationToken::new()));
        Self {
            address,
            _folder: folder,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    /// The handshake of `client`, if the server then answers a request.
    async fn ask(&self, client: Client<'_>) -> Option<Agreed> {
        timeout(PATIENCE, client.ask(self.address))
            .await
            .expect("it is answered or refused")
    }
}

/// Reads a web configuration with the keys `tls`.
fn read(folder: &Path, mut tls: Value) -> Result<server::Settings, String> {
    let identity = AUTHORITY.issue(&["127.0.0.1"], YEARS);
    let file = folder.join("key.pem");
    fs::write(&file, identity.key_pem()).expect("room for it");
    tls["key_file"] = json!(file);
    tls["cert"] = json!(identity.certificate_pem);
    let file = folder.join("web.yml");
    let text = json!({ "tls_server_config": tls }).to_string();
    fs::write(&file, text).expect("room for it");
    config::read_web(&file).map_err(|invalid| invalid.to_string())
}

/// The offer of a client.
#[derive(Clone, Copy)]
struct Client<'a> {
    versions: &'a [&'static SupportedProtocolVersion],
    suites: &'a [CipherSuite],
    groups: &'a [NamedGroup],
    identity: Option<&'a Identity>,
}

/// One that offers everything.
const ANY: Client<'static> = Client {
    versions: &[&TLS12, &TLS13],
    suites: &[],
    groups: &[],
    identity: None,
};

/// The result that both agreed on.
#[derive(Debug, PartialEq, Eq)]
struct Agreed {
    suite: CipherSuite,
    group: NamedGroup,
}

impl Client<'_> {
    fn provider(&self) -> CryptoProvider {
        let mut provider = aws_lc_rs::default_provider();
        if !self.suites.is_empty() {
            let suites = &mut provider.cipher_suites;
            suites.retain(|suite| self.suites.contains(&suite.suite()));
        }
        if !self.groups.is_empty() {
            let groups = &mut provider.kx_groups;
            groups.retain(|group| self.groups.contains(&group.name()));
        }
        provider
    }

    async fn ask(self, address: SocketAddr) -> Option<Agreed> {
        let config = ClientConfig::builder_with_provider(self.provider().into())
            .with_protocol_versions(self.versions)
            .expect("suites of these versions")
            .with_root_certificates(AUTHORITY.roots());
        let config = match self.identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_slice(identity.key_pem().as_bytes());
                let chain = vec![identity.certificate()];
                let config = config.with_client_auth_cert(chain, key.expect("a key"));
                config.expect("they fit together")
            }
        };
        let stream = TcpStream::connect(address).await.expect("it listens");
        let name = ServerName::IpAddress(address.ip().into());
        let connect = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let mut stream = connect.await.ok()?;
        let session = stream.get_ref().1;
        let agreed = Agreed {
            suite: session.negotiated_cipher_suite()?.suite(),
            group: session.negotiated_key_exchange_group()?.name(),
        };
        // With TLS 1.3, only the answer tells whether the server was content.
        let request = b"GET /-/healthy HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        answer.starts_with(b"HTTP/1.1 200 OK").then_some(agreed)
    }
}

#[tokio::test]
async fn versions_are_limited() {
    let old = Client {
        versions: &[&TLS12],
        ..ANY
    };
    let new = Client {
        versions: &[&TLS13],
        ..ANY
    };
    for (keys, takes_old, takes_new) in [
        (json!({}), true, true),
        (json!({ "min_version": "TLS13" }), false, true),
        (json!({ "max_version": "TLS12" }), true, false),
        (
            json!({ "min_version": "TLS12", "max_version": "TLS13" }),
            true,
            true,
        ),
    ] {
        let web = Web::start(keys.clone()).await;
        assert_eq!(web.ask(old).await.is_some(), takes_old, "{keys}");
        assert_eq!(web.ask(new).await.is_some(), takes_new, "{keys}");
        assert!(web.ask(ANY).await.is_some(), "{keys}");
    }
}

#[tokio::test]
async fn cipher_suites_are_limited_below_tls_1_3() {
    let listed = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
    // One that is known and not implemented changes nothing.
    let suites = [
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    ];
    let web = Web::start(json!({ "cipher_suites": suites })).await;
    let old = Client {
        versions: &[&TLS12],
        ..ANY
    };
    assert_eq!(web.ask(old).await.map(|agreed| agreed.suite), Some(listed));
    let other = Client {
        suites: &[CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256],
        ..old
    };
    assert_eq!(web.ask(other).await, None);
    let new = Client {
        versions: &[&TLS13],
        suites: &[CipherSuite::TLS13_CHACHA20_POLY1305_SHA256],
        ..ANY
    };
    assert!(web.ask(new).await.is_some());
}

#[tokio::test]
async fn curves_are_limited() {
    let web = Web::start(json!({ "curve_preferences": ["CurveP384", "CurveP521"] })).await;
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let client = Client { versions, ..ANY };
        let agreed = web.ask(client).await.map(|agreed| agreed.group);
        assert_eq!(agreed, Some(NamedGroup::secp384r1));
        let other = Client {
            groups: &[NamedGroup::X25519],
            ..client
        };
        assert_eq!(web.ask(other).await, None);
    }
}

#[tokio::test]
async fn client_certificates_are_verified() {
    let clients = Authority::new("clients");
    let known = clients.issue(&["client.test"], YEARS);
    let named_otherwise = clients.issue(&["other.test"], YEARS);
    let stranger = AUTHORITY.issue(&["client.test"], YEARS);
    for (kind, names, expected) in [
        (
            "RequireAndVerifyClientCert",
            json!([]),
            [false, true, true, false],
        ),
        (
            "VerifyClientCertIfGiven",
            json!([]),
            [true, true, true, false],
        ),
        (
            "RequireAndVerifyClientCert",
            json!(["client.test"]),
            [false, true, false, false],
        ),
    ] {
        let web = Web::start(json!({
            "client_auth_type": kind,
            "client_ca": clients.pem(),
            "client_allowed_sans": names,
        }))
        .await;
        for versions in [&[&TLS12][..], &[&TLS13]] {
            let mut taken = Vec::new();
            for identity in [None, Some(&known), Some(&named_otherwise), Some(&stranger)] {
                let client = Client {
                    versions,
                    identity,
                    ..ANY
                };
                taken.push(web.ask(client).await.is_some());
            }
            assert_eq!(taken, expected, "{kind} {names}");
        }
    }
}

#[test]
fn a_web_configuration_that_cannot_be_served_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for (keys, expected) in [
        (
            json!({ "min_version": "TLS10" }),
            "TLS10 is no longer supported",
        ),
        (
            json!({ "min_version": "TLS13", "max_version": "TLS12" }),
            "lower than min_version",
        ),
        (
            json!({ "cipher_suites": ["TLS_NULL"] }),
            "unknown cipher suite \"TLS_NULL\"",
        ),
        (
            json!({
                "max_version": "TLS12",
                "cipher_suites": ["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"],
            }),
            "contains no cipher suite that is supported",
        ),
        (
            json!({ "curve_preferences": ["CurveP1"] }),
            "unknown curve \"CurveP1\"",
        ),
        (
            json!({ "client_auth_type": "RequireAnyClientCert" }),
            "not supported",
        ),
        (
            json!({ "client_auth_type": "Maybe" }),
            "unknown client_auth_type \"Maybe\"",
        ),
        (
            json!({ "client_ca": AUTHORITY.pem() }),
            "without client_auth_type",
        ),
    ] {
        let wrong = read(folder.path(), keys.clone()).err().unwrap_or_default();
        assert!(wrong.contains(expected), "{keys}: {wrong}");
    }
}
