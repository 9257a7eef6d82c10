//! The index against what it is to hold, through many changes.

use super::*;
use counterfoil_domain::ids::{GatewayId, OrganizationId, TokenId, UserId, ValueId};
use counterfoil_domain::organization::Membership;
use counterfoil_domain::role::Role;
use counterfoil_domain::scope::Scopes;
use counterfoil_domain::token::{Ended, HowEnded, Kind, Previous};
use counterfoil_domain::value::ValueRef;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The `n`th digest: of few different ones, so that many share a shard.
fn digest(n: u32) -> Digest {
    Digest::of(&n.to_be_bytes())
}

fn token(n: u32) -> Token {
    Token {
        id: TokenId(Uuid::from_u128(n.into())),
        kind: Kind::Personal,
        owner: Owner::User(UserId(Uuid::from_u128(u128::from(n) % 7))),
        home: OrganizationId(Uuid::from_u128(1)),
        digest: digest(n),
        hint: String::new(),
        generation: 1,
        scopes: Scopes::read_write(),
        expires_at: None,
        note: None,
        issued_by: None,
        since: u64::from(n),
        issued_at: Timestamp::from_micros(0),
        issued_seq: u64::from(n),
        disabled: false,
        slot: None,
        previous: None,
        ended: None,
        seq: u64::from(n),
    }
}

fn rotated(mut token: Token, n: u32, overlap: bool) -> Token {
    let earlier = token.digest;
    token.generation += 1;
    token.digest = digest(n);
    token.previous = Some(Box::new(Previous {
        digest: earlier,
        hint: String::new(),
        generation: token.generation - 1,
        ends_at: Timestamp::from_micros(i64::MAX - 1),
        until_used: false,
        ended: (!overlap).then_some(1),
    }));
    token
}

/// Checks that each digest leads to the generation that it is to lead to, and that nothing else is there.
fn check(index: &DigestIndex, expected: &BTreeMap<u32, (TokenId, u32)>, all: u32) {
    for n in 0..all {
        let found = index.record(&digest(n)).map(|record| (record.id, record.marks.generation()));
        assert_eq!(found, expected.get(&n).copied(), "{n}");
    }
    assert_eq!(index.len(), expected.len());
}

#[test]
fn a_digest_leads_where_it_should_through_a_thousand_changes() {
    let index = DigestIndex::new([7, 11]);
    let mut expected = BTreeMap::new();
    let mut tokens: Vec<Token> = (0..3000).map(token).collect();
    for (n, token) in (0u32..).zip(&tokens) {
        index.put_token(token);
        index.put_token(token);
        expected.insert(n, (token.id, 1));
    }
    check(&index, &expected, 6000);
    // A third is rotated with an overlap, a third without, a third ends.
    for n in 0..3000u32 {
        let token = &mut tokens[n as usize];
        match n % 3 {
            0 => {
                *token = rotated(token.clone(), 3000 + n, true);
                expected.insert(3000 + n, (token.id, 2));
            }
            1 => {
                // The tombstone of the one before stays.
                *token = rotated(token.clone(), 3000 + n, false);
                expected.insert(3000 + n, (token.id, 2));
            }
            _ => {
                token.ended = Some(Ended { seq: 1, at: Timestamp::from_micros(0), how: HowEnded::Revoked });
                expected.remove(&n);
            }
        }
        index.put_token(token);
    }
    check(&index, &expected, 6000);
    // What was in an overlap ends with both; the places are taken again.
    for n in (0..3000u32).step_by(3) {
        tokens[n as usize].ended =
            Some(Ended { seq: 1, at: Timestamp::from_micros(0), how: HowEnded::Expired });
        index.put_token(&tokens[n as usize]);
        expected.remove(&n);
        expected.remove(&(3000 + n));
        let again = token(9000 + n);
        index.put_token(&again);
    }
    assert_eq!(index.len(), expected.len() + 1000);
}

#[test]
fn a_million_tokens_take_at_most_120_bytes_each() {
    let index = DigestIndex::new([7, 11]);
    // An eighth of a million: its tables are as full as those of a million, so a token takes as much.
    let count = 125_000;
    (0..count).for_each(|n| index.put_token(&token(n)));
    let each = index.memory_bytes() as f64 / f64::from(count);
    assert!(each <= 120.0, "{each} bytes a token");
}

#[test]
fn what_is_noted_is_gathered_once_and_outlives_its_record() {
    let index = DigestIndex::new([7, 11]);
    let mut tokens: Vec<Token> = (0..1000).map(token).collect();
    tokens.iter().for_each(|token| index.put_token(token));
    let gateway = GatewayId(Uuid::from_u128(5));
    let by = write(&index.directory).gateway_number(gateway);
    let at = Timestamp::from_micros(1_800_000_000_000_000);
    let note = |token: &Token| {
        let hash = index.seed.of_digest(&token.digest);
        let shard = read(&index.shards[DigestIndex::shard_of(hash)]);
        assert!(shard.note(shard.find(hash, &token.digest).unwrap(), at, by));
    };
    tokens.iter().chain(&tokens[..500]).for_each(note);
    // A record that is put again keeps what was noted; of one that is taken away, it is left.
    for token in &mut tokens[..10] {
        index.put_token(token);
        token.ended = Some(Ended { seq: 1, at, how: HowEnded::Revoked });
        index.put_token(token);
    }
    let mut gathered = BTreeMap::new();
    for calls in 1.. {
        let some = index.take_uses(100);
        if some.is_empty() {
            // A call goes on where the one before ended, and takes whole chunks.
            assert!((2..=11).contains(&calls), "{calls}");
            break;
        }
        for used in some {
            assert_eq!((used.at, used.by), (at, gateway));
            assert_eq!(gathered.insert(used.token, used.count), None, "taken twice");
        }
    }
    let expected = tokens.iter().zip(0..).map(|(token, n)| (token.id, if n < 500 { 2 } else { 1 }));
    assert_eq!(gathered, expected.collect());
    // What took a free place has no uses of the one before.
    (2000..2010).for_each(|n| index.put_token(&token(n)));
    assert_eq!(index.take_uses(usize::MAX), []);
}

const HERE: OrganizationId = OrganizationId(Uuid::from_u128(1));

/// What a gateway is told of a token of a user with this place here, fresh and in doubt.
fn told(kinds: &[Kind], place: Option<Membership>, token: &Token, secret: &[u8]) -> [Introspected; 2] {
    let index = DigestIndex::new([7, 11]);
    let value = ValueRef { id: ValueId(Uuid::nil()), commitment: digest(0) };
    index.put_organization(&Organization { id: HERE, number: 1, name: value, revoked_all: 5, seq: 5 });
    let gateway = GatewayId(Uuid::from_u128(3));
    let (kinds, standing) = (kinds.iter().copied().collect(), BTreeSet::new());
    let (environment, removed) = (None, None);
    index.put_gateway(&Gateway {
        id: gateway,
        organization: HERE,
        name: value,
        kinds,
        environment,
        standing,
        removed,
        seq: 1,
    });
    let credential = Token { digest: Digest::of(b"gateway"), kind: Kind::Gateway, ..self::token(1) };
    index.put_token(&Token { owner: Owner::Gateway(gateway), ..credential });
    let Owner::User(id) = token.owner else { unreachable!() };
    let memberships = place.map(|place| (HERE, place)).into_iter().collect();
    let (password_set, standing) = (0, BTreeMap::new());
    index.put_user(&User { id, email: value, memberships, password_set, standing, seq: 1 }, "");
    index.put_token(token);
    let now = Timestamp::from_micros(10);
    let client = index.client(None, b"gateway", now).unwrap();
    [true, false]
        .map(|fresh| index.introspect(&client, &index.seek(secret), (now, fresh), "", &mut Vec::new()))
}

#[test]
fn in_doubt_only_a_record_or_a_mark_says_no() {
    use Introspected::{Inactive, NotHeld, Unproven};
    let personal = [Kind::Personal];
    let token = Token { digest: Digest::of(b"token"), since: 9, ..token(9) };
    let disabled = Token { disabled: true, ..token.clone() };
    let marked = Token { since: 5, ..token.clone() };
    let member = Some(Membership { role: Some(Role::Member), removed: 0 });
    let former = |removed| Some(Membership { role: None, removed });
    for (kinds, place, token, secret, expected) in [
        // Both may have changed elsewhere.
        (&[Kind::Caller][..], member, &token, &b"token"[..], [Inactive, Unproven]),
        (&personal, None, &token, b"token", [Inactive, Unproven]),
        (&personal, former(8), &token, b"token", [Inactive, Unproven]),
        (&personal, member, &token, b"other", [NotHeld, Unproven]),
        // These stay, whatever happens elsewhere.
        (&personal, former(9), &token, b"token", [Inactive, Inactive]),
        (&personal, member, &marked, b"token", [Inactive, Inactive]),
        (&personal, None, &marked, b"token", [Inactive, Inactive]),
        (&personal, None, &disabled, b"token", [Inactive, Inactive]),
        (&personal, member, &disabled, b"token", [Inactive, Inactive]),
        (&personal, member, &token, b"gateway", [Inactive, Inactive]),
    ] {
        assert_eq!(told(kinds, place, token, secret), expected, "{kinds:?} {place:?} {token:?}");
    }
}
