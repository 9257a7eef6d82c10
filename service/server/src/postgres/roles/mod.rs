//! Who owns the tables, and as whom the service works on them.
//!
//! A role that could become the owner of `events` could drop its trigger and edit the log. How far the service is kept
//! from that depends on what an operator gives; [`Arrangement`] has the three ways, the one that guards most first.
//! Roles belong to the whole cluster, and the lock of `migrate.rs` to one database: who makes them expects others to do the
//! same.

mod make;

pub(crate) use make::TABLES;
pub(super) use make::{grant, hand_over, make};

use super::migrate::MigrateError;
use sqlx::PgConnection;
use std::fmt;

/// How the owner and the service are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// The service logs in as a role that can never become the owner. So it is in a private cluster, and where
    /// `DATABASE_MIGRATE_URL` migrates.
    Apart,
    /// `DATABASE_URL` migrates, and every connection of the service works as a lesser role by SET ROLE. A mistake cannot
    /// edit the log; SQL of somebody's own can undo the SET ROLE first.
    SetRole,
    /// One role owns the tables and serves, because it may make no other. The trigger alone guards the log.
    One,
}

/// The roles of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    /// How they are kept apart.
    pub arrangement: Arrangement,
    /// Owns the tables.
    pub owner: String,
    /// What the service works as.
    pub service: String,
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, service, .. } = self;
        match self.arrangement {
            Arrangement::Apart => write!(f, "{owner} owns the tables, and the service logs in as {service}"),
            Arrangement::SetRole => {
                write!(f, "{owner} owns the tables, and the service works as {service} by SET ROLE")
            }
            Arrangement::One => write!(f, "one role, {owner}, owns the tables and serves"),
        }
    }
}

/// What a login finds, and may do.
#[derive(sqlx::FromRow)]
struct Facts {
    database: String,
    login: String,
    makes_roles: bool,
    /// Who owns `events`, if it is there.
    owner: Option<String>,
    can_become_owner: bool,
    can_become_service: bool,
}

impl Facts {
    async fn of(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let sql = "SELECT current_database()::text AS database, session_user::text AS login,
                r.rolcreaterole OR r.rolsuper AS makes_roles, pg_get_userbyid(c.relowner)::text AS owner,
                coalesce(pg_has_role(r.oid, c.relowner, 'MEMBER'), false) AS can_become_owner,
                coalesce(pg_has_role(r.oid, s.oid, 'MEMBER'), false) AS can_become_service
            FROM pg_roles r
            LEFT JOIN pg_class c ON c.oid = to_regclass('public.events')
            LEFT JOIN pg_roles s ON s.rolname = current_database() || '_service'
            WHERE r.rolname = session_user";
        sqlx::query_as(sql).fetch_one(connection).await
    }

    /// The roles as this login would arrange them, for a service that logs in by itself or for one that does not.
    fn arranged(self, serves: Option<&str>) -> Result<Roles, MigrateError> {
        let named = |what: &str| format!("{}_{what}", self.database);
        let is_ours = |owner: &str| self.can_become_owner || self.makes_roles && owner == named("owner");
        let owner = match &self.owner {
            Some(owner) if !is_ours(owner) => {
                return Err(MigrateError::NotTheOwner { login: self.login, owner: owner.clone() });
            }
            _ if self.makes_roles => named("owner"),
            Some(owner) => owner.clone(),
            None => self.login.clone(),
        };
        let (arrangement, service) = match serves {
            Some(login) => (Arrangement::Apart, login.to_string()),
            None if self.makes_roles || self.can_become_service => (Arrangement::SetRole, named("service")),
            None => (Arrangement::One, self.login),
        };
        Ok(Roles { arrangement, owner, service })
    }
}

impl Roles {
    /// Those of the private cluster.
    pub(crate) fn private(database: &str) -> Self {
        let (owner, service) = (format!("{database}_owner"), format!("{database}_service"));
        Self { arrangement: Arrangement::Apart, owner, service }
    }

    /// How the login of a connection that migrates would arrange them. `serves` is as whom the service logs in, if that
    /// is somebody else.
    pub(crate) async fn arranged_by(
        connection: &mut PgConnection,
        serves: Option<&str>,
    ) -> Result<Self, MigrateError> {
        Facts::of(connection).await?.arranged(serves)
    }

    /// The roles by which the login of a connection may serve and nothing more; none if it has to migrate itself.
    pub(crate) async fn of_who_only_serves(
        connection: &mut PgConnection,
    ) -> Result<Option<Self>, sqlx::Error> {
        let Facts { login, owner, .. } = Facts::of(connection).await?;
        let Some(owner) = owner else { return Ok(None) };
        let held_back = past_the_grants(connection, &login, &owner).await?.is_none();
        Ok(held_back.then_some(Self { arrangement: Arrangement::Apart, owner, service: login }))
    }
}

/// What lets a role edit the log, whatever it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// It may do anything, or make itself a member of other roles.
    Attributes,
    /// It may run programs, or write files, as the server.
    Programs,
    /// It can become the owner of the tables.
    Member,
    /// It owns the schema, or the database with it, and so can drop the tables.
    Schema,
}

/// Whether a role gets past the grants; none also if there is no such role.
pub(crate) async fn past_the_grants(
    connection: &mut PgConnection,
    role: &str,
    owner: &str,
) -> Result<Option<Past>, sqlx::Error> {
    let sql = "SELECT r.rolsuper OR r.rolcreaterole,
            EXISTS (SELECT 1 FROM pg_roles p WHERE pg_has_role(r.oid, p.oid, 'MEMBER')
                AND p.rolname IN ('pg_execute_server_program', 'pg_write_server_files')),
            coalesce(pg_has_role(r.oid, o.oid, 'MEMBER'), false),
            coalesce(pg_has_role(r.oid, n.nspowner, 'MEMBER'), false)
        FROM pg_roles r LEFT JOIN pg_roles o ON o.rolname = $2 LEFT JOIN pg_namespace n ON n.nspname = 'public'
        WHERE r.rolname = $1";
    let found: Option<(bool, bool, bool, bool)> =
        sqlx::query_as(sql).bind(role).bind(owner).fetch_optional(connection).await?;
    Ok(match found {
        Some((true, ..)) => Some(Past::Attributes),
        Some((_, true, ..)) => Some(Past::Programs),
        Some((_, _, true, _)) => Some(Past::Member),
        Some((.., true)) => Some(Past::Schema),
        _ => None,
    })
}

/// Whether there is a role of this name.
pub(crate) async fn is_there(connection: &mut PgConnection, role: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
        .bind(role)
        .fetch_one(connection)
        .await
}

/// A name as SQL text.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arranged(makes_roles: bool, owner: Option<(&str, bool)>, serves: Option<&str>) -> String {
        let facts = Facts {
            database: "shop".into(),
            login: "me".into(),
            makes_roles,
            owner: owner.map(|(owner, _)| owner.into()),
            can_become_owner: owner.is_some_and(|(_, can)| can),
            can_become_service: false,
        };
        facts.arranged(serves).map_or_else(|error| error.to_string(), |roles| roles.to_string())
    }

    #[test]
    fn roles_are_kept_as_far_apart_as_what_was_given_allows() {
        let apart = "shop_owner owns the tables, and the service logs in as app";
        assert_eq!(arranged(true, None, Some("app")), apart);
        assert_eq!(arranged(true, Some(("shop_owner", false)), Some("app")), apart);
        assert_eq!(arranged(false, Some(("shop_owner", true)), Some("app")), apart);
        assert_eq!(arranged(false, None, Some("app")), "me owns the tables, and the service logs in as app");
        let set_role = "shop_owner owns the tables, and the service works as shop_service by SET ROLE";
        assert_eq!(arranged(true, Some(("me", true)), None), set_role);
        assert_eq!(arranged(false, None, None), "one role, me, owns the tables and serves");
        for serves in [None, Some("app")] {
            for makes_roles in [false, true] {
                assert!(arranged(makes_roles, Some(("them", false)), serves).contains("belong to them"));
            }
        }
    }
}
