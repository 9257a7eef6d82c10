//! The configuration: one file, overridden by the environment. Unknown fields are refused, since a misspelt limit
//! would be no limit.

mod check;
mod defaults;
mod proxies;
mod read;
mod shape;
#[cfg(test)]
mod tests;
mod variables;

pub use read::ConfigError;

use counterfoil_domain::plaintext::Prefixes;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

/// Everything that can be configured. [`Config::default`] is what runs without a file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the private PostgreSQL and its locks live. Default `./data`.
    pub data_dir: PathBuf,
    /// The database to use instead of a private one; also `DATABASE_URL`. It may hold a password.
    pub database_url: Option<String>,
    /// As whom that database is migrated, where the service itself logs in as a role that may not; also
    /// `DATABASE_MIGRATE_URL`. Default none: `database_url` migrates.
    pub database_migrate_url: Option<String>,
    /// The address by which clients reach the service: the issuer (RFC 8414), byte for byte. Never taken from a
    /// request. Default `http://` and `api.addr`.
    pub public_url: Option<String>,
    /// How plaintexts begin: 2 to 16 characters each, the last of them `_`; none begins another. Tokens that were issued
    /// under others go on working. Defaults `cf_pat_`, `cf_org_`, `cf_key_`, `cf_gw_`.
    pub prefixes: Prefixes,
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
    /// Connections at a time, 1 to 1000000, as all limits that follow. One in 32 may speak HTTP/2, and one in 32 may keep
    /// the service waiting, for a body or with an answer (64 may in any case, and 4096 at most); of more, those make way on
    /// which nothing moves. Default 10000.
    pub connections: usize,
    /// Requests under way at a time, and as many streams of HTTP/2 beyond the first of each connection; what comes on top
    /// is answered 503. Default 2048.
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

/// After the first signal: not ready, then no new connections, then the end. A second signal ends at once. Either part
/// takes an hour at most.
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

impl Config {
    /// The issuer: `public_url`, or the API's own address.
    pub fn issuer(&self) -> String {
        self.public_url.clone().unwrap_or_else(|| format!("http://{}", self.api.addr))
    }
}
