//! Authorization servers as data: each provider expands into plain routes of filters.
//!
//! Nothing here handles a request. What a profile publishes can be read with
//! `mcp-gateway explain` and written by hand instead.

mod credentials;
mod entra;
mod groups;
mod metadata;
mod plain;

pub use credentials::{Client, ClientCredentials, CredentialSource, Unsigned};
pub use entra::{
    Api, Authority, Authorize, Bearer, Cloud, Endpoints, Guid, IdentifierUri, IssuerUrl,
    PromptPolicy, Settings as Entra, StepUp, Tenant, errors as aadsts, noticed,
};
pub use groups::{GroupSettings, Overage};
pub use metadata::{Metadata, Protected, resource_metadata};
pub use plain::{Route, Setting, Step};
