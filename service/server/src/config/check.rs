//! What no type refuses, and in which line of the file it stands.

use super::{Config, Drain, Limits};
use crate::postgres::given::address;
use counterfoil_domain::plaintext::{LONGEST_PREFIX, Prefixes};
use tracing_subscriber::EnvFilter;

/// A value that makes no sense.
pub(super) struct Wrong {
    /// The field's path.
    pub(super) key: &'static str,
    /// What is allowed.
    pub(super) message: String,
}

fn wrong(key: &'static str, message: impl Into<String>) -> Result<(), Wrong> {
    Err(Wrong { key, message: message.into() })
}

impl Config {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        self.limits.check()?;
        self.drain.check()?;
        if self.database_migrate_url.is_some() && self.database_url.is_none() {
            let message =
                "it says who migrates the database of database_url (DATABASE_URL), and there is none";
            return wrong("database_migrate_url", message);
        }
        if self.data_dir.as_os_str().is_empty() {
            return wrong("data_dir", "it is empty; without it the data lie in ./data");
        }
        prefixes(&self.prefixes)?;
        log_level(&self.log.level)?;
        self.public_url.as_deref().map_or(Ok(()), public_url)
    }

    /// The addresses of databases, as far as they are those that `used` uses. Those of the environment are told of under
    /// the names of their variables, where they are used.
    pub(super) fn check_addresses(&self, used: &Self) -> Result<(), Wrong> {
        for (key, url, used) in [
            ("database_url", &self.database_url, &used.database_url),
            ("database_migrate_url", &self.database_migrate_url, &used.database_migrate_url),
        ] {
            let read = url.as_ref().filter(|_| url == used).map(|url| address(url));
            if let Some(Err(error)) = read {
                let message = format!("it is no address such as postgres://user@host/database: {error}");
                return wrong(key, message);
            }
        }
        Ok(())
    }
}

/// The most of anything that is counted: beyond it a semaphore would not hold, and a rate would have no period.
pub(super) const MOST: u64 = 1_000_000;
/// The longest that a drain may take over one of its parts, in milliseconds: an hour.
pub(super) const LONGEST_DRAIN: u64 = 3_600_000;

impl Limits {
    /// A limit of nothing would answer nobody.
    fn check(&self) -> Result<(), Wrong> {
        let most_tokens = counterfoil_domain::user::STANDING_TOKENS;
        within("limits.tokens_per_user", self.tokens_per_user as u64, 1, most_tokens as u64)?;
        for (key, places) in [("limits.connections", self.connections), ("limits.requests", self.requests)] {
            within(key, places as u64, 1, MOST)?;
        }
        for (key, rate) in [
            ("limits.credential_per_second", self.credential_per_second),
            ("limits.credential_burst", self.credential_burst),
            ("limits.failures_per_second", self.failures_per_second),
            ("limits.failures_burst", self.failures_burst),
            ("limits.strangers_per_second", self.strangers_per_second),
            ("limits.strangers_burst", self.strangers_burst),
            ("limits.sign_in_failures", self.sign_in_failures),
        ] {
            within(key, rate.get().into(), 1, MOST)?;
        }
        Ok(())
    }
}

impl Drain {
    fn check(&self) -> Result<(), Wrong> {
        within("drain.notice_ms", self.notice_ms, 0, LONGEST_DRAIN)?;
        within("drain.timeout_ms", self.timeout_ms, 0, LONGEST_DRAIN)
    }
}

fn within(key: &'static str, value: u64, least: u64, most: u64) -> Result<(), Wrong> {
    if (least..=most).contains(&value) { Ok(()) } else { wrong(key, format!("it is {least} to {most}")) }
}

fn log_level(level: &str) -> Result<(), Wrong> {
    let read = EnvFilter::try_new(level).map(drop);
    read.or_else(|error| {
        wrong("log.level", format!("it is no level, nor a filter such as info,sqlx=warn: {error}"))
    })
}

/// It is part of routes, where segments that begin with `:` or `*` and braces would be patterns, and of headers.
fn public_url(url: &str) -> Result<(), Wrong> {
    let uri: Result<http::Uri, _> = url.parse();
    // In lower case, by which it is compared; clients resolve dots, and would take `//` in a `Location` for a host.
    let is_http = url.starts_with("http://") || url.starts_with("https://");
    let is_dots = |segment: &str| matches!(&*segment.to_ascii_lowercase().replace("%2e", "."), "." | "..");
    let fits = uri.is_ok_and(|uri| {
        let port = uri.authority().and_then(|authority| authority.as_str().strip_prefix(uri.host()?));
        is_http
            && port.is_some_and(|port| port.is_empty() || uri.port_u16().is_some_and(|port| port > 0))
            && uri.query().is_none()
            && !uri.path().contains("/:")
            && !uri.path().contains("//")
            && !uri.path().split('/').any(is_dots)
    });
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits || !is_plain || url.contains(['@', '#', '"', '\\', '{', '}', '*', '<', '>']) {
        return wrong("public_url", format!("{url:?} is not an address such as https://tokens.example.com"));
    }
    Ok(())
}

/// Whoever finds a plaintext, a scanner for one, tells its kind by the beginning: so no prefix begins another.
fn prefixes(prefixes: &Prefixes) -> Result<(), Wrong> {
    let Prefixes { personal, admin, caller, gateway } = prefixes;
    let default = Prefixes::default();
    let mut all = [
        ("prefixes.personal", personal, &default.personal),
        ("prefixes.admin", admin, &default.admin),
        ("prefixes.caller", caller, &default.caller),
        ("prefixes.gateway", gateway, &default.gateway),
    ];
    // Of two that do not fit each other, the later one is told of: the one that was set, and no default that it meets.
    all.sort_by_key(|(_, prefix, default)| prefix != default);
    for (place, (key, prefix, _)) in all.into_iter().enumerate() {
        let fits = (2..=LONGEST_PREFIX).contains(&prefix.len())
            && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && prefix.ends_with('_');
        if !fits {
            let message = format!(
                "{prefix:?} is not 2 to {LONGEST_PREFIX} of the characters A-Z, a-z, 0-9 and _, the last of them _"
            );
            return wrong(key, message);
        }
        let alike = |other: &str| prefix.starts_with(other) || other.starts_with(prefix.as_str());
        if let Some((key_of_other, other, _)) = all[..place].iter().find(|(_, other, _)| alike(other)) {
            let message = format!("{prefix:?} and {key_of_other} ({other:?}): neither may begin the other");
            return wrong(key, message);
        }
    }
    Ok(())
}

/// The line of the file in which a field stands, or what it would stand in.
pub(super) fn line_of(text: &str, key: &str) -> Option<usize> {
    let mut lines =
        text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#')).peekable();
    let mut found = None;
    for level in key.split('.') {
        let named = format!("{level}:");
        let is_here = |line: &str| line.split([' ', '{', ',']).any(|word| word.starts_with(&named));
        // The levels of a flow mapping stand in one line.
        while lines.next_if(|(_, line)| !is_here(line)).is_some() {}
        found = lines.peek().map(|(place, _)| place + 1).or(found);
    }
    found
}
