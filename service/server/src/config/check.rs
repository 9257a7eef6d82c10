//! What no type refuses, and in which line of the file it stands.

use super::Config;
use counterfoil_domain::plaintext::{LONGEST_PREFIX, Prefixes};

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
        if !(1..=counterfoil_domain::user::STANDING_TOKENS).contains(&self.limits.tokens_per_user) {
            return wrong("limits.tokens_per_user", "it is 1 to 50");
        }
        if self.database_migrate_url.is_some() && self.database_url.is_none() {
            let message =
                "it says who migrates the database of database_url (DATABASE_URL), and there is none";
            return wrong("database_migrate_url", message);
        }
        prefixes(&self.prefixes)?;
        public_url(&self.issuer())
    }
}

fn public_url(url: &str) -> Result<(), Wrong> {
    let uri: Result<http::Uri, _> = url.parse();
    let fits = uri.is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none()
    });
    if !fits || url.contains(['@', '#', '"', '\\', '{', '}', '*']) {
        return wrong("public_url", format!("{url:?} is not an address such as https://tokens.example.com"));
    }
    Ok(())
}

/// Whoever finds a plaintext, a scanner for one, tells its kind by the beginning: so no prefix begins another.
fn prefixes(prefixes: &Prefixes) -> Result<(), Wrong> {
    let Prefixes { personal, admin, caller, gateway } = prefixes;
    let all = [
        ("prefixes.personal", personal),
        ("prefixes.admin", admin),
        ("prefixes.caller", caller),
        ("prefixes.gateway", gateway),
    ];
    for (place, (key, prefix)) in all.into_iter().enumerate() {
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
        if let Some((key_of_other, other)) = all[..place].iter().find(|(_, other)| alike(other)) {
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
