//! A backend for tests: answers every request with what it was told last.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpSocket,
    task::JoinHandle,
};

/// What a ToolHive workload that is well answers.
pub(super) const HEALTHY: &str = r#"{"status":"healthy","transport":"streamable-http"}"#;

/// Listens on a loopback port until dropped.
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    held: Held,
    answer: Arc<Mutex<String>>,
    requests: Arc<AtomicUsize>,
    last: Arc<Mutex<String>>,
    listening: JoinHandle<()>,
}

/// Writes an answer with `status` and `body`.
pub(super) fn json(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\ncontent-type: application/json\r\n\r\n{body}",
        body.len()
    )
}

impl Fake {
    pub(super) fn start(answer: String) -> Self {
        Self::start_at(hold(), answer)
    }

    /// Listens again where another did.
    pub(super) fn start_at(held: Held, answer: String) -> Self {
        Self::serve(held, answer, |stream| async { Some(stream) })
    }

    /// Lets `accept` make something else of each connection, such as TLS.
    pub(super) fn serve<A, F, S>(held: Held, answer: String, accept: A) -> Self
    where
        A: Fn(tokio::net::TcpStream) -> F + Send + 'static,
        F: Future<Output = Option<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let listener = bind(held.address).listen(64).unwrap();
        let answer = Arc::new(Mutex::new(answer));
        let requests = Arc::new(AtomicUsize::new(0));
        let last = Arc::new(Mutex::new(String::new()));
        let seen = (
            Arc::clone(&answer),
            Arc::clone(&requests),
            Arc::clone(&last),
        );
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, requests, last) = seen.clone();
                let stream = accept(stream);
                tokio::spawn(async move {
                    let Some(mut stream) = stream.await else {
                        return;
                    };
                    let mut buffer = [0; 4096];
                    let length = stream.read(&mut buffer).await.unwrap_or(0);
                    *last.lock() = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    requests.fetch_add(1, Ordering::SeqCst);
                    let answer = answer.lock().clone();
                    let _ = stream.write_all(answer.as_bytes()).await;
                    // An empty answer is a server that hangs.
                    if answer.is_empty() {
                        let _ = stream.read(&mut buffer).await;
                    }
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self {
            address: held.address,
            held,
            answer,
            requests,
            last,
            listening,
        }
    }

    /// Returns `host:port`.
    pub(super) fn text(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn answer(&self, answer: String) {
        *self.answer.lock() = answer;
    }

    /// Returns how many requests came so far.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Returns the head of the last request.
    pub(super) fn last_request(&self) -> String {
        self.last.lock().clone()
    }

    /// Closes the listening socket, waits until it is closed, and keeps its port.
    pub(super) async fn stop(self) -> Held {
        self.listening.abort();
        let _ = self.listening.await;
        self.held
    }
}

/// A port that no other test can get, and where connections are refused unless a [`Fake`] listens.
pub(super) struct Held {
    pub(super) address: SocketAddr,
    _socket: TcpSocket,
}

/// Takes a free loopback port.
pub(super) fn hold() -> Held {
    let socket = bind(([127, 0, 0, 1], 0).into());
    Held {
        address: socket.local_addr().unwrap(),
        _socket: socket,
    }
}

fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    // The holder and the listener share the port.
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// Waits until `condition` holds.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap_or_else(|_| panic!("still waiting until {what}"));
}
