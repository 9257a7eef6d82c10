//! At most fifty tokens of a user stand at any position of the log, whatever is asked for at once.

use crate::queue::{issue, owner, write};
use crate::support::people::signed_in;
use crate::support::program::{command, run};
use crate::support::{Service, until};
use crate::whole::whole;
use counterfoil::clock::random;
use counterfoil::event_log::batch::Refused;
use counterfoil::event_log::writer::WriteError;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::Action;
use counterfoil_domain::ids::TokenId;
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::role::Role;
use counterfoil_domain::token::issue::IssuePersonal;
use futures_util::future::join_all;
use sqlx::{ConnectOptions, Connection, Executor};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Users who issue at once.
const USERS: usize = 5;
/// Issues of each at once.
const EACH: usize = 200;
/// How often somebody who is refused asks again, while others end.
const TRIES: usize = 8;

/// Up to a quarter of a second.
async fn pause() {
    let [chance]: [u8; 1] = random();
    tokio::time::sleep(Duration::from_millis(chance.into())).await;
}

/// Asks for a token once: whether it is refused for there being fifty, or since it would have expired by now.
async fn is_refused(service: &Service, actor: &Actor, issue: IssuePersonal) -> bool {
    match write(service, actor, Action::IssuePersonal(issue)).await {
        Ok(_) => false,
        Err(WriteError::Refused(Refused::Refusal(why))) => {
            let expires = matches!(why, Refusal::ExpiryInPast { .. });
            assert!(expires || why == Refusal::LimitReached { limit: 50 }, "{why:?}");
            true
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// One of many issues: what is issued stays, expires within a second, is revoked soon, or is ended with all others.
async fn mixed(service: &Service, actor: &Actor, number: usize) -> usize {
    for tries in 0..TRIES {
        let soon = service.app().clock.now().plus_seconds(1);
        let issue = IssuePersonal { expires_at: (number % 4 == 1).then_some(soon), ..issue() };
        let id = issue.id;
        if is_refused(service, actor, issue).await {
            pause().await;
            continue;
        }
        let end = match number % 4 {
            2 => Action::Revoke { id, if_match: None, reason: None },
            3 if number < 8 => Action::RevokeAll { reason: None, sessions: false },
            _ => return tries,
        };
        pause().await;
        write(service, actor, end).await.unwrap();
        return tries;
    }
    TRIES
}

#[tokio::test(flavor = "multi_thread")]
async fn many_users_issue_revoke_and_expire_at_once_and_none_ever_has_more_than_fifty() {
    let service = Arc::new(Service::start().await);
    let emails: Vec<String> = (0..USERS).map(|number| format!("user{number}@example.com")).collect();
    let actors = signed_in(&service, &emails, Role::Member).await;
    let (mut calm, mut busy) = (JoinSet::new(), JoinSet::new());
    for number in 0..EACH {
        for (place, actor) in actors.iter().enumerate() {
            let (service, actor) = (service.clone(), actor.clone());
            match place {
                // The first ends nothing.
                0 => drop(calm.spawn(async move { is_refused(&service, &actor, issue()).await })),
                _ => drop(busy.spawn(async move { mixed(&service, &actor, number).await })),
            }
        }
    }
    let refused = calm.join_all().await.into_iter().filter(|refused| *refused).count();
    assert_eq!(EACH - refused, 50);
    let tries = busy.join_all().await;
    // There was no room, and then there was: both are what this is about.
    assert!(tries.iter().any(|tries| (1..TRIES).contains(tries)), "{tries:?}");
    for event in ["token.revoked", "token.expired", "tokens.revoked_all"] {
        assert!(service.events(event).await > 0, "{event}");
    }
    // What expires while everything is compared would be in one table and not yet in another.
    let sql =
        "SELECT count(*) FROM tokens WHERE ended_seq IS NULL AND expires_at < now() + interval '1 minute'";
    let pool = &service.database.pool;
    let all_ended = async || sqlx::query_scalar::<_, i64>(sql).fetch_one(pool).await.unwrap() == 0;
    until("what expires has ended", all_ended).await;
    whole(&service).await;
    Arc::into_inner(service).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_holds_whichever_era_claims_are_of() {
    const CHANGED: usize = 8;
    let service = Service::start().await;
    let owner = owner(&service).await;
    // The owner has one already.
    let mut standing: VecDeque<TokenId> = issue_all(&service, &owner, 49).await.into();
    let (mut eras, mut rounds) = (BTreeSet::new(), 0);
    while eras.len() < 3 {
        assert!(is_refused(&service, &owner, issue()).await, "of eras {eras:?}");
        assert_taken(&service).await;
        for id in standing.drain(..CHANGED) {
            write(&service, &owner, Action::Revoke { id, if_match: None, reason: None }).await.unwrap();
        }
        standing.extend(issue_all(&service, &owner, CHANGED).await);
        let pool = &service.database.pool;
        let present = sqlx::query_scalar::<_, i64>("SELECT era FROM slot_eras").fetch_optional(pool).await;
        eras.extend(present.unwrap());
        rounds += 1;
        assert!(rounds < 1000, "claims stay where they are");
    }
    whole(&service).await;
    service.stop().await;
}

/// The database itself takes no second claim of a slot.
async fn assert_taken(service: &Service) {
    let sql = "INSERT INTO claimed_slots SELECT (c).* FROM (
        SELECT jsonb_populate_record(c, jsonb_build_object('token_id', gen_random_uuid())) c FROM claimed_slots c LIMIT 1) o";
    let error = sqlx::query(sql).execute(&service.database.pool).await.unwrap_err();
    let taken = error.as_database_error().and_then(|error| error.constraint());
    assert_eq!(taken, Some("claimed_slots_pkey"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_from_before_there_were_eras_hold() {
    let service = Service::start().await;
    let owner = owner(&service).await;
    let token = issue_all(&service, &owner, 49).await[0];
    let cluster = service.database.private.as_ref().unwrap();
    let mut superuser = cluster.superuser("counterfoil").connect().await.unwrap();
    let data_dir = cluster.cluster_dir().parent().unwrap().to_path_buf();
    let older = async move {
        superuser.execute(BEFORE_ERAS).await.unwrap();
        superuser.close().await.unwrap();
        assert!(run(command(&data_dir, &["migrate"])).await.status.success());
    };
    let (service, ()) = service.restart_after(older).await;
    assert!(is_refused(&service, &owner, issue()).await);
    assert_taken(&service).await;
    whole(&service).await;
    write(&service, &owner, Action::Revoke { id: token, if_match: None, reason: None }).await.unwrap();
    issue_all(&service, &owner, 1).await;
    assert!(is_refused(&service, &owner, issue()).await);
    whole(&service).await;
    service.stop().await;
}

/// The tables as they were before the twelfth migration.
const BEFORE_ERAS: &str = "
    ALTER TABLE claimed_slots DROP CONSTRAINT claimed_slots_pkey, DROP COLUMN era;
    ALTER TABLE claimed_slots ADD PRIMARY KEY (user_id, slot);
    DROP TABLE slot_eras;
    DROP INDEX tokens_to_expire;
    CREATE INDEX tokens_to_expire ON tokens (expires_at) WHERE ended_seq IS NULL AND expires_at IS NOT NULL;
    DELETE FROM _sqlx_migrations WHERE version = 12";

/// Issues so many at once.
async fn issue_all(service: &Service, actor: &Actor, count: usize) -> Vec<TokenId> {
    let tokens: Vec<_> = (0..count).map(|_| issue()).collect();
    let issued = tokens.iter().map(|token| write(service, actor, Action::IssuePersonal(token.clone())));
    join_all(issued).await.into_iter().for_each(|reply| drop(reply.unwrap()));
    tokens.into_iter().map(|token| token.id).collect()
}
