//! What plain scalars mean where any type will do: YAML's core schema (YAML 1.2.2 §10.3).

use serde::de::Visitor;

use super::Error;
use crate::config::tree::Scalar;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Integer {
    Signed(i64),
    Unsigned(u64),
}

/// Reads an integer of YAML's core schema (YAML 1.2.2 §10.3.2).
pub(super) fn integer(text: &str) -> Option<Integer> {
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

pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

pub(super) fn visit_scalar<'de, V: Visitor<'de>>(
    scalar: &Scalar,
    visitor: V,
) -> Result<V::Value, Error> {
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

#[cfg(test)]
mod tests {
    use serde_yaml::Value;

    use super::*;

    fn check(text: &str, plain: bool, expect: &str) {
        let scalar = Scalar {
            text: text.to_owned(),
            plain,
            expanded: false,
        };
        let value: Value = visit_scalar(&scalar, AnyValue).unwrap();
        assert_eq!(
            serde_yaml::to_string(&value).unwrap().trim_end(),
            expect,
            "{text}"
        );
    }

    struct AnyValue;

    impl Visitor<'_> for AnyValue {
        type Value = Value;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a value")
        }

        fn visit_unit<E>(self) -> Result<Value, E> {
            Ok(Value::Null)
        }

        fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
            Ok(flag.into())
        }

        fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
            Ok(number.into())
        }

        fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
            Ok(number.into())
        }

        fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
            Ok(number.into())
        }

        fn visit_str<E>(self, text: &str) -> Result<Value, E> {
            Ok(text.into())
        }
    }

    #[test]
    fn plain_scalars_have_a_type() {
        check("5", true, "5");
        check("-5", true, "-5");
        check("0x1F", true, "31");
        check("0o17", true, "15");
        check("1.5", true, "1.5");
        check("True", true, "true");
        check("~", true, "null");
        check("", true, "null");
    }

    #[test]
    fn everything_else_is_a_text() {
        check("5", false, "'5'");
        check("no", true, "no");
        check("1.2.3.4", true, "1.2.3.4");
        check("12 apples", true, "12 apples");
        check(".inf", true, "'.inf'");
    }
}
