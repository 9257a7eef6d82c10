//! Comparing every derived table with what the events fold into.

use super::findings::Findings;
use super::walk::{Committed, Walk};
use super::{Progress, SNAPSHOT, VerifyError};
use crate::read_model::tables::{LoadError, rows};
use counterfoil_domain::gateway::Gateway;
use counterfoil_domain::ids::{EnvironmentId, GatewayId, OrganizationId, UserId, ValueId};
use counterfoil_domain::organization::{Environment, Organization};
use counterfoil_domain::state::State;
use counterfoil_domain::user::User;
use futures_util::TryStreamExt;
use serde::Serialize;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Postgres, Row};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Display;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Compares all tables, the largest in a task of its own, on a connection that is to see the same snapshot, by its name. How
/// many rows there were.
pub(super) async fn compare(
    snapshot: &mut PgConnection,
    beside: (PoolConnection<Postgres>, String),
    walk: &mut Walk,
    progress: &Arc<Progress>,
) -> Result<u64, VerifyError> {
    let Walk { state, findings, values, .. } = walk;
    let folded = Arc::new(std::mem::take(state));
    // Given up with the rest, if that is.
    let mut task = JoinSet::new();
    task.spawn(compare_tokens(beside, folded.clone(), progress.clone()));
    let tokens = async { task.join_next().await.and_then(Result::ok).ok_or(VerifyError::Interrupted)? };
    let mut tables = Tables { snapshot, findings, rows: Compared { count: 0, progress } };
    let ((), (of_tokens, count)) = tokio::try_join!(tables.all_but_tokens(&folded, values), tokens)?;
    let rows = tables.rows.count + count;
    findings.add(of_tokens);
    *state = Arc::into_inner(folded).unwrap_or_default();
    Ok(rows)
}

async fn compare_tokens(
    (mut connection, name): (PoolConnection<Postgres>, String),
    folded: Arc<State>,
    progress: Arc<Progress>,
) -> Result<(Findings, u64), VerifyError> {
    let mut snapshot = connection.begin_with(SNAPSHOT).await?;
    // It takes no parameter; the name is the server's own.
    sqlx::query(AssertSqlSafe(format!("SET TRANSACTION SNAPSHOT '{name}'"))).execute(&mut *snapshot).await?;
    let mut findings = Findings::default();
    let rows = Compared { count: 0, progress: &progress };
    let mut tables = Tables { snapshot: &mut snapshot, findings: &mut findings, rows };
    tables.tokens(&folded.tokens).await?;
    let count = tables.rows.count;
    snapshot.rollback().await?;
    Ok((findings, count))
}

/// An entity that has a table.
trait Entity: Serialize + Sized {
    type Id: Copy + Eq + Hash + Display;
    const TABLE: &'static str;
    const COLUMNS: &'static str;
    fn read(row: &PgRow) -> Result<Self, LoadError>;
    fn id(&self) -> Self::Id;
    fn named(id: Uuid) -> Self::Id;
    /// Whether two are the same, as far as the table goes.
    fn same(&self, other: &Self) -> bool;
}

macro_rules! entity {
    ($type:ty, $id:ident, $table:literal, $columns:expr, $read:path, |$a:ident, $b:ident| $same:expr) => {
        impl Entity for $type {
            type Id = $id;
            const TABLE: &'static str = $table;
            const COLUMNS: &'static str = $columns;
            fn read(row: &PgRow) -> Result<Self, LoadError> {
                $read(row)
            }
            fn id(&self) -> Self::Id {
                self.id
            }
            fn named(id: Uuid) -> Self::Id {
                $id(id)
            }
            fn same(&self, other: &Self) -> bool {
                let ($a, $b) = (self, other);
                $same
            }
        }
    };
}

entity!(Organization, OrganizationId, "organizations", rows::ORGANIZATION, rows::organization, |a, b| a == b);
entity!(Environment, EnvironmentId, "environments", rows::ENVIRONMENT, rows::environment, |a, b| a == b);
// What stands of an owner is not in its row: the claims are compared for that.
entity!(Gateway, GatewayId, "gateways", rows::GATEWAY, rows::gateway, |a, b| {
    *a == Gateway { standing: a.standing.clone(), ..b.clone() }
});
entity!(User, UserId, "users", rows::USER, rows::user, |a, b| {
    *a == User { standing: a.standing.clone(), ..b.clone() }
});

/// Said of a row where a key was dropped: nothing here relies on one.
pub(super) const TWICE: &str = "it is there more than once";

/// Said of a row where a NOT NULL was dropped: nothing here relies on that either.
pub(super) const NULL: &str = "a field of it is null";

/// An id as it is shown, if it is there.
pub(super) fn shown(id: Option<Uuid>) -> String {
    id.map_or_else(|| "(null)".into(), |id| id.to_string())
}

/// Why a row cannot be read, where the reason is the row.
fn unreadable(error: LoadError) -> Result<String, VerifyError> {
    match error {
        LoadError::Unreadable(unreadable) => Ok(unreadable.to_string()),
        LoadError::Database(sqlx::Error::ColumnDecode { index, .. }) => {
            Ok(format!("its column {index} cannot be read"))
        }
        LoadError::Database(error) => Err(error.into()),
    }
}

pub(super) struct Tables<'a> {
    pub(super) snapshot: &'a mut PgConnection,
    pub(super) findings: &'a mut Findings,
    pub(super) rows: Compared<'a>,
}

/// Counts rows.
pub(super) struct Compared<'a> {
    count: u64,
    progress: &'a Progress,
}

impl Compared<'_> {
    pub(super) fn one(&mut self) {
        self.count += 1;
        self.progress.rows.fetch_add(1, Ordering::Relaxed);
    }
}

impl Tables<'_> {
    async fn all_but_tokens(
        &mut self,
        state: &State,
        values: &HashMap<ValueId, Committed>,
    ) -> Result<(), VerifyError> {
        self.slots(state).await?;
        self.digests(state).await?;
        self.entities::<Organization>(&state.organizations).await?;
        self.entities::<Environment>(&state.environments).await?;
        self.entities::<Gateway>(&state.gateways).await?;
        self.entities::<User>(&state.users).await?;
        self.values(values).await?;
        self.sign_in().await
    }

    async fn entities<E: Entity>(&mut self, folded: &HashMap<E::Id, E>) -> Result<(), VerifyError> {
        // The text is made of constants only.
        let sql = format!("SELECT {} FROM {}", E::COLUMNS, E::TABLE);
        let mut seen = HashSet::with_capacity(folded.len());
        let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut *self.snapshot);
        while let Some(row) = rows.try_next().await? {
            self.rows.one();
            let stored = match E::read(&row) {
                Ok(stored) => stored,
                Err(error) => {
                    let (id, what): (Option<Uuid>, _) = (row.try_get(0)?, unreadable(error)?);
                    seen.extend(id.map(E::named).filter(|id| folded.contains_key(id)));
                    self.findings.row(E::TABLE, shown(id), what);
                    continue;
                }
            };
            let id = stored.id();
            let Some(folded) = folded.get(&id) else {
                self.findings.row(E::TABLE, id, "no event made it");
                continue;
            };
            if !seen.insert(id) {
                self.findings.row(E::TABLE, id, TWICE);
            }
            if !stored.same(folded) {
                for what in fields(&stored, folded) {
                    self.findings.row(E::TABLE, id, what);
                }
            }
        }
        drop(rows);
        if seen.len() < folded.len() {
            for id in folded.keys().filter(|id| !seen.contains(id)) {
                self.findings.row(E::TABLE, id, "the events made it, and it is not there");
            }
        }
        Ok(())
    }
}

/// What differs between a row and the fold, field by field.
pub(super) fn fields(stored: &impl Serialize, folded: &impl Serialize) -> Vec<String> {
    let json = |value: Result<serde_json::Value, _>| match value {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (stored, folded) = (json(serde_json::to_value(stored)), json(serde_json::to_value(folded)));
    let names: BTreeSet<&String> = stored.keys().chain(folded.keys()).collect();
    let differing = names.into_iter().filter(|name| stored.get(*name) != folded.get(*name));
    let value = |side: &serde_json::Map<String, serde_json::Value>, name: &String| {
        side.get(name).map_or_else(|| "absent".into(), serde_json::Value::to_string)
    };
    differing
        .map(|name| {
            format!("{name} is {} in the table and {} by the log", value(&stored, name), value(&folded, name))
        })
        .collect()
}
