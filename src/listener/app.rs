//! What answers the requests of a listener, and how those of HTTP/2 reach it.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream},
    protocols::http::{ServerSession, v2::server::H2Options},
    server::ShutdownWatch,
};

/// Answers requests.
///
/// What Pingora's `HttpServerApp` is, without the box for each request: the box has to be filled,
/// with all that any request might need, before the first of it is used. Over HTTP/1 the future is
/// a part of its connection's instead.
pub trait App: Send + Sync + 'static {
    /// Reads one request and answers it; gives the connection back when another one can follow.
    fn serve(
        &self,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> impl Future<Output = Option<ReusedHttpStream>> + Send;

    /// What HTTP/2 clients may do; Pingora's defaults when `None`.
    fn h2_options(&self) -> Option<H2Options> {
        None
    }

    /// How Pingora serves HTTP/2; its defaults when `None`.
    fn server_options(&self) -> Option<&HttpServerOptions> {
        None
    }
}

/// An app as Pingora asks for it, which takes the requests of HTTP/2 connections apart.
pub(super) struct Http2<A>(pub(super) Arc<A>);

#[async_trait]
impl<A: App> HttpServerApp for Http2<A> {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.0.serve(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.0.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.0.server_options()
    }
}
