//! The settings of our sessions, and those without which no promise could be kept.

use super::connect::DatabaseError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

/// The settings of every session of ours. Plans made on empty tables must not stay, or issuing becomes slower by
/// four within seconds; a server's time limits must not end the writer. What is set here goes before what a
/// database or a role has set.
pub(crate) fn for_service(options: PgConnectOptions) -> PgConnectOptions {
    in_our_schema(options)
        .application_name("counterfoil")
        .options([
            ("plan_cache_mode", "force_custom_plan"),
            ("statement_timeout", "0"),
            ("lock_timeout", "0"),
            ("idle_session_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
            ("tcp_keepalives_idle", "5"),
            ("tcp_keepalives_interval", "2"),
            ("tcp_keepalives_count", "3"),
            ("timezone", "UTC"),
        ])
        .disable_statement_logging()
}

/// Our tables are named without their schema. One of the login's name, or one that a database or a role puts first, may
/// hold tables of the same names.
pub(crate) fn in_our_schema(options: PgConnectOptions) -> PgConnectOptions {
    options.options([("search_path", "public,pg_temp")])
}

/// The settings of a session that runs batches, on top of ours. Everything in a batch is looked up by key. Statistics lag
/// behind tables that grow by thousands of rows a second, and a plan that reads one of them whole makes every batch
/// slower than the one before.
pub fn for_writer(options: &PgConnectOptions) -> PgConnectOptions {
    let never = ["enable_seqscan", "enable_hashjoin", "enable_mergejoin"];
    options.clone().options(never.map(|plan| (plan, "off")))
}

/// The settings of the sessions that clients' reads run in, on top of ours. What one client asks can be much, such as a list
/// of all that ever ended; it is given up before it costs without an end, and before a handler's time is over, so that its
/// client is told which of the two it was.
pub(crate) fn for_reads(options: PgConnectOptions) -> PgConnectOptions {
    options.options([("statement_timeout", "20s")])
}

/// Has the server look, amid a statement, whether anybody still waits for it: who went away is not worked for.
pub(crate) async fn look_for_the_client(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let sql = "SELECT set_config('client_connection_check_interval', '2s', false)";
    match sqlx::query(sql).execute(connection).await {
        // A server on a system that cannot tell takes no other value than 0. The limit of a statement has to do there.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("22023") => Ok(()),
        done => done.map(drop),
    }
}

const LOST: &str = "an acknowledged event could be lost";
const DROPPED: &str = "a pooler in between does not pass our settings on; connect to PostgreSQL itself";
const CANCELLED: &str = "a cancelled commit can look like a success";

/// How many are asserted.
pub(crate) const COUNT: usize = ASSERTED.len();

/// Name, values that are taken, and why no other is.
const ASSERTED: [(&str, &[&str], &str); 12] = [
    ("fsync", &["on"], LOST),
    ("full_page_writes", &["on"], "a power cut could damage the log"),
    ("synchronous_commit", &["on", "remote_apply"], LOST),
    ("server_encoding", &["UTF8"], "names and notes are Unicode"),
    (
        "default_transaction_isolation",
        &["read committed"],
        "the writer reads the head in the statement after the lock",
    ),
    ("transaction_read_only", &["off"], "nothing could be written (is it a standby?)"),
    ("plan_cache_mode", &["force_custom_plan"], DROPPED),
    ("statement_timeout", &["0"], CANCELLED),
    ("lock_timeout", &["0"], "the writer waits for its lock"),
    ("idle_session_timeout", &["0"], "the writer's session would be ended while it is idle"),
    ("idle_in_transaction_session_timeout", &["0"], "a transaction would be ended in the middle"),
    // Since PostgreSQL 17; before, a session cannot even say that it wants none.
    ("transaction_timeout", &["0"], CANCELLED),
];

/// A setting under which no promise could be kept.
#[derive(Debug)]
pub struct Wrong {
    /// Which.
    pub name: &'static str,
    /// What it is.
    pub found: String,
    /// What it must be.
    pub wanted: &'static str,
    /// Why.
    pub why: &'static str,
}

/// What is wrong with the settings of a session of ours.
pub(crate) async fn wrong(connection: &mut PgConnection) -> Result<Vec<Wrong>, sqlx::Error> {
    let mut all = Vec::new();
    for (name, taken, why) in ASSERTED {
        let found: Option<String> = sqlx::query_scalar("SELECT current_setting($1, true)")
            .bind(name)
            .fetch_one(&mut *connection)
            .await?;
        if let Some(found) = found.filter(|found| !taken.contains(&found.as_str())) {
            all.push(Wrong { name, found, wanted: taken[0], why });
        }
    }
    Ok(all)
}

/// Makes what was found the session's own where a reload of the server's configuration would change it: else it would hold
/// for a commit that nobody has looked at.
pub(crate) async fn keep(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let sql = "SELECT set_config('synchronous_commit', current_setting('synchronous_commit'), false)";
    sqlx::query(sql).execute(connection).await.map(drop)
}

/// Refuses a database whose settings are wrong.
pub(crate) async fn check(options: &PgConnectOptions) -> Result<(), DatabaseError> {
    let mut connection = options.connect().await?;
    let first = wrong(&mut connection).await?.into_iter().next();
    connection.close().await?;
    match first {
        Some(Wrong { name, found, wanted, why }) => Err(DatabaseError::Setting { name, found, wanted, why }),
        None => Ok(()),
    }
}
