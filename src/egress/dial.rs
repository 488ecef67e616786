//! Opens connections: names, addresses, the proxy's tunnel, TLS.
//!
//! It sets no deadline of its own; the caller bounds the whole of it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, RawFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use pingora_core::protocols::l4::ext::get_tcp_info;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{EgressError, guard::Guard, proxy::Proxy, target::Target};

/// How long one address may take before the next is tried beside it (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// A connection to a target, with TLS or without.
#[derive(Debug)]
pub(super) enum Stream {
    /// Plain http, on loopback.
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Tells whether the peer's kernel has not taken everything that was written.
    ///
    /// What a peer did not acknowledge it cannot have acted upon, so that even a request that
    /// must not be repeated may be sent again. Unknown counts as taken.
    pub(super) fn unacknowledged(&self) -> bool {
        get_tcp_info(self.fd()).is_ok_and(|info| {
            // `acked` counts the SYN, `sent` counts what was sent twice.
            let sent = info.tcpi_bytes_sent.saturating_sub(info.tcpi_bytes_retrans);
            info.tcpi_notsent_bytes > 0 || info.tcpi_bytes_acked.saturating_sub(1) < sent
        })
    }

    /// Tells whether an idle connection was closed, or spoken on, by its peer.
    pub(super) fn is_stale(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(std::task::Waker::noop());
        // Session tickets are consumed inside TLS and leave the read pending.
        Pin::new(self)
            .poll_read(&mut context, &mut ReadBuf::new(&mut byte))
            .is_ready()
    }

    fn fd(&self) -> RawFd {
        match self {
            Self::Plain(tcp) => tcp.as_raw_fd(),
            Self::Tls(tls) => tls.get_ref().0.as_raw_fd(),
        }
    }
}

/// Opens a connection to `target`, through `proxy` when there is one; with a guard only to an
/// address that it admits.
pub(super) async fn open(
    target: &Target,
    proxy: Option<&Proxy>,
    tls: &Arc<ClientConfig>,
    guard: Option<&Guard>,
) -> Result<Stream, EgressError> {
    let tcp = if let Some(proxy) = proxy {
        if let (Some(guard), Some(ip)) = (guard, target.ip()) {
            check(guard, target, ip)?;
        }
        let mut tcp = connect(&proxy.host, proxy.port).await.map_err(|e| {
            EgressError::unreachable(format!("proxy {}:{}: {e}", proxy.host, proxy.port))
        })?;
        proxy.tunnel(&mut tcp, target).await?;
        tcp
    } else {
        let addresses = resolve(target.host(), target.port())
            .await
            .map_err(|e| unreachable(target, &e))?;
        if let Some(guard) = guard {
            // One address inside is enough: no public site has one.
            for address in &addresses {
                check(guard, target, address.ip())?;
            }
        }
        dial(addresses).await.map_err(|e| unreachable(target, &e))?
    };
    let Some(name) = target.server_name() else {
        return Ok(Stream::Plain(tcp));
    };
    let stream = TlsConnector::from(Arc::clone(tls))
        .connect(name.clone(), tcp)
        .await
        .map_err(|e| unreachable(target, &format!("TLS: {e}")))?;
    Ok(Stream::Tls(Box::new(stream)))
}

fn unreachable(target: &Target, cause: &dyn std::fmt::Display) -> EgressError {
    EgressError::unreachable(format!("{}:{}: {cause}", target.host(), target.port()))
}

fn check(guard: &Guard, target: &Target, ip: IpAddr) -> Result<(), EgressError> {
    if guard.admits(ip) {
        return Ok(());
    }
    Err(EgressError::Forbidden {
        cause: format!("{}: {ip} is not a public address", target.host()),
    })
}

/// Connects to the first address of a host that answers.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    dial(resolve(host, port).await?).await
}

async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(match host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => tokio::net::lookup_host((host, port))
            .await
            .map_err(|e| io::Error::new(e.kind(), format!("name not resolved: {e}")))?
            .take(MAX_ADDRESSES)
            .collect(),
    })
}

async fn dial(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let stream = race(addresses).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Tries addresses in order, the next one when the last failed or is slow; the first to connect wins.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut rest = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut next = true;
    loop {
        if next && let Some(address) = rest.next() {
            attempts.spawn(async move {
                TcpStream::connect(address)
                    .await
                    .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", address.ip())))
            });
        }
        if attempts.is_empty() {
            return Err(last);
        }
        let more = rest.len() > 0;
        next = tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => {
                    last = error;
                    true
                }
                Err(error) => {
                    last = io::Error::other(error);
                    true
                }
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if more => true,
        };
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(client, listener.accept());
        (Stream::Plain(client.unwrap()), server.unwrap().0)
    }

    #[tokio::test]
    async fn what_a_closed_peer_was_sent_is_unacknowledged() {
        let (mut stream, server) = pair().await;
        drop(server);
        // The kernel may refuse at once or answer with a reset.
        let _ = stream.write_all(b"POST").await;
        let _ = stream.read(&mut [0]).await;
        assert!(stream.unacknowledged());
    }

    #[tokio::test]
    async fn what_a_peer_read_is_acknowledged() {
        let (mut stream, mut server) = pair().await;
        stream.write_all(b"POST").await.unwrap();
        server.read_exact(&mut [0; 4]).await.unwrap();
        drop(server);
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        assert!(!stream.unacknowledged());
    }

    #[tokio::test]
    async fn an_address_that_refuses_does_not_hide_the_next() {
        let refusing = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = race(vec![refusing, address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert!(race(vec![refusing]).await.is_err());
        assert!(race(Vec::new()).await.is_err());
    }
}
