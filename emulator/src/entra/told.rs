//! An AADSTS error as it is told: with ids and a time, as JSON or as a description.

use axum::body::Body;
use http::{Response, StatusCode};
use serde::Serialize;
use uuid::Uuid;

use super::error::Aadsts;
use crate::clock::entra_timestamp;
use crate::reply;

/// What separates the parts of an `error_description`; older answers carry line breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Separator {
    /// `\r\n`.
    #[default]
    LineBreak,
    /// One space, as in newer answers.
    Space,
}

/// An error with the ids and the time of one answer.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) aadsts: Aadsts,
    pub(super) trace: String,
    pub(super) correlation: String,
    timestamp: String,
    separator: Separator,
}

/// The JSON of the token endpoint, in the order in which Entra writes it.
#[derive(Serialize)]
struct Document<'a> {
    error: &'a str,
    error_description: String,
    error_codes: [u32; 1],
    timestamp: &'a str,
    trace_id: &'a str,
    correlation_id: &'a str,
    error_uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<&'a str>,
}

impl Told {
    pub(super) fn new(aadsts: Aadsts, now: i64, separator: Separator) -> Self {
        Self {
            aadsts,
            trace: Uuid::new_v4().to_string(),
            correlation: Uuid::new_v4().to_string(),
            timestamp: entra_timestamp(now),
            separator,
        }
    }

    /// `AADSTS50011: The redirect URI …`, without ids.
    pub(super) fn message(&self) -> String {
        format!("AADSTS{}: {}", self.aadsts.code, self.aadsts.text)
    }

    pub(super) fn description(&self) -> String {
        let separator = match self.separator {
            Separator::LineBreak => "\r\n",
            Separator::Space => " ",
        };
        format!(
            "{}{separator}Trace ID: {}{separator}Correlation ID: {}{separator}Timestamp: {}",
            self.message(),
            self.trace,
            self.correlation,
            self.timestamp
        )
    }

    pub(super) fn uri(&self, authority: &str) -> String {
        format!("{authority}/error?code={}", self.aadsts.code)
    }

    /// The answer of the token endpoint.
    pub(super) fn json(&self, authority: &str) -> Response<Body> {
        self.json_with_status(authority, self.aadsts.status)
    }

    pub(super) fn json_with_status(&self, authority: &str, status: StatusCode) -> Response<Body> {
        reply::json(
            status,
            "application/json; charset=utf-8",
            &Document {
                error: self.aadsts.error,
                error_description: self.description(),
                error_codes: [self.aadsts.code],
                timestamp: &self.timestamp,
                trace_id: &self.trace,
                correlation_id: &self.correlation,
                error_uri: self.uri(authority),
                claims: self.aadsts.claims,
            },
        )
    }
}
