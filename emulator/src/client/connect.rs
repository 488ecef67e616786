//! The way of a client from a `401` to an open session.

use std::sync::Arc;
use std::time::Duration;

use rmcp::ServiceExt;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{
    AuthClient, AuthorizationManager, AuthorizationMetadataSource, AuthorizationRequest,
    AuthorizationSession,
};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::json;
use url::Url;

use super::browser::Browser;
use super::{ClientError, Ears, Heard, SignedIn, Step, carrier, oauth, redeemed};
use crate::tls;

/// What is waited for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What is waited for the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// A client that is about to connect.
pub struct Builder {
    url: String,
    ca_pem: Option<Vec<u8>>,
    person: Option<String>,
    redirect_uri: String,
    name: String,
    client_id: Option<String>,
    prompt_consent: bool,
    on_step: Box<dyn FnMut(Step) + Send>,
}

impl Builder {
    /// Returns a client like most assistants.
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            ca_pem: None,
            person: None,
            redirect_uri: "http://localhost:3118/callback".to_owned(),
            name: "mcp-gateway demo".to_owned(),
            client_id: None,
            prompt_consent: true,
            on_step: Box::new(|_| {}),
        }
    }

    /// Trusts the certificate authorities in this PEM file, and no other.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_pem = Some(pem.into());
        self
    }

    /// Signs in as that person (`alice`, `bob`); the emulator's first otherwise.
    #[must_use]
    pub fn person(mut self, person: impl Into<String>) -> Self {
        self.person = Some(person.into());
        self
    }

    /// Sets the redirect URI; Claude Code's `http://localhost:3118/callback` otherwise.
    #[must_use]
    pub fn redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.redirect_uri = uri.into();
        self
    }

    /// Sets the name under which the client registers and introduces itself.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Uses an id that was registered before, and does not register.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// Whether `prompt=consent` goes with `offline_access`, as most assistants send it (the default).
    #[must_use]
    pub fn prompt_consent(mut self, on: bool) -> Self {
        self.prompt_consent = on;
        self
    }

    /// Is told of every step as it succeeds.
    #[must_use]
    pub fn on_step(mut self, on_step: impl FnMut(Step) + Send + 'static) -> Self {
        self.on_step = Box::new(on_step);
        self
    }

    /// Goes through every step.
    ///
    /// # Errors
    ///
    /// When a step fails; the steps before it have been reported.
    pub async fn connect(mut self) -> Result<SignedIn, ClientError> {
        let url = Url::parse(&self.url).map_err(|_| ClientError::Url(self.url.clone()))?;
        let http = self.http().map_err(ClientError::Prepare)?;
        let challenge = challenge(&http, &url).await?;
        (self.on_step)(Step::Challenged);

        let transport = Arc::new(carrier::Carrier::new(http.clone()));
        let mut manager = AuthorizationManager::new_with_oauth_http_client(url, transport)
            .await
            .map_err(oauth("preparing OAuth"))?;
        let resolution = manager
            .resolve_metadata_from_challenge(Some(&challenge))
            .await
            .map_err(oauth("discovery"))?;
        if resolution.source == AuthorizationMetadataSource::LegacyEndpointFallback {
            return Err(ClientError::NoMetadata);
        }
        let issuer = resolution.metadata.issuer.clone().unwrap_or_default();
        manager.set_metadata(resolution.metadata);
        (self.on_step)(Step::Discovered { issuer });

        let session = self.register(manager).await?;
        let callback = self.sign_in(&http, &session).await?;
        (self.on_step)(Step::SignedIn);

        let tokens = session
            .handle_callback_url(&callback)
            .await
            .map_err(oauth("redeeming the code"))?;
        (self.on_step)(redeemed(&tokens));
        self.open(http, session.auth_manager).await
    }

    fn http(&self) -> Result<reqwest::Client, reqwest::Error> {
        tls::install_provider();
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = &self.ca_pem {
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem)?);
        } else {
            // The platform's authorities are of no use to something on loopback.
            builder = builder.tls_certs_only([]);
        }
        builder.build()
    }

    async fn register(
        &mut self,
        manager: AuthorizationManager,
    ) -> Result<AuthorizationSession, ClientError> {
        let mut request =
            AuthorizationRequest::new(&self.redirect_uri).with_client_name(&self.name);
        if let Some(id) = &self.client_id {
            request = request.with_preregistered_client(id);
        }
        let session = AuthorizationSession::new(manager, request)
            .await
            .map_err(|(_, source)| oauth("registration")(source))?;
        let (client_id, _) = session
            .get_credentials()
            .await
            .map_err(oauth("registration"))?;
        (self.on_step)(Step::Registered { client_id });
        Ok(session)
    }

    /// Plays the person, and returns the address to which the browser was sent in the end.
    async fn sign_in(
        &self,
        http: &reqwest::Client,
        session: &AuthorizationSession,
    ) -> Result<String, ClientError> {
        let address = session.get_authorization_url();
        let mut address = Url::parse(address).map_err(|_| ClientError::Url(address.to_owned()))?;
        let offline = address
            .query_pairs()
            .any(|(name, value)| name == "scope" && value.contains("offline_access"));
        if self.prompt_consent && offline {
            address.query_pairs_mut().append_pair("prompt", "consent");
        }
        let mut browser = Browser::new(http.clone(), self.person.clone());
        Ok(browser.visit(address, &self.redirect_uri).await?)
    }

    async fn open(
        mut self,
        http: reqwest::Client,
        manager: AuthorizationManager,
    ) -> Result<SignedIn, ClientError> {
        let auth = AuthClient::new(http, manager);
        let transport = StreamableHttpClientTransport::with_client(
            auth.clone(),
            StreamableHttpClientTransportConfig::with_uri(self.url.as_str()),
        );
        let heard = Arc::new(Heard::default());
        let ears = Ears {
            name: self.name,
            heard: Arc::clone(&heard),
        };
        let service = tokio::time::timeout(HANDSHAKE_TIMEOUT, ears.serve(transport))
            .await
            .map_err(|_| ClientError::Handshake("no answer in time".to_owned()))?
            .map_err(|error| ClientError::Handshake(error.to_string()))?;
        let server = service
            .peer_info()
            .and_then(|info| info.server_info.as_ref().map(|server| server.name.clone()))
            .unwrap_or_default();
        (self.on_step)(Step::Connected { server });
        Ok(SignedIn {
            service,
            auth,
            heard,
        })
    }
}

/// Asks without a token, and returns the challenge.
async fn challenge(http: &reqwest::Client, url: &Url) -> Result<String, ClientError> {
    let initialize = json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "probe", "version": "1"},
        },
    });
    let response = http
        .post(url.clone())
        .header("accept", "application/json, text/event-stream")
        .timeout(HANDSHAKE_TIMEOUT)
        .json(&initialize)
        .send()
        .await
        .map_err(ClientError::Unreachable)?;
    let header = response
        .headers()
        .get(http::header::WWW_AUTHENTICATE)
        .and_then(|value| value.to_str().ok());
    match header {
        Some(challenge) if response.status() == http::StatusCode::UNAUTHORIZED => {
            Ok(challenge.to_owned())
        }
        Some(_) => Err(ClientError::NotChallenged(response.status().to_string())),
        None => Err(ClientError::NotChallenged(format!(
            "{} without it",
            response.status()
        ))),
    }
}
