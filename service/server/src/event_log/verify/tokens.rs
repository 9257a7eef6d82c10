//! Comparing the largest table: by COPY, for a driver's row of 23 columns costs as much as the comparison. Of a query: the
//! COPY of a table leaves out those that inherit from it, and whatever serves reads them.

use super::VerifyError;
use super::seen::Positions;
use super::tables::{TWICE, Tables, fields, shown};
use crate::postgres::copy::{Fields, copy};
use crate::read_model::tables::LoadError;
use crate::read_model::tables::token_copy::{COUNT, Reader};
use crate::read_model::tables::token_row::COLUMNS;
use counterfoil_domain::ids::TokenId;
use counterfoil_domain::token::Token;
use futures_util::TryStreamExt;
use std::collections::HashMap;

const TABLE: &str = "tokens";

impl Tables<'_> {
    /// Each token has the row that the events fold into, and no other row is there.
    pub(super) async fn tokens(&mut self, folded: &HashMap<TokenId, Box<Token>>) -> Result<(), VerifyError> {
        let (mut reader, mut seen) = (Reader::default(), Positions::default());
        let sql = format!("COPY (SELECT {COLUMNS} FROM tokens) TO STDOUT (FORMAT binary)");
        let mut rows = copy(self.snapshot, &sql).await?;
        while let Some(row) = rows.try_next().await? {
            let Some(mut columns) = Fields::next(&row, COUNT) else { continue };
            self.rows.one();
            let stored = match reader.whole(&mut columns) {
                Ok(stored) => stored,
                Err(LoadError::Database(error)) => return Err(error.into()),
                Err(LoadError::Unreadable(unreadable)) => {
                    // The id comes first.
                    let id = Fields::next(&row, COUNT).ok_or(VerifyError::Copy)?.optional_uuid()?;
                    if let Some(folded) = id.and_then(|id| folded.get(&TokenId(id))) {
                        seen.insert(folded.issued_seq);
                    }
                    self.findings.row(TABLE, shown(id), unreadable.to_string());
                    continue;
                }
            };
            match folded.get(&stored.id) {
                None => self.findings.row(TABLE, stored.id, "no event made it"),
                Some(folded) => {
                    if !seen.insert(folded.issued_seq) {
                        self.findings.row(TABLE, stored.id, TWICE);
                    }
                    if stored != **folded {
                        let differing = fields(&stored, &**folded);
                        differing.into_iter().for_each(|what| self.findings.row(TABLE, stored.id, what));
                    }
                }
            }
        }
        drop(rows);
        if seen.len() < folded.len() {
            for token in folded.values().filter(|token| !seen.contains(token.issued_seq)) {
                self.findings.row(TABLE, token.id, "the events made it, and it is not there");
            }
        }
        Ok(())
    }
}
