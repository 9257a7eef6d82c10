//! What was found wrong, by name.

use counterfoil_domain::ids::Seq;
use serde::Serialize;
use std::fmt;

/// One difference between what is there and what must be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The event, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// The table, if it is about a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<&'static str>,
    /// The row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(seq) = self.seq {
            write!(f, "event {seq}: ")?;
        }
        if let Some(table) = self.table {
            write!(f, "{table} {}: ", self.id.as_deref().unwrap_or_default())?;
        }
        f.write_str(&self.what)
    }
}

/// All that was found. Of very many the first are kept: one missing event can make a million rows differ.
#[derive(Debug, Default)]
pub struct Findings {
    /// The first of them.
    pub first: Vec<Difference>,
    /// How many there are.
    pub count: u64,
}

/// How many differences are kept.
const KEPT: usize = 1000;

impl Findings {
    /// Notes something wrong with an event.
    pub fn event(&mut self, seq: Seq, what: impl Into<String>) {
        self.note(Difference { seq: Some(seq), table: None, id: None, what: what.into() });
    }

    /// Notes something wrong with a row.
    pub fn row(&mut self, table: &'static str, id: impl ToString, what: impl Into<String>) {
        self.note(Difference { seq: None, table: Some(table), id: Some(id.to_string()), what: what.into() });
    }

    /// Notes something wrong with a line of a file.
    pub fn line(&mut self, number: u64, what: impl fmt::Display) {
        self.file(format!("line {number}: {what}"));
    }

    /// Notes something wrong with a file.
    pub fn file(&mut self, what: impl Into<String>) {
        self.note(Difference { seq: None, table: None, id: None, what: what.into() });
    }

    /// Adds what was found elsewhere.
    pub fn add(&mut self, others: Self) {
        self.count += others.count;
        let room = KEPT.saturating_sub(self.first.len());
        self.first.extend(others.first.into_iter().take(room));
    }

    fn note(&mut self, difference: Difference) {
        self.count += 1;
        if self.first.len() < KEPT {
            self.first.push(difference);
        }
    }
}
