//! What runs without a file.

use super::{Api, Config, Drain, Limits, Log, LogFormat, Metrics};
use counterfoil_domain::plaintext::Prefixes;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            database_url: None,
            database_migrate_url: None,
            public_url: None,
            prefixes: Prefixes::default(),
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
