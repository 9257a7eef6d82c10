//! `rebuild`: every derived table can be emptied, or changed by hand, and is written anew from the log.

use super::{administrator, program, run, verified};
use crate::queue::until_somebody_waits;
use crate::support::tap::Cut;
use crate::support::{Service, everything};
use crate::whole::whole;
use counterfoil::event_log::APPEND_LOCK;
use counterfoil::event_log::rebuild::{self, RebuildError};
use counterfoil::event_log::steps::Step;
use counterfoil::event_log::verify::Progress;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgConnection};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

/// All that is derived from events, as nobody should find it.
const SPOILT: [&str; 12] = [
    "TRUNCATE tokens, claimed_slots",
    "UPDATE slot_eras SET era = 8",
    "ALTER TABLE slot_eras DROP CONSTRAINT slot_eras_pkey",
    "INSERT INTO slot_eras SELECT user_id, 3 FROM slot_eras",
    "DELETE FROM claimed_digests WHERE digest <> (SELECT digest FROM claimed_digests LIMIT 1)",
    "UPDATE claimed_digests SET era = 1",
    "INSERT INTO claimed_digests SELECT decode(repeat('ab', 32), 'hex'), 0, token_id FROM claimed_digests",
    "UPDATE users SET memberships = replace(memberships, 'member', 'owner')",
    "UPDATE gateways SET removed = NULL",
    "DELETE FROM environments",
    "UPDATE organizations SET revoked_all = 1000000",
    "UPDATE sign_in_names SET key = 'thief@example.com' WHERE key = 'owner@example.com'",
];

/// `rebuild`, on the data of a service that has stopped.
fn rebuild(data_dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counterfoil"));
    command.args(["rebuild", "--json"]).env("COUNTERFOIL__DATA_DIR", data_dir).output().unwrap()
}

fn done(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn of_table(document: &Value, table: &str) -> (u64, u64) {
    let tables = document["tables"].as_array().unwrap();
    let found = tables.iter().find(|of| of["table"] == table).unwrap();
    (found["rows"].as_u64().unwrap(), found["changed"].as_u64().unwrap())
}

async fn count(superuser: &mut PgConnection, table: &str) -> u64 {
    let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    sqlx::query_scalar::<_, i64>(sql).fetch_one(superuser).await.unwrap() as u64
}

async fn spoil_and_rebuild(mut superuser: PgConnection, data_dir: PathBuf) {
    let tokens = count(&mut superuser, "tokens").await;
    assert_eq!(done(&rebuild(&data_dir))["changed"], 0, "what is right stays");
    for sql in SPOILT {
        run(&mut superuser, sql).await;
    }
    // From a damaged log nothing follows, and what is there stays.
    run(&mut superuser, "UPDATE events SET chain = sha256('another') WHERE seq = 7").await;
    let refused = rebuild(&data_dir);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("nothing was changed") && said.contains("damaged"),
        "{said}"
    );
    assert_eq!(count(&mut superuser, "tokens").await, 0);
    run(&mut superuser, "UPDATE events e SET chain = s.chain FROM saved.events s WHERE s.seq = e.seq").await;

    let document = done(&rebuild(&data_dir));
    assert_eq!(of_table(&document, "tokens"), (tokens, tokens));
    assert_eq!(of_table(&document, "organizations"), (1, 1));
    assert_eq!(of_table(&document, "environments"), (1, 1));
    assert_eq!(of_table(&document, "sign_in_names").1, 1);
    assert!(of_table(&document, "gateways").1 > 0 && of_table(&document, "users").1 > 0, "{document}");
    assert_eq!(done(&rebuild(&data_dir))["changed"], 0, "it is written once");
    run(&mut superuser, "ALTER TABLE slot_eras ADD PRIMARY KEY (user_id)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_derived_table_is_written_anew_from_the_log() {
    let service = Service::start().await;
    everything(&service).await;
    let beside = program(&service, &["rebuild"]);
    let said = String::from_utf8_lossy(&beside.stderr);
    assert!(!beside.status.success() && said.contains("stop it first"), "{said}");

    let cluster = service.database.private.as_ref().unwrap();
    let data_dir = cluster.cluster_dir().parent().unwrap().to_path_buf();
    let superuser = administrator(&service).await;
    let (service, ()) = service.restart_after(spoil_and_rebuild(superuser, data_dir)).await;
    let verified = verified(&service).await;
    assert_eq!(verified.findings.first, []);
    whole(&service).await;
    assert_eq!(service.introspect(&service.made.owner.token).await["active"], json!(true));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_said_to_be_unknown() {
    let (service, tap) = Service::start_behind_a_tap(|edge| edge).await;
    let options = service.database.options.clone();
    let superuser = service.database.private.as_ref().unwrap().superuser("counterfoil");
    let cut = async {
        // It waits for its turn while its line is prepared to be cut.
        let mut held = superuser.connect().await.unwrap();
        run(&mut held, &format!("BEGIN; SELECT pg_advisory_xact_lock({APPEND_LOCK})")).await;
        let rebuilt =
            tokio::spawn(async move { rebuild::rebuild(&options, &Arc::new(Progress::default())).await });
        until_somebody_waits(&mut held).await;
        tap.cut_at_the_next_commits(Cut::After, 1);
        tap.hook()(Step::Commit);
        run(&mut held, "COMMIT").await;
        let error = rebuilt.await.unwrap().unwrap_err();
        assert!(matches!(error, RebuildError::Unknown(_)), "{error}");
        let said = error.to_string();
        assert!(said.contains("not known") && said.contains("`counterfoil verify`"), "{said}");
    };
    let (service, ()) = service.restart_after(cut).await;
    whole(&service).await;
    service.stop().await;
}
