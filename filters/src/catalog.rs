//! THE list of filters: names, references and builders follow from one line each.

use std::fmt;

use crate::{
    Filter, Problem, complete_scope::CompleteScopeConfig, rewrite_path::RewritePathConfig,
    set_query::SetQueryConfig, strip_form::StripFormConfig, strip_query::StripQueryConfig,
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
                Entry::of::<CompleteScopeConfig>(),
                Entry::of::<SetQueryConfig>(),
                Entry::of::<RewritePathConfig>(),
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
