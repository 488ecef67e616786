//! One start of a workload: the server behind the proxy, and what the proxy remembers.
//!
//! All clients share one conversation with the server. The proxy therefore rewrites request ids and
//! progress tokens on the way in and restores them on the way out, replays the first answer to
//! `initialize`, and drops what it cannot attribute. A restart is a new [`Process`]: nothing that
//! is here survives it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use rmcp::ServiceExt;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::routing::{OpenStream, Pending, ProgressRoute, Routes, Waiter};
use super::rpc::{Message, raw};
use crate::mcp::{Instance, Sample};
use crate::net::lock;

/// Progress reports that may wait for a client; more are dropped.
const PROGRESS_QUEUE: usize = 16;

/// Notifications that may wait for a client; more are dropped.
const STREAM_QUEUE: usize = 100;

/// Bytes on their way to or from the server.
const PIPE: usize = 64 * 1024;

/// Sessions remembered; the one unused for longest is forgotten first.
const SESSIONS: usize = 65_536;

/// Why there is no answer from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The queue to it is full, or it is gone.
    NotSent,
    /// It died before it answered.
    Died,
}

/// Which protocol a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// With an `initialize` handshake.
    Legacy,
    /// 2026-07-28: every request for itself.
    Modern,
}

/// An answer to come, and what is reported until then.
pub(super) struct Exchange {
    pub(super) answer: BoxFuture<'static, Result<Message, Failure>>,
    pub(super) progress: Option<mpsc::Receiver<Message>>,
}

/// The standalone stream of a session.
pub(super) struct ServerStream {
    pub(super) messages: mpsc::Receiver<Message>,
    /// Set when a second stream of the session, its end, or the end of the process closes this one.
    pub(super) closed: CancellationToken,
}

/// A running server with its proxy's memory.
pub(super) struct Process {
    legacy: mpsc::Sender<Vec<u8>>,
    /// The SDK keeps the two lifecycles apart per connection, so the server has one for each.
    modern: mpsc::Sender<Vec<u8>>,
    routes: Arc<Routes>,
    sessions: Mutex<HashMap<String, Instant>>,
    session_ttl: Duration,
    initialize: tokio::sync::Mutex<Option<Box<RawValue>>>,
    initialized: AtomicBool,
    ended: CancellationToken,
    _end: DropGuard,
}

impl Process {
    /// Starts the server.
    ///
    /// `queue` messages may wait for it; a request beyond that fails.
    pub(super) fn start(instance: Instance, session_ttl: Duration, queue: usize) -> Arc<Self> {
        let ended = CancellationToken::new();
        let routes = Arc::new(Routes::default());
        Arc::new(Self {
            legacy: connect(Sample::new(instance.clone()), queue, &routes, &ended),
            modern: connect(Sample::new(instance), queue, &routes, &ended),
            routes,
            sessions: Mutex::default(),
            session_ttl,
            initialize: tokio::sync::Mutex::default(),
            initialized: AtomicBool::new(false),
            _end: ended.clone().drop_guard(),
            ended,
        })
    }

    /// Ends the server and every stream.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    pub(super) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Remembers a session under that id.
    pub(super) fn open_session(&self, id: &str) {
        let mut sessions = lock(&self.sessions);
        if sessions.len() >= SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, used)| **used);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                sessions.remove(&oldest);
            }
        }
        sessions.insert(id.to_owned(), Instant::now());
    }

    /// Whether a session is known; asking keeps it alive.
    pub(super) fn knows_session(&self, id: &str) -> bool {
        let now = Instant::now();
        let mut sessions = lock(&self.sessions);
        match sessions.get_mut(id) {
            Some(used) if now.duration_since(*used) <= self.session_ttl => {
                *used = now;
                true
            }
            Some(_) => {
                sessions.remove(id);
                false
            }
            None => false,
        }
    }

    /// Forgets a session and closes its stream.
    pub(super) fn close_session(&self, id: &str) {
        lock(&self.sessions).remove(id);
        if let Some(stream) = lock(&self.routes.streams).remove(id) {
            stream.closed.cancel();
        }
    }

    pub(super) fn sessions(&self) -> Vec<String> {
        lock(&self.sessions).keys().cloned().collect()
    }

    /// Opens the standalone stream of a session; a former one is closed.
    pub(super) fn open_stream(&self, session: &str) -> ServerStream {
        let (to, messages) = mpsc::channel(STREAM_QUEUE);
        let closed = self.ended.child_token();
        let open = OpenStream {
            to,
            closed: closed.clone(),
        };
        if let Some(former) = lock(&self.routes.streams).insert(session.to_owned(), open) {
            former.closed.cancel();
        }
        ServerStream { messages, closed }
    }

    pub(super) fn streams(&self) -> usize {
        let mut streams = lock(&self.routes.streams);
        streams.retain(|_, stream| !stream.to.is_closed() && !stream.closed.is_cancelled());
        streams.len()
    }

    /// Passes on a notification or a client's response. Of the notifications that end a handshake
    /// only the first goes through, since there is one handshake with the server.
    pub(super) fn tell(&self, message: &Message) {
        // Before the handshake the server would take any notification for a broken client.
        let shaken = self
            .initialize
            .try_lock()
            .is_ok_and(|cached| cached.is_some());
        let ends_handshake = message.method.as_deref() == Some("notifications/initialized");
        if shaken && !(ends_handshake && self.initialized.swap(true, Ordering::SeqCst)) {
            // A full queue drops it, as ToolHive does.
            let _ = self.legacy.try_send(message.encode());
        }
    }

    /// Sends a request on behalf of `session`, which is unique to the request if it has none.
    pub(super) fn ask(
        self: &Arc<Self>,
        session: &str,
        request: Message,
        era: Era,
        streaming: bool,
    ) -> Exchange {
        if request.method.as_deref() == Some("initialize") {
            return Exchange {
                answer: Box::pin(Arc::clone(self).initialize(session.to_owned(), request)),
                progress: None,
            };
        }
        match self.send(session, request, era, streaming) {
            Ok((pending, answer, progress)) => Exchange {
                answer: Box::pin(async move {
                    let answer = answer.await.map_err(|_| Failure::Died);
                    drop(pending);
                    answer
                }),
                progress,
            },
            Err(failure) => Exchange {
                answer: Box::pin(std::future::ready(Err(failure))),
                progress: None,
            },
        }
    }

    /// Replays the first successful handshake to everyone after.
    async fn initialize(
        self: Arc<Self>,
        session: String,
        request: Message,
    ) -> Result<Message, Failure> {
        let mut cached = self.initialize.lock().await;
        if let Some(result) = &*cached {
            return Ok(Message::response(request.id, result.clone()));
        }
        let (pending, answer, _) = self.send(&session, request, Era::Legacy, false)?;
        let answer = answer.await.map_err(|_| Failure::Died);
        drop(pending);
        if let Ok(Message {
            result: Some(result),
            ..
        }) = &answer
        {
            *cached = Some(result.clone());
        }
        answer
    }

    #[expect(
        clippy::type_complexity,
        reason = "the three parts go their own ways at once"
    )]
    fn send(
        &self,
        session: &str,
        mut request: Message,
        era: Era,
        streaming: bool,
    ) -> Result<
        (
            Pending,
            oneshot::Receiver<Message>,
            Option<mpsc::Receiver<Message>>,
        ),
        Failure,
    > {
        let key = match &request.id {
            Some(Value::String(id)) => format!("{session}|s:{id}"),
            Some(id) => format!("{session}|n:{id}"),
            None => format!("{session}|nil"),
        };
        let mut pending = Pending {
            routes: Arc::clone(&self.routes),
            key: key.clone(),
            token: None,
        };
        let (answer, answered) = oneshot::channel();
        let id = request.id.replace(Value::String(key.clone()));
        lock(&self.routes.waiters).insert(key, Waiter { id, answer });
        let mut progress = None;
        if streaming {
            let token = Uuid::new_v4().to_string();
            if let Some(original) = request.replace_progress_token(&token) {
                let (to, reports) = mpsc::channel(PROGRESS_QUEUE);
                let route = ProgressRoute {
                    token: original,
                    to,
                };
                lock(&self.routes.progress).insert(token.clone(), route);
                pending.token = Some(token);
                progress = Some(reports);
            }
        }
        let to = match era {
            Era::Legacy => &self.legacy,
            Era::Modern => &self.modern,
        };
        to.try_send(request.encode())
            .map_err(|_| Failure::NotSent)?;
        Ok((pending, answered, progress))
    }
}

/// Starts a server and the tasks that carry lines to it and from it.
fn connect(
    server: Sample,
    queue: usize,
    routes: &Arc<Routes>,
    ended: &CancellationToken,
) -> mpsc::Sender<Vec<u8>> {
    let (theirs, ours) = tokio::io::duplex(PIPE);
    let (from_server, to_server) = tokio::io::split(ours);
    let (sender, lines) = mpsc::channel(queue.max(1));
    let work = async move {
        // The server ends with its connection; nothing waits for how.
        if let Ok(running) = server.serve(theirs).await {
            let _ = running.waiting().await;
        }
    };
    spawn_until(ended, work);
    spawn_until(ended, write_lines(to_server, lines));
    let routes = Arc::clone(routes);
    let answers = sender.clone().downgrade();
    spawn_until(ended, async move {
        read_lines(from_server, &routes, &answers).await;
    });
    sender
}

fn spawn_until(ended: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    let ended = ended.clone();
    tokio::spawn(async move { ended.run_until_cancelled(work).await });
}

async fn write_lines(mut to: impl AsyncWrite + Unpin, mut lines: mpsc::Receiver<Vec<u8>>) {
    while let Some(mut line) = lines.recv().await {
        line.push(b'\n');
        if to.write_all(&line).await.is_err() {
            return;
        }
    }
}

async fn read_lines(
    from: impl AsyncRead + Unpin,
    routes: &Routes,
    answers: &mpsc::WeakSender<Vec<u8>>,
) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match from.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if let Some((message, kind)) = Message::parse(&line) {
            routes.deliver(message, kind, answers);
        }
    }
}

/// An empty result.
pub(super) fn empty_result(id: Option<Value>) -> Message {
    match raw(&json!({})) {
        Some(result) => Message::response(id, result),
        None => Message::error(id, -32_603, "internal error"),
    }
}
