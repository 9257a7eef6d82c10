//! The configuration: one file, overridden by the environment. Unknown fields are refused, since a misspelt limit
//! would be no limit.

use counterfoil_domain::plaintext::Prefixes;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// Everything that can be configured. [`Config::default`] is what runs without a file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the private PostgreSQL and its locks live. Default `./data`.
    pub data_dir: PathBuf,
    /// The database to use instead of a private one; also `DATABASE_URL`. It may hold a password.
    pub database_url: Option<String>,
    /// The address by which clients reach the service: the issuer (RFC 8414), byte for byte. Never taken from a
    /// request. Default `http://` and `api.addr`.
    pub public_url: Option<String>,
    /// The API's listener.
    pub api: Api,
    /// The listener of the metrics.
    pub metrics: Metrics,
    /// Networks whose `X-Forwarded-For` is believed: the rightmost address of it that is in none of them is the
    /// client's. Default none, so that the peer is the client. In the environment: separated by commas.
    pub trusted_proxies: Vec<IpNet>,
    /// Limits.
    pub limits: Limits,
    /// How the service stops.
    pub drain: Drain,
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

/// The listener of the metrics: one of its own, since their labels are not for strangers.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Whether there is one. Default true.
    pub enabled: bool,
    /// Where it listens. Default `127.0.0.1:9464`.
    pub addr: SocketAddr,
}

/// Limits. A rate has a burst: so many at once, after a rest.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Standing personal tokens per user, 1 to 50. Default 50.
    pub tokens_per_user: usize,
    /// Connections at a time. Default 10000.
    pub connections: usize,
    /// Requests under way at a time; what comes on top is answered 503. Default 2048.
    pub requests: usize,
    /// Requests a second of one working credential. Introspections by a gateway are not counted. Default 1000.
    pub credential_per_second: NonZeroU32,
    /// The burst of that. Default 2000.
    pub credential_burst: NonZeroU32,
    /// Failed authentications a second of one address (of one /64 for IPv6); working credentials from the same
    /// address are not held up. The first request of a session after a restart counts too. Default 20.
    pub failures_per_second: NonZeroU32,
    /// The burst of that. Default 100.
    pub failures_burst: NonZeroU32,
    /// Requests a second of one address at the doors that need no credential, such as the metadata. Default 50.
    pub strangers_per_second: NonZeroU32,
    /// The burst of that. Default 200.
    pub strangers_burst: NonZeroU32,
    /// Failures to sign in a minute, from one address, and in the long run for one account; an account's owner is not
    /// held up where it has signed in lately. Default 10.
    pub sign_in_failures: NonZeroU32,
}

/// After the first signal: not ready, then no new connections, then the end. A second signal ends at once.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// How long `/readyz` says 503 before new connections are refused, in milliseconds: a balancer in front should
    /// look more often than that. Default 500.
    pub notice_ms: u64,
    /// How long requests under way may take after that, in milliseconds. Default 10000.
    pub timeout_ms: u64,
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
            metrics: Metrics::default(),
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
            drain: Drain::default(),
            log: Log::default(),
        }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self { addr: SocketAddr::from(([127, 0, 0, 1], 8080)) }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self { enabled: true, addr: SocketAddr::from(([127, 0, 0, 1], 9464)) }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self { notice_ms: 500, timeout_ms: 10_000 }
    }
}

/// A limit that is not zero.
fn rate(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tokens_per_user: counterfoil_domain::user::STANDING_TOKENS,
            connections: 10_000,
            requests: 2048,
            credential_per_second: rate(1000),
            credential_burst: rate(2000),
            failures_per_second: rate(20),
            failures_burst: rate(100),
            strangers_per_second: rate(50),
            strangers_burst: rate(200),
            sign_in_failures: rate(10),
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
        *place = like(place, value);
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
        if !fits || url.contains(['@', '#', '"', '\\', '{', '}', '*']) {
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
    fn lists_and_switches_come_from_the_environment_too() {
        let config = load(
            "",
            &[
                ("COUNTERFOIL__TRUSTED_PROXIES", "10.0.0.0/8, ::1/128"),
                ("COUNTERFOIL__METRICS__ENABLED", "false"),
            ],
        )
        .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((config.trusted_proxies.len(), config.metrics.enabled), (2, false));
    }

    /// Every field with its place, a list as a whole.
    fn leaves(tree: &serde_json::Value, place: &str, out: &mut Vec<String>) {
        match tree.as_object() {
            Some(fields) => {
                fields.iter().for_each(|(name, inner)| leaves(inner, &format!("{place}.{name}"), out))
            }
            None => out.push(format!("{place} = {tree}")),
        }
    }

    #[test]
    fn the_sample_holds_every_field_with_its_default() {
        let sample =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../ops/counterfoil.yaml"));
        let sample = sample.unwrap_or_else(|error| panic!("{error}"));
        let (mut written, mut meant) = (Vec::new(), Vec::new());
        let tree: serde_json::Value = serde_saphyr::from_str(&sample).unwrap();
        leaves(&tree, "", &mut written);
        leaves(&serde_json::to_value(Config::default()).unwrap(), "", &mut meant);
        assert_eq!(written, meant);
        assert!(load(&sample, &[]).is_ok());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (yaml, environment, said) in [
            ("api:\n  adr: 127.0.0.1:1\n", vec![], "adr"),
            ("nonsense: 1\n", vec![], "line 1"),
            ("limits:\n  tokens_per_user: 51\n", vec![], "limits.tokens_per_user"),
            ("public_url: ftp://x\n", vec![], "public_url"),
            ("public_url: 'http://x/{y}'\n", vec![], "public_url"),
            ("limits:\n  failures_burst: 0\n", vec![], "line 2"),
            ("trusted_proxies: [10.0.0.0/33]\n", vec![], "line 1"),
            ("", vec![("COUNTERFOIL__METRICS__ENABLED", "perhaps")], "COUNTERFOIL__METRICS__ENABLED"),
            ("", vec![("COUNTERFOIL__API__ADR", "x")], "COUNTERFOIL__API__ADR"),
            ("", vec![("COUNTERFOIL__API__ADDR", "x")], "COUNTERFOIL__API__ADDR"),
        ] {
            let error = load(yaml, &environment).err().unwrap_or_default();
            assert!(error.contains(said), "{yaml:?} {environment:?}: {error}");
        }
        assert!(load("# nothing\n", &[]).is_ok());
    }
}
