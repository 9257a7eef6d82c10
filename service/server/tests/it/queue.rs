//! What stands in the writer's queue at once: neighbours of a failing command, a credential that ends before its own
//! commands, and an end of everything amid issues.

use crate::support::people::{command, commit, session};
use crate::support::{Service, rounds, until};
use crate::whole::whole;
use counterfoil::clock::{Clock, random};
use counterfoil::event_log::APPEND_LOCK;
use counterfoil::event_log::batch::{Refused, Reply};
use counterfoil::event_log::failure::NotNow;
use counterfoil::event_log::writer::{QUEUE, WriteError};
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Answer};
use counterfoil_domain::ids::TokenId;
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::token::change::ChangeToken;
use counterfoil_domain::token::issue::IssuePersonal;
use counterfoil_domain::token::rotate::{Overlap, Rotate};
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::{ConnectOptions, Connection, PgConnection};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

type Outcome = Result<Reply, WriteError>;

/// An issue as a door hands it over.
pub(crate) fn issue() -> IssuePersonal {
    IssuePersonal {
        id: TokenId(Clock::system().uuid()),
        digest: Digest(random()),
        hint: "cf_pat_test".into(),
        scopes: None,
        expires_at: None,
        note: None,
    }
}

/// The first rotation of a token.
fn rotate(id: TokenId, overlap: Overlap) -> Rotate {
    let (digest, hint) = (Digest(random()), String::new());
    Rotate { id, generation: 1, if_match: None, digest, hint, expires_at: None, overlap }
}

/// The owner, signed in.
pub(crate) async fn owner(service: &Service) -> Actor {
    let (owner, open) = session(service, service.made.owner.id).await;
    assert!(commit(service, &[open]).await.iter().all(Result::is_ok));
    owner
}

/// Hands all commands to the writer in this order before any of them is answered.
async fn at_once(service: &Service, commands: Vec<(Actor, Action)>) -> Vec<Outcome> {
    let commands = commands.into_iter().map(|(actor, action)| command(service, &actor, action));
    join_all(commands.map(|command| service.app().writer.write(command, None))).await
}

/// Hands one command to the writer.
pub(crate) async fn write(service: &Service, actor: &Actor, action: Action) -> Outcome {
    service.app().writer.write(command(service, actor, action), None).await
}

/// Holds the append lock, so that the writer waits and its queue fills.
pub(crate) async fn hold_the_order(service: &Service) -> PgConnection {
    let mut connection = service.database.options.connect().await.unwrap();
    sqlx::query("BEGIN").execute(&mut connection).await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(APPEND_LOCK).execute(&mut connection).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_command_is_isolated_from_its_batch() {
    let service = Service::start().await;
    let owner = owner(&service).await;
    let taken = issue();
    write(&service, &owner, Action::IssuePersonal(taken.clone())).await.unwrap();
    let poisons = [
        // The fold stops at an id that was given before, the database at a digest and at a NUL.
        IssuePersonal { id: taken.id, ..issue() },
        IssuePersonal { digest: taken.digest, ..issue() },
        IssuePersonal { hint: "cf\0".into(), ..issue() },
    ];
    for poison in poisons {
        let before = service.events("token.issued").await;
        let neighbours = || (0..6).map(|_| Action::IssuePersonal(issue()));
        let all = neighbours().chain([Action::IssuePersonal(poison)]).chain(neighbours());
        let outcomes = at_once(&service, all.map(|action| (owner.clone(), action)).collect()).await;
        for (place, outcome) in outcomes.iter().enumerate() {
            match place {
                6 => assert!(matches!(outcome, Err(WriteError::Internal)), "{outcome:?}"),
                _ => assert!(outcome.is_ok(), "{place}: {outcome:?}"),
            }
        }
        assert_eq!(service.events("token.issued").await, before + 12);
    }
    whole(&service).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_together_is_committed_together() {
    let service = Service::start().await;
    let owner = owner(&service).await;
    let mut held = hold_the_order(&service).await;
    let head: i64 = sqlx::query_scalar("SELECT max(seq) FROM events").fetch_one(&mut held).await.unwrap();
    let release = async {
        until_somebody_waits(&mut held).await;
        sqlx::query("COMMIT").execute(&mut held).await.unwrap();
    };
    let issues = (0..40).map(|_| (owner.clone(), Action::IssuePersonal(issue()))).collect();
    let (outcomes, ()) = tokio::join!(at_once(&service, issues), release);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let sql = "SELECT count(*), count(DISTINCT xmin::text) FROM events WHERE seq > $1";
    let (events, transactions): (i64, i64) =
        sqlx::query_as(sql).bind(head).fetch_one(&mut held).await.unwrap();
    // Whoever came first may have gone alone.
    assert!(events == 40 && transactions <= 2, "{transactions} transactions for {events} events");
    held.close().await.unwrap();
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_happens_that_a_token_asked_for_before_it_was_revoked_in_the_queue() {
    let service = Service::start().await;
    let owner = owner(&service).await;
    let (stolen, other) = (issue(), issue());
    for issue in [&stolen, &other] {
        write(&service, &owner, Action::IssuePersonal(issue.clone())).await.unwrap();
    }
    let Actor::Session { user_id, .. } = owner else { unreachable!() };
    let thief = Actor::Token { token_id: stolen.id, generation: 1, user_id };
    let rotate = rotate(stolen.id, Overlap::UntilUsed);
    let rename =
        ChangeToken { id: other.id, if_match: None, note: Some(None), scopes: None, expires_at: None };
    let asked = [
        Action::IssuePersonal(issue()),
        Action::Rotate(rotate),
        Action::Enable { id: other.id, if_match: None },
        Action::ChangeToken(rename),
        Action::IssuePersonal(issue()),
    ];
    let revoke = Action::Revoke { id: stolen.id, if_match: None, reason: None };
    let before = service.events("token.issued").await;
    let mut held = hold_the_order(&service).await;
    let commands = asked.into_iter().map(|action| (thief.clone(), action)).chain([(owner.clone(), revoke)]);
    // The first makes the writer wait, so that the others are in its queue when the revocation comes.
    let first = write(&service, &Actor::System, Action::EndPrevious { id: other.id, generation: 1 });
    let others = async {
        until_somebody_waits(&mut held).await;
        let release = async { sqlx::query("COMMIT").execute(&mut held).await.unwrap() };
        tokio::join!(at_once(&service, commands.collect()), release).0
    };
    let (first, outcomes) = tokio::join!(first, others);
    let unauthenticated = WriteError::Refused(Refused::Refusal(Refusal::Unauthenticated));
    let (revoked, asked) = outcomes.split_last().unwrap();
    assert!(first.is_ok() && revoked.is_ok(), "{first:?} {revoked:?}");
    for outcome in asked {
        assert_eq!(outcome.as_ref().err(), Some(&unauthenticated));
    }
    assert_eq!(service.events("token.issued").await, before);
    held.close().await.unwrap();
    whole(&service).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_all_by_a_token_that_is_being_rotated_ends_both_of_its_plaintexts_or_is_refused() {
    let service = Service::start().await;
    let owner = owner(&service).await;
    let Actor::Session { user_id, .. } = owner else { unreachable!() };
    for round in 0..rounds(100, 2_000) {
        let token = issue();
        write(&service, &owner, Action::IssuePersonal(token.clone())).await.unwrap();
        let itself = Actor::Token { token_id: token.id, generation: 1, user_id };
        let overlap = [Overlap::UntilUsed, Overlap::Seconds(60), Overlap::Seconds(0)][round % 3];
        let (rotate, all) = (rotate(token.id, overlap), Action::RevokeAll { reason: None, sessions: false });
        let (old, new) = (token.digest, rotate.digest);
        let rotated = write(&service, &itself, Action::Rotate(rotate));
        let ended = write(&service, &itself, all.clone());
        // Neither is always the first to come.
        let (rotated, ended) = if round % 2 == 0 {
            tokio::join!(rotated, ended)
        } else {
            let (ended, rotated) = tokio::join!(ended, rotated);
            (rotated, ended)
        };
        let now = service.app().clock.now();
        let works = |digest| service.app().index.find(digest, now).is_some_and(|found| found.works);
        match (&rotated, &ended) {
            // Whichever was first: a rotation that kept the old plaintext let it end everything, the new one included.
            (_, Ok(_)) => assert!(!works(&old) && !works(&new), "{overlap:?}: {rotated:?}"),
            // The old plaintext was over by then.
            (Ok(_), Err(WriteError::Refused(_))) => {
                assert_eq!(overlap, Overlap::Seconds(0));
                assert!(!works(&old) && works(&new));
            }
            other => panic!("{other:?}"),
        }
        write(&service, &owner, all).await.unwrap();
    }
    whole(&service).await;
    service.stop().await;
}

/// Waits until somebody waits for an advisory lock.
pub(crate) async fn until_somebody_waits(connection: &mut PgConnection) {
    let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    let waiting = async || sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut *connection).await.unwrap() > 0;
    until("somebody waits for the append lock", waiting).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_all_amid_fifty_issues_ends_what_came_before_it_in_the_log() {
    let service = Arc::new(Service::start().await);
    let owner = owner(&service).await;
    let (mut before, mut after) = (0, 0);
    for _ in 0..rounds(100, 1_000) {
        let all = || Action::RevokeAll { reason: None, sessions: false };
        write(&service, &owner, all()).await.unwrap();
        let mut calls = tokio::task::JoinSet::new();
        // Somewhere among them, by the bytes of one random number.
        let [place]: [u8; 1] = random();
        for number in 0..50 {
            if number == place % 50 {
                let (service, owner) = (service.clone(), owner.clone());
                calls.spawn(async move { (None, write(&service, &owner, all()).await) });
            }
            let (service, owner, issue) = (service.clone(), owner.clone(), issue());
            calls.spawn(async move {
                tokio::time::sleep(Duration::from_micros(u64::from(number) * 20)).await;
                (Some(issue.digest), write(&service, &owner, Action::IssuePersonal(issue)).await)
            });
        }
        let sql = "SELECT max(seq) FROM events WHERE type = 'tokens.revoked_all'";
        let outcomes = calls.join_all().await;
        let end: Option<i64> = sqlx::query_scalar(sql).fetch_one(&service.database.pool).await.unwrap();
        for (digest, outcome) in outcomes {
            let Some(digest) = digest else {
                assert!(matches!(outcome.unwrap().answer, Answer::Count(_)));
                continue;
            };
            let issued = outcome.unwrap().token.unwrap().issued_seq as i64;
            let (now, ended) = (service.app().clock.now(), end.is_some_and(|end| issued < end));
            assert_eq!(
                service.app().index.find(&digest, now).is_some(),
                !ended,
                "issued at {issued}, all ended at {end:?}"
            );
            *(if ended { &mut before } else { &mut after }) += 1;
        }
    }
    assert!(before > 0 && after > 0, "{before} before and {after} after: the test has to meet both");
    whole(&service).await;
    Arc::into_inner(service).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_revoked_is_inactive_once_anybody_is_told_so() {
    let service = Service::start().await;
    let owner = owner(&service).await;
    for _ in 0..20 {
        let token = service.issue(json!({})).await;
        let (id, plaintext) = (token["id"].as_str().unwrap(), token["plaintext"].as_str().unwrap());
        let revoke = Action::Revoke { id: id.parse().unwrap(), if_match: None, reason: None };
        assert!(commit(&service, &[command(&service, &owner, revoke)]).await[0].is_ok());
        let path = format!("/v1/user/tokens/{id}");
        let told = service.call(Method::DELETE, &path, &service.made.owner.token, None).await;
        assert_eq!(told.0, StatusCode::NO_CONTENT);
        assert_eq!(service.introspect(plaintext).await, json!({ "active": false }));
    }
    assert_eq!(service.events("token.revoked").await, 20);
    whole(&service).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_is_counted_wherever_it_waits_and_no_more_than_so_many_do() {
    let service = Arc::new(Service::start().await);
    let ask = |answers: &mut JoinSet<Outcome>, commands: usize| {
        for _ in 0..commands {
            let (service, id) = (service.clone(), TokenId(Clock::system().uuid()));
            let action = Action::EndPrevious { id, generation: 1 };
            answers.spawn(async move { write(&service, &Actor::System, action).await });
        }
    };
    let waiting = async |commands: usize| {
        for _ in 0..200 {
            if service.app().writer.waiting() == commands {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} wait, and not {commands}", service.app().writer.waiting());
    };
    let mut answers = JoinSet::new();
    let mut first = hold_the_order(&service).await;
    ask(&mut answers, QUEUE);
    until_somebody_waits(&mut first).await;
    waiting(QUEUE).await;
    // One batch is decided, then the order is held again: by then the writer has taken all that was in its channel.
    let second = tokio::spawn({
        let service = service.clone();
        async move { hold_the_order(&service).await }
    });
    let lines = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    while sqlx::query_scalar::<_, i64>(lines).fetch_one(&mut first).await.unwrap() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sqlx::query("COMMIT").execute(&mut first).await.unwrap();
    let mut second = second.await.unwrap();
    until_somebody_waits(&mut second).await;
    let mut answered = 0;
    while let Ok(Some(_)) = timeout(Duration::from_millis(200), answers.join_next()).await {
        answered += 1;
    }
    assert!(answered > 0 && answered < QUEUE / 2, "{answered}");
    waiting(QUEUE - answered).await;
    assert!(service.metrics().contains(&format!("counterfoil_writer_queue_commands {}\n", QUEUE - answered)));
    ask(&mut answers, answered);
    waiting(QUEUE).await;
    let refused = write(&service, &Actor::System, Action::EndAllSessions).await;
    assert!(matches!(refused, Err(WriteError::NotNow(NotNow::TooMany))), "{refused:?}");
    sqlx::query("COMMIT").execute(&mut second).await.unwrap();
    let all = answers.join_all().await;
    assert!(all.iter().all(|answer| !matches!(answer, Err(WriteError::NotNow(_)))), "{all:?}");
    waiting(0).await;
    first.close().await.unwrap();
    second.close().await.unwrap();
    Arc::into_inner(service).unwrap().stop().await;
}
