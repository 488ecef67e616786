//! What can be made to go wrong at the tenant, and how it then goes wrong.
//!
//! A fault sits on one endpoint, for one request or until it is taken away.

use std::sync::Mutex;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;

use super::error::Aadsts;
use super::state::State;
use crate::net::{Answer, Cut, lock};
use crate::reply;

/// Chunks of a body that is sent slowly.
const SLOW_CHUNKS: usize = 10;

/// An endpoint that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/oauth2/v2.0/authorize`.
    Authorize,
    /// `/oauth2/v2.0/token`.
    Token,
    /// `/discovery/v2.0/keys`.
    Keys,
    /// `/v2.0/.well-known/openid-configuration`.
    Discovery,
    /// Microsoft Graph, `/v1.0/…` and `/oidc/userinfo`.
    Graph,
}

/// How an endpoint fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// AADSTS90033 with that status (429 and 503 are real), and `Retry-After` in seconds.
    Unavailable {
        /// The status.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// The connection is closed without an answer.
    Refuse,
    /// There is never an answer.
    Hang,
    /// The answer's body takes that long.
    SlowBody(Duration),
    /// The connection is cut in the middle of the body.
    Truncated,
    /// `200` with a page instead of JSON.
    NotJson,
    /// `200` with half of the JSON, under the right length.
    HalfJson,
    /// Compressed, whatever the client accepts.
    Gzip,
    /// Without `Content-Length`.
    Chunked,
    /// The answer with that many spaces behind it.
    Padded(usize),
    /// Token endpoint: a success without `id_token`.
    NoIdToken,
    /// Token endpoint: a success with this text as `id_token`.
    IdToken(String),
    /// Token endpoint: `invalid_grant`, AADSTS50173, as after a password change.
    Revoked,
    /// Token endpoint: `interaction_required` with that number (50076, 50079, 53003) and `claims`,
    /// as when Conditional Access wants the person back.
    Interaction(u32),
}

#[derive(Debug)]
struct Planned {
    on: Endpoint,
    fault: Fault,
    /// None: until taken away.
    left: Option<usize>,
}

/// The faults that are planned.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<Planned>>);

impl Faults {
    pub(super) fn plan(&self, on: Endpoint, fault: Fault, times: Option<usize>) {
        lock(&self.0).push(Planned {
            on,
            fault,
            left: times,
        });
    }

    pub(super) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// Takes the fault that the next request on an endpoint meets, the first planned first.
    pub(super) fn take(&self, on: Endpoint) -> Option<Fault> {
        let mut planned = lock(&self.0);
        let index = planned.iter().position(|entry| entry.on == on)?;
        let entry = planned.get_mut(index)?;
        let fault = entry.fault.clone();
        if let Some(left) = &mut entry.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                planned.remove(index);
            }
        }
        Some(fault)
    }
}

/// Lets a good answer meet a fault. Faults of the token's content were applied when it was made.
pub(super) async fn meet(state: &State, fault: Option<Fault>, good: Response<Body>) -> Answer {
    let Some(fault) = fault else { return Ok(good) };
    match fault {
        Fault::Unavailable {
            status,
            retry_after,
        } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            let told = state.tell(Aadsts::temporarily_unavailable());
            let mut response = told.json_with_status(&state.authority, status);
            if let Some(seconds) = retry_after {
                reply::set(&mut response, "retry-after", &seconds.to_string());
            }
            Ok(response)
        }
        Fault::Refuse => Err(Cut),
        Fault::Hang => std::future::pending().await,
        Fault::NotJson => Ok(reply::typed(
            StatusCode::OK,
            "text/html; charset=utf-8",
            "<html><body>Our services aren't available right now</body></html>",
        )),
        Fault::NoIdToken | Fault::IdToken(_) | Fault::Revoked | Fault::Interaction(_) => Ok(good),
        Fault::SlowBody(over) => with_body(good, |whole| slow(whole, over)).await,
        Fault::Truncated => {
            with_body(good, |whole| {
                let half = whole.slice(..whole.len() / 2);
                let cut = stream::once(async {
                    // Lets the first half leave before the connection goes.
                    tokio::task::yield_now().await;
                    Err(Cut)
                });
                let chunks = stream::iter([Ok(half)]).chain(cut);
                (whole.len(), Body::from_stream(chunks))
            })
            .await
        }
        Fault::HalfJson => {
            with_body(good, |whole| {
                let half = whole.slice(..whole.len() / 2);
                (half.len(), Body::from(half))
            })
            .await
        }
        Fault::Gzip => {
            let mut response = with_body(good, |whole| {
                let packed = reply::gzip(&whole);
                (packed.len(), Body::from(packed))
            })
            .await?;
            response
                .headers_mut()
                .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Ok(response)
        }
        Fault::Chunked => {
            let mut response = with_body(good, |whole| {
                let chunks = [Ok::<_, Cut>(whole)];
                (0, Body::from_stream(stream::iter(chunks)))
            })
            .await?;
            response.headers_mut().remove(CONTENT_LENGTH);
            Ok(response)
        }
        Fault::Padded(spaces) => {
            with_body(good, |whole| {
                let mut padded = whole.to_vec();
                padded.resize(padded.len().saturating_add(spaces), b' ');
                (padded.len(), Body::from(padded))
            })
            .await
        }
    }
}

/// Replaces a body; the closure also says what `Content-Length` announces.
async fn with_body(
    response: Response<Body>,
    change: impl FnOnce(Bytes) -> (usize, Body),
) -> Answer {
    let (mut head, body) = response.into_parts();
    let whole = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let (length, body) = change(whole);
    head.headers.insert(CONTENT_LENGTH, length.into());
    Ok(Response::from_parts(head, body))
}

fn slow(whole: Bytes, over: Duration) -> (usize, Body) {
    let length = whole.len();
    let size = length.div_ceil(SLOW_CHUNKS).max(1);
    let pause = over / 10;
    let chunks = stream::unfold(whole, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let chunk = rest.split_to(size.min(rest.len()));
        Some((Ok::<_, Cut>(chunk), rest))
    });
    (length, Body::from_stream(chunks))
}
