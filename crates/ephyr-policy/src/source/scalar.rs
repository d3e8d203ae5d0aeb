//! Types of unquoted scalars, and scalars that YAML parsers read differently.
//!
//! The rules are those of the YAML 1.2 core schema (section 10.3.2), except that a number must have plain decimal
//! digits. `022`, `0x16`, `1_000`, `1e3` and `1:30` are refused as numbers, because parsers of YAML 1.1 and 1.2
//! disagree on their values.

use super::node::{ReadsAs, Value};

impl Value {
    /// Returns the name of the type, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null(_) => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) => "a whole number",
            Self::Number(text) => kind_of_number(text),
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Returns the YAML type of an unquoted scalar that is neither text nor a number.
pub(super) fn reads_as(text: &str) -> Option<ReadsAs> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Some(ReadsAs::Null),
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Some(ReadsAs::Bool),
        _ => None,
    }
}

/// Returns the value of an unquoted scalar.
pub(super) fn resolve(text: &str) -> Value {
    match reads_as(text) {
        Some(ReadsAs::Null) => Value::Null(text.to_owned()),
        Some(ReadsAs::Bool) => Value::Bool(text.eq_ignore_ascii_case("true")),
        None if is_decimal(text) => text
            .parse()
            .map_or_else(|_| Value::Number(text.to_owned()), Value::Int),
        None if is_number(text) => Value::Number(text.to_owned()),
        None => Value::Text(text.to_owned()),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Returns whether a text is decimal digits without a leading zero or `+`.
fn is_decimal(text: &str) -> bool {
    let number = text.strip_prefix('-').unwrap_or(text);
    is_digits(number) && (number == "0" || !number.starts_with('0'))
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

/// Returns whether a text is a number in YAML 1.2 or in common YAML parsers.
fn is_number(text: &str) -> bool {
    let number = unsigned(text);
    is_digits(number)
        || radix(number).is_some()
        || is_float(number)
        || matches!(number, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
}

/// Returns the base and the digits of `0x16`, `0o26` and `0b10110`.
fn radix(number: &str) -> Option<(u32, &str)> {
    let lower = number.get(..2)?.to_ascii_lowercase();
    let (radix, digits) = match lower.as_str() {
        "0x" => (16, &number[2..]),
        "0o" => (8, &number[2..]),
        "0b" => (2, &number[2..]),
        _ => return None,
    };
    let good = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    good.then_some((radix, digits))
}

/// Returns whether a text is a float: `22.5`, `.5`, `5.` or `1e3`.
fn is_float(number: &str) -> bool {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(unsigned(exponent))),
        None => (number, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = is_digits(whole) || (whole.is_empty() && is_digits(fraction));
    has_digits && (fraction.is_empty() || is_digits(fraction)) && exponent.is_none_or(is_digits)
}

/// Returns the type, for messages, of a number that is not plain decimal digits.
pub(super) fn kind_of_number(text: &str) -> &'static str {
    let number = unsigned(text);
    if number.starts_with('.') && !is_float(number) {
        "no finite number"
    } else if is_float(number) && whole(text).is_none() && !is_digits(number) {
        "a number with a fraction"
    } else {
        "a number"
    }
}

/// Returns the whole number that equals a float, if it fits a `u64`.
fn whole(text: &str) -> Option<u64> {
    let value: f64 = is_float(unsigned(text)).then(|| text.parse().ok())??;
    let text = format!("{value:.0}");
    let same = text
        .parse::<f64>()
        .is_ok_and(|again| again.total_cmp(&value).is_eq());
    if same { text.parse().ok() } else { None }
}

/// Why an unquoted scalar is not accepted as a whole number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NumberFault {
    /// It is a number in another notation; the text completes the message.
    Notation(String),
    /// It exceeds every bound.
    TooLarge,
}

/// Returns why a text that looks like a whole number is not accepted as one; `None` if it does not look like one.
pub(crate) fn number_fault(text: &str) -> Option<NumberFault> {
    let number = unsigned(text);
    let notation = |advice: String| Some(NumberFault::Notation(advice));
    if is_digits(number) {
        let plain = number.trim_start_matches('0');
        return match u64::from_str_radix(number, 8) {
            Ok(octal) if number.len() > 1 && number.starts_with('0') => notation(format!(
                "is {plain} to some YAML parsers and octal, {octal}, to others; write {plain} or {octal}",
                plain = if plain.is_empty() { "0" } else { plain }
            )),
            _ if number.starts_with('0') => notation(format!("begins with a zero; write {plain}")),
            _ if text.starts_with('+') => notation(format!("has a sign; write {number}")),
            _ => Some(NumberFault::TooLarge),
        };
    }
    if let Some((radix, digits)) = radix(number) {
        let name = match radix {
            16 => "hexadecimal",
            8 => "octal",
            _ => "binary",
        };
        let value = u64::from_str_radix(digits, radix);
        return notation(value.map_or_else(
            |_| format!("is {name}; write decimal digits"),
            |value| format!("is {name}; write {value}"),
        ));
    }
    let joined = number.replace('_', "");
    if number.contains('_') && is_digits(&joined) && !number.starts_with('_') {
        return notation(format!(
            "is a number to some YAML parsers and text to others; write {joined}"
        ));
    }
    if let Some(value) = whole(text) {
        return notation(format!("is not written in plain digits; write {value}"));
    }
    let parts: Vec<&str> = number.split(':').collect();
    if parts.len() > 1 && parts.iter().all(|part| is_digits(part) && part.len() <= 9) {
        return notation(
            "is a number in base 60 to some YAML parsers and text to others; write decimal digits"
                .to_owned(),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_decimal_digits_are_whole_numbers() {
        for good in ["0", "22", "-5", "4294967295"] {
            assert!(matches!(resolve(good), Value::Int(_)), "{good}");
        }
        for number in [
            "022",
            "00",
            "-022",
            "+22",
            "0x16",
            "0X16",
            "0o26",
            "0b10110",
            "22.0",
            "22.5",
            ".5",
            "5.",
            "1e3",
            "1E+3",
            "-1e-3",
            ".inf",
            "-.Inf",
            ".NaN",
            "99999999999999999999999999999999999999999999",
        ] {
            assert!(matches!(resolve(number), Value::Number(_)), "{number}");
        }
        for text in [
            "2_2",
            "1:30",
            "2026-11-30",
            "yes",
            "no",
            "on",
            "off",
            "y",
            "0x",
            "0xg",
            "1e",
            "e3",
            ".",
            "-",
            "+",
            "1.2.3",
            "10.0.0.1",
            "inf",
            "nan",
            "é1",
            "0é",
            "tRue",
            "nULL",
            "<<",
            "=",
        ] {
            assert!(matches!(resolve(text), Value::Text(_)), "{text}");
        }
    }

    #[test]
    fn messages_say_how_to_write_numbers_in_other_notations() {
        for (text, advice) in [
            ("022", "write 22 or 18"),
            ("00", "write 0 or 0"),
            ("089", "write 89"),
            ("+22", "write 22"),
            ("0x16", "write 22"),
            ("0o26", "write 22"),
            ("0b10110", "write 22"),
            ("2_2", "write 22"),
            ("22.0", "write 22"),
            ("1e3", "write 1000"),
            ("1:30", "base 60"),
        ] {
            match number_fault(text) {
                Some(NumberFault::Notation(found)) => {
                    assert!(found.contains(advice), "{text}: {found}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        assert_eq!(number_fault(&"9".repeat(50)), Some(NumberFault::TooLarge));
        for text in ["22.5", ".inf", "ssh", "2026-11-30", "", "_", "1e999", "-"] {
            assert_eq!(number_fault(text), None, "{text}");
        }
    }
}
