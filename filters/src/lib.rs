//! Pure request and response filters.
//!
//! A filter reads a message and returns what should happen to it, as data; the driver in the
//! gateway's `src/proxy/` applies it.
//!
//! INVARIANT: nothing in this crate reads a socket, a clock, a file, an environment variable or a
//! random number, and it does not know Pingora. Bytes and time come in, bytes and edits come out.

mod catalog;
mod complete_scope;
mod filter;
mod form;
mod pairs;
mod problem;
mod redirect_uri;
mod reply;
mod rewrite_path;
mod set_query;
mod settings;
mod strip_form;
mod strip_query;
#[cfg(test)]
mod testing;

pub use catalog::{BuildError, Catalog, Entry, FilterConfig};
pub use filter::{
    BodyPlan, Context, Edits, Filter, HeaderEdit, Identity, Refusal, Response, ResponseEdits,
    Transform, Verdict,
};
pub use problem::Problem;
pub use redirect_uri::{Preset, RedirectUris};
