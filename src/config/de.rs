//! The tree as a serde deserializer that remembers where an error arose.
//!
//! Serde stops at the first error and its messages have no position. So every value that fails
//! leaves a note, the innermost first, also when the error passes through an erased deserializer
//! and loses its type; values that were marked are passed over, so that a caller can mark the
//! faulty one and read on.

use std::{cell::RefCell, collections::HashSet, fmt};

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use super::{
    path::Path,
    tree::{Entry, Kind, Node, Position, Scalar},
};

/// A serde error with its parts kept apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Error {
    Custom(String),
    Type {
        found: String,
        expected: String,
    },
    UnknownVariant {
        found: String,
        expected: &'static [&'static str],
    },
    UnknownKey {
        found: String,
        expected: &'static [&'static str],
    },
    Missing(&'static str),
}

/// An error and the value that it is about.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) path: String,
    pub(super) at: Position,
    /// The value to pass over when reading on.
    pub(super) id: usize,
    pub(super) error: Error,
}

/// What one attempt to read a value shares between all levels.
#[derive(Debug)]
pub(super) struct Track<'a> {
    pruned: &'a HashSet<usize>,
    fault: RefCell<Option<Fault>>,
}

impl<'a> Track<'a> {
    /// Starts an attempt that passes over the values with these ids.
    pub(super) const fn new(pruned: &'a HashSet<usize>) -> Self {
        Self {
            pruned,
            fault: RefCell::new(None),
        }
    }

    /// Returns the innermost fault of a failed attempt.
    pub(super) fn into_fault(self) -> Option<Fault> {
        self.fault.into_inner()
    }

    fn note(&self, path: &Path<'_>, at: Position, id: usize, error: &Error) {
        let mut fault = self.fault.borrow_mut();
        if fault.is_none() {
            *fault = Some(Fault {
                path: path.to_string(),
                at,
                id,
                error: error.clone(),
            });
        }
    }

    fn forget(&self) {
        self.fault.borrow_mut().take();
    }
}

/// A value to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct De<'a> {
    pub(super) node: &'a Node,
    pub(super) path: &'a Path<'a>,
    pub(super) track: &'a Track<'a>,
}

impl De<'_> {
    /// Runs one visit and notes its failure, unless a value further in already did.
    fn noted<T>(self, visit: impl FnOnce(Self) -> Result<T, Error>) -> Result<T, Error> {
        let result = visit(self);
        match &result {
            // Whoever reads this value got over what went wrong inside it.
            Ok(_) => self.track.forget(),
            Err(error) => self
                .track
                .note(self.path, self.node.at, self.node.id, error),
        }
        result
    }

    fn unexpected<T>(self, expected: &dyn de::Expected) -> Result<T, Error> {
        Err(Error::Type {
            found: self.node.describe(),
            expected: expected.to_string(),
        })
    }

    fn parse<T: std::str::FromStr>(self) -> Option<T> {
        match &self.node.kind {
            Kind::Scalar(scalar) if scalar.plain || scalar.expanded => scalar.text.parse().ok(),
            _ => None,
        }
    }

    fn integer(self) -> Option<Integer> {
        match &self.node.kind {
            Kind::Scalar(scalar) if scalar.plain || scalar.expanded => integer(&scalar.text),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Integer {
    Signed(i64),
    Unsigned(u64),
}

/// Reads an integer of YAML's core schema (YAML 1.2.2 §10.3.2).
fn integer(text: &str) -> Option<Integer> {
    let radix = |digits: &str, radix| {
        let all = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        all.then(|| {
            u64::from_str_radix(digits, radix)
                .ok()
                .map(Integer::Unsigned)
        })
        .flatten()
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    match text.strip_prefix('-') {
        Some(_) => text.parse().ok().map(Integer::Signed),
        None => text.parse().ok().map(Integer::Unsigned),
    }
}

/// Reads a number of YAML's core schema that is no integer.
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN" => None,
        _ if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            text.parse().ok().filter(|number: &f64| number.is_finite())
        }
        _ => None,
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn visit_scalar<'de, V: Visitor<'de>>(scalar: &Scalar, visitor: V) -> Result<V::Value, Error> {
    if scalar.is_null() {
        return visitor.visit_unit();
    }
    // What a variable holds has the type that its place asks for; where any type will do, quotes
    // keep it a text.
    if scalar.plain {
        if let Some(flag) = boolean(&scalar.text) {
            return visitor.visit_bool(flag);
        }
        match integer(&scalar.text) {
            Some(Integer::Unsigned(number)) => return visitor.visit_u64(number),
            Some(Integer::Signed(number)) => return visitor.visit_i64(number),
            None => {}
        }
        if let Some(number) = float(&scalar.text) {
            return visitor.visit_f64(number);
        }
    }
    visitor.visit_str(&scalar.text)
}

macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.noted(|de| match de.integer() {
                Some(Integer::Unsigned(number)) => visitor.visit_u64(number),
                Some(Integer::Signed(number)) => visitor.visit_i64(number),
                None => de.unexpected(&visitor),
            })
        }
    )*};
}

macro_rules! floats {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.noted(|de| match de.parse::<f64>().filter(|number| number.is_finite()) {
                Some(number) => visitor.visit_f64(number),
                None => de.unexpected(&visitor),
            })
        }
    )*};
}

macro_rules! texts {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.noted(|de| match &de.node.kind {
                Kind::Scalar(scalar) if !scalar.is_null() => visitor.visit_str(&scalar.text),
                _ => de.unexpected(&visitor),
            })
        }
    )*};
}

impl<'de> Deserializer<'de> for De<'_> {
    type Error = Error;

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }
    floats! { deserialize_f32 deserialize_f64 }
    texts! { deserialize_char deserialize_str deserialize_string deserialize_identifier }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.noted(|de| match &de.node.kind {
            Kind::Scalar(scalar) => visit_scalar(scalar, visitor),
            Kind::List(items) => visitor.visit_seq(Items::new(items, de)),
            Kind::Map(entries) => visitor.visit_map(Entries::new(entries, de)),
        })
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.noted(|de| match &de.node.kind {
            Kind::Scalar(scalar) if scalar.plain || scalar.expanded => {
                match boolean(&scalar.text) {
                    Some(flag) => visitor.visit_bool(flag),
                    None => de.unexpected(&visitor),
                }
            }
            _ => de.unexpected(&visitor),
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // `${CA_FILE:-}` is how an optional setting is left to the environment.
        let unset = matches!(&self.node.kind, Kind::Scalar(s) if s.expanded && s.text.is_empty());
        if unset || self.node.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.noted(|de| {
            if de.node.is_null() {
                visitor.visit_unit()
            } else {
                de.unexpected(&visitor)
            }
        })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.noted(|de| visitor.visit_newtype_struct(de))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.noted(|de| match &de.node.kind {
            Kind::List(items) => visitor.visit_seq(Items::new(items, de)),
            _ => de.unexpected(&visitor),
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.noted(|de| match &de.node.kind {
            Kind::Map(entries) => visitor.visit_map(Entries::new(entries, de)),
            // `admin:` with nothing below it: every key at its default.
            Kind::Scalar(scalar) if scalar.is_null() => visitor.visit_map(Entries::new(&[], de)),
            _ => de.unexpected(&visitor),
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.noted(|de| match &de.node.kind {
            Kind::Scalar(scalar) if !scalar.is_null() => visitor.visit_enum(Variant {
                name: &scalar.text,
                entry: None,
                de,
            }),
            Kind::Map(entries) => match entries.as_slice() {
                [entry] => visitor.visit_enum(Variant {
                    name: &entry.key,
                    entry: Some(entry),
                    de,
                }),
                _ => de.unexpected(&OneOf(variants)),
            },
            _ => de.unexpected(&OneOf(variants)),
        })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

struct OneOf(&'static [&'static str]);

impl de::Expected for OneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(|name| format!("`{name}`")).collect();
        write!(f, "one of {}", names.join(", "))
    }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    of: De<'a>,
}

impl<'a> Items<'a> {
    fn new(items: &'a [Node], of: De<'a>) -> Self {
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
        seed.deserialize(De { node, path, track }).map(Some)
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, Entry>,
    current: Option<&'a Entry>,
    of: De<'a>,
}

impl<'a> Entries<'a> {
    fn new(entries: &'a [Entry], of: De<'a>) -> Self {
        Self {
            entries: entries.iter(),
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
            .entries
            .find(|entry| !track.pruned.contains(&entry.value.id));
        let Some(entry) = self.current else {
            return Ok(None);
        };
        seed.deserialize(Key { entry, of: self.of }).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(Entry { key, value, .. }) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let path = &self.of.path.key(key);
        let track = self.of.track;
        seed.deserialize(De {
            node: value,
            path,
            track,
        })
    }
}

/// A key, read as a text. A fault is shown where the key stands, as one of the map.
struct Key<'a> {
    entry: &'a Entry,
    of: De<'a>,
}

impl<'de> Deserializer<'de> for Key<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Entry { key, at, value } = self.entry;
        visitor
            .visit_str(key)
            .inspect_err(|error| self.of.track.note(self.of.path, *at, value.id, error))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

/// A variant: a bare name, or a map with one key.
struct Variant<'a> {
    name: &'a str,
    entry: Option<&'a Entry>,
    de: De<'a>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: de::value::StrDeserializer<'a, Error> =
            de::IntoDeserializer::into_deserializer(self.name);
        let at = self.entry.map_or(self.de.node.at, |entry| entry.at);
        let value = seed
            .deserialize(name)
            .inspect_err(|e| self.de.track.note(self.de.path, at, self.de.node.id, e))?;
        Ok((value, self))
    }
}

impl Variant<'_> {
    fn with_value<T>(self, read: impl FnOnce(De<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let Some(Entry { key, value, .. }) = self.entry else {
            return Err(Error::Type {
                found: "nothing".to_owned(),
                expected: format!("a value for `{}`", self.name),
            });
        };
        let path = &self.de.path.key(key);
        let track = self.de.track;
        read(De {
            node: value,
            path,
            track,
        })
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

impl de::Error for Error {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Custom(text.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            Unexpected::Str(text) => format!("`{}`", super::tree::excerpt(text)),
            Unexpected::Unsigned(number) => format!("`{number}`"),
            Unexpected::Signed(number) => format!("`{number}`"),
            Unexpected::Float(number) => format!("`{number}`"),
            Unexpected::Bool(flag) => format!("`{flag}`"),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map | Unexpected::StructVariant => "a map".to_owned(),
            Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
            other => other.to_string(),
        };
        let expected = expected.to_string();
        Self::Type { found, expected }
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        let found = found.to_owned();
        Self::UnknownVariant { found, expected }
    }

    fn unknown_field(found: &str, expected: &'static [&'static str]) -> Self {
        let found = found.to_owned();
        Self::UnknownKey { found, expected }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Custom(text) => f.write_str(text),
            Self::Type { found, expected } => write!(f, "expected {expected}, found {found}"),
            Self::UnknownVariant { found, .. } => write!(f, "unknown value `{found}`"),
            Self::UnknownKey { found, .. } => write!(f, "unknown key `{found}`"),
            Self::Missing(key) => write!(f, "missing key `{key}`"),
        }
    }
}

impl std::error::Error for Error {}
