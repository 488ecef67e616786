//! Repairs what a client asks for as `scope`, in a query or a form.
//!
//! The rules:
//!
//! 1. Without `scope`, or with an empty one, the default is asked for (AADSTS900144, 28003, 90009).
//! 2. A scope of `api` may be written by its short name or with any prefix of the API. It goes on
//!    with the one prefix that the provider takes (AADSTS650053, 90009). `.default` may stand beside
//!    no other scope (AADSTS70011); it means every scope of `api`, and they are named instead.
//! 3. A request that names no scope of `api` asks for all of them: an API has a token of its own.
//! 4. With `others: drop`, scopes go that stand nowhere in these settings. What remains belongs to
//!    one API, as a token request must (AADSTS28000).
//! 5. What every request must ask for is appended.
//!
//! Where scopes are only missing, they are appended to the value as sent, with the separator it
//! uses already. A value that holds anything to be changed is written anew, each scope once. Other
//! parameters stay byte for byte. A request that carries `scope` twice is refused. In a form only
//! the grants `authorization_code` and `refresh_token` are touched.
//!
//! ```yaml
//! - repair_scope:
//!     in: query
//!     scopes: [openid, offline_access]
//!     api: { prefix: 22222222-3333-4444-5555-666666666666, scopes: [tools.execute] }
//!     others: drop
//! ```

use std::{borrow::Cow, collections::HashSet};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Filter, FilterConfig, Problem, Refusal,
    api::{Api, ApiConfig, ApiScope, Named},
    pairs::{self, Change, Pair},
    place::{InPlace, Place, Rewrite},
    settings,
};

/// Settings of `repair_scope`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RepairScopeConfig {
    /// Where the parameters stand.
    #[serde(rename = "in")]
    place: Place,
    /// Scopes that every request must ask for.
    scopes: Vec<String>,
    /// What a request without a scope asks for; `scopes`, and those of `api`, are added where they
    /// are missing.
    #[serde(default = "default_scopes")]
    default: Vec<String>,
    /// The API that the token is for; without it, bare names stay bare.
    #[serde(default)]
    api: Option<ApiConfig>,
    /// What happens to scopes that stand nowhere here.
    #[serde(default)]
    others: Others,
}

/// What happens to a scope that nobody named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Others {
    #[default]
    Pass,
    Drop,
}

fn default_scopes() -> Vec<String> {
    ["openid", "profile", "email", "offline_access"]
        .map(str::to_owned)
        .to_vec()
}

impl FilterConfig for RepairScopeConfig {
    const NAME: &'static str = "repair_scope";
    const SUMMARY: &'static str = "Repairs the scope that a client asks for";
    const SOURCE: &'static str = include_str!("repair_scope.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        settings::check_scopes("scopes", &self.scopes, &mut problems);
        settings::check_scopes("default", &self.default, &mut problems);
        let api = self.api.map(|api| api.build("api", &mut problems));
        if self.scopes.is_empty() && self.default.is_empty() && api.is_none() {
            problems.push(Problem::new("scopes", "names no scope").help("leave out the step"));
        }
        let mut default: Vec<&str> = Vec::new();
        let of_api = api.iter().flat_map(|api| &api.scopes);
        for scope in of_api
            .map(|scope| &scope.wire)
            .chain(&self.default)
            .chain(&self.scopes)
        {
            if !default.contains(&scope.as_str()) {
                default.push(scope);
            }
        }
        let default = pairs::encode("scope", &default.join(" ")).into_bytes();
        settings::finish(problems, || InPlace {
            place: self.place,
            rewrite: RepairScope {
                default,
                scopes: self.scopes.into_iter().map(Scope::new).collect(),
                known: self.default,
                api,
                others: self.others,
            },
        })
    }
}

#[derive(Debug)]
struct RepairScope {
    /// The whole pair.
    default: Vec<u8>,
    scopes: Vec<Scope>,
    /// Scopes that may be asked for beside `scopes` and those of `api`.
    known: Vec<String>,
    api: Option<Api>,
    others: Others,
}

/// A scope that every request must ask for.
#[derive(Debug)]
struct Scope {
    name: String,
    encoded: String,
}

impl Scope {
    fn new(name: String) -> Self {
        let encoded = pairs::encode_value(&name).to_string();
        Self { name, encoded }
    }
}

impl Rewrite for RepairScope {
    fn rewrite(&self, raw: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let mut found = 0_usize;
        let changed = pairs::rewrite(raw, |pair| {
            if !pair.is_named("scope") {
                return Change::Keep;
            }
            found += 1;
            self.repair(pair)
        });
        match found {
            0 => {
                let mut repaired = raw.to_vec();
                pairs::append(&mut repaired, &self.default);
                Ok(Some(repaired))
            }
            1 => Ok(changed),
            _ => Err(Refusal::invalid_request(
                "the parameter `scope` is given more than once",
            )),
        }
    }
}

/// What is asked for, as it is read off a value.
#[derive(Default)]
struct Asked<'a> {
    /// In the order of the value.
    scopes: Vec<AskedScope<'a>>,
    /// Whether a scope stands there otherwise than it was sent, or no longer.
    changed: bool,
    of_api: bool,
}

struct AskedScope<'a> {
    encoded: &'a [u8],
    /// Decoded.
    name: Cow<'a, [u8]>,
}

impl RepairScope {
    fn repair(&self, pair: &Pair<'_>) -> Change {
        let asked = self.read(pair.value);
        if asked.scopes.is_empty() {
            return Change::Replace(self.default.clone());
        }
        let missing = self.missing(&asked);
        // A scope that is only repeated may stay as it was sent.
        if !asked.changed && missing.is_empty() {
            return Change::Keep;
        }
        let separator: &[u8] = if pair.value.contains(&b'+') {
            b"+"
        } else {
            b"%20"
        };
        let name = pair.raw.strip_suffix(pair.value).unwrap_or(b"scope=");
        let mut repaired = name.to_vec();
        let mut open = if asked.changed {
            repaired.extend_from_slice(&asked.distinct().join(separator));
            true
        } else {
            repaired.extend_from_slice(pair.value);
            !pair.decoded().ends_with(b" ")
        };
        for encoded in missing {
            if std::mem::replace(&mut open, true) {
                repaired.extend_from_slice(separator);
            }
            repaired.extend_from_slice(encoded.as_bytes());
        }
        Change::Replace(repaired)
    }

    fn read<'a>(&'a self, value: &'a [u8]) -> Asked<'a> {
        let mut asked = Asked::default();
        for (raw, name) in pairs::words(value) {
            let (encoded, name): (&[u8], Cow<'_, [u8]>) = match self.find(&name) {
                Found::Kept => (raw, name),
                Found::Dropped => {
                    asked.changed = true;
                    continue;
                }
                Found::OfApi(scope) => {
                    asked.of_api = true;
                    if scope.wire.as_bytes() == &*name {
                        (raw, name)
                    } else {
                        asked.changed = true;
                        (scope.encoded.as_bytes(), scope.wire.as_bytes().into())
                    }
                }
            };
            asked.scopes.push(AskedScope { encoded, name });
        }
        asked
    }

    /// Returns what must be asked for and is not, encoded.
    fn missing(&self, asked: &Asked<'_>) -> Vec<&str> {
        let of_api = self.api.iter().filter(|_| !asked.of_api);
        let of_api = of_api
            .flat_map(|api| &api.scopes)
            .map(|scope| &scope.encoded);
        let required = self.scopes.iter().filter(|scope| !asked.names(&scope.name));
        let required = required.map(|scope| &scope.encoded);
        of_api.chain(required).map(String::as_str).collect()
    }

    fn find(&self, name: &[u8]) -> Found<'_> {
        match self.api.as_ref().map(|api| api.find(name)) {
            Some(Named::Scope(scope)) => return Found::OfApi(scope),
            Some(Named::Default) => return Found::Dropped,
            Some(Named::Other) | None => {}
        }
        let required = self.scopes.iter().map(|scope| &scope.name);
        let mut named = required.chain(&self.known);
        if self.others == Others::Pass || named.any(|scope| scope.as_bytes() == name) {
            Found::Kept
        } else {
            Found::Dropped
        }
    }
}

impl<'a> Asked<'a> {
    fn names(&self, scope: &str) -> bool {
        self.scopes.iter().any(|one| *one.name == *scope.as_bytes())
    }

    /// Returns every scope once, encoded.
    fn distinct(&self) -> Vec<&'a [u8]> {
        let mut seen = HashSet::with_capacity(self.scopes.len());
        let first = self.scopes.iter().filter(|scope| seen.insert(&scope.name));
        first.map(|scope| scope.encoded).collect()
    }
}

/// What becomes of a scope.
enum Found<'a> {
    Kept,
    Dropped,
    OfApi(&'a ApiScope),
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use crate::testing::{build, cx, problems, reform, refusal, request, retarget};

    const QUERY: &str = "{ in: query, scopes: [openid, offline_access] }";
    const API: &str =
        "{ in: query, scopes: [openid, offline_access], default: [openid], others: drop,
        api: { prefix: a1, aliases: ['api://a1'], scopes: [tools.read, tools.write] } }";
    const FORM: &str = "{ in: form, scopes: [openid], default: ['api://x/read'] }";

    fn check(target: &str, expected: Option<&str>) {
        let filter = build("repair_scope", QUERY);
        assert_eq!(retarget(&*filter, target).as_deref(), expected, "{target}");
    }

    fn check_form(body: &str, expected: Option<&str>) {
        let filter = build("repair_scope", FORM);
        let found = reform(&*filter, body.as_bytes());
        assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{body}");
    }

    #[test]
    fn a_missing_or_empty_scope_becomes_the_default() {
        let all = "scope=openid%20profile%20email%20offline_access";
        check("/a", Some(&format!("/a?{all}")));
        check("/a?x=1", Some(&format!("/a?x=1&{all}")));
        check("/a?scope&x=1", Some(&format!("/a?{all}&x=1")));
        check("/a?x=1&scope=&y=2", Some(&format!("/a?x=1&{all}&y=2")));
        check("/a?scope=+%20%09", Some(&format!("/a?{all}")));
    }

    #[test]
    fn missing_scopes_are_appended_with_the_separator_in_use() {
        check(
            "/a?scope=x+y&z=1",
            Some("/a?scope=x+y+openid+offline_access&z=1"),
        );
        check(
            "/a?scope=x%20y",
            Some("/a?scope=x%20y%20openid%20offline_access"),
        );
        check("/a?scope=openid", Some("/a?scope=openid%20offline_access"));
        check("/a?scope=x+", Some("/a?scope=x+openid+offline_access"));
        check(
            "/a?s%63ope=x",
            Some("/a?s%63ope=x%20openid%20offline_access"),
        );
    }

    #[test]
    fn a_complete_scope_stays_as_sent() {
        check("/a?scope=offline%5Faccess++openid&state=%2f", None);
    }

    fn check_api(scope: &str, expected: Option<&str>) {
        let filter = build("repair_scope", API);
        let found = retarget(&*filter, &format!("/a?x=%7e&scope={scope}&y"));
        let expected = expected.map(|scope| format!("/a?x=%7e&scope={scope}&y"));
        assert_eq!(found, expected, "{scope}");
    }

    const ALL: &str = "a1%2Ftools.read%20a1%2Ftools.write%20openid%20offline_access";

    #[test]
    fn short_names_and_foreign_prefixes_become_the_form_that_the_provider_takes() {
        let expected = Some("a1%2Ftools.read%20openid%20offline_access");
        check_api("tools.read", expected);
        check_api("api%3A%2F%2Fa1%2Ftools.read", expected);
        check_api("api://a1/tools.read%20tools.read", expected);
        check_api(
            "A1/tools.read+profile+openid",
            Some("a1%2Ftools.read+openid+offline_access"),
        );
    }

    #[test]
    fn what_is_right_already_is_only_completed() {
        check_api(
            "a1/tools.read+openid",
            Some("a1/tools.read+openid+offline_access"),
        );
        check_api("offline%5Faccess+a1/tools.write++openid", None);
        check_api("openid+openid+a1/tools.read+offline_access", None);
    }

    #[test]
    fn a_request_without_a_scope_of_the_api_asks_for_all_of_them() {
        check_api("", Some(ALL));
        check_api(
            "openid",
            Some("openid%20a1%2Ftools.read%20a1%2Ftools.write%20offline_access"),
        );
        check_api("User.Read", Some(ALL));
    }

    #[test]
    fn the_default_scope_is_never_sent_beside_others() {
        check_api("api://a1/.default", Some(ALL));
        check_api(".default", Some(ALL));
        check_api(
            "a1/.default+tools.read+openid",
            Some("a1%2Ftools.read+openid+offline_access"),
        );
    }

    #[test]
    fn scopes_of_other_apis_go() {
        check_api(
            "https://graph.microsoft.com/Mail.Read+openid+mcp.read+a1/tools.read+offline_access",
            Some("openid+a1/tools.read+offline_access"),
        );
    }

    #[test]
    fn others_pass_unless_they_are_to_be_dropped() {
        check("/a?scope=mcp.read+openid+offline_access", None);
    }

    #[test]
    fn a_repeated_scope_is_refused() {
        let filter = build("repair_scope", QUERY);
        assert_eq!(
            refusal(filter.request(&cx(), &request("GET /a?scope=x&%73cope=y"))),
            (StatusCode::BAD_REQUEST, "invalid_request")
        );
    }

    #[test]
    fn a_form_is_completed_for_both_user_grants_only() {
        check_form(
            "grant_type=refresh_token&refresh_token=r",
            Some("grant_type=refresh_token&refresh_token=r&scope=api%3A%2F%2Fx%2Fread%20openid"),
        );
        check_form(
            "scope=a&grant_type=authorization_code",
            Some("scope=a%20openid&grant_type=authorization_code"),
        );
        check_form("grant_type=client_credentials", None);
        check_form("", None);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            problems("repair_scope", "{ in: query, scopes: ['a b', x, x] }"),
            [
                "scopes[0]: expected one scope, found `a b`",
                "scopes[2]: `x` is listed twice"
            ]
        );
        assert_eq!(
            problems(
                "repair_scope",
                "{ in: query, scopes: [], api: { prefix: 'a/', scopes: [.default, a/b] } }"
            ),
            [
                "api.prefix: expected an application id or an App ID URI without a slash at its \
                 end, found `a/`",
                "api.scopes[0]: expected a short name, found `.default`",
                "api.scopes[1]: expected a short name, found `a/b`",
            ]
        );
    }

    proptest! {
        #[test]
        fn repairing_twice_is_repairing_once(
            settings in prop_oneof![Just(QUERY), Just(API)],
            before in "[a-z=&%0-9]{0,20}",
            scope in "([a-z+%0-9 ]{0,9}|a1/|api://a1/|tools[.]read|tools[.]write|[.]default|openid|[+]){0,6}",
            after in "[a-z=&]{0,20}"
        ) {
            let filter = build("repair_scope", settings);
            let target = format!("/a?{before}&scope={}&{after}", scope.replace(' ', "%20"));
            let Ok(verdict) = filter.request(&cx(), &request(&format!("GET {target}"))) else {
                return Ok(());
            };
            let crate::Verdict::Continue(edits) = verdict else { unreachable!() };
            let once = edits.target.map_or(target.clone(), |target| target.to_string());
            prop_assert_eq!(retarget(&*filter, &once), None);
            let (head, tail) = (format!("/a?{before}&"), format!("&{after}"));
            prop_assert!(once.starts_with(&head), "{}", once);
            prop_assert!(once.ends_with(&tail), "{}", once);
        }

        /// Of the API there is at least one scope, in one form; of other APIs there is none.
        #[test]
        fn what_goes_on_is_for_one_api(
            scope in "(tools[.]read|api://a1/|a1/|[.]default|User[.]Read|openid|[+]|%20|%2F|[a-z]){0,9}"
        ) {
            let filter = build("repair_scope", API);
            let target = format!("/a?scope={scope}");
            let after = retarget(&*filter, &target).unwrap_or(target);
            let url = url::Url::parse(&format!("https://x.test{after}")).unwrap();
            let (_, value) = url.query_pairs().next().unwrap();
            let mut of_api = 0;
            for one in value.split_whitespace() {
                match one {
                    "openid" | "offline_access" => {}
                    "a1/tools.read" | "a1/tools.write" => of_api += 1,
                    other => prop_assert!(false, "{}: {}", other, after),
                }
            }
            prop_assert!(of_api > 0, "{}", after);
        }
    }
}
