//! Where a tenant's endpoints are, and what its tokens call their issuer.
//!
//! One tenant or several, in one of Microsoft's clouds, or behind a CIAM authority of External ID,
//! whose tokens name another host than the one that people sign in at. Nothing is fetched: all of
//! it follows from the settings.

use mcp_gateway_filters::Problem;
use serde::{Deserialize, Deserializer, de};
use url::Url;

use super::Settings;
use crate::origin::Origin;

/// The endpoints of one tenant, or of all that may sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The `iss` of v2.0 tokens; it holds `{tenantid}` when there are several tenants.
    pub issuer: String,
    /// The `iss` of v1.0 tokens, in the same form.
    pub v1_issuer: String,
    /// Where a person signs in.
    pub authorize: String,
    /// Where a code becomes a token.
    pub token: String,
    /// Where the keys are.
    pub jwks: String,
    /// The token endpoint of the tenant that a user is from, in the same form as `issuer`.
    pub token_of_tenant: String,
    /// Microsoft Graph.
    pub graph: String,
}

/// Who signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenant {
    /// The directory with this id.
    One(Guid),
    /// Those of `tenants`, by the address that every organization shares.
    Organizations,
}

impl<'de> Deserialize<'de> for Tenant {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        let text = String::deserialize(de)?;
        match text.as_str() {
            "organizations" => Ok(Self::Organizations),
            "common" | "consumers" => Err(de::Error::custom(format!(
                "`{text}` lets private accounts in: expected a tenant's id, or `organizations` with `tenants`"
            ))),
            _ => Guid::parse(&text).map(Self::One).map_err(de::Error::custom),
        }
    }
}

/// One of Microsoft's separate clouds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cloud {
    /// The one that most use.
    #[default]
    Global,
    /// Azure Government of the United States.
    UsGovernment,
    /// Azure operated by 21Vianet.
    China,
}

impl Cloud {
    const fn authority(self) -> &'static str {
        match self {
            Self::Global => "https://login.microsoftonline.com",
            Self::UsGovernment => "https://login.microsoftonline.us",
            Self::China => "https://login.partner.microsoftonline.cn",
        }
    }

    const fn v1_issuer(self) -> &'static str {
        match self {
            Self::Global | Self::UsGovernment => "https://sts.windows.net",
            Self::China => "https://sts.chinacloudapi.cn",
        }
    }

    const fn graph(self) -> &'static str {
        match self {
            Self::Global => "https://graph.microsoft.com",
            Self::UsGovernment => "https://graph.microsoft.us",
            Self::China => "https://microsoftgraph.chinacloudapi.cn",
        }
    }
}

/// The base of the endpoints: an origin, or with a CIAM authority the tenant as its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    origin: Origin,
    /// The tenant's id or domain.
    path: Option<String>,
}

impl Authority {
    /// Says whether it is one of External ID: `https://contoso.ciamlogin.com`.
    fn is_ciam(&self) -> bool {
        self.origin.authority().ends_with(".ciamlogin.com")
    }
}

impl<'de> Deserialize<'de> for Authority {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        let text = String::deserialize(de)?;
        let mut base = Url::parse(&text).map_err(|why| {
            let what = format!("`{text}` is not a URL such as `https://host`: {why}");
            de::Error::custom(what)
        })?;
        let path = base.path().trim_matches('/').to_owned();
        if !path.is_empty() {
            if Guid::parse(&path).is_err() && !path.ends_with(".onmicrosoft.com") {
                return Err(de::Error::custom(format!(
                    "expected scheme, host and port only, or a tenant's id as the path, found `{text}`"
                )));
            }
            base.set_path("/");
        }
        let origin = Origin::parse(base.as_str()).map_err(de::Error::custom)?;
        let path = (!path.is_empty()).then(|| path.to_ascii_lowercase());
        Ok(Self { origin, path })
    }
}

/// An issuer that does not follow from the authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerUrl(String);

impl<'de> Deserialize<'de> for IssuerUrl {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        let text = String::deserialize(de)?;
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "https" | "http") && url.host().is_some() => {
                // As written: tokens carry it byte for byte.
                Ok(Self(text))
            }
            _ => Err(de::Error::custom(format!(
                "expected the `iss` of the tenant's tokens, a URL, found `{text}`"
            ))),
        }
    }
}

/// An id as Entra's portal shows it, in lower case, as tokens carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guid(String);

impl Guid {
    fn parse(text: &str) -> Result<Self, String> {
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        let digits = text.chars().all(|c| c == '-' || c.is_ascii_hexdigit());
        if digits && groups == [8, 4, 4, 4, 12] {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err(format!(
            "expected an id such as `72f988bf-86f1-41af-91ab-2d7cd011db47`, found `{text}`"
        ))
    }

    /// Returns the id in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Guid {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(de)?).map_err(de::Error::custom)
    }
}

/// What stands for the tenant's id where there are several.
const ANY: &str = "{tenantid}";

impl Settings {
    /// Returns the endpoints.
    #[must_use]
    pub fn endpoints(&self) -> Endpoints {
        let cloud = self.cloud.unwrap_or_default();
        let (tenant, segment) = match &self.tenant {
            Tenant::One(id) => (id.as_str(), id.as_str()),
            Tenant::Organizations => (ANY, "organizations"),
        };
        let origin = self
            .authority
            .as_ref()
            .map_or(cloud.authority(), |authority| authority.origin.as_str());
        let path = self.authority.as_ref().and_then(|one| one.path.as_deref());
        let base = format!("{origin}/{}", path.unwrap_or(segment));
        let issuer = match (&self.issuer, &self.authority) {
            (Some(IssuerUrl(issuer)), _) => issuer.clone(),
            (None, Some(authority)) if authority.is_ciam() => {
                format!("https://{tenant}.ciamlogin.com/{tenant}/v2.0")
            }
            _ => format!("{origin}/{tenant}/v2.0"),
        };
        Endpoints {
            issuer,
            v1_issuer: format!("{}/{tenant}/", cloud.v1_issuer()),
            authorize: format!("{base}/oauth2/v2.0/authorize"),
            token: format!("{base}/oauth2/v2.0/token"),
            jwks: format!("{base}/discovery/v2.0/keys"),
            token_of_tenant: format!("{origin}/{}/oauth2/v2.0/token", path.unwrap_or(tenant)),
            graph: cloud.graph().to_owned(),
        }
    }

    /// Returns the ids of the tenants whose users may sign in.
    #[must_use]
    pub fn tenants(&self) -> Vec<String> {
        match &self.tenant {
            Tenant::One(id) => vec![id.as_str().to_owned()],
            Tenant::Organizations => {
                let ids = self.tenants.iter().map(|id| id.as_str().to_owned());
                ids.collect()
            }
        }
    }

    /// Says what does not go together, each at its setting.
    #[must_use]
    pub fn authority_problems(&self) -> Vec<Problem> {
        let mut problems = vec![];
        if self.cloud.is_some() && self.authority.is_some() {
            let what = "expected `cloud` or `authority`, found both";
            problems.push(Problem::new("cloud", what));
        }
        match &self.tenant {
            Tenant::Organizations if self.tenants.is_empty() => problems.push(
                Problem::new(
                    "tenant",
                    "`organizations` would let in users of every company",
                )
                .help("list the ids of the tenants that may sign in as `tenants`"),
            ),
            Tenant::One(_) if !self.tenants.is_empty() => problems.push(
                Problem::new("tenants", "a single `tenant` is named beside them")
                    .help("write `tenant: organizations` to let several in"),
            ),
            _ => {}
        }
        if let Some(authority) = &self.authority {
            problems.extend(self.path_problem(authority));
        }
        problems
    }

    fn path_problem(&self, authority: &Authority) -> Option<Problem> {
        let several = matches!(self.tenant, Tenant::Organizations);
        if several && (authority.is_ciam() || authority.path.is_some()) {
            let what = "an authority of one tenant does not serve several";
            return Some(Problem::new("authority", what).help("name its tenant's id as `tenant`"));
        }
        let path = Guid::parse(authority.path.as_deref()?).ok()?;
        match &self.tenant {
            Tenant::One(tenant) if *tenant != path => {
                let what = format!(
                    "the authority is of tenant `{}`, and `tenant` is `{}`",
                    path.as_str(),
                    tenant.as_str()
                );
                Some(Problem::new("authority", what))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    const OTHER: &str = "11111111-86f1-41af-91ab-2d7cd011db47";

    fn read(text: &str) -> Result<Settings, String> {
        serde_yaml::from_str(&format!("client_id: {ID}\n{text}")).map_err(|why| why.to_string())
    }

    fn endpoints(text: &str) -> Endpoints {
        let settings = read(text).unwrap();
        assert_eq!(settings.authority_problems(), vec![], "{text}");
        settings.endpoints()
    }

    fn check_problem(text: &str, at: &str, expect: &str) {
        let problems = read(text).unwrap().authority_problems();
        let found = problems
            .iter()
            .any(|one| one.at == at && one.what.contains(expect));
        assert!(found, "{text}: {problems:?}");
    }

    #[test]
    fn each_cloud_has_its_own_hosts() {
        let issuer = |cloud: &str| endpoints(&format!("tenant: {ID}\ncloud: {cloud}")).issuer;
        assert_eq!(
            issuer("global"),
            format!("https://login.microsoftonline.com/{ID}/v2.0")
        );
        assert_eq!(
            issuer("us_government"),
            format!("https://login.microsoftonline.us/{ID}/v2.0")
        );
        let china = endpoints(&format!("tenant: {ID}\ncloud: china"));
        let base = format!("https://login.partner.microsoftonline.cn/{ID}");
        assert_eq!(china.jwks, format!("{base}/discovery/v2.0/keys"));
        assert_eq!(
            china.v1_issuer,
            format!("https://sts.chinacloudapi.cn/{ID}/")
        );
        assert_eq!(china.graph, "https://microsoftgraph.chinacloudapi.cn");
    }

    #[test]
    fn several_tenants_sign_in_at_one_address_and_keep_their_issuers() {
        let found = endpoints(&format!("tenant: organizations\ntenants: [{ID}, {OTHER}]"));
        let base = "https://login.microsoftonline.com";
        assert_eq!(
            found.authorize,
            format!("{base}/organizations/oauth2/v2.0/authorize")
        );
        assert_eq!(
            found.jwks,
            format!("{base}/organizations/discovery/v2.0/keys")
        );
        assert_eq!(found.issuer, format!("{base}/{{tenantid}}/v2.0"));
        assert_eq!(found.v1_issuer, "https://sts.windows.net/{tenantid}/");
        assert_eq!(
            found.token_of_tenant,
            format!("{base}/{{tenantid}}/oauth2/v2.0/token")
        );
    }

    #[test]
    fn an_authority_of_external_id_names_another_host_in_tokens() {
        for path in ["", "/", &format!("/{ID}"), &format!("/{ID}/")] {
            let found = endpoints(&format!(
                "tenant: {ID}\nauthority: https://contoso.ciamlogin.com{path}"
            ));
            let base = format!("https://contoso.ciamlogin.com/{ID}");
            assert_eq!(found.token, format!("{base}/oauth2/v2.0/token"));
            assert_eq!(
                found.issuer,
                format!("https://{ID}.ciamlogin.com/{ID}/v2.0")
            );
        }
        let found = endpoints(&format!(
            "tenant: {ID}\nauthority: https://contoso.ciamlogin.com/contoso.onmicrosoft.com"
        ));
        let base = "https://contoso.ciamlogin.com/contoso.onmicrosoft.com";
        assert_eq!(found.jwks, format!("{base}/discovery/v2.0/keys"));
        assert_eq!(found.token_of_tenant, found.token);
    }

    #[test]
    fn an_issuer_of_its_own_goes_before() {
        let found = endpoints(&format!(
            "tenant: {ID}\nauthority: https://login.contoso.com/{ID}\nissuer: https://{ID}.ciamlogin.com/{ID}/v2.0"
        ));
        assert_eq!(
            found.issuer,
            format!("https://{ID}.ciamlogin.com/{ID}/v2.0")
        );
        assert_eq!(
            found.token,
            format!("https://login.contoso.com/{ID}/oauth2/v2.0/token")
        );
        assert!(read(&format!("tenant: {ID}\nissuer: contoso")).is_err());
    }

    #[test]
    fn names_what_does_not_go_together() {
        let tenant = format!("tenant: {ID}");
        check_problem("tenant: organizations", "tenant", "every company");
        check_problem(
            &format!("{tenant}\ntenants: [{OTHER}]"),
            "tenants",
            "single",
        );
        let both = "cloud: china\nauthority: https://login.contoso.com";
        check_problem(&format!("{tenant}\n{both}"), "cloud", "found both");
        let ciam = "authority: https://contoso.ciamlogin.com";
        let several = format!("tenant: organizations\ntenants: [{ID}]");
        check_problem(&format!("{several}\n{ciam}"), "authority", "one tenant");
        check_problem(
            &format!("{tenant}\n{ciam}/{OTHER}"),
            "authority",
            "is of tenant",
        );
        for tenant in ["common", "consumers"] {
            let refused = read(&format!("tenant: {tenant}")).unwrap_err();
            assert!(refused.contains("private accounts"), "{refused}");
        }
    }
}
