//! Pure request and response filters.
//!
//! A filter reads a message and returns what should happen to it, as data; the driver in the
//! gateway's `src/proxy/` applies it.
//!
//! INVARIANT: nothing in this crate reads a socket, a clock, a file, an environment variable or a
//! random number, and it does not know Pingora. Bytes and time come in, bytes and edits come out.

mod api;
mod authorization_server;
mod catalog;
mod check_authorize;
mod check_token_request;
mod cors;
mod filter;
mod form;
mod form_to_query;
mod identity;
mod map_resource;
mod page;
pub mod pairs;
mod pass_token;
mod place;
mod problem;
mod prompt_policy;
mod protected_resource;
mod redirect;
mod redirect_uri;
mod reference;
mod register_client;
mod remove_headers;
mod repair_scope;
mod reply;
mod respond;
mod restart_sign_in;
mod rewrite_path;
mod scan;
mod scope_to_claims;
mod set_headers;
mod set_query;
mod settings;
mod strip_form;
mod strip_query;
mod swap_token;
#[cfg(test)]
mod testing;
mod token_answer;

pub use catalog::{BuildError, Catalog, Entry, FilterConfig};
pub use filter::{
    BodyPlan, Context, Edits, Filter, HeaderEdit, Refusal, RefusedByRedirect, Response,
    ResponseEdits, Transform, Verdict,
};
pub use form::is_form;
pub use identity::{Groups, Identity};
pub use page::{Page, STYLE, STYLE_HASH, escape};
pub use problem::Problem;
pub use redirect::to as redirect_to;
pub use redirect_uri::{Preset, RedirectUris, is_loopback};
pub use scope_to_claims::claims_scope;
