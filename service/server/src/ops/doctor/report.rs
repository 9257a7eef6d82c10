//! What was found, and how it is mended.

use serde::Serialize;
use std::fmt;

/// How something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// As it must be.
    Good,
    /// It works, and should be looked at; or it cannot be seen from here.
    Note,
    /// Something does not work, or a promise cannot be kept.
    Wrong,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What. The same in every version.
    pub name: &'static str,
    /// How it is.
    pub judgement: Judgement,
    /// What was found.
    pub found: String,
    /// What mends it: a command, or what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Check {
    /// As it must be.
    pub fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, judgement: Judgement::Good, found: found.into(), mend: None }
    }

    /// To be looked at.
    pub fn note(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, judgement: Judgement::Note, found: found.into(), mend: Some(mend.into()) }
    }

    /// Wrong.
    pub fn wrong(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, judgement: Judgement::Wrong, found: found.into(), mend: Some(mend.into()) }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.judgement {
            Judgement::Good => '✓',
            Judgement::Note => '!',
            Judgement::Wrong => '✗',
        };
        write!(f, "{mark} {}: {}", self.name, self.found)?;
        match &self.mend {
            Some(mend) => write!(f, "\n    → {mend}"),
            None => Ok(()),
        }
    }
}

/// Everything that was looked at.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// In the order in which it was.
    pub checks: Vec<Check>,
}

impl Report {
    /// How many are wrong.
    pub fn wrong(&self) -> usize {
        self.checks.iter().filter(|check| check.judgement == Judgement::Wrong).count()
    }

    pub(super) fn add(&mut self, checks: impl IntoIterator<Item = Check>) {
        self.checks.extend(checks);
    }

    /// Adds what was found; a thing that could not be looked at is wrong.
    pub(super) fn add_found(&mut self, name: &'static str, found: Result<Vec<Check>, sqlx::Error>) {
        match found {
            Ok(checks) => self.add(checks),
            Err(error) => self.add([Check::wrong(
                name,
                format!("it cannot be looked at: {error}"),
                "mend what is named above, then ask again",
            )]),
        }
    }
}
