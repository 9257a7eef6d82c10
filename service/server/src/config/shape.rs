//! What a configuration has to look like, in the words of whoever writes one.

use super::Config;
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
        // These name what there is.
        Error::SerdeUnknownField { .. } | Error::SerdeUnknownVariant { .. } => None,
        // What looks like no field may also be no YAML.
        _ => wanted(place).map(|wanted| match place {
            "." => format!("the file {wanted} ({error})"),
            _ if wanted.starts_with(FIELDS) => format!("{place} {wanted} ({error})"),
            _ => format!("{place} {wanted}"),
        }),
    }
}

const FIELDS: &str = "has fields of its own";

/// What a field takes: as the one takes that it has without a configuration.
pub(super) fn wanted(place: &str) -> Option<String> {
    let mut default = &serde_json::to_value(Config::default()).ok()?;
    for level in place.split(['.', '[']).take_while(|level| !level.is_empty() && !level.ends_with(']')) {
        default = default.get(level)?;
    }
    Some(match default {
        Value::Number(number) if place.starts_with("drain.") => {
            format!("is a whole number of milliseconds, such as {number}")
        }
        Value::Number(number) => format!("is a whole number above 0, such as {number}"),
        Value::Bool(_) => "is true or false".into(),
        Value::Array(_) if place.ends_with(']') => "is a network, such as 10.0.0.0/8".into(),
        Value::Array(_) => "is a list of networks, such as [10.0.0.0/8]".into(),
        Value::Object(fields) => {
            let names: Vec<&str> = fields.keys().map(String::as_str).collect();
            format!("{FIELDS}, any of {}", names.join(", "))
        }
        Value::String(text) => format!("is one text, such as {text}"),
        Value::Null => "is one text".into(),
    })
}
