//! The way back: the steps that ran see the response, then it leaves.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, header};
use mcp_gateway_filters::{BodyPlan, Filter, HeaderEdit, Refusal, Response, Transform};
use pingora::http::ResponseHeader;
use pingora_core::{Error, ErrorType, protocols::http::ServerSession};

use super::{call::Call, deadline::within, failure::Failure};
use crate::{respond, snapshot::Step};

/// How long a client may refuse to take the next bytes where nobody has said it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// What the steps want done with the body of a response, in the order they see it.
#[derive(Default)]
pub(super) struct Rewriting {
    plans: Vec<(Arc<dyn Filter>, BodyPlan)>,
}

impl Rewriting {
    /// Shows the head to every step that ran, last first, and applies what they say.
    pub(super) fn of(
        call: &Call,
        session: &ServerSession,
        head: &mut ResponseHeader,
    ) -> Result<Self, Refusal> {
        let mut rewriting = Self::default();
        let Some(route) = &call.route else {
            return Ok(rewriting);
        };
        let request = session.req_header().as_ref();
        let cx = call.context(route);
        for step in route.steps.iter().take(call.ran).rev() {
            let Step::Filter { filter, .. } = step else {
                continue;
            };
            let edits = filter.response(&cx, request, (*head).as_ref())?;
            if let Some(status) = edits.status {
                // A typed status is not refused.
                let _ = head.set_status(status);
            }
            for edit in edits.headers {
                let _ = match edit {
                    HeaderEdit::Set(name, value) => head.insert_header(name, value),
                    HeaderEdit::Append(name, value) => head.append_header(name, value).map(|_| ()),
                    HeaderEdit::Remove(name) => {
                        head.remove_header(&name);
                        Ok(())
                    }
                };
            }
            if !matches!(edits.body, BodyPlan::Stream) {
                rewriting.plans.push((Arc::clone(filter), edits.body));
            }
        }
        Ok(rewriting)
    }

    /// Whether the body passes untouched.
    pub(super) fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// How much of the body must be held, when a step wants it whole.
    pub(super) fn gather_limit(&self) -> Option<usize> {
        self.plans
            .iter()
            .filter_map(|(_, plan)| match plan {
                BodyPlan::Gather { limit } => Some(*limit),
                _ => None,
            })
            .min()
    }

    /// Rewrites a body that is held whole.
    pub(super) fn whole(
        self,
        call: &Call,
        session: &ServerSession,
        head: &ResponseHeader,
        mut body: Bytes,
    ) -> Result<Bytes, Refusal> {
        let Some(route) = &call.route else {
            return Ok(body);
        };
        let cx = call.context(route);
        for (filter, plan) in self.plans {
            body = match plan {
                BodyPlan::Stream => body,
                BodyPlan::Gather { limit } if body.len() > limit => {
                    return Err(Refusal::bad_gateway(
                        "the answer of the server behind the gateway is too large",
                    ));
                }
                BodyPlan::Gather { .. } => {
                    filter.response_body(&cx, session.req_header().as_ref(), head.as_ref(), body)?
                }
                BodyPlan::Transform(mut transform) => transform.chunk(body, true)?,
            };
        }
        Ok(body)
    }

    /// Turns into transforms that rewrite a body as it passes; no step may want it whole.
    pub(super) fn transforms(self) -> Vec<Box<dyn Transform>> {
        self.plans
            .into_iter()
            .filter_map(|(_, plan)| match plan {
                BodyPlan::Transform(transform) => Some(transform),
                _ => None,
            })
            .collect()
    }
}

/// Sends an answer made in memory, after the steps that ran have seen it.
pub(super) async fn reply(
    session: &mut ServerSession,
    call: &mut Call,
    reply: Response,
) -> Result<(), Failure> {
    let (parts, body) = reply.into_parts();
    let mut head = Box::new(ResponseHeader::from(parts));
    let rewriting = Rewriting::of(call, session, &mut head)?;
    let body = if rewriting.is_empty() {
        body
    } else {
        rewriting.whole(call, session, &head, body)?
    };
    send(session, call, head, body).await
}

/// Tells the client about a failure. Steps add what belongs to every answer of the route (CORS);
/// when one of them refuses the failure itself, the client gets it without them.
pub(super) async fn fail(
    session: &mut ServerSession,
    call: &mut Call,
    reply: Response,
) -> Result<(), Failure> {
    let (parts, body) = reply.into_parts();
    let mut head = Box::new(ResponseHeader::from(parts.clone()));
    if Rewriting::of(call, session, &mut head).is_err() {
        head = Box::new(ResponseHeader::from(parts));
    }
    send(session, call, head, body).await
}

/// Writes head and body with an exact length. A body that the client is still sending is drained
/// within limits, or the connection is closed.
pub(super) async fn send(
    session: &mut ServerSession,
    call: &mut Call,
    mut head: Box<ResponseHeader>,
    body: Bytes,
) -> Result<(), Failure> {
    if !matches!(head.status.as_u16(), 204 | 304) {
        head.insert_header(header::CONTENT_LENGTH, body.len())
            .map_err(|_| Failure::internal("a reply has no valid length"))?;
    }
    if head.headers.get(header::CONNECTION) == Some(&HeaderValue::from_static("close")) {
        head.remove_header(&header::CONNECTION);
        session.set_keepalive(None);
    }
    call.status = head.status.as_u16();
    respond::keep_if_drainable(session);
    let empty = body.is_empty() || session.req_header().method == http::Method::HEAD;
    write_head(session, head, empty).await?;
    if !empty {
        write_body(session, body, true).await?;
    }
    if !respond::drain(session).await {
        session.set_keepalive(None);
    }
    Ok(())
}

/// Writes a head; `end` says that nothing follows.
pub(super) async fn write_head(
    session: &mut ServerSession,
    head: Box<ResponseHeader>,
    end: bool,
) -> Result<(), Failure> {
    let limit = write_limit(session);
    let write = async {
        session.write_response_header(head).await?;
        if end {
            session.write_response_body(Bytes::new(), true).await?;
        }
        Ok(())
    };
    bounded(limit, write).await
}

/// Writes a piece of the body and flushes it where the body is a stream.
pub(super) async fn write_body(
    session: &mut ServerSession,
    data: Bytes,
    end: bool,
) -> Result<(), Failure> {
    bounded(write_limit(session), session.write_response_body(data, end)).await
}

/// How long one write may take: what the session was told, and a second for what it does around.
fn write_limit(session: &ServerSession) -> Duration {
    session.get_write_timeout().unwrap_or(WRITE_TIMEOUT) + Duration::from_secs(1)
}

/// Pingora's own write timeout does not cover its last flush.
async fn bounded(
    limit: Duration,
    write: impl Future<Output = pingora_core::Result<()>>,
) -> Result<(), Failure> {
    match within(limit, write).await {
        Ok(written) => written.map_err(Failure::gone),
        Err(_) => Err(Failure::gone(Error::explain(
            ErrorType::WriteTimedout,
            "to the client",
        ))),
    }
}

/// Runs a piece of a body through transforms.
pub(super) fn transform(
    transforms: &mut [Box<dyn Transform>],
    data: Bytes,
    end: bool,
) -> Result<Bytes, Refusal> {
    transforms
        .iter_mut()
        .try_fold(data, |data, transform| transform.chunk(data, end))
}

/// A body that is being held.
#[derive(Default)]
pub(super) struct Held {
    bytes: BytesMut,
}

impl Held {
    /// Adds a piece; false when the whole exceeds `limit`.
    pub(super) fn push(&mut self, data: &[u8], limit: usize) -> bool {
        if self.bytes.len() + data.len() > limit {
            return false;
        }
        self.bytes.extend_from_slice(data);
        true
    }

    pub(super) fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}
