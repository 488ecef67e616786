//! The list: each number that Entra gives and clients of the gateway meet, with its hint.
//!
//! A sentence says what is the matter for somebody who never read the number's page, and a request
//! names the box in Entra's portal or the setting of `gateway.yaml`. ASCII without quotes, see
//! [`Hint`].

use super::{Hint, Who};

const fn hint(code: u32, means: &'static str, who: Who, remedy: &'static str) -> Hint {
    Hint {
        code,
        means,
        who,
        remedy,
    }
}

const REGISTER: &str = "add the address, with its path, under Authentication as `Mobile and desktop applications`; it must be one that the gateway allows in `redirect_uris`, too";
const CONSENT: &str =
    "grant admin consent under `API permissions` to what the gateway asks for in `scopes`";
const AGAIN: &str = "sign in again";
const PAST_THE_GATEWAY: &str = "talk to the gateway and not to Entra: remove the server and its stored sign-in, and add it again";

/// Every error that is explained, by number.
pub const HINTS: &[Hint] = &[
    hint(
        28000,
        "the scope names more than one API, and a token is for one",
        Who::Operator,
        "leave scopes of one API in `scopes`; those of OpenID Connect may stand beside them",
    ),
    hint(
        28003,
        "the code was asked for several APIs, and the token request does not say which",
        Who::Operator,
        "leave scopes of one API in `scopes`",
    ),
    hint(
        50011,
        "the redirect URI is not registered for this application",
        Who::Administrator,
        REGISTER,
    ),
    hint(
        50020,
        "the account is of another tenant and no guest of this one",
        Who::User,
        "sign in with an account of this organization, or ask to be invited as a guest",
    ),
    hint(
        50057,
        "the account is disabled",
        Who::User,
        "ask the help desk",
    ),
    hint(
        50058,
        "nobody is signed in, and the client asked not to show a page",
        Who::Client,
        "start the sign-in in a browser, without `prompt=none`",
    ),
    hint(
        50076,
        "a second factor is asked for since the last sign-in",
        Who::User,
        AGAIN,
    ),
    hint(
        50078,
        "the second factor was given too long ago",
        Who::User,
        AGAIN,
    ),
    hint(
        50079,
        "a second factor has to be set up",
        Who::User,
        "sign in again and follow the pages of Entra",
    ),
    hint(
        50105,
        "the user is not assigned to the application, which asks for it",
        Who::Administrator,
        "assign the user or a group under `Enterprise applications`, `Users and groups`",
    ),
    hint(
        50133,
        "the sign-in ended with a change of the password",
        Who::User,
        AGAIN,
    ),
    hint(
        50148,
        "the PKCE verifier is missing or of another sign-in",
        Who::Client,
        "start the sign-in again; close other windows that wait for one",
    ),
    hint(
        50173,
        "the sign-in was revoked, as by a new password",
        Who::User,
        AGAIN,
    ),
    hint(
        53000,
        "a policy asks for a managed device, and this one is none",
        Who::User,
        "sign in from a compliant device, or ask the help desk",
    ),
    hint(
        53003,
        "a Conditional Access policy blocks the sign-in",
        Who::Administrator,
        "look at the sign-in log for the policy, and except this application if it should be",
    ),
    hint(
        54005,
        "the code was redeemed before",
        Who::Client,
        "send the token request once; start the sign-in again",
    ),
    hint(
        65001,
        "nobody has consented to the scopes",
        Who::Administrator,
        "grant admin consent under `API permissions` to what the gateway asks for in `scopes` and to every scope of `api`: a token request that names none asks for all of them",
    ),
    hint(
        65004,
        "the user declined to consent",
        Who::User,
        "sign in again and accept, or ask for admin consent",
    ),
    hint(
        70000,
        "the code or the refresh token is not one that Entra gave to this application",
        Who::User,
        AGAIN,
    ),
    hint(
        70003,
        "the grant type is not supported",
        Who::Client,
        "use authorization_code or refresh_token",
    ),
    hint(
        70005,
        "the response type is not supported",
        Who::Client,
        "use response_type=code",
    ),
    hint(
        70007,
        "the response mode is not supported",
        Who::Client,
        "leave response_mode out, or use query",
    ),
    hint(
        70008,
        "the code or the refresh token has expired",
        Who::User,
        AGAIN,
    ),
    hint(
        70011,
        "the scope is not valid: `.default` stands beside other scopes, or one is misspelt",
        Who::Operator,
        "name either `.default` or single scopes in `scopes`, as `API permissions` shows them",
    ),
    hint(
        70016,
        "the sign-in with a device code is not finished",
        Who::User,
        "finish it in the browser",
    ),
    hint(
        70018,
        "the device code is wrong",
        Who::Client,
        "begin again; the gateway offers sign-in in a browser",
    ),
    hint(
        70019,
        "the device code has expired",
        Who::Client,
        "begin again",
    ),
    hint(
        70020,
        "the device code has expired",
        Who::Client,
        "begin again",
    ),
    hint(
        70043,
        "a policy ends sign-ins after some time, and that is over",
        Who::User,
        AGAIN,
    ),
    hint(
        70044,
        "a policy ends sign-ins after some time, and that is over",
        Who::User,
        AGAIN,
    ),
    hint(
        90002,
        "there is no such tenant in this cloud",
        Who::Operator,
        "put the Directory (tenant) ID of the overview page into `tenant`, and check `cloud` or `authority`",
    ),
    hint(
        90009,
        "one registration is client and API, and the scope names it by its URI",
        Who::Operator,
        "name scopes as APPLICATION-ID/SCOPE instead of api://..., or use two registrations",
    ),
    hint(
        90023,
        "the value of `prompt` is not supported",
        Who::Operator,
        "let the gateway drop it: keep `prompt` in `strip`",
    ),
    hint(
        90033,
        "Entra has a passing fault",
        Who::User,
        "try again in a minute",
    ),
    hint(
        90094,
        "only an administrator can consent to this application",
        Who::Administrator,
        CONSENT,
    ),
    hint(
        90095,
        "only an administrator can consent, and was asked to",
        Who::Administrator,
        CONSENT,
    ),
    hint(
        90102,
        "the redirect URI is no absolute URI",
        Who::Client,
        "send a whole URI as redirect_uri",
    ),
    hint(
        240_002,
        "an ID token cannot be exchanged on behalf of its user",
        Who::Operator,
        "set `bearer: access_token`, so that clients hold a token of the API",
    ),
    hint(
        500_011,
        "the API that a scope names is not known in this tenant",
        Who::Operator,
        "write its Application ID URI as under `Expose an API`, and see that it is in this tenant",
    ),
    hint(
        500_112,
        "the redirect URI of the token request is another than that of the sign-in",
        Who::Client,
        "send the same redirect_uri twice",
    ),
    hint(
        500_131,
        "the caller's token is for another application than the one that exchanges it",
        Who::Operator,
        "exchange tokens as the application that they are for, which is that of `api`",
    ),
    hint(500_133, "the caller's token has expired", Who::User, AGAIN),
    hint(
        501_481,
        "the PKCE verifier does not belong to the challenge",
        Who::Client,
        "start the sign-in again; close other windows that wait for one",
    ),
    hint(
        501_491,
        "the PKCE challenge has a wrong length",
        Who::Client,
        "send a code_challenge of 43 characters with S256",
    ),
    hint(
        650_053,
        "a scope does not exist at its API; without a prefix that API is Microsoft Graph",
        Who::Operator,
        "write scopes as `Expose an API` shows them, and those of your own API with its prefix",
    ),
    hint(
        700_005,
        "the code was given to another application",
        Who::Client,
        "start the sign-in again",
    ),
    hint(
        700_016,
        "the application is not in this tenant",
        Who::Operator,
        "put the Application (client) ID of the overview page into `client_id`, and check `tenant`",
    ),
    hint(
        700_024,
        "the assertion of the gateway's certificate is not valid at this time",
        Who::Operator,
        "set the clock of the gateway's machine, and keep it set",
    ),
    hint(
        700_025,
        "a secret was sent for a public client",
        Who::Operator,
        "remove `credentials`, or register the redirect URI as `Web`",
    ),
    hint(
        700_027,
        "the certificate is not one of this application, or the signature is not of its key",
        Who::Administrator,
        "upload the certificate that `credentials` names under `Certificates & secrets`",
    ),
    hint(
        700_054,
        "the application may not ask for an ID token at the authorize endpoint",
        Who::Client,
        "use response_type=code",
    ),
    hint(
        700_082,
        "the refresh token was not used for too long",
        Who::User,
        AGAIN,
    ),
    hint(
        700_084,
        "refresh tokens of a single-page application live for a day",
        Who::Administrator,
        "register the redirect URI as `Mobile and desktop applications`",
    ),
    hint(
        900_144,
        "a parameter is missing from the request",
        Who::Client,
        PAST_THE_GATEWAY,
    ),
    hint(
        900_561,
        "the endpoint takes POST only",
        Who::Client,
        "send the token request with POST",
    ),
    hint(
        900_971,
        "the application has no redirect URI",
        Who::Administrator,
        REGISTER,
    ),
    hint(
        901_002,
        "Entra does not take `resource`",
        Who::Operator,
        "let the gateway drop it: keep `resource` in `strip`",
    ),
    hint(
        7_000_215,
        "the client secret is wrong",
        Who::Operator,
        "put the value of the secret, not its ID, where `credentials` reads it",
    ),
    hint(
        7_000_218,
        "the redirect URI is registered as `Web`, which asks for a secret",
        Who::Administrator,
        "move it to `Mobile and desktop applications`, or give the gateway `credentials`",
    ),
    hint(
        7_000_222,
        "the client secret has expired",
        Who::Administrator,
        "make a new one under `Certificates & secrets`, and put its value where `credentials` reads it",
    ),
    hint(
        9_000_411,
        "a parameter stands twice in the request",
        Who::Client,
        PAST_THE_GATEWAY,
    ),
    hint(
        9_002_313,
        "the code or the refresh token is malformed",
        Who::Client,
        "start the sign-in again",
    ),
    hint(
        9_002_325,
        "the redirect URI is registered as single-page application, which asks for PKCE",
        Who::Administrator,
        "move it to `Mobile and desktop applications`",
    ),
    hint(
        9_002_326,
        "a browser's `Origin` reached Entra",
        Who::Operator,
        "keep `remove_headers` with `origin` in the token route",
    ),
    hint(
        9_002_327,
        "the redirect URI is registered as single-page application, whose codes the gateway cannot redeem",
        Who::Administrator,
        "move it to `Mobile and desktop applications`",
    ),
    hint(
        9_010_010,
        "`resource` is not the Application ID URI of the API whose scopes are asked for",
        Who::Operator,
        "let the gateway drop it: keep `resource` in `strip`; or expose the URL of the route as Application ID URI",
    ),
];
