//! THE list of filters: names, references and builders follow from one line each.

use std::fmt;

use crate::{
    Filter, Problem, authorization_server::AuthorizationServerConfig,
    check_authorize::CheckAuthorizeConfig, check_token_request::CheckTokenRequestConfig,
    cors::CorsConfig, form_to_query::FormToQueryConfig, map_resource::MapResourceConfig,
    pass_token::PassTokenConfig, prompt_policy::PromptPolicyConfig,
    protected_resource::ProtectedResourceConfig, redirect::RedirectConfig, reference,
    register_client::RegisterClientConfig, remove_headers::RemoveHeadersConfig,
    repair_scope::RepairScopeConfig, respond::RespondConfig, restart_sign_in::RestartSignInConfig,
    rewrite_path::RewritePathConfig, scope_to_claims::ScopeToClaimsConfig,
    set_headers::SetHeadersConfig, set_query::SetQueryConfig, strip_form::StripFormConfig,
    strip_query::StripQueryConfig, swap_token::SwapTokenConfig,
};

/// A filter as written in `gateway.yaml`, and how it becomes a running one.
///
/// The reference that `mcp-gateway filters NAME` prints is made from here: the module
/// documentation, and the doc comments of the settings through their JSON schema.
pub trait FilterConfig: serde::de::DeserializeOwned + schemars::JsonSchema {
    /// The step's name in the configuration.
    const NAME: &'static str;
    /// One line for the list.
    const SUMMARY: &'static str;
    /// The source text of the module, whose `//!` lines are the reference's prose and example.
    const SOURCE: &'static str;
    /// Whether it answers every request that it sees: a route may end with it, and nothing behind it
    /// is ever reached.
    const ANSWERS: bool = false;

    /// Builds the running filter.
    ///
    /// # Errors
    /// Every mistake in the settings, not only the first.
    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>>;
}

/// Why a filter could not be built from its settings.
#[derive(Debug)]
pub enum BuildError {
    /// The settings do not have the shape that the filter reads.
    Shape(erased_serde::Error),
    /// The settings have the shape and are wrong all the same.
    Problems(Vec<Problem>),
}

type Build = fn(&mut dyn erased_serde::Deserializer<'_>) -> Result<Box<dyn Filter>, BuildError>;

/// One filter of the catalog.
#[derive(Clone)]
pub struct Entry {
    /// The step's name in the configuration.
    pub name: &'static str,
    /// One line for the list.
    pub summary: &'static str,
    /// Whether it answers every request that it sees.
    pub answers: bool,
    source: &'static str,
    schema: fn() -> schemars::Schema,
    build: Build,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entry").field(&self.name).finish()
    }
}

impl Entry {
    /// Describes the filter whose settings are `C`.
    #[must_use]
    pub fn of<C: FilterConfig>() -> Self {
        Self {
            name: C::NAME,
            summary: C::SUMMARY,
            answers: C::ANSWERS,
            source: C::SOURCE,
            schema: || schemars::schema_for!(C),
            build: |settings| {
                let config: C = erased_serde::deserialize(settings).map_err(BuildError::Shape)?;
                config.build().map_err(BuildError::Problems)
            },
        }
    }

    /// Builds the filter from its settings, in whatever format they stand.
    ///
    /// # Errors
    /// When the settings have the wrong shape, or every mistake found in them.
    pub fn build(
        &self,
        settings: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<Box<dyn Filter>, BuildError> {
        (self.build)(settings)
    }

    /// Returns the filter's reference: what it does, an example, and every setting.
    #[must_use]
    pub fn reference(&self) -> String {
        let schema = (self.schema)();
        reference::render(self.name, self.source, schema.as_value())
    }

    /// Returns the examples of the reference, each a YAML list of steps.
    #[must_use]
    pub fn examples(&self) -> Vec<String> {
        reference::examples(self.source)
    }
}

/// The filters that a configuration may name: the built-in ones and those of an embedding program.
#[derive(Clone, Debug)]
pub struct Catalog {
    entries: Vec<Entry>,
}

impl Catalog {
    /// Returns the built-in filters.
    #[must_use]
    pub fn builtin() -> Self {
        Self {
            entries: vec![
                Entry::of::<StripQueryConfig>(),
                Entry::of::<StripFormConfig>(),
                Entry::of::<RepairScopeConfig>(),
                Entry::of::<PromptPolicyConfig>(),
                Entry::of::<MapResourceConfig>(),
                Entry::of::<ScopeToClaimsConfig>(),
                Entry::of::<SetQueryConfig>(),
                Entry::of::<RewritePathConfig>(),
                Entry::of::<SetHeadersConfig>(),
                Entry::of::<RemoveHeadersConfig>(),
                Entry::of::<RedirectConfig>(),
                Entry::of::<RespondConfig>(),
                Entry::of::<CorsConfig>(),
                Entry::of::<ProtectedResourceConfig>(),
                Entry::of::<AuthorizationServerConfig>(),
                Entry::of::<RegisterClientConfig>(),
                Entry::of::<FormToQueryConfig>(),
                Entry::of::<CheckAuthorizeConfig>(),
                Entry::of::<CheckTokenRequestConfig>(),
                Entry::of::<SwapTokenConfig>(),
                Entry::of::<PassTokenConfig>(),
                Entry::of::<RestartSignInConfig>(),
            ],
        }
    }

    /// Adds a filter; a later one of the same name replaces an earlier one.
    pub fn register<C: FilterConfig>(&mut self) {
        self.entries.retain(|entry| entry.name != C::NAME);
        self.entries.push(Entry::of::<C>());
    }

    /// Finds a filter by name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// Returns every filter in reading order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use bytes::Bytes;
    use http::Request;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        BodyPlan,
        testing::{cx, response, try_build, try_build_json},
    };

    /// Builds every filter from the first step of its first example.
    fn examples() -> Vec<Box<dyn Filter>> {
        let catalog = Catalog::builtin();
        let build = |entry: &Entry| {
            let steps: Vec<serde_yaml::Mapping> =
                serde_yaml::from_str(entry.examples().first()?).ok()?;
            let (_, settings) = steps.first()?.iter().next()?;
            try_build(entry.name, &serde_yaml::to_string(settings).ok()?).ok()
        };
        let filters: Vec<_> = catalog.entries().iter().filter_map(build).collect();
        assert_eq!(filters.len(), catalog.entries().len());
        filters
    }

    static EXAMPLES: LazyLock<Vec<Box<dyn Filter>>> = LazyLock::new(examples);

    #[test]
    fn names_are_words_and_unique() {
        let catalog = Catalog::builtin();
        for (index, entry) in catalog.entries().iter().enumerate() {
            let name = entry.name;
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            );
            assert!(!entry.summary.is_empty() && !entry.summary.ends_with('.'));
            let others = &catalog.entries()[index + 1..];
            assert!(others.iter().all(|other| other.name != name), "{name}");
        }
    }

    #[test]
    fn a_typo_is_never_a_default() {
        for entry in Catalog::builtin().entries() {
            let built = try_build_json(entry.name, serde_json::json!({ "nonsense": 1 }));
            let Err(BuildError::Shape(error)) = built else {
                panic!("{}: {built:?}", entry.name);
            };
            assert!(error.to_string().contains("`nonsense`"), "{error}");
        }
    }

    #[test]
    fn a_filter_of_the_embedding_program_replaces_ours() {
        let mut catalog = Catalog::builtin();
        let count = catalog.entries().len();
        catalog.register::<StripQueryConfig>();
        assert_eq!(catalog.entries().len(), count);
        assert_eq!(catalog.entries().last().unwrap().name, "strip_query");
    }

    proptest! {
        /// Whatever a peer sends, a filter returns: a verdict, or a refusal with a sentence.
        #[test]
        fn no_message_panics_a_filter(
            method in "(GET|HEAD|POST|OPTIONS|DELETE)",
            target in "/[!$-;=?-Z_a-z~]{0,40}",
            names in proptest::collection::vec(
                ("(origin|content-type|access-control-request-method|authorization|vary)",
                 "(application/json|application/x-www-form-urlencoded|https://a[.]test|[!-~]{0,9})"),
                0..4,
            ),
            body in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            let mut builder = Request::builder().method(method.as_str()).uri(target);
            for (name, value) in names {
                builder = builder.header(name, value);
            }
            let head = builder.body(()).unwrap().into_parts().0;
            let answer = response("200\nContent-Type: application/json\nVary: x");
            let body = Bytes::from(body);
            for filter in EXAMPLES.iter() {
                let refused = [
                    filter.request(&cx(), &head).err(),
                    filter.request_body(&cx(), &head, &body).err(),
                    filter.response(&cx(), &head, &answer).err(),
                ];
                for refusal in refused.into_iter().flatten() {
                    prop_assert!(refusal.status.is_client_error());
                    prop_assert!(!refusal.description.is_empty());
                }
                let edits = filter.response(&cx(), &head, &answer).unwrap_or_default();
                if let BodyPlan::Gather { .. } = edits.body {
                    prop_assert!(
                        filter.response_body(&cx(), &head, &answer, body.clone()).is_err()
                    );
                }
            }
        }
    }
}
