//! Comparing what events only commit to, and what leads to a user: personal values, addresses and passwords.

use super::VerifyError;
use super::tables::{NULL, TWICE, Tables, shown};
use super::walk::Committed;
use crate::read_model::tables::beside::folded;
use counterfoil_domain::ids::ValueId;
use counterfoil_domain::value::commitment;
use futures_util::TryStreamExt;
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

impl Tables<'_> {
    /// Every value is the one that an event commits to, and each that an event commits to is there.
    pub(super) async fn values(
        &mut self,
        committed: &HashMap<ValueId, Committed>,
    ) -> Result<(), VerifyError> {
        let mut seen = HashSet::with_capacity(committed.len());
        let sql = "SELECT id, subject, value, folded, salt FROM personal_values";
        let mut rows = sqlx::query(sql).fetch(&mut *self.snapshot);
        while let Some(row) = rows.try_next().await? {
            self.rows.one();
            let Some(id) = row.try_get::<Option<Uuid>, _>(0)? else {
                self.findings.row("personal_values", shown(None), NULL);
                continue;
            };
            let Some(committed) = committed.get(&ValueId(id)) else {
                self.findings.row("personal_values", id, "no event commits to it");
                continue;
            };
            if !seen.insert(ValueId(id)) {
                self.findings.row("personal_values", id, TWICE);
            }
            let Some(Personal { subject, value, as_folded, salt }) = Personal::read(&row)? else {
                self.findings.row("personal_values", id, NULL);
                continue;
            };
            let fits =
                <&[u8; 16]>::try_from(salt).is_ok_and(|salt| commitment(salt, value) == committed.commitment);
            if !fits {
                let what = format!("it is not the value that event {} commits to", committed.seq);
                self.findings.row("personal_values", id, what);
            }
            if !is_folded(value, as_folded) {
                self.findings.row("personal_values", id, "the folded form is another value's");
            }
            if committed.subject.is_some_and(|expected| expected != subject) {
                self.findings.row("personal_values", id, "its subject is not the event's");
            }
        }
        drop(rows);
        for (id, committed) in committed.iter().filter(|(id, _)| !seen.contains(id)) {
            let what = format!("event {} commits to it, and it is not there", committed.seq);
            self.findings.row("personal_values", id.0, what);
        }
        Ok(())
    }

    /// The ways in that are derived: an address leads to the user whose it is, and a password is there exactly if an
    /// event set one.
    pub(super) async fn sign_in(&mut self) -> Result<(), VerifyError> {
        for (table, sql, what) in [
            (
                "sign_in_names",
                "SELECT s.user_id FROM sign_in_names s LEFT JOIN users u ON u.id = s.user_id
                 LEFT JOIN personal_values v ON v.id = u.email_id WHERE v.folded IS DISTINCT FROM s.key",
                "it is not the user's address",
            ),
            (
                "sign_in_names",
                "SELECT u.id FROM users u JOIN personal_values v ON v.id = u.email_id
                 WHERE NOT EXISTS (SELECT FROM sign_in_names s WHERE s.user_id = u.id)",
                "the user's address is not there",
            ),
            (
                "password_hashes",
                "SELECT COALESCE(p.user_id, u.id) FROM password_hashes p FULL JOIN users u ON u.id = p.user_id
                 WHERE (p.hash IS NOT NULL) <> (COALESCE(u.password_set, 0) > 0)",
                "a password is there without an event that set it, or missing",
            ),
            ("sign_in_names", "SELECT user_id FROM sign_in_names GROUP BY 1 HAVING count(*) > 1", TWICE),
            ("password_hashes", "SELECT user_id FROM password_hashes GROUP BY 1 HAVING count(*) > 1", TWICE),
        ] {
            for id in sqlx::query_scalar::<_, Option<Uuid>>(sql).fetch_all(&mut *self.snapshot).await? {
                self.findings.row(table, shown(id), what);
            }
        }
        Ok(())
    }
}

/// What a personal value's row has beside its id.
struct Personal<'a> {
    subject: Uuid,
    value: &'a str,
    as_folded: &'a str,
    salt: &'a [u8],
}

impl<'a> Personal<'a> {
    /// None if any of it is null.
    fn read(row: &'a PgRow) -> Result<Option<Self>, sqlx::Error> {
        let (subject, value): (Option<Uuid>, Option<&str>) = (row.try_get(1)?, row.try_get(2)?);
        let (as_folded, salt): (Option<&str>, Option<&[u8]>) = (row.try_get(3)?, row.try_get(4)?);
        let all = subject.zip(value).zip(as_folded.zip(salt));
        Ok(all.map(|((subject, value), (as_folded, salt))| Self { subject, value, as_folded, salt }))
    }
}

fn is_folded(value: &str, as_folded: &str) -> bool {
    if value.is_ascii() {
        let folded = value.bytes().map(|byte| byte.to_ascii_lowercase());
        return folded.eq(as_folded.bytes());
    }
    folded(value) == as_folded
}
