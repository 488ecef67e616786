//! Authorization servers as data: each provider expands into plain routes of filters.
//!
//! Nothing here handles a request. What a profile publishes can be read with
//! `mcp-gateway explain` and written by hand instead.

mod auth0;
mod client_id_metadata;
mod cognito;
mod credentials;
mod entra;
mod google;
mod groups;
mod keycloak;
mod metadata;
mod oidc;
mod okta;
mod ping;
mod plain;
mod provider;
mod token_client;
mod way;

pub use client_id_metadata::ClientIdMetadata;
pub use credentials::{Client, ClientCredentials, CredentialSource, Unsigned};
pub use entra::{
    Api, Authority, Authorize, Bearer, Cloud, Endpoints, Guid, IdentifierUri, IssuerUrl,
    PromptPolicy, Settings as Entra, StepUp, Tenant, errors as aadsts, noticed,
};
pub use groups::{GroupSettings, Overage};
pub use metadata::{Metadata, Protected, resource_metadata};
pub use plain::{Route, Setting, Step};
pub use provider::{
    Bearer as ProviderBearer, Provider, Settings as ProviderSettings, names as providers,
};
pub use token_client::{Asked, Asking, TokenClient};
pub use way::callback;
