//! Calls out of the house: to the authorization server, through the corporate proxy when there is one.

mod config;

pub use config::Config;
