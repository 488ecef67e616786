//! A plain listener that only says where the gateway really is.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use pingora_core::{apps::ReusedHttpStream, protocols::http::ServerSession, server::ShutdownWatch};

use crate::{listener::App, respond::respond};

/// Redirects every request to the same path of the public URL.
pub struct RedirectToHttps {
    origin: String,
}

impl RedirectToHttps {
    /// Redirects to `origin`, `https://host[:port]` without a trailing slash. The host that the
    /// client names plays no part.
    #[must_use]
    pub fn to(origin: impl Into<String>) -> Self {
        Self {
            origin: origin.into(),
        }
    }
}

impl App for RedirectToHttps {
    async fn serve(
        &self,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !session.read_request().await.ok()? {
            return None;
        }
        let target = session
            .req_header()
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let location = HeaderValue::try_from(format!("{}{target}", self.origin)).ok()?;
        respond(
            session,
            StatusCode::PERMANENT_REDIRECT,
            &[(header::LOCATION, location)],
            Bytes::new(),
        )
        .await
    }
}
