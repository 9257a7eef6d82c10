//! At most fifty tokens of a user stand at any position of the log, whatever is asked for at once.

use crate::queue::{issue, owner, write};
use crate::support::people::signed_in;
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

/// Issues so many at once.
async fn issue_all(service: &Service, actor: &Actor, count: usize) -> Vec<TokenId> {
    let tokens: Vec<_> = (0..count).map(|_| issue()).collect();
    let issued = tokens.iter().map(|token| write(service, actor, Action::IssuePersonal(token.clone())));
    join_all(issued).await.into_iter().for_each(|reply| drop(reply.unwrap()));
    tokens.into_iter().map(|token| token.id).collect()
}
