//! The listener every stand-in runs on: loopback only, killed and brought back at will.
//!
//! A killed listener behaves like a dead process: its connections are reset and its address refuses
//! new ones, yet the port stays reserved, so that it can be brought back and no neighbour in the
//! same test run is given it. This file knows nothing about what is served.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Connections the kernel may hold before they are accepted.
const BACKLOG: u32 = 1024;

/// What a handler answers: a response, or nothing at all (the connection is then cut).
pub(crate) type Answer = Result<Response<Body>, Cut>;

/// The future of an [`Answer`].
pub(crate) type AnswerFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Serves one request.
pub(crate) type Handler = Arc<dyn Fn(Request<Incoming>) -> AnswerFuture + Send + Sync>;

/// The connection is to be cut without an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection cut on purpose")
    }
}

impl std::error::Error for Cut {}

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Locks a mutex whose holder may have panicked: a failing test must not fail its neighbours.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One listener on loopback.
pub(crate) struct Server {
    address: SocketAddr,
    idle: Duration,
    handler: Handler,
    state: Mutex<State>,
}

enum State {
    Up {
        stop: CancellationToken,
        accepting: JoinHandle<()>,
    },
    /// Bound but not listening: the port is ours and refuses connections.
    Down { reserved: TcpSocket },
    /// Between the two, or lost: another process took the port.
    Gone,
}

impl Server {
    /// Reserves `port` (0: any free one) on 127.0.0.1, without listening yet.
    ///
    /// `idle` is how long a connection without a request is kept; `handler` is made once the address
    /// is known.
    pub(crate) fn reserve(
        port: u16,
        idle: Duration,
        handler: impl FnOnce(SocketAddr) -> Handler,
    ) -> io::Result<Self> {
        let reserved = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let address = reserved.local_addr()?;
        Ok(Self {
            address,
            idle,
            handler: handler(address),
            state: Mutex::new(State::Down { reserved }),
        })
    }

    /// Returns the address, the same whether the server is up or down.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts to listen; does nothing if it listens already.
    pub(crate) fn up(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        let reserved = match std::mem::replace(&mut *state, State::Gone) {
            up @ State::Up { .. } => {
                *state = up;
                return Ok(());
            }
            State::Down { reserved } => reserved,
            State::Gone => bind(self.address)?,
        };
        let listener = reserved.listen(BACKLOG)?;
        let stop = CancellationToken::new();
        let accepting = tokio::spawn(accept(
            listener,
            self.idle,
            Arc::clone(&self.handler),
            stop.clone(),
        ));
        *state = State::Up { stop, accepting };
        Ok(())
    }

    /// Resets every connection and refuses new ones; returns when that is so.
    pub(crate) async fn down(&self) {
        let up = {
            let mut state = lock(&self.state);
            match std::mem::replace(&mut *state, State::Gone) {
                State::Up { stop, accepting } => Some((stop, accepting)),
                other => {
                    *state = other;
                    None
                }
            }
        };
        let Some((stop, accepting)) = up else { return };
        stop.cancel();
        // A panic in the accept loop leaves nothing to wait for.
        let _ = accepting.await;
        if let Ok(reserved) = bind(self.address) {
            *lock(&self.state) = State::Down { reserved };
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let State::Up { stop, .. } = &*lock(&self.state) {
            stop.cancel();
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Connections that we reset linger in the kernel; the port must be usable at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn accept(listener: TcpListener, idle: Duration, handler: Handler, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => {
                // Running out of descriptors passes; the next connection may be accepted again.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, idle, Arc::clone(&handler), stop.clone()));
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(stream: TcpStream, idle: Duration, handler: Handler, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| handler(request));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Between requests the timer runs as well, which makes it the idle timeout.
        .header_read_timeout(idle)
        // Go writes header names in this form.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // A broken connection is the peer's business.
        _ = &mut connection => {}
        () = stop.cancelled() => {
            let stream = connection.into_parts().io.into_inner();
            // A reset, as when a process dies with unread data; a failure here means that the
            // peer was faster.
            let _ = stream.set_zero_linger();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn hello(idle: Duration) -> Server {
        let handler: Handler =
            Arc::new(|_| Box::pin(async { Ok(Response::new(Body::from("hello"))) }));
        Server::reserve(0, idle, |_| handler).unwrap()
    }

    async fn exchange(address: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await?;
        let mut seen = Vec::new();
        while !seen.ends_with(b"hello") {
            let mut chunk = [0; 256];
            let read = stream.read(&mut chunk).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            seen.extend_from_slice(&chunk[..read]);
        }
        Ok(stream)
    }

    #[tokio::test]
    async fn a_server_that_is_down_refuses_and_comes_back_on_its_port() {
        let server = hello(Duration::from_secs(30));
        let address = server.address();
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        server.up().unwrap();
        let mut open = exchange(address).await.unwrap();
        server.down().await;
        let reset = open.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        server.up().unwrap();
        exchange(address).await.unwrap();
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed() {
        let server = hello(Duration::from_secs(1));
        server.up().unwrap();
        let mut open = exchange(server.address()).await.unwrap();
        let since = Instant::now();
        assert_eq!(open.read(&mut [0; 16]).await.unwrap(), 0);
        assert!(since.elapsed() >= Duration::from_millis(500));
    }
}
