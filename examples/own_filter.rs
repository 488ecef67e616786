//! A gateway with a filter of its own: the whole command line, one more step.
//!
//! ```yaml
//! routes:
//!   - path: /hello
//!     filters:
//!       - stamp_tenant: { header: x-tenant }
//!       - respond: { text: hello }
//! ```
//!
//! `cargo run --example own_filter -- filters stamp_tenant` prints its reference, made from this
//! file; `check`, `explain` and `run` know it like any other filter.

use std::process::ExitCode;

use http::{HeaderName, HeaderValue, request};
use mcp_gateway_filters::{
    Catalog, Context, Edits, Filter, FilterConfig, HeaderEdit, Problem, Refusal, Verdict,
};

/// What stands behind `stamp_tenant:`.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct StampTenant {
    /// The header that carries the tenant of a verified caller to the upstream.
    header: String,
}

impl FilterConfig for StampTenant {
    const NAME: &'static str = "stamp_tenant";
    const SUMMARY: &'static str = "tells the upstream the caller's tenant";
    const SOURCE: &'static str = include_str!("own_filter.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let header = HeaderName::try_from(self.header.as_str()).map_err(|_| {
            vec![Problem::new(
                "header",
                format!("`{}` is not a header name", self.header),
            )]
        })?;
        Ok(Box::new(Stamp { header }))
    }
}

/// The running filter.
#[derive(Debug)]
struct Stamp {
    header: HeaderName,
}

impl Filter for Stamp {
    fn request(&self, cx: &Context<'_>, _: &request::Parts) -> Result<Verdict, Refusal> {
        // Whatever the client sent under this name is replaced or removed, never believed.
        let tenant = cx
            .identity
            .and_then(|identity| identity.tenant.as_deref())
            .and_then(|tenant| HeaderValue::try_from(tenant).ok());
        let edit = match tenant {
            Some(tenant) => HeaderEdit::Set(self.header.clone(), tenant),
            None => HeaderEdit::Remove(self.header.clone()),
        };
        Ok(Verdict::Continue(Edits {
            headers: vec![edit],
            ..Edits::default()
        }))
    }
}

fn main() -> ExitCode {
    let mut catalog = Catalog::builtin();
    catalog.register::<StampTenant>();
    mcp_gateway::cli::main(&catalog)
}
