//! What the gateway says about itself: metrics and the access log.

pub mod access;
pub mod metrics;
pub mod names;
pub mod provider_errors;
pub mod seldom;
