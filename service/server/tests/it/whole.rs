//! Whether everything still fits together: the log folded from nothing against every table and the index.

use crate::support::Service;
use counterfoil::event_log::append::about;
use counterfoil::read_model::tables::{rows, token_row};
use counterfoil_domain::event::{CHAIN_START, Event, Recorded, chain};
use counterfoil_domain::fold::fold;
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::state::State;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::{Owner, TokenExpired, TokenRevoked};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use time::OffsetDateTime;
use uuid::Uuid;

/// Checks the log (no gap, the chain, every copy beside a record), every table of entities, the claims and the index.
pub(crate) async fn whole(service: &Service) -> State {
    let (state, events) = folded(service).await;
    assert_eq!(token_limit(&events), BTreeSet::new(), "users with more than fifty standing tokens");
    let organizations = select(service, rows::ORGANIZATION, "organizations").await;
    let organizations = organizations.iter().map(|row| rows::organization(row).unwrap());
    assert_eq!(organizations.map(|o| (o.id, o)).collect::<HashMap<_, _>>(), state.organizations);
    let environments = select(service, rows::ENVIRONMENT, "environments").await;
    let environments = environments.iter().map(|row| rows::environment(row).unwrap());
    assert_eq!(environments.map(|e| (e.id, e)).collect::<HashMap<_, _>>(), state.environments);
    let users = select(service, rows::USER, "users").await;
    let users = users.iter().map(|row| rows::user(row).unwrap()).map(|u| (u.id, u));
    let mut expected = state.users.clone();
    expected.values_mut().for_each(|user| user.standing.clear());
    assert_eq!(users.collect::<HashMap<_, _>>(), expected);
    let gateways = select(service, rows::GATEWAY, "gateways").await;
    let gateways = gateways.iter().map(|row| rows::gateway(row).unwrap()).map(|g| (g.id, g));
    let mut expected = state.gateways.clone();
    expected.values_mut().for_each(|gateway| gateway.standing.clear());
    assert_eq!(gateways.collect::<HashMap<_, _>>(), expected);
    let tokens = select(service, token_row::COLUMNS, "tokens").await;
    let tokens = tokens.iter().map(|row| token_row::read(row).unwrap()).map(|t| (t.id, Box::new(t)));
    assert_eq!(tokens.collect::<HashMap<_, _>>(), state.tokens);
    claims(service, &state).await;
    index(service, &state);
    state
}

async fn select(service: &Service, columns: &str, table: &str) -> Vec<PgRow> {
    let sql = AssertSqlSafe(format!("SELECT {columns} FROM {table}"));
    sqlx::query(sql).fetch_all(&service.database.pool).await.unwrap()
}

/// The log, folded from nothing, with every copy compared.
async fn folded(service: &Service) -> (State, Vec<Recorded>) {
    let columns = "seq, record, chain, type, organization_id, subject_id, user_id, decided_at";
    let rows = select(service, columns, "(SELECT * FROM events ORDER BY seq) e").await;
    let (mut state, mut link, mut events) = (State::default(), CHAIN_START, Vec::new());
    for row in rows {
        let record: &str = row.get(1);
        let recorded = Recorded::decode(record).unwrap();
        fold(&mut state, &recorded).unwrap();
        link = chain(&link, record);
        assert_eq!(row.get::<&[u8], _>(2), link.0, "the chain at {}", recorded.seq);
        let (subject, user) = about(&state, &recorded.event);
        let copies = (
            row.get::<i64, _>(0) as u64,
            row.get::<&str, _>(3),
            row.get::<Option<Uuid>, _>(4),
            row.get::<Uuid, _>(5),
            row.get::<Option<Uuid>, _>(6),
            row.get::<time::OffsetDateTime, _>(7),
        );
        let originals = (
            recorded.seq,
            recorded.event.name(),
            recorded.organization.map(|id| id.0),
            subject,
            user.map(|id| id.0),
            recorded.decided_at.to_offset_date_time(),
        );
        assert_eq!(copies, originals);
        assert!(events.last().is_none_or(|e: &Recorded| e.decided_at <= recorded.decided_at));
        events.push(recorded);
    }
    (state, events)
}

/// Users who had more than fifty standing tokens at any position, by counting.
fn token_limit(events: &[Recorded]) -> BTreeSet<Uuid> {
    let mut standing = HashMap::<Uuid, BTreeSet<Uuid>>::new();
    let mut over = BTreeSet::new();
    for recorded in events {
        match &recorded.event {
            Event::TokenIssued(body) => {
                if let Owner::User(user) = body.owner {
                    let of_user = standing.entry(user.0).or_default();
                    of_user.insert(body.id.0);
                    over.extend((of_user.len() > 50).then_some(user.0));
                }
            }
            Event::TokenRevoked(TokenRevoked { id, .. }) | Event::TokenExpired(TokenExpired { id }) => {
                standing.values_mut().for_each(|of_user| of_user.retain(|token| *token != id.0));
            }
            Event::TokensRevokedAll(body) => drop(standing.remove(&body.user_id.0)),
            _ => {}
        }
    }
    over
}

async fn claims(service: &Service, state: &State) {
    let eras = select(service, "user_id, era", "slot_eras").await;
    let eras: HashMap<Uuid, i64> = eras.iter().map(|r| (r.get(0), r.get(1))).collect();
    let slots = select(service, "user_id, slot, token_id, expires_at, era", "claimed_slots").await;
    for row in &slots {
        assert_eq!(
            row.get::<i64, _>(4),
            eras.get(&row.get(0)).copied().unwrap_or_default(),
            "an earlier era's"
        );
    }
    let slots: BTreeSet<(Uuid, i16, Uuid, Option<OffsetDateTime>)> =
        slots.iter().map(|r| (r.get(0), r.get(1), r.get(2), r.get(3))).collect();
    let held = state.users.values().flat_map(|user| {
        user.standing.iter().map(|(slot, token)| {
            (user.id.0, *slot as i16, token.id.0, token.expires_at.map(Timestamp::to_offset_date_time))
        })
    });
    assert_eq!(slots, held.collect());
    let digests = select(service, "digest, era, token_id", "claimed_digests").await;
    let digests: BTreeSet<(Vec<u8>, i32, Uuid)> =
        digests.iter().map(|r| (r.get(0), r.get(1), r.get(2))).collect();
    let standing = state.tokens.values().filter(|token| token.stands());
    let held = standing.flat_map(|token| {
        let digests = [Some(token.digest), token.previous.as_ref().map(|previous| previous.digest)];
        digests.into_iter().flatten().map(|digest| (digest.0.to_vec(), 0, token.id.0)).collect::<Vec<_>>()
    });
    assert_eq!(digests, held.collect());
}

/// The index holds every plaintext that may work and the one before each, ended or not, and nothing else.
fn index(service: &Service, state: &State) {
    let (app, now) = (service.app(), service.app().clock.now());
    let mut expected = BTreeMap::<Digest, bool>::new();
    for token in state.tokens.values().filter(|token| token.stands()) {
        let alive = !token.disabled && !token.is_due(now);
        expected.insert(token.digest, alive);
        if let Some(previous) = &token.previous {
            expected.insert(previous.digest, alive && previous.works(now));
        }
    }
    for (digest, works) in &expected {
        let found = app.index.find(digest, now).map(|found| found.works);
        assert_eq!(found, Some(*works), "a plaintext of a standing token");
    }
    assert_eq!(app.index.len(), expected.len(), "plaintexts that the index holds");
    assert_eq!(app.applied.load(std::sync::atomic::Ordering::Acquire), state.head);
}
