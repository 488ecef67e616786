//! Carries the SDK's OAuth requests: within limits of time and size, and following nothing.

use std::time::Duration;

use bytes::BytesMut;
use rmcp::transport::auth::{
    OAuthHttpClient, OAuthHttpClientError, OAuthHttpClientFuture, OAuthHttpRequest,
};
use thiserror::Error;

/// Longest answer of an authorization server.
const LIMIT: usize = 1 << 20;

/// What is waited for an answer, unless the SDK says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Error)]
#[error("the answer is longer than {LIMIT} bytes")]
struct TooLong;

/// The carrier.
pub(super) struct Carrier {
    http: reqwest::Client,
}

impl Carrier {
    /// Uses a client that follows no redirect.
    pub(super) fn new(http: reqwest::Client) -> Self {
        Self { http }
    }

    async fn carry(
        &self,
        request: OAuthHttpRequest,
    ) -> Result<http::Response<Vec<u8>>, OAuthHttpClientError> {
        let (head, body) = request.request.into_parts();
        let mut response = self
            .http
            .request(head.method, head.uri.to_string())
            .headers(head.headers)
            .timeout(request.timeout.unwrap_or(TIMEOUT))
            .body(body)
            .send()
            .await?;
        let mut answer = http::Response::builder().status(response.status());
        if let Some(headers) = answer.headers_mut() {
            *headers = response.headers().clone();
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > LIMIT {
                return Err(TooLong.into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(answer.body(body.to_vec())?)
    }
}

impl OAuthHttpClient for Carrier {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(self.carry(request))
    }
}
