//! `gateway.yaml`: from text to a configuration that is whole and valid, or every problem in it.

mod allow;
mod gateway;
mod public_url;

pub use allow::Allow;
pub use gateway::{
    AccessLog, Authenticate, Exchange, Gateway, Identity, Proxy, Route, Sessions, Step,
    UpstreamToken,
};
pub use public_url::PublicUrl;
