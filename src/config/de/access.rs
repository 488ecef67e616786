//! Lists, maps and variants, one value at a time.

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{De, Error, Track};
use crate::config::{
    path::Path,
    tree::{Entry, Node, Position},
};

pub(super) struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    of: De<'a>,
}

impl<'a> Items<'a> {
    pub(super) fn new(items: &'a [Node], of: De<'a>) -> Self {
        Self {
            items: items.iter().enumerate(),
            of,
        }
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let track = self.of.track;
        let Some((index, node)) = self
            .items
            .find(|(_, node)| !track.pruned.contains(&node.id))
        else {
            return Ok(None);
        };
        let path = &self.of.path.index(index);
        let de = De { node, path, track };
        de.noted(|de| seed.deserialize(de)).map(Some)
    }
}

pub(super) struct Entries<'a> {
    rest: std::slice::Iter<'a, Entry>,
    current: Option<&'a Entry>,
    of: De<'a>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(entries: &'a [Entry], of: De<'a>) -> Self {
        Self {
            rest: entries.iter(),
            current: None,
            of,
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let track = self.of.track;
        self.current = self
            .rest
            .find(|entry| !track.pruned.contains(&entry.value.id));
        let Some(entry) = self.current else {
            return Ok(None);
        };
        let name = Name {
            text: &entry.key,
            at: entry.at,
            id: entry.value.id,
            path: self.of.path,
            track,
        };
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(Entry { key, value, .. }) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let path = &self.of.path.key(key);
        let track = self.of.track;
        let node = value;
        let de = De { node, path, track };
        // A type that reads a text and then judges it fails outside of this deserializer.
        de.noted(|de| seed.deserialize(de))
    }
}

/// A key or the name of a variant, read as a text; a fault is noted where it stands.
struct Name<'a> {
    text: &'a str,
    at: Position,
    /// The value to pass over when the name is wrong.
    id: usize,
    path: &'a Path<'a>,
    track: &'a Track<'a>,
}

impl<'de> Deserializer<'de> for Name<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor
            .visit_str(self.text)
            .inspect_err(|error| self.track.note(self.path, self.at, self.id, error))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

/// A variant: a bare name, or a map with one key.
pub(super) struct Variant<'a> {
    name: &'a str,
    entry: Option<&'a Entry>,
    de: De<'a>,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let value = seed.deserialize(Name {
            text: self.name,
            at: self.entry.map_or(self.de.node.at, |entry| entry.at),
            id: self.de.node.id,
            path: self.de.path,
            track: self.de.track,
        })?;
        Ok((value, self))
    }
}

impl<'a> Variant<'a> {
    pub(super) fn bare(name: &'a str, de: De<'a>) -> Self {
        let entry = None;
        Self { name, entry, de }
    }

    pub(super) fn of(entry: &'a Entry, de: De<'a>) -> Self {
        Self {
            name: &entry.key,
            entry: Some(entry),
            de,
        }
    }

    fn with_value<T>(self, read: impl FnOnce(De<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let Some(Entry { key, value, .. }) = self.entry else {
            return Err(Error::Type {
                found: "nothing".to_owned(),
                expected: format!("a value for `{}`", self.name),
            });
        };
        let path = &self.de.path.key(key);
        let track = self.de.track;
        let node = value;
        let de = De { node, path, track };
        de.noted(read)
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.entry {
            Some(entry) if !entry.value.is_null() => Err(Error::Type {
                found: "a value".to_owned(),
                expected: format!("`{}` by itself", self.name),
            }),
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        self.with_value(|de| seed.deserialize(de))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.with_value(|de| de.deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.with_value(|de| de.deserialize_map(visitor))
    }
}
