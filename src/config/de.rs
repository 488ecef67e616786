//! The tree as a serde deserializer that remembers where an error arose.
//!
//! Serde stops at the first error and its messages have no position. So every value that fails
//! leaves a note, the innermost first, also when the error passes through an erased deserializer
//! and loses its type; values that were marked are passed over, so that a caller can mark the
//! faulty one and read on.

mod access;
mod error;
mod scalar;

use std::{cell::RefCell, collections::HashSet, fmt};

use serde::de::{self, Deserializer, Visitor};

use super::{
    path::Path,
    tree::{Kind, Node, Position},
};
use access::{Entries, Items, Variant};
use scalar::{Integer, boolean, integer, visit_scalar};

pub(super) use error::Error;

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
    pub(super) fn noted<T>(self, visit: impl FnOnce(Self) -> Result<T, Error>) -> Result<T, Error> {
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

    /// Notes what went wrong outside of this deserializer, unless something inside did before.
    pub(super) fn fault(self, text: String) {
        let error = Error::Custom(text);
        self.track
            .note(self.path, self.node.at, self.node.id, &error);
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
            Kind::Scalar(scalar) if !scalar.is_null() => {
                visitor.visit_enum(Variant::bare(&scalar.text, de))
            }
            Kind::Map(entries) => match entries.as_slice() {
                [entry] => visitor.visit_enum(Variant::of(entry, de)),
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
