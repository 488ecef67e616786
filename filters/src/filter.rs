//! What a filter is: a pure function from a message to a verdict.

use std::{borrow::Cow, fmt, net::IpAddr};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, request, response, uri::PathAndQuery};

use crate::Identity;

/// What a filter may know beside the message itself.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// When the request arrived, in seconds since the Unix epoch.
    pub now: u64,
    /// Who sent it.
    pub client: IpAddr,
    /// The path of the route as configured.
    pub route: &'a str,
    /// Whose token the request carries, once a step before has verified it.
    pub identity: Option<&'a Identity>,
}

/// An answer made from memory.
pub type Response = http::Response<Bytes>;

/// Stands among the extensions of a [`Response`] that refuses although its status does not say so:
/// an OAuth error that goes back by a redirect (RFC 6749 §4.1.2.1). It is counted like every other
/// refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedByRedirect;

/// One change to a message head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Sets a header, replacing earlier values.
    Set(HeaderName, HeaderValue),
    /// Adds a value beside earlier ones.
    Append(HeaderName, HeaderValue),
    /// Removes every value.
    Remove(HeaderName),
}

/// Changes to a request; what is not named stays byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// The new path and query.
    pub target: Option<PathAndQuery>,
    /// Changes to headers, applied in order.
    pub headers: Vec<HeaderEdit>,
    /// The new body; only read from [`Filter::request_body`].
    pub body: Option<Bytes>,
}

/// What happens to a request after a filter has seen it.
#[derive(Debug)]
pub enum Verdict {
    /// Pass the request on with these changes; usually none.
    Continue(Edits),
    /// Answer now: no later step runs and no upstream is contacted.
    Respond(Response),
}

impl Verdict {
    /// Passes the request on unchanged.
    #[must_use]
    pub fn pass() -> Self {
        Self::Continue(Edits::default())
    }
}

/// How the body of a response is treated, decided when its head is known.
#[derive(Default)]
pub enum BodyPlan {
    /// Passed on as it comes.
    #[default]
    Stream,
    /// Held whole, up to this many bytes, and given to [`Filter::response_body`].
    Gather {
        /// The largest body accepted; a longer one is a failure of the upstream (502).
        limit: usize,
    },
    /// Rewritten as it passes.
    Transform(Box<dyn Transform>),
}

impl fmt::Debug for BodyPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream => "Stream",
            Self::Gather { .. } => "Gather",
            Self::Transform(_) => "Transform",
        })
    }
}

/// An incremental rewriting of one response body, able to sit on server-sent events.
pub trait Transform: Send {
    /// Takes the next bytes and returns what may leave now; `end` marks the last call.
    ///
    /// # Errors
    /// When the body cannot be understood; the head has left, so the driver ends the stream with
    /// an in-band error where the content type has one, and by a broken body elsewhere.
    fn chunk(&mut self, bytes: Bytes, end: bool) -> Result<Bytes, Refusal>;
}

/// Changes to a response.
#[derive(Debug, Default)]
pub struct ResponseEdits {
    /// The new status.
    pub status: Option<StatusCode>,
    /// Changes to headers, applied in order.
    pub headers: Vec<HeaderEdit>,
    /// What to do with the body.
    pub body: BodyPlan,
}

/// Why a filter stopped an exchange, told to the client as an OAuth error (RFC 6749 §5.2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {description}")]
pub struct Refusal {
    /// The status of the answer.
    pub status: StatusCode,
    /// The `error` member, also the metric's `reason`: one of a closed set.
    pub code: &'static str,
    /// The `error_description` member, a sentence for the user: never a token, code or cookie.
    pub description: Cow<'static, str>,
}

impl Refusal {
    /// Refuses with a status, an error code and a sentence.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        description: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            description: description.into(),
        }
    }

    /// Refuses a request that is not what its protocol asks for: 400 `invalid_request`.
    pub fn invalid_request(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// Refuses an answer of an upstream: 502 `server_error`.
    pub fn bad_gateway(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "server_error", description)
    }
}

/// One step of a route that looks at messages and holds nothing between them.
///
/// Each step sees the head as the steps before left it, then, if it asked for it, the whole body.
/// On the way back the steps that ran see the response in reverse order, answers that the gateway
/// makes itself included; `request` is then the head as the client sent it.
pub trait Filter: Send + Sync + fmt::Debug {
    /// Sees the request head.
    ///
    /// # Errors
    /// When the request must not go on.
    fn request(&self, cx: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        let _ = (cx, head);
        Ok(Verdict::pass())
    }

    /// Returns the largest request body this filter wants to see whole, or `None` to leave the
    /// body alone. A longer body is answered 413 before the filter runs.
    fn request_body_limit(&self, head: &request::Parts) -> Option<usize> {
        let _ = head;
        None
    }

    /// Sees the whole request body, possibly empty; called when a limit was returned for this head.
    ///
    /// # Errors
    /// When the request must not go on.
    fn request_body(
        &self,
        cx: &Context<'_>,
        head: &request::Parts,
        body: &Bytes,
    ) -> Result<Verdict, Refusal> {
        let _ = (cx, head, body);
        Ok(Verdict::pass())
    }

    /// Sees the response head before it goes downstream.
    ///
    /// # Errors
    /// When the response must not go on; the client gets the refusal instead.
    fn response(
        &self,
        cx: &Context<'_>,
        request: &request::Parts,
        head: &response::Parts,
    ) -> Result<ResponseEdits, Refusal> {
        let _ = (cx, request, head);
        Ok(ResponseEdits::default())
    }

    /// Rewrites a whole response body; called when [`BodyPlan::Gather`] was asked for.
    ///
    /// # Errors
    /// When the response must not go on; the client gets the refusal instead.
    fn response_body(
        &self,
        cx: &Context<'_>,
        request: &request::Parts,
        head: &response::Parts,
        body: Bytes,
    ) -> Result<Bytes, Refusal> {
        let _ = (cx, request, head);
        Ok(body)
    }
}
