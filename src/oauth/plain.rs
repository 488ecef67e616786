//! Routes as data: what a user could have written in `gateway.yaml`.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
};

/// A route made of steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Route {
    /// The exact path, or a prefix when it ends in `/*`.
    pub path: String,
    /// The methods it takes; empty means that the steps decide.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// What happens, in order.
    pub filters: Vec<Step>,
}

/// A step and its settings, written as a map with one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The name of a filter or a capability.
    pub name: String,
    /// Its settings, a map.
    pub settings: Setting,
}

impl Step {
    /// Writes a step.
    #[must_use]
    pub fn new<const N: usize>(name: &str, settings: [(&str, Setting); N]) -> Self {
        Self {
            name: name.to_owned(),
            settings: Setting::map(settings),
        }
    }

    /// Adds a setting when there is one.
    #[must_use]
    pub fn with(mut self, key: &str, value: Option<Setting>) -> Self {
        if let (Setting::Map(entries), Some(value)) = (&mut self.settings, value) {
            entries.push((key.to_owned(), value));
        }
        self
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, ser: S) -> Result<S::Ok, S::Error> {
        ser.collect_map([(&self.name, &self.settings)])
    }
}

/// A value, in the order in which it was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A number that is not whole.
    Real(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// A map.
    Map(Vec<(String, Self)>),
}

impl Setting {
    /// Writes a map.
    #[must_use]
    pub fn map<const N: usize>(entries: [(&str, Self); N]) -> Self {
        Self::Map(entries.map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// Writes a list of texts.
    pub fn list<T: Into<String>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(
            items
                .into_iter()
                .map(|item| Self::Text(item.into()))
                .collect(),
        )
    }
}

impl From<&str> for Setting {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Setting {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Serialize for Setting {
    fn serialize<S: Serializer>(&self, ser: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => ser.serialize_unit(),
            Self::Flag(flag) => ser.serialize_bool(*flag),
            Self::Number(number) => ser.serialize_i64(*number),
            Self::Real(number) => ser.serialize_f64(*number),
            Self::Text(text) => ser.serialize_str(text),
            Self::List(items) => ser.collect_seq(items),
            Self::Map(entries) => ser.collect_map(entries.iter().map(|(key, value)| (key, value))),
        }
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        de.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Setting;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Setting, E> {
        Ok(Setting::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Setting, E> {
        Ok(Setting::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Setting, E> {
        Ok(Setting::Number(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Setting, E> {
        i64::try_from(number)
            .map(Setting::Number)
            .map_err(|_| E::custom(format!("`{number}` is too large a number")))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Setting, E> {
        Ok(Setting::Real(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Setting, E> {
        Ok(Setting::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Setting, A::Error> {
        let mut items = vec![];
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Setting::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Setting, A::Error> {
        let mut entries = vec![];
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Setting::Map(entries))
    }
}
