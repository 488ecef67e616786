//! A workload whose every byte the test writes: it answers health checks by itself, and hands each
//! other request to the test together with its connection.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
    time::timeout,
};

use super::PATIENCE;

const HEALTHY: &str = r#"{"status":"healthy"}"#;
/// Connections that may wait; tests open no more at once.
const BACKLOG: u32 = 128;

/// The workload; it ends when it is dropped, without the connections of requests it handed out.
pub(crate) struct Scripted {
    address: SocketAddr,
    asked: UnboundedReceiver<Asked>,
    task: JoinHandle<()>,
}

impl Scripted {
    /// Starts it.
    pub(crate) fn start() -> Self {
        Self::on(TcpSocket::new_v4().unwrap())
    }

    /// Starts it on a socket whose connections take little without being read.
    pub(crate) fn start_with_small_buffers() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(16 * 1024).unwrap();
        Self::on(socket)
    }

    fn on(socket: TcpSocket) -> Self {
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(BACKLOG).unwrap();
        let address = listener.local_addr().unwrap();
        let (hand_out, asked) = unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, hand_out.clone()));
            }
        });
        Self {
            address,
            asked,
            task,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the next request.
    pub(crate) async fn asked(&mut self) -> Asked {
        let asked = timeout(PATIENCE, self.asked.recv()).await;
        asked.expect("a request arrives").unwrap()
    }

    /// Whether no request is waiting.
    pub(crate) fn is_left_alone(&self) -> bool {
        self.asked.is_empty()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, hand_out: UnboundedSender<Asked>) {
    loop {
        let Some((head, body)) = read_request(&mut stream).await else {
            return;
        };
        if !head.starts_with("GET /health ") {
            // A test that is over wants nothing any more.
            let _ = hand_out.send(Asked { head, body, stream });
            return;
        }
        if stream.write_all(&whole(HEALTHY.as_bytes())).await.is_err() {
            return;
        }
    }
}

/// A request, and the connection on which it waits for an answer.
pub(crate) struct Asked {
    /// The request line and the fields.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    stream: TcpStream,
}

impl Asked {
    /// A field's value; the gateway writes each once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// Writes bytes as they are.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Writes for as long as somebody takes it; says whether all was taken.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Answers with whole JSON.
    pub(crate) async fn answer(&mut self, body: impl AsRef<[u8]>) {
        self.write(whole(body.as_ref())).await;
    }

    /// Begins to answer with an event stream.
    pub(crate) async fn begin_stream(&mut self) {
        self.write(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .await;
    }

    /// Writes one chunk of a stream; an empty one is its end.
    pub(crate) async fn chunk(&mut self, data: &str) {
        self.write(format!("{:x}\r\n{data}\r\n", data.len())).await;
    }

    /// Waits until the gateway closes the connection.
    pub(crate) async fn closed(&mut self) {
        let mut rest = vec![];
        // A reset is a close as well.
        let read = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
        let _ = read.expect("the gateway closes the connection");
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }

    /// Waits for the next request on the same connection.
    pub(crate) async fn again(mut self) -> Self {
        let read = timeout(PATIENCE, read_request(&mut self.stream)).await;
        let (head, body) = read.expect("a request arrives").unwrap();
        Self { head, body, ..self }
    }
}

fn whole(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = vec![];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8(bytes).unwrap();
    // The gateway holds the body of a request, so its length is always known.
    let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}
