//! MCP over HTTP as the proxy for stdio servers speaks it: `POST`, `GET` and `DELETE` on `/mcp`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, stream};
use http::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, interval_at};
use uuid::Uuid;

use super::disconnect::{Board, Watch};
use super::process::{Era, Exchange, Failure, Process, ServerStream, empty_result};
use super::revision::{MODERN, classify};
use super::rpc::{Kind, Message};
use crate::net::Cut;
use crate::record::Recorded;
use crate::reply;

/// What the handlers need to know of their workload.
pub(super) struct Proxy {
    pub(super) process: Arc<Process>,
    pub(super) board: Arc<Board>,
    pub(super) request_timeout: Duration,
    pub(super) keep_alive: Duration,
    /// Whether the session of an `initialize` is for the server to choose.
    pub(super) transparent: bool,
}

impl Proxy {
    /// Serves a request that authentication has let through.
    pub(super) async fn serve(&self, request: &Recorded) -> Response<Body> {
        let modern = request.header("mcp-protocol-version") == Some(MODERN);
        if self.transparent && modern && request.method != Method::POST {
            let mut response =
                reply::go_error(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
            reply::set(&mut response, "allow", "POST, OPTIONS");
            return response;
        }
        match request.method {
            Method::POST => self.post(request).await,
            Method::GET => self.get(request),
            Method::DELETE => self.delete(request),
            _ => reply::go_error(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
        }
    }

    async fn post(&self, request: &Recorded) -> Response<Body> {
        let first = request.body.iter().find(|byte| !byte.is_ascii_whitespace());
        if first == Some(&b'[') {
            return batch();
        }
        let Some((message, kind)) = Message::parse(&request.body) else {
            return reply::go_error(StatusCode::BAD_REQUEST, "Invalid JSON-RPC 2.0 message");
        };
        let given = session_of(request);
        if kind != Kind::Request {
            if let Some(session) = given {
                self.process.knows_session(session);
            }
            self.process.tell(&message);
            return reply::empty(StatusCode::ACCEPTED);
        }
        let version = request.header("mcp-protocol-version").unwrap_or_default();
        let era = match classify(&message, version) {
            Ok(era) => era,
            Err(refusal) => return refusal.answer(message.id.as_ref()),
        };
        let (session, announce) = match self.session(&message, era, given) {
            Ok(session) => session,
            Err(response) => return *response,
        };
        let streaming = request
            .header("accept")
            .is_some_and(|accept| accept.contains("text/event-stream"));
        let id = message.id.clone();
        let exchange = if era == Era::Legacy
            && given.is_some()
            && message.method.as_deref() == Some("logging/setLevel")
        {
            // The level is everybody's; the client is told yes all the same.
            Exchange {
                answer: Box::pin(std::future::ready(Ok(empty_result(message.id)))),
                progress: None,
            }
        } else {
            self.process.ask(&session, message, era, streaming)
        };
        let watch = Watch::new(&self.board, Method::POST, given.map(str::to_owned));
        let mut response = if streaming {
            event_stream(Body::from_stream(self.answer_stream(exchange, id, watch)))
        } else {
            self.answer_json(exchange, watch).await
        };
        if announce && response.status() == StatusCode::OK {
            reply::set(&mut response, "mcp-session-id", &session);
        }
        response
    }

    /// Returns the session of a request, and whether it is to be announced.
    fn session(
        &self,
        message: &Message,
        era: Era,
        given: Option<&str>,
    ) -> Result<(String, bool), Box<Response<Body>>> {
        let initialize = message.method.as_deref() == Some("initialize");
        // The transparent proxy takes the header off a handshake.
        let given = given.filter(|_| !(initialize && self.transparent));
        match given {
            _ if era == Era::Modern => Ok((Uuid::new_v4().to_string(), false)),
            None => {
                let session = Uuid::new_v4().to_string();
                if initialize {
                    self.process.open_session(&session);
                }
                // Without a session the id only keeps this request's answer apart.
                Ok((session, initialize))
            }
            Some(session) if initialize => {
                if self.process.knows_session(session) {
                    return Ok((session.to_owned(), false));
                }
                if let Err(error) = Uuid::parse_str(session) {
                    let text =
                        format!("Failed to create session: invalid session ID format: {error}");
                    return Err(Box::new(reply::go_error(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        &text,
                    )));
                }
                self.process.open_session(session);
                Ok((session.to_owned(), false))
            }
            Some(session) if self.process.knows_session(session) => Ok((session.to_owned(), false)),
            Some(_) => Err(Box::new(session_not_found(message.id.as_ref()))),
        }
    }

    async fn answer_json(&self, exchange: Exchange, mut watch: Watch) -> Response<Body> {
        let ended = self.process.ended();
        let answer = tokio::select! {
            answer = tokio::time::timeout(self.request_timeout, exchange.answer) => answer.ok(),
            () = ended.cancelled() => None,
        };
        watch.finish();
        match answer {
            Some(Ok(message)) => reply::typed(StatusCode::OK, "application/json", message.encode()),
            Some(Err(Failure::NotSent)) => reply::go_error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Failed to process request",
            ),
            Some(Err(Failure::Died)) | None => reply::go_error(
                StatusCode::GATEWAY_TIMEOUT,
                "Timeout waiting for response from container",
            ),
        }
    }

    /// Streams what is reported, then the answer. The head has left by then, so a failure is an
    /// event.
    fn answer_stream(
        &self,
        exchange: Exchange,
        id: Option<Value>,
        watch: Watch,
    ) -> impl Stream<Item = Result<Bytes, Cut>> + use<> {
        let answering = Answering {
            exchange,
            id,
            deadline: Instant::now() + self.request_timeout,
            watch,
        };
        stream::unfold(Some(answering), async |answering| {
            let mut answering = answering?;
            tokio::select! {
                // Reports come before the answer that they lead to.
                biased;
                report = next(answering.exchange.progress.as_mut()) => {
                    Some((Ok(event(&report.encode())), Some(answering)))
                }
                answer = &mut answering.exchange.answer => {
                    answering.watch.finish();
                    let data = match answer {
                        Ok(message) => message.encode(),
                        Err(Failure::NotSent) => failure(answering.id, -32_603, "Internal error"),
                        Err(Failure::Died) => failure(answering.id, -32_000, "Timeout"),
                    };
                    Some((Ok(event(&data)), None))
                }
                () = tokio::time::sleep_until(answering.deadline) => {
                    answering.watch.finish();
                    let data = failure(answering.id, -32_000, "Timeout");
                    Some((Ok(event(&data)), None))
                }
            }
        })
    }

    fn get(&self, request: &Recorded) -> Response<Body> {
        let Some(session) = session_of(request) else {
            return reply::go_error(
                StatusCode::BAD_REQUEST,
                "Mcp-Session-Id header required for standalone SSE",
            );
        };
        if !self.process.knows_session(session) {
            return session_not_found(None);
        }
        let listening = Listening {
            stream: self.process.open_stream(session),
            keep_alive: interval_at(Instant::now() + self.keep_alive, self.keep_alive),
            watch: Watch::new(&self.board, Method::GET, Some(session.to_owned())),
        };
        let events = stream::unfold(listening, async |mut listening| {
            tokio::select! {
                () = listening.stream.closed.cancelled() => {
                    listening.watch.finish();
                    None
                }
                message = listening.stream.messages.recv() => {
                    let Some(message) = message else {
                        listening.watch.finish();
                        return None;
                    };
                    Some((Ok::<_, Cut>(event(&message.encode())), listening))
                }
                _ = listening.keep_alive.tick() => {
                    Some((Ok(Bytes::from_static(b": keep-alive\n\n")), listening))
                }
            }
        });
        event_stream(Body::from_stream(events))
    }

    fn delete(&self, request: &Recorded) -> Response<Body> {
        let Some(session) = session_of(request) else {
            return reply::go_error(
                StatusCode::BAD_REQUEST,
                "Mcp-Session-Id header required for DELETE",
            );
        };
        if !self.process.knows_session(session) {
            return session_not_found(None);
        }
        self.process.close_session(session);
        reply::empty(StatusCode::NO_CONTENT)
    }
}

/// A request whose answer is streamed.
struct Answering {
    exchange: Exchange,
    id: Option<Value>,
    deadline: Instant,
    watch: Watch,
}

/// A standalone stream.
struct Listening {
    stream: ServerStream,
    keep_alive: Interval,
    watch: Watch,
}

/// Waits for the next report, for ever if there will be none.
async fn next(reports: Option<&mut mpsc::Receiver<Message>>) -> Message {
    if let Some(reports) = reports
        && let Some(report) = reports.recv().await
    {
        return report;
    }
    std::future::pending().await
}

fn session_of(request: &Recorded) -> Option<&str> {
    request
        .header("mcp-session-id")
        .filter(|session| !session.is_empty())
}

fn event(data: &[u8]) -> Bytes {
    [b"event: message\ndata: ".as_slice(), data, b"\n\n"]
        .concat()
        .into()
}

fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache"),
        ("connection", "keep-alive"),
    ] {
        reply::set(&mut response, name, value);
    }
    response
}

/// Members in the order of a Go map: sorted.
fn failure(id: Option<Value>, code: i64, text: &str) -> Vec<u8> {
    let mut body = Map::new();
    body.insert("error".to_owned(), json!({"code": code, "message": text}));
    if let Some(id) = id {
        body.insert("id".to_owned(), id);
    }
    body.insert("jsonrpc".to_owned(), "2.0".into());
    Value::Object(body).to_string().into_bytes()
}

fn session_not_found(id: Option<&Value>) -> Response<Body> {
    reply::typed(
        StatusCode::NOT_FOUND,
        "application/json",
        failure(id.cloned(), -32_001, "Session not found"),
    )
}

fn batch() -> Response<Body> {
    reply::typed(
        StatusCode::BAD_REQUEST,
        "application/json",
        failure(
            None,
            -32_600,
            "JSON-RPC batch requests are not supported (batching was removed in MCP revision \
             2025-06-18)",
        ),
    )
}
