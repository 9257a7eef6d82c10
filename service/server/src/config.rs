//! The configuration: one file, overridden by the environment. Unknown fields are refused, since a misspelt limit
//! would be no limit.

use counterfoil_domain::plaintext::Prefixes;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Everything that can be configured. [`Config::default`] is what runs without a file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the private PostgreSQL, its locks and the sealing key live. Default `./data`.
    pub data_dir: PathBuf,
    /// The database to use instead of a private one; also `DATABASE_URL`. It may hold a password.
    pub database_url: Option<String>,
    /// The address by which clients reach the service: the issuer (RFC 8414), byte for byte. Never taken from a
    /// request. Default `http://` and `api.addr`.
    pub public_url: Option<String>,
    /// The API's listener.
    pub api: Api,
    /// Limits.
    pub limits: Limits,
    /// Logs.
    pub log: Log,
}

/// The API's listener.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Where it listens. Default `127.0.0.1:8080`.
    pub addr: SocketAddr,
}

/// Limits.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Standing personal tokens per user, 1 to 50. Default 50.
    pub tokens_per_user: usize,
    /// Connections at a time. Default 10000.
    pub connections: usize,
    /// Requests under way at a time; what comes on top is answered 503. Default 2048.
    pub requests: usize,
}

/// Logs go to standard error.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`. Default `text`.
    pub format: LogFormat,
    /// A level, or a filter such as `info,sqlx=warn`. Default `info`.
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            database_url: None,
            public_url: None,
            api: Api::default(),
            limits: Limits::default(),
            log: Log::default(),
        }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self { addr: SocketAddr::from(([127, 0, 0, 1], 8080)) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tokens_per_user: counterfoil_domain::user::STANDING_TOKENS,
            connections: 10_000,
            requests: 2048,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

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
/// The beginning of every override, such as `COUNTERFOIL__API__ADDR`.
const VARIABLE: &str = "COUNTERFOIL__";

impl Config {
    /// Reads the file, then the environment.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let usual = Path::new(USUAL_FILE);
        let file = file.or_else(|| usual.exists().then_some(usual));
        let mut config = file.map_or_else(|| Ok(Self::default()), Self::from_file)?;
        for (name, value) in environment {
            if let Some(path) = name.strip_prefix(VARIABLE) {
                config = config.with_override(&name, path, &value)?;
            } else if name == "DATABASE_URL" && !value.is_empty() {
                config.database_url = Some(value);
            }
        }
        config.check()?;
        Ok(config)
    }

    fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: shown.clone(), source })?;
        let only_comments =
            text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
        if only_comments {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(&text)
            .map_err(|error| ConfigError::File { path: shown, message: error.to_string() })
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
        // A number where a number is wanted, else the text as it is.
        *place = match (&*place, value.parse::<u64>()) {
            (serde_json::Value::Number(_), Ok(number)) => number.into(),
            _ => value.into(),
        };
        serde_json::from_value(tree).map_err(|error| wrong(error.to_string()))
    }

    fn check(&self) -> Result<(), ConfigError> {
        if !(1..=counterfoil_domain::user::STANDING_TOKENS).contains(&self.limits.tokens_per_user) {
            return Err(ConfigError::Value {
                key: "limits.tokens_per_user",
                message: "it is 1 to 50".into(),
            });
        }
        let url = self.issuer();
        let uri: Result<http::Uri, _> = url.parse();
        let fits = uri.is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some()
                && uri.query().is_none()
        });
        if !fits || url.contains(['@', '#', '"', '\\']) {
            let message = format!("{url:?} is not an address such as https://tokens.example.com");
            return Err(ConfigError::Value { key: "public_url", message });
        }
        Ok(())
    }

    /// The issuer: `public_url`, or the API's own address.
    pub fn issuer(&self) -> String {
        self.public_url.clone().unwrap_or_else(|| format!("http://{}", self.api.addr))
    }

    /// The prefixes of plaintexts.
    pub fn prefixes(&self) -> Prefixes {
        Prefixes::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(yaml: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string()));
        Config::load(Some(file.path()), environment).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let config = load(
            "api:\n  addr: 127.0.0.1:1\nlimits:\n  tokens_per_user: 7\n",
            &[
                ("COUNTERFOIL__API__ADDR", "127.0.0.1:2"),
                ("COUNTERFOIL__DATA_DIR", "/x"),
                ("DATABASE_URL", "postgres://h/d"),
            ],
        )
        .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((config.api.addr.port(), config.limits.tokens_per_user), (2, 7));
        assert_eq!(
            (config.data_dir.to_str(), config.database_url.as_deref()),
            (Some("/x"), Some("postgres://h/d"))
        );
        assert_eq!(config.issuer(), "http://127.0.0.1:2");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (yaml, environment, said) in [
            ("api:\n  adr: 127.0.0.1:1\n", vec![], "adr"),
            ("nonsense: 1\n", vec![], "line 1"),
            ("limits:\n  tokens_per_user: 51\n", vec![], "limits.tokens_per_user"),
            ("public_url: ftp://x\n", vec![], "public_url"),
            ("", vec![("COUNTERFOIL__API__ADR", "x")], "COUNTERFOIL__API__ADR"),
            ("", vec![("COUNTERFOIL__API__ADDR", "x")], "COUNTERFOIL__API__ADDR"),
        ] {
            let error = load(yaml, &environment).err().unwrap_or_default();
            assert!(error.contains(said), "{yaml:?} {environment:?}: {error}");
        }
        assert!(load("# nothing\n", &[]).is_ok());
    }
}
