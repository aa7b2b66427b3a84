//! Listeners: TCP ports, Unix sockets, and sockets passed by systemd.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
    time::timeout,
};

use super::settings::Address;

/// Number of connections that wait to be accepted; the value of tokio.
const BACKLOG: i32 = 1024;

/// A connection of any kind.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A socket that is listened on.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// The file of a socket that was created here.
        _file: Option<SocketFile>,
    },
}

/// The file of a socket, which is removed with it.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode, to recognize a file that another process has created since.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            identity: Self::identity(path),
        }
    }

    fn identity(path: &Path) -> Option<(u64, u64)> {
        let metadata = fs::symlink_metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && Self::identity(&self.path) == self.identity {
            // An error here has no remedy.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Listens on `address`. systemd may pass several sockets.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub(super) async fn bind(address: &Address) -> io::Result<Vec<Self>> {
        match address {
            Address::Port(port) => Ok(vec![Self::Tcp(bind_port(*port).await?)]),
            Address::Tcp(address) => Ok(vec![Self::Tcp(TcpListener::bind(address).await?)]),
            Address::Unix(path) => {
                remove_stale(path).await?;
                let listener = UnixListener::bind(path)?;
                Ok(vec![Self::Unix {
                    listener,
                    _file: Some(SocketFile::new(path)),
                }])
            }
            Address::Inherited => inherited(),
        }
    }

    /// The next connection, and the client's address if it came over TCP.
    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Io>, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Box::new(stream), Some(peer.ip().to_canonical())))
            }
            Self::Unix { listener, .. } => Ok((Box::new(listener.accept().await?.0), None)),
        }
    }

    /// The address, with the port that the system chose for port 0.
    pub(super) fn name(&self) -> String {
        let unknown = |_| "unknown".to_owned();
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map_or_else(unknown, |address| address.to_string()),
            Self::Unix { listener, .. } => listener.local_addr().map_or_else(unknown, |address| {
                let path = address.as_pathname().unwrap_or(Path::new(""));
                format!("unix:{}", path.display())
            }),
        }
    }
}

/// Listens on a port of all IPv6 and IPv4 addresses, or of all IPv4 addresses if the system has no IPv6.
async fn bind_port(port: u16) -> io::Result<TcpListener> {
    let both = || {
        let socket = Socket::new(
            Domain::IPV6,
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        socket.set_only_v6(false)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    match both() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
        both => both,
    }
}

/// Time to try a connection to a Unix socket. A process that does not accept it in time still listens.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Removes the file of a socket on which no process listens any more.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) => metadata.file_type().is_socket(),
    };
    if !is_socket {
        let error = "the path is taken by a file that is not a socket";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, error));
    }
    match timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens there",
        )),
    }
}

/// The sockets of `LISTEN_FDS` (sd_listen_fds(3)).
fn inherited() -> io::Result<Vec<Listener>> {
    let mut inherited_fds = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..inherited_fds.len() {
        if let Ok(Some(listener)) = inherited_fds.take_tcp_listener(index) {
            listener.set_nonblocking(true)?;
            listeners.push(Listener::Tcp(TcpListener::from_std(listener)?));
        } else if let Some(listener) = inherited_fds.take_unix_listener(index)? {
            listener.set_nonblocking(true)?;
            listeners.push(Listener::Unix {
                listener: UnixListener::from_std(listener)?,
                _file: None,
            });
        }
    }
    if listeners.is_empty() {
        let error = "the process was started without sockets (LISTEN_FDS)";
        return Err(io::Error::new(io::ErrorKind::NotFound, error));
    }
    Ok(listeners)
}
