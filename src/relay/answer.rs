//! What a browser is answered, and why it is not what was asked for.

use http::{HeaderValue, header};
use mcp_gateway_filters::{Page, Response};

/// What a browser gets.
#[derive(Debug)]
pub struct Answer {
    /// The answer itself.
    pub response: Response,
    /// Why it is not the one that was asked for: one of a closed set.
    pub reason: Option<&'static str>,
}

impl Answer {
    pub(super) fn good(response: Response) -> Self {
        Self {
            response,
            reason: None,
        }
    }

    pub(super) fn refused(reason: &'static str, response: Response) -> Self {
        Self {
            response,
            reason: Some(reason),
        }
    }

    /// A page for somebody who cannot go on here.
    pub(super) fn page(reason: &'static str, what: &str, remedy: &str) -> Self {
        let page = Page {
            what,
            shown: None,
            remedy,
        };
        Self::refused(reason, page.bad_request())
    }

    pub(super) fn with_cookie(mut self, cookie: Option<HeaderValue>) -> Self {
        if let Some(cookie) = cookie {
            self.response
                .headers_mut()
                .append(header::SET_COOKIE, cookie);
        }
        self
    }
}
