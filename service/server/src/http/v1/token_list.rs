//! `GET /v1/user/tokens`: the caller's tokens in pages.
//!
//! | parameter | meaning |
//! |---|---|
//! | `state` | `live`, `disabled`, `expired` or `revoked`, or several with commas between them; by default all. By the clock: a token is listed as expired as soon as introspection says so |
//! | `search` | text that the note contains: as it is, no character is special. Neither case nor Unicode's form matters (both sides are composed by NFKC and in lower case); accents do. Empty: all |
//! | `sort` | `created` (the default), `expires` or `last_used` |
//! | `order` | `desc` (the default) or `asc` |
//! | `limit` | 1 to 100, by default 50 |
//! | `cursor` | the `next_cursor` of the page before, with the same `state`, `search`, `sort` and `order` |
//!
//! What never expires comes after all that does, and what was never used before all that was. Uses are written every
//! few seconds: a token that is used between two pages of `sort=last_used` may be shown twice, or not.

use super::fields::LONGEST_NOTE;
use super::record::Record;
use super::tokens::shown;
use crate::app::App;
use crate::http::caller::Caller;
use crate::http::cursor::{Belongs, refused};
use crate::http::document::examples;
use crate::http::document::names::{SortOrder, TokenSort};
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::read_model::lists::{self, Order, Position, Sort};
use crate::read_model::tables::beside::folded;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use counterfoil_domain::ids::UserId;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// Records on a page unless told otherwise, and at most.
const PAGE: (usize, usize) = (50, 100);

/// A page of a user's tokens.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = examples::token_page)]
pub struct TokenPage {
    /// The tokens, in the order that was asked for.
    pub items: Vec<Record>,
    /// The `cursor` of the next page; null on the last one.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Lists the caller's tokens.
///
/// Ended ones are listed too. What never expires comes after all that does, and what was never used before all that was.
/// Uses are written every few seconds.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    get,
    path = "/v1/user/tokens",
    tag = "Tokens",
    operation_id = "list_tokens",
    security(("bearer" = ["read"]), ("session" = ["read"])),
    params(
        ("state" = Option<String>, Query, pattern = "^(live|disabled|expired|revoked)(,(live|disabled|expired|revoked))*$",
            description = "States with commas between them; by default all."),
        ("search" = Option<String>, Query, max_length = 200, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
            description = "Text that the note contains. Case and Unicode's form do not matter; accents do, and ß is not ss."),
        ("sort" = inline(Option<TokenSort>), Query, description = "By what; by default `created`."),
        ("order" = inline(Option<SortOrder>), Query, description = "Which way; by default `desc`."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Tokens on a page; 50 by default."),
        ("cursor" = Option<String>, Query, max_length = 64, pattern = "^[A-Za-z0-9_-]+$", description = "The `next_cursor` of the page before, with the same \
            parameters."),
    ),
    responses((status = 200, description = "A page.", body = TokenPage)),
)]
pub async fn list(State(app): State<App>, caller: Caller, uri: OriginalUri) -> Result<Response, Problem> {
    let query = Query::parse(&uri, &["state", "search", "sort", "order", "limit", "cursor"])?;
    let limit = query.limit(PAGE.0, PAGE.1)?;
    let now = app.clock.now();
    let list = read(&query, caller.user, now)?;
    let belongs = belongs(&list);
    let after = query.get("cursor").map(|cursor| belongs.open(cursor).and_then(place)).transpose()?;
    let mut found = lists::page(&app.pool, &list, after, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| more);
    let next_cursor = last.map(|listed| belongs.seal(bytes(list.sort.position(listed))));
    let items = found.into_iter().map(|listed| Record::new(listed, now)).collect();
    Ok(shown(StatusCode::OK, &TokenPage { items, next_cursor }, ""))
}

fn read(query: &Query, user: UserId, now: Timestamp) -> Result<lists::Query, Problem> {
    let sort = match query.get("sort") {
        None | Some("created") => Sort::Created,
        Some("expires") => Sort::Expires,
        Some("last_used") => Sort::LastUsed,
        Some(_) => return Err(Problem::malformed("sort", "It is created, expires or last_used.")),
    };
    let order = match query.get("order") {
        None | Some("desc") => Order::Desc,
        Some("asc") => Order::Asc,
        Some(_) => return Err(Problem::malformed("order", "It is asc or desc.")),
    };
    let states = query.get("state").map_or_else(|| Ok(token::State::ALL.to_vec()), states)?;
    let search = query.get("search").map_or_else(|| Ok(String::new()), search)?;
    Ok(lists::Query { user, states, search, sort, order, now })
}

/// States in one order, each once, so that a cursor does not depend on how they were written.
fn states(text: &str) -> Result<Vec<token::State>, Problem> {
    let wrong =
        || Problem::malformed("state", "It is live, disabled, expired or revoked, or several with commas.");
    let asked = text.split(',').map(|name| token::State::from_name(name).ok_or_else(wrong));
    let asked = asked.collect::<Result<Vec<_>, _>>()?;
    Ok(token::State::ALL.into_iter().filter(|state| asked.contains(state)).collect())
}

/// What is searched for, as notes are folded. No note contains what no note may contain.
fn search(text: &str) -> Result<String, Problem> {
    if text.chars().count() > LONGEST_NOTE || text.chars().any(char::is_control) {
        let detail = "It has at most 200 characters and no control characters, as a note.";
        return Err(Problem::malformed("search", detail));
    }
    Ok(folded(text))
}

fn belongs(list: &lists::Query) -> Belongs {
    let states: Vec<&str> = list.states.iter().map(|state| state.name()).collect();
    Belongs::to("/v1/user/tokens")
        .and(list.user.0.as_bytes())
        .and(&[list.sort as u8, list.order as u8])
        .and(states.join(",").as_bytes())
        .and(list.search.as_bytes())
}

/// A place in its cursor: the key with a sign for there being one, and the position in the log.
fn bytes(place: Position) -> [u8; 17] {
    let mut bytes = [0; 17];
    bytes[0] = u8::from(place.key.is_some());
    bytes[1..9].copy_from_slice(&place.key.map_or(0, Timestamp::micros).to_be_bytes());
    bytes[9..].copy_from_slice(&place.issued.to_be_bytes());
    bytes
}

/// The place of a cursor, if a token can have it.
fn place(bytes: [u8; 17]) -> Result<Position, Problem> {
    let word = |from: usize| std::array::from_fn(|at| bytes[from + at]);
    let key = match (bytes[0], i64::from_be_bytes(word(1))) {
        (0, 0) => None,
        (1, micros) => Some(Timestamp::in_calendar(micros).ok_or_else(refused)?),
        _ => return Err(refused()),
    };
    let issued = i64::from_be_bytes(word(9));
    Ok(Position { key, issued: issued.try_into().map_err(|_| refused())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_goes_through_its_cursor_and_no_other() {
        let belongs = Belongs::to("/list").and(b"mine");
        for place_of in [
            Position { key: None, issued: 1 },
            Position { key: Some(Timestamp::from_micros(0)), issued: i64::MAX as u64 },
            Position { key: Some(Timestamp::parse("0001-01-01T00:00:00Z").unwrap()), issued: 0 },
        ] {
            let cursor = belongs.seal(bytes(place_of));
            assert_eq!(belongs.open(&cursor).and_then(place).ok(), Some(place_of));
            // Where one part ends and the next begins belongs to it too.
            assert!(Belongs::to("/list").and(b"min").and(b"e").open::<17>(&cursor).is_err());
            assert!(Belongs::to("/list").and(b"yours").open::<17>(&cursor).is_err());
            for end in 0..cursor.len() {
                assert!(belongs.open::<17>(&cursor[..end]).is_err());
            }
            assert!(belongs.open::<17>(&format!("{cursor}A")).is_err());
            assert!(belongs.open::<17>(&format!("{cursor}=")).is_err());
        }
    }

    #[test]
    fn a_place_that_no_token_can_have_is_refused() {
        for place_of in [
            Position { key: None, issued: u64::MAX },
            Position { key: Some(Timestamp::from_micros(i64::MIN)), issued: 1 },
            Position { key: Some(Timestamp::from_micros(i64::MAX)), issued: 1 },
        ] {
            assert!(place(bytes(place_of)).is_err(), "{place_of:?}");
        }
        let right = bytes(Position { key: Some(Timestamp::from_micros(7)), issued: 1 });
        for kind in [0, 2, 255] {
            let mut wrong = right;
            wrong[0] = kind;
            assert!(place(right).is_ok() && place(wrong).is_err(), "{kind}");
        }
    }
}
