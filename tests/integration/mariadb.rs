//! `starttls: mysql` against a real MariaDB, which counts clients that leave too early.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

use serde_json::json;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::support::{
    eventually,
    lab::Lab,
    pki::AUTHORITY,
    process::{helper, skip},
    report::assert_success,
};

/// An address that no other server of the tests listens on, and not the one of localhost.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// Errors of one host until the server refuses it.
const MAX_CONNECT_ERRORS: usize = 10;

/// The folder of Debian's package with the statements that create the system tables.
const TABLES: &str = "/usr/share/mysql";

struct MariaDb {
    server: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl MariaDb {
    /// A server with an account that may connect from anywhere.
    fn start(program: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("data")).expect("an empty directory");
        let mut statements = String::from("create database mysql;\nuse mysql;\n");
        for file in [
            "mysql_system_tables.sql",
            "mysql_performance_tables.sql",
            "mysql_system_tables_data.sql",
        ] {
            let file = format!("{TABLES}/{file}");
            statements += &fs::read_to_string(file).expect("the package's own file");
        }
        statements += "insert into global_priv values ('%', 'app', '{\"access\":0,\
                       \"plugin\":\"mysql_native_password\",\"authentication_string\":\"*00\"}');\n";
        let command = || {
            let mut command = Command::new(program);
            command
                .args(["--no-defaults", "--user=root", "--innodb=OFF"])
                .args(["--default-storage-engine=Aria", "--aria-log-file-size=8M"])
                .arg(format!("--datadir={}", path("data").display()));
            command
        };
        let mut bootstrap = command()
            .args(["--bootstrap", "--skip-networking"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program, which was just asked for its version");
        let mut stdin = bootstrap.stdin.take().expect("it is piped");
        stdin.write_all(statements.as_bytes()).expect("a reader");
        drop(stdin);
        assert!(bootstrap.wait().expect("a child").success());

        let identity = AUTHORITY.issue(&[&ADDRESS.to_string()], 2020..4000);
        fs::write(path("cert.pem"), &identity.certificate_pem).expect("room");
        fs::write(path("key.pem"), identity.key_pem()).expect("room");
        let free = TcpListener::bind((ADDRESS, 0)).expect("a port of loopback");
        let address = free.local_addr().expect("a bound socket");
        drop(free);
        let log = fs::File::create(path("log")).expect("room");
        let server = command()
            .arg("--default-tmp-storage-engine=Aria")
            .arg(format!("--bind-address={ADDRESS}"))
            .arg(format!("--port={}", address.port()))
            .arg(format!("--socket={}", path("socket").display()))
            .arg(format!("--pid-file={}", path("pid").display()))
            .arg(format!("--max-connect-errors={MAX_CONNECT_ERRORS}"))
            .arg(format!("--ssl-cert={}", path("cert.pem").display()))
            .arg(format!("--ssl-key={}", path("key.pem").display()))
            // The names of addresses are looked up; no server of names is waited for.
            .env("RES_OPTIONS", "timeout:1 attempts:1")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the same program");
        let started = Self {
            server,
            address,
            directory,
        };
        eventually("MariaDB is ready", || {
            started
                .log()
                .contains("ready for connections")
                .then_some(())
        });
        started
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The greeting for a client at `source`, which leaves then.
    fn greeting(&self, source: [u8; 4]) -> String {
        let mut socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let source = SocketAddr::from((source, 0));
        socket.bind(&source.into()).expect("an address of loopback");
        socket.connect(&self.address.into()).expect("a server");
        let mut greeting = [0; 512];
        let length = socket.read(&mut greeting).expect("a greeting");
        String::from_utf8_lossy(&greeting[..length]).into_owned()
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[tokio::test]
async fn checks_do_not_trigger_max_connect_errors() {
    let Some(program) = helper("mariadbd") else {
        return;
    };
    let server = MariaDb::start(program);
    let is_blocked = |source| server.greeting(source).contains("is blocked");
    // It does block a host whose clients leave.
    let is_strict = (0..=MAX_CONNECT_ERRORS).any(|_| is_blocked([127, 0, 0, 4]));
    if !is_strict {
        return skip("MariaDB blocks no host here: no name server answers for 127.0.0.4");
    }
    let lab = Lab::new();
    let job = lab.job(json!({
        "type": "tls",
        "target": server.address.to_string(),
        "starttls": "mysql",
        "source_ip_address": "127.0.0.2",
    }));
    for _ in 0..=3 * MAX_CONNECT_ERRORS {
        assert_success(&job.check_once().await);
    }
    assert!(!is_blocked([127, 0, 0, 2]));
    let log = server.log();
    let errors = log.lines().filter(|line| line.contains("[ERROR]"));
    assert_eq!(errors.count(), 0, "{log}");
}
