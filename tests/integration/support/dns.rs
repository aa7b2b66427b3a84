//! A name server that speaks just enough DNS (RFC 1035) over UDP and TCP, and answers by a rule.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::AbortHandle,
    time::sleep,
};

use super::SERVERS;

/// The answer of a name server for a name.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It has these addresses, of which each question gets those of its family.
    Addresses(Vec<IpAddr>),
    /// It does not exist.
    NoSuchName,
    /// A response code and nothing else, such as 2 (SERVFAIL).
    Code(u8),
    /// Too much to say over UDP, so these addresses over TCP.
    Truncated(Vec<IpAddr>),
    /// Nothing at all.
    Silence,
}

impl Answer {
    pub fn loopback() -> Self {
        Self::Addresses(vec![IpAddr::from([127, 0, 0, 1])])
    }
}

/// A question as the server got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub name: String,
    pub over_tcp: bool,
}

type Rule = dyn Fn(&str) -> Answer + Send + Sync;

/// A name server on a port of its own; dropped, it is gone.
pub struct Dns {
    pub address: SocketAddr,
    questions: Arc<Mutex<Vec<Question>>>,
    tasks: [AbortHandle; 2],
}

impl Dns {
    /// Answers each question by `rule`, after `delay`.
    pub fn start(delay: Duration, rule: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let (udp, tcp) = bind();
        let address = udp.local_addr().expect("a bound socket has an address");
        let questions = Arc::new(Mutex::new(Vec::new()));
        let zone = Zone {
            delay,
            rule: Arc::new(rule),
            questions: questions.clone(),
        };
        let tasks = [
            SERVERS.spawn(serve_udp(udp, zone.clone())).abort_handle(),
            SERVERS.spawn(serve_tcp(tcp, zone)).abort_handle(),
        ];
        Self {
            address,
            questions,
            tasks,
        }
    }

    /// Has 127.0.0.1 for every name.
    pub fn loopback() -> Self {
        Self::start(Duration::ZERO, |_| Answer::loopback())
    }

    pub fn questions(&self) -> Vec<Question> {
        self.questions
            .lock()
            .expect("nothing panics with it")
            .clone()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[derive(Clone)]
struct Zone {
    delay: Duration,
    rule: Arc<Rule>,
    questions: Arc<Mutex<Vec<Question>>>,
}

/// One port for both protocols.
fn bind() -> (std::net::UdpSocket, std::net::TcpListener) {
    loop {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = udp.local_addr().expect("a bound socket has an address");
        // The port may be taken there, by a test that runs beside this one.
        if let Ok(tcp) = std::net::TcpListener::bind(address) {
            udp.set_nonblocking(true).expect("an open socket");
            tcp.set_nonblocking(true).expect("an open socket");
            return (udp, tcp);
        }
    }
}

async fn serve_udp(socket: std::net::UdpSocket, zone: Zone) {
    let socket = Arc::new(UdpSocket::from_std(socket).expect("a socket that does not block"));
    let mut query = [0; 1500];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut query).await else {
            continue;
        };
        let (socket, zone, query) = (socket.clone(), zone.clone(), query[..length].to_vec());
        tokio::spawn(async move {
            if let Some(reply) = zone.reply(&query, false).await {
                let _ = socket.send_to(&reply, client).await;
            }
        });
    }
}

async fn serve_tcp(listener: std::net::TcpListener, zone: Zone) {
    let listener = TcpListener::from_std(listener).expect("a socket that does not block");
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            continue;
        };
        let zone = zone.clone();
        tokio::spawn(async move {
            // RFC 1035, section 4.2.2: each message behind its length.
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0; length.into()];
                stream.read_exact(&mut query).await?;
                if let Some(reply) = zone.reply(&query, true).await {
                    let length = u16::try_from(reply.len()).expect("a short reply");
                    stream.write_u16(length).await?;
                    stream.write_all(&reply).await?;
                }
            }
            std::io::Result::Ok(())
        });
    }
}

const HEADER: usize = 12;
const A: u16 = 1;
const SOA: u16 = 6;
const AAAA: u16 = 28;
/// A pointer to the name in the question.
const THE_NAME: [u8; 2] = [0xc0, 0x0c];

impl Zone {
    async fn reply(&self, query: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        let (name, end_of_name) = name(query)?;
        let question = query.get(HEADER..end_of_name + 4)?;
        let kind = u16::from_be_bytes([query[end_of_name], query[end_of_name + 1]]);
        let answer = (self.rule)(&name);
        let asked = Question { name, over_tcp };
        self.questions
            .lock()
            .expect("nothing panics with it")
            .push(asked);
        sleep(self.delay).await;

        let bare = matches!(answer, Answer::Code(_));
        let (code, addresses, truncated) = match answer {
            Answer::Silence => return None,
            Answer::Truncated(_) if !over_tcp => (0, Vec::new(), true),
            Answer::Addresses(addresses) | Answer::Truncated(addresses) => (0, addresses, false),
            Answer::NoSuchName => (3, Vec::new(), false),
            Answer::Code(code) => (code, Vec::new(), false),
        };
        let mut records = Vec::new();
        let mut count = 0_u8;
        for address in addresses {
            match address {
                IpAddr::V4(address) if kind == A => {
                    record(&mut records, kind, &address.octets());
                }
                IpAddr::V6(address) if kind == AAAA => {
                    record(&mut records, kind, &address.octets());
                }
                _ => continue,
            }
            count += 1;
        }
        // RFC 2308: an answer of nothing comes with the authority that says so.
        let nothing = count == 0 && !truncated && !bare;
        if nothing {
            let mut data = [THE_NAME, THE_NAME].concat();
            data.extend([0, 0, 0, 60].repeat(5));
            record(&mut records, SOA, &data);
        }
        // A response, recursion desired and available.
        let flags = [0x81 | u8::from(truncated) << 1, 0x80 | code];
        let counts = [0, 1, 0, count, 0, u8::from(nothing), 0, 0];
        Some([&query[..2], &flags, &counts, question, &records].concat())
    }
}

/// The name in the question, and where it ends.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), HEADER);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = query.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += length;
    }
}

fn record(records: &mut Vec<u8>, kind: u16, data: &[u8]) {
    let length = u16::try_from(data.len()).expect("a short record");
    records.extend(THE_NAME);
    records.extend(kind.to_be_bytes());
    // Of the internet, for a minute.
    records.extend([0, 1, 0, 0, 0, 60]);
    records.extend(length.to_be_bytes());
    records.extend(data);
}
