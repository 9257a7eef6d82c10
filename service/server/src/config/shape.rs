//! What a configuration has to look like, in the words of whoever writes one.

use super::Config;
use super::check::{LONGEST_DRAIN, MOST};
use serde_json::Value;
use serde_saphyr::{Error, with_deserializer_from_str};

/// Reads a file's text. The error says in which line what is wrong, without the lines around: the password of a database
/// may stand in them.
pub(super) fn read(text: &str) -> Result<Config, String> {
    let mut place = String::new();
    let read: Result<Config, Error> = with_deserializer_from_str(text, |file| {
        serde_path_to_error::deserialize(file).map_err(|error| {
            place = error.path().to_string();
            error.into_inner()
        })
    });
    read.map_err(|error| {
        let error = error.without_snippet();
        match (said_better(error, &place), error.location()) {
            (Some(message), Some(location)) => format!("line {}: {message}", location.line()),
            _ => error.to_string(),
        }
    })
}

/// The same in better words than the parser's, where it knows no more than what its own types are.
fn said_better(error: &Error, place: &str) -> Option<String> {
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => Some(format!("{key} stands there twice")),
        // It names what there is.
        Error::SerdeUnknownField { .. } => None,
        _ => {
            let default = default(place)?;
            let named = if place == "." { "the file" } else { place };
            let said = format!("{named} {}", wanted(place, &default));
            // What looks like no fields may also be no YAML, and of that the parser knows more.
            Some(if default.is_object() { format!("{said} ({error})") } else { said })
        }
    }
}

/// What a field takes, as a sentence; None for what is no field.
pub(super) fn told(place: &str) -> Option<String> {
    Some(format!("{place} {}", wanted(place, &default(place)?)))
}

/// What a field is without a configuration; of an element, its list.
fn default(place: &str) -> Option<Value> {
    let mut default = &serde_json::to_value(Config::default()).ok()?;
    for level in place.split(['.', '[']).take_while(|level| !level.is_empty() && !level.ends_with(']')) {
        default = default.get(level)?;
    }
    Some(default.clone())
}

/// What a field takes: the same kind of value as its default.
fn wanted(place: &str, default: &Value) -> String {
    match default {
        Value::Number(number) if place.starts_with("drain.") => {
            format!("is a whole number of milliseconds, up to {LONGEST_DRAIN}, such as {number}")
        }
        Value::Number(number) => format!("is a whole number from 1 to {MOST}, such as {number}"),
        Value::Bool(_) => "is true or false".into(),
        Value::Array(_) if place.ends_with(']') => "is a network, such as 10.0.0.0/8".into(),
        Value::Array(_) => "is a list of networks, such as [10.0.0.0/8]".into(),
        Value::Object(fields) => {
            let names: Vec<&str> = fields.keys().map(String::as_str).collect();
            format!("has fields of its own, any of {}", names.join(", "))
        }
        Value::String(text) if place.ends_with(".addr") => {
            format!("is an IP address and a port, such as {text}")
        }
        Value::String(_) if place == "log.format" => "is text or json".into(),
        Value::String(text) => format!("is one text, such as {text}"),
        Value::Null => "is one text".into(),
    }
}
