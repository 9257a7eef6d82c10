//! Reading the file, and the environment over it.

use super::Config;
use super::check::{Wrong, line_of};
use super::proxies::as_it_is_met;
use super::shape;
use super::variables::Variables;
use std::ffi::OsString;
use std::path::Path;

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read: {source}")]
    Unreadable {
        /// Which.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not a configuration.
    #[error("the configuration file {path} is wrong: {message}")]
    File {
        /// Which.
        path: String,
        /// What is wrong, and in which line.
        message: String,
    },
    /// A variable is not known, or its value does not fit.
    #[error("the environment variable {name} is wrong: {message}")]
    Variable {
        /// Which.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A value makes no sense.
    #[error("{key} is wrong: {message}")]
    Value {
        /// The field's path.
        key: &'static str,
        /// What is allowed.
        message: String,
    },
}

/// The file that is read if none is named, and is there.
const USUAL_FILE: &str = "counterfoil.yaml";

impl Config {
    /// Reads the file, then the environment: of that, only what is meant for it.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load<T: Into<OsString>>(
        file: Option<&Path>,
        environment: impl Iterator<Item = (T, T)>,
    ) -> Result<Self, ConfigError> {
        let usual = Path::new(USUAL_FILE);
        let file = file.or_else(|| usual.exists().then_some(usual));
        let (read, text) = file.map_or_else(|| Ok((Self::default(), String::new())), Self::from_file)?;
        let mut config = read.clone();
        let Variables { overrides, database_url, database_migrate_url } = Variables::of(environment)?;
        for (name, path, value) in overrides {
            config = config.with_override(&name, &path, &value)?;
        }
        config.database_url = database_url.or(config.database_url);
        config.database_migrate_url = database_migrate_url.or(config.database_migrate_url);
        config.trusted_proxies.iter_mut().for_each(|network| *network = as_it_is_met(*network));
        let addresses = || read.check_addresses(&config);
        let Err(Wrong { key, message }) = config.check().and_then(|()| addresses()) else {
            return Ok(config);
        };
        // What the environment set stands in no line.
        let is_the_files = [read.check(), addresses()]
            .into_iter()
            .any(|checked| checked.is_err_and(|wrong| wrong.key == key));
        match (file, line_of(&text, key)) {
            (Some(path), Some(line)) if is_the_files => Err(ConfigError::File {
                path: path.display().to_string(),
                message: format!("line {line}: {key}: {message}"),
            }),
            _ => Err(ConfigError::Value { key, message }),
        }
    }

    /// The file's, and its text.
    fn from_file(path: &Path) -> Result<(Self, String), ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: shown.clone(), source })?;
        let only_comments =
            text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
        if only_comments {
            return Ok((Self::default(), text));
        }
        match shape::read(&text) {
            Ok(config) => Ok((config, text)),
            Err(message) => Err(ConfigError::File { path: shown, message }),
        }
    }

    /// Overrides one field by its path, `__` between its levels.
    fn with_override(&self, name: &str, path: &str, value: &str) -> Result<Self, ConfigError> {
        let wrong = |message: String| ConfigError::Variable { name: name.into(), message };
        let mut tree = serde_json::to_value(self).map_err(|error| wrong(error.to_string()))?;
        let mut place = &mut tree;
        for level in path.split("__") {
            place = place
                .get_mut(level.to_ascii_lowercase())
                .ok_or_else(|| wrong("there is no such field".into()))?;
        }
        *place = like(place, value);
        serde_path_to_error::deserialize(tree).map_err(|error| {
            let place = error.path().to_string();
            wrong(shape::told(&place).unwrap_or_else(|| error.into_inner().to_string()))
        })
    }
}

/// The text of a variable as the kind of value that its field has: a number, a switch, a list, else the text as it is.
fn like(field: &serde_json::Value, text: &str) -> serde_json::Value {
    match field {
        serde_json::Value::Number(_) => text.parse::<u64>().map_or_else(|_| text.into(), Into::into),
        serde_json::Value::Bool(_) => text.parse::<bool>().map_or_else(|_| text.into(), Into::into),
        serde_json::Value::Array(_) => {
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect::<Vec<_>>().into()
        }
        _ => text.into(),
    }
}
