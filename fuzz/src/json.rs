//! JSON objects whose names need not be distinct.

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value;

/// The members of an object in their order, repeated ones included.
pub struct Members(Vec<(String, Value)>);

impl Members {
    /// How many members have this name.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.0.iter().filter(|(found, _)| found == name).count()
    }

    /// The first member of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Value> {
        let (_, value) = self.0.iter().find(|(found, _)| found == name)?;
        Some(value)
    }
}

impl Members {
    /// Whether a name stands there twice.
    #[must_use]
    pub fn any_twice(&self) -> bool {
        self.0.iter().any(|(name, _)| self.count(name) > 1)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = vec![];
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
