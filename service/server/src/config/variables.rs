//! What of the environment is meant for the service.

use super::read::ConfigError;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The beginning of every override, such as `COUNTERFOIL__API__ADDR`.
const OVERRIDE: &str = "COUNTERFOIL__";
/// What other programs of an operator read, too.
const DATABASE_URL: &str = "DATABASE_URL";
/// The same for who migrates.
const DATABASE_MIGRATE_URL: &str = "DATABASE_MIGRATE_URL";

/// See the module.
#[derive(Default)]
pub(super) struct Variables {
    /// The name, the field's path as it is written in the name, and the value.
    pub(super) overrides: Vec<(String, String, String)>,
    pub(super) database_url: Option<String>,
    pub(super) database_migrate_url: Option<String>,
}

impl Variables {
    /// Reads them. What is not meant for the service may hold any bytes.
    pub(super) fn of<T: Into<OsString>>(
        environment: impl Iterator<Item = (T, T)>,
    ) -> Result<Self, ConfigError> {
        let mut variables = Self::default();
        for (name, value) in environment {
            let (name, value) = (name.into(), value.into());
            let is_override = name.as_bytes().starts_with(OVERRIDE.as_bytes());
            if !is_override && name != DATABASE_URL && name != DATABASE_MIGRATE_URL {
                continue;
            }
            let (name, value) = texts(&name, &value)?;
            match name {
                DATABASE_URL => variables.database_url = some(value),
                DATABASE_MIGRATE_URL => variables.database_migrate_url = some(value),
                _ => {
                    let path = name.strip_prefix(OVERRIDE).unwrap_or_default();
                    let is_address = [DATABASE_URL, DATABASE_MIGRATE_URL]
                        .iter()
                        .any(|usual| path.eq_ignore_ascii_case(usual));
                    if is_address && value.is_empty() {
                        continue;
                    }
                    variables.overrides.push((name.into(), path.into(), value.into()));
                }
            }
        }
        variables.agree(DATABASE_URL, variables.database_url.as_deref())?;
        variables.agree(DATABASE_MIGRATE_URL, variables.database_migrate_url.as_deref())?;
        Ok(variables)
    }

    /// Refuses an override that says something else than the usual variable: which of them wins would be a guess, and the
    /// data of either may be the right one.
    fn agree(&self, usual: &str, value: Option<&str>) -> Result<(), ConfigError> {
        let Some(value) = value else { return Ok(()) };
        let other =
            self.overrides.iter().find(|(_, path, other)| path.eq_ignore_ascii_case(usual) && other != value);
        other.map_or(Ok(()), |(other, ..)| {
            let message = format!("{other} is set too, to something else; unset either");
            Err(ConfigError::Variable { name: usual.into(), message })
        })
    }
}

/// What is empty is not set: so a unit or a shell can take it back.
fn some(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.into())
}

/// A variable as text. The value is never repeated: it may be an address with a password.
fn texts<'a>(name: &'a OsStr, value: &'a OsStr) -> Result<(&'a str, &'a str), ConfigError> {
    name.to_str().zip(value.to_str()).ok_or_else(|| ConfigError::Variable {
        name: name.to_string_lossy().into_owned(),
        message: "it is not UTF-8".into(),
    })
}
