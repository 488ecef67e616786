//! The AADSTS errors: their numbers and their words.
//!
//! How one is told to a client is decided in [`told`](super::told) and by the endpoints.

use http::StatusCode;

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Aadsts {
    pub(super) code: u32,
    /// The OAuth `error`.
    pub(super) error: &'static str,
    /// The status at the token endpoint.
    pub(super) status: StatusCode,
    pub(super) text: String,
    /// What the authorization request has to ask for, as JSON.
    pub(super) claims: Option<&'static str>,
}

impl Aadsts {
    fn new(code: u32, error: &'static str, text: impl Into<String>) -> Self {
        Self {
            code,
            error,
            status: StatusCode::BAD_REQUEST,
            text: text.into(),
            claims: None,
        }
    }

    fn unauthorized(mut self) -> Self {
        self.status = StatusCode::UNAUTHORIZED;
        self
    }

    pub(super) fn missing_parameter(name: &str) -> Self {
        Self::new(
            900_144,
            "invalid_request",
            format!("The request body must contain the following parameter: '{name}'."),
        )
    }

    pub(super) fn duplicated(name: &str) -> Self {
        Self::new(
            9_000_411,
            "invalid_request",
            format!("The request is not properly formatted. The parameter '{name}' is duplicated."),
        )
    }

    pub(super) fn unknown_tenant(tenant: &str) -> Self {
        Self::new(
            90_002,
            "invalid_tenant",
            format!(
                "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID \
                 and are signing into the correct cloud. Check with your subscription \
                 administrator, this may happen if there are no active subscriptions for the tenant."
            ),
        )
    }

    pub(super) fn unknown_app(app: &str, tenant: &str) -> Self {
        Self::new(
            700_016,
            "unauthorized_client",
            format!(
                "Application with identifier '{app}' was not found in the directory '{tenant}'. \
                 This can happen if the application has not been installed by the administrator of \
                 the tenant or consented to by any user in the tenant. You may have sent your \
                 authentication request to the wrong tenant."
            ),
        )
    }

    pub(super) fn no_reply_address() -> Self {
        Self::new(900_971, "invalid_request", "No reply address provided.")
    }

    pub(super) fn malformed_redirect() -> Self {
        Self::new(
            90_102,
            "invalid_request",
            "'redirect_uri' value must be a valid absolute URI.",
        )
    }

    pub(super) fn redirect_mismatch(uri: &str, app: &str) -> Self {
        Self::new(
            50_011,
            "invalid_request",
            format!(
                "The redirect URI '{uri}' specified in the request does not match the redirect URIs \
                 configured for the application '{app}'. Make sure the redirect URI sent in the \
                 request matches one added to your application in the Azure portal. Navigate to \
                 https://aka.ms/redirectUriMismatchError to learn more about how to fix this."
            ),
        )
    }

    pub(super) fn response_type_not_enabled() -> Self {
        Self::new(
            700_054,
            "unsupported_response_type",
            "response_type 'id_token' is not enabled for the application.",
        )
    }

    pub(super) fn unsupported_response_type(value: &str) -> Self {
        Self::new(
            70_005,
            "unsupported_response_type",
            format!("The response_type '{value}' is not supported."),
        )
    }

    pub(super) fn unsupported_response_mode(value: &str) -> Self {
        Self::new(
            70_007,
            "unsupported_response_mode",
            format!("'{value}' is not a supported value of 'response_mode'."),
        )
    }

    pub(super) fn unsupported_prompt() -> Self {
        Self::new(90_023, "invalid_request", "Unsupported 'prompt' value.")
    }

    pub(super) fn resource_unsupported() -> Self {
        Self::new(
            901_002,
            "invalid_request",
            "The 'resource' request parameter is not supported.",
        )
    }

    pub(super) fn resource_mismatch() -> Self {
        Self::new(
            9_010_010,
            "invalid_target",
            "The resource parameter provided in the request doesn't match with the requested scopes.",
        )
    }

    pub(super) fn unknown_resource(resource: &str, tenant: &str) -> Self {
        Self::new(
            500_011,
            "invalid_resource",
            format!(
                "The resource principal named {resource} was not found in the tenant named \
                 {tenant}. This can happen if the application has not been installed by the \
                 administrator of the tenant or consented to by any user in the tenant. You might \
                 have sent your authentication request to the wrong tenant."
            ),
        )
    }

    pub(super) fn unknown_scope(client: &str, scope: &str, resource: &str) -> Self {
        Self::new(
            650_053,
            "invalid_client",
            format!(
                "The application '{client}' asked for scope '{scope}' that doesn't exist on the \
                 resource '{resource}'. Contact the app vendor."
            ),
        )
    }

    pub(super) fn default_with_specific(scope: &str) -> Self {
        Self::new(
            70_011,
            "invalid_scope",
            format!(
                "The provided request must include a 'scope' input parameter. The provided value \
                 for the input parameter 'scope' is not valid. The scope {scope} is not valid. \
                 .default scope can't be combined with resource-specific scopes."
            ),
        )
    }

    pub(super) fn several_resources(scope: &str) -> Self {
        Self::new(
            28_000,
            "invalid_request",
            format!(
                "Provided value for the input parameter scope is not valid because it contains \
                 more than one resource. Scope {scope} is not valid."
            ),
        )
    }

    pub(super) fn several_resources_bound() -> Self {
        Self::new(
            28_003,
            "invalid_request",
            "Provided value for the input parameter scope cannot be empty when requesting an \
             access token using the provided authorization code. Please specify a valid scope.",
        )
    }

    pub(super) fn spa_needs_pkce() -> Self {
        Self::new(
            9_002_325,
            "invalid_request",
            "Proof Key for Code Exchange is required for cross-origin authorization code redemption.",
        )
    }

    pub(super) fn challenge_invalid() -> Self {
        Self::new(
            501_491,
            "invalid_request",
            "The size of the Code_Challenge parameter is invalid.",
        )
    }

    pub(super) fn sign_in_needed() -> Self {
        Self::new(
            50_058,
            "login_required",
            "Session information is not sufficient for single-sign-on.",
        )
    }

    pub(super) fn consent_needed(error: &'static str, app: &str, name: &str) -> Self {
        Self::new(
            65_001,
            error,
            format!(
                "The user or administrator has not consented to use the application with ID \
                 '{app}' named '{name}'. Send an interactive authorization request for this user \
                 and resource."
            ),
        )
    }

    pub(super) fn consent_declined() -> Self {
        Self::new(
            65_004,
            "access_denied",
            "User declined to consent to access the app.",
        )
    }

    pub(super) fn admin_request_needed() -> Self {
        Self::new(
            90_095,
            "access_denied",
            "Admin consent is required. Admin consent request has been enabled for this tenant.",
        )
    }

    pub(super) fn admin_needed(app: &str) -> Self {
        Self::new(
            90_094,
            "access_denied",
            format!(
                "{app} needs permission to access resources in your organization that only an \
                 admin can grant. Please ask an admin to grant permission to this app before you \
                 can use it."
            ),
        )
    }

    pub(super) fn post_only(method: &str) -> Self {
        Self::new(
            900_561,
            "invalid_request",
            format!("The endpoint only accepts POST requests. Received a {method} request."),
        )
    }

    pub(super) fn unsupported_grant(value: &str) -> Self {
        Self::new(
            70_003,
            "unsupported_grant_type",
            format!("The app requested an unsupported grant type '{value}'."),
        )
    }

    pub(super) fn cross_origin(origin: &str) -> Self {
        Self::new(
            9_002_326,
            "invalid_request",
            format!(
                "Cross-origin token redemption is permitted only for the 'Single-Page Application' \
                 client-type. Request origin: '{origin}'."
            ),
        )
    }

    pub(super) fn same_origin() -> Self {
        Self::new(
            9_002_327,
            "invalid_request",
            "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via \
             cross-origin requests.",
        )
    }

    pub(super) fn secret_missing() -> Self {
        Self::new(
            7_000_218,
            "invalid_client",
            "The request body must contain the following parameter: 'client_assertion' or \
             'client_secret'.",
        )
        .unauthorized()
    }

    pub(super) fn secret_wrong(app: &str) -> Self {
        Self::new(
            7_000_215,
            "invalid_client",
            format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is \
                 the client secret value, not the client secret ID, for a secret added to app \
                 '{app}'."
            ),
        )
        .unauthorized()
    }

    pub(super) fn secret_expired(app: &str) -> Self {
        Self::new(
            7_000_222,
            "invalid_client",
            format!(
                "The provided client secret keys for app '{app}' are expired. Visit the Azure \
                 portal to create new keys for your app: https://aka.ms/NewClientSecret, or \
                 consider using certificate credentials for added security: \
                 https://aka.ms/certCreds."
            ),
        )
        .unauthorized()
    }

    pub(super) fn assertion_key_unknown() -> Self {
        Self::new(
            700_027,
            "invalid_client",
            "The certificate with identifier used to sign the client assertion is not registered \
             on application.",
        )
        .unauthorized()
    }

    pub(super) fn assertion_of_another() -> Self {
        Self::new(
            700_021,
            "invalid_client",
            "Client assertion application identifier doesn't match 'client_id' parameter.",
        )
        .unauthorized()
    }

    pub(super) fn assertion_audience() -> Self {
        Self::new(
            700_023,
            "invalid_client",
            "Client assertion audience claim does not match Realm issuer.",
        )
        .unauthorized()
    }

    pub(super) fn assertion_time() -> Self {
        Self::new(
            700_024,
            "invalid_client",
            "Client assertion is not within its valid time range.",
        )
        .unauthorized()
    }

    pub(super) fn assertion_signature() -> Self {
        Self::new(
            50_013,
            "invalid_grant",
            "Assertion failed signature validation.",
        )
    }

    pub(super) fn assertion_is_id_token() -> Self {
        Self::new(
            240_002,
            "invalid_grant",
            "Input id_token can't be used as 'urn:ietf:params:oauth:grant-type:jwt-bearer' grant.",
        )
    }

    pub(super) fn assertion_for_another(found: &str, expected: &str) -> Self {
        Self::new(
            500_131,
            "invalid_grant",
            format!(
                "Assertion audience does not match the Client app presenting the assertion. The \
                 audience in the assertion was '{found}' and the expected audience is '{expected}' \
                 or one of the Application Uris of this application with App ID '{expected}'."
            ),
        )
    }

    pub(super) fn assertion_expired() -> Self {
        Self::new(
            500_133,
            "invalid_grant",
            "Assertion is not within its valid time range. Ensure that the access token is not \
             expired before using it for user assertion, or request a new token.",
        )
    }

    pub(super) fn default_needed(scope: &str) -> Self {
        Self::new(
            1_002_012,
            "invalid_scope",
            format!(
                "The provided value for scope {scope} is not valid. Client credential flows must \
                 have a scope value with /.default suffixed to the resource identifier \
                 (application ID URI)."
            ),
        )
    }

    pub(super) fn not_in_tenant(upn: &str, home: &str, tenant: &str, app: &str) -> Self {
        Self::new(
            50_020,
            "access_denied",
            format!(
                "User account '{upn}' from identity provider 'https://sts.windows.net/{home}/' does \
                 not exist in tenant '{tenant}' and cannot access the application '{app}' in that \
                 tenant. The account needs to be added as an external user in the tenant first. \
                 Sign out and sign in again with a different Azure Active Directory user account."
            ),
        )
    }

    pub(super) fn not_assigned(upn: &str, app: &str, name: &str) -> Self {
        Self::new(
            50_105,
            "access_denied",
            format!(
                "Your administrator has configured the application {name} ('{app}') to block users \
                 unless they are specifically granted ('assigned') access to the application. The \
                 signed-in user '{upn}' is blocked because they are not a direct member of a group \
                 with access, nor had access directly assigned by an administrator."
            ),
        )
    }

    pub(super) fn secret_on_public() -> Self {
        Self::new(
            700_025,
            "invalid_client",
            "Client is public so neither 'client_assertion' nor 'client_secret' should be \
             presented.",
        )
        .unauthorized()
    }

    pub(super) fn code_malformed() -> Self {
        Self::new(
            9_002_313,
            "invalid_grant",
            "Invalid request. Request is malformed or invalid.",
        )
    }

    pub(super) fn grant_expired() -> Self {
        Self::new(
            70_008,
            "invalid_grant",
            "The provided authorization code or refresh token has expired due to inactivity. Send \
             a new interactive authorization request for this user and resource.",
        )
    }

    pub(super) fn grant_revoked() -> Self {
        Self::new(
            50_173,
            "invalid_grant",
            "The provided grant has expired due to it being revoked, a fresh auth token is needed. \
             The user might have changed or reset their password.",
        )
    }

    /// A policy that only a person can satisfy.
    pub(super) fn interaction_needed(code: u32) -> Self {
        Self {
            claims: Some(r#"{"access_token":{"capolids":{"essential":true,"values":["c1"]}}}"#),
            ..Self::new(
                code,
                "interaction_required",
                "Due to a configuration change made by your administrator, or because you moved to \
                 a new location, you must use multi-factor authentication to access the resource.",
            )
        }
    }

    pub(super) fn code_redeemed() -> Self {
        Self::new(
            54_005,
            "invalid_grant",
            "OAuth2 Authorization code was already redeemed, please retry with a new valid code or \
             use an existing refresh token.",
        )
    }

    pub(super) fn client_mismatch() -> Self {
        Self::new(
            700_005,
            "invalid_grant",
            "The provided Authorization Code is intended to use against other application.",
        )
    }

    pub(super) fn reply_address_mismatch(given: &str, bound: &str) -> Self {
        Self::new(
            500_112,
            "invalid_client",
            format!(
                "The reply address '{given}' does not match the reply address '{bound}' provided \
                 when requesting Authorization code."
            ),
        )
    }

    pub(super) fn verifier_missing() -> Self {
        Self::new(
            50_148,
            "invalid_grant",
            "The code_verifier does not match the code_challenge supplied in the authorization \
             request for PKCE.",
        )
    }

    pub(super) fn verifier_mismatch() -> Self {
        Self::new(
            501_481,
            "invalid_grant",
            "The Code_Verifier does not match the code_challenge supplied in the authorization \
             request.",
        )
    }

    pub(super) fn token_for_itself(app: &str, name: &str) -> Self {
        Self::new(
            90_009,
            "invalid_request",
            format!(
                "Application '{app}'({name}) is requesting a token for itself. This scenario is \
                 supported only if resource is specified using the GUID based App Identifier."
            ),
        )
    }

    pub(super) fn temporarily_unavailable() -> Self {
        Self::new(
            90_033,
            "temporarily_unavailable",
            "A transient error has occurred. Please try again.",
        )
    }
}
