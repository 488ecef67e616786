//! Whom the gateway is at a token endpoint, as written in `gateway.yaml`.
//!
//! Several settings ask such an endpoint for something. What it needs stands flat between keys of
//! their own; `flatten` of serde would read the same, but forget where each value stands and which keys
//! there are.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        self, DeserializeSeed, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer,
    },
};

use super::credentials::CredentialSource;

/// A token endpoint, and whom the gateway is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TokenClient {
    /// The token endpoint; `{tenantid}` in it stands for the user's tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The application that asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// How it proves that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialSource>,
}

impl TokenClient {
    /// Reads the value of `key`; `None` when it is another's.
    fn take<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
    ) -> Result<Option<()>, A::Error> {
        match key {
            "url" => self.url = map.next_value()?,
            "client_id" => self.client_id = map.next_value()?,
            "credentials" => self.credentials = map.next_value()?,
            _ => return Ok(None),
        }
        Ok(Some(()))
    }
}

/// Settings that ask a token endpoint for something, in one map with whom they ask and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Asking<T> {
    /// What they ask for.
    #[serde(flatten)]
    pub what: T,
    /// Whom they ask, and as whom.
    #[serde(flatten)]
    pub client: TokenClient,
}

/// What stands in one map with a [`TokenClient`].
pub trait Asked {
    /// Every key of that map, those of the client among them.
    const KEYS: &'static [&'static str];
}

impl<'de, T: Deserialize<'de> + Asked> Deserialize<'de> for Asking<T> {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        de.deserialize_struct("Asking", T::KEYS, Flat(PhantomData))
    }
}

struct Flat<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Asked> Visitor<'de> for Flat<T> {
    type Value = Asking<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Asking<T>, A::Error> {
        let mut client = TokenClient::default();
        let rest = Rest {
            map,
            client: &mut client,
            keys: T::KEYS,
        };
        let what = T::deserialize(MapAccessDeserializer::new(rest))?;
        Ok(Asking { what, client })
    }
}

/// A map without the keys of the client, which are read on the way.
struct Rest<'c, A> {
    map: A,
    client: &'c mut TokenClient,
    keys: &'static [&'static str],
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Rest<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key_seed(Key(self.keys))? {
            if self.client.take(key, &mut self.map)?.is_none() {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// Reads one of the keys; another is refused where it stands.
struct Key(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, de: D) -> Result<&'static str, D::Error> {
        de.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<&'static str, E> {
        let known = self.0.iter().find(|key| **key == text);
        known.copied().ok_or_else(|| E::unknown_field(text, self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Tea {
        leaves: u8,
        #[serde(default)]
        milk: bool,
    }

    impl Asked for Tea {
        const KEYS: &'static [&'static str] = &["leaves", "milk", "url", "client_id"];
    }

    fn check(text: &str, expect: Result<(u8, bool, Option<&str>), &str>) {
        let found: Result<Asking<Tea>, _> = serde_yaml::from_str(text);
        match (&found, expect) {
            (Ok(asking), Ok((leaves, milk, url))) => {
                assert_eq!(asking.what, Tea { leaves, milk }, "{text}");
                assert_eq!(asking.client.url.as_deref(), url, "{text}");
                let again = serde_yaml::to_string(asking).unwrap();
                assert_eq!(
                    serde_yaml::from_str::<Asking<Tea>>(&again).unwrap(),
                    *asking
                );
            }
            (Err(why), Err(expect)) => assert!(why.to_string().contains(expect), "{why}"),
            _ => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn both_kinds_of_keys_stand_in_one_map_in_any_order() {
        check("leaves: 1", Ok((1, false, None)));
        check(
            "{ url: u, leaves: 1, milk: true }",
            Ok((1, true, Some("u"))),
        );
        check(
            "{ leaves: 1, client_id: c, url: u }",
            Ok((1, false, Some("u"))),
        );
    }

    #[test]
    fn what_is_wrong_is_named_as_if_there_were_one_type() {
        check("{ url: u }", Err("missing field `leaves`"));
        check("{ leaves: 1, url: [] }", Err("url: invalid type: sequence"));
        check("{ leaves: x }", Err("leaves: invalid type"));
        check(
            "{ leaves: 1, urls: u }",
            Err("expected one of `leaves`, `milk`, `url`"),
        );
        check("7", Err("expected a map of settings"));
    }
}
