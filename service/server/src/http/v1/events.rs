//! `GET /v1/events`: the audit feed, as pages or as a stream.
//!
//! `after` is a position and exclusive; `until` is a position and inclusive, or an instant, and then what was decided
//! before it. Windows tile: where one ends, the next begins, without a gap and without a repetition. A page may be
//! empty and not the last one: `more` says whether to go on, from `next_after`. An instant that the log has not
//! reached yet is no end: events may still be decided before it, and are found from `next_after` on.
//!
//! Each event is shown as it was written, with its chain value, so that a download proves itself.

mod reading;
mod stream;

use super::fields::not_an_instant;
use crate::app::App;
use crate::http::caller::Caller;
use crate::http::document::examples;
use crate::http::document::names::{EventType, EventsUntil};
use crate::http::document::schemas::FeedPage;
use crate::http::problem::Problem;
use crate::http::progress::Progress;
use crate::http::query::Query;
use crate::http::tracked::{HasRoom, Kept};
use crate::ops::feeds::TooMany;
use axum::body::Body;
use axum::extract::{Extension, OriginalUri, State};
use axum::response::Response;
use counterfoil_domain::event::Event;
use counterfoil_domain::ids::{Seq, TokenId};
use counterfoil_domain::timestamp::{NotATimestamp, Timestamp};
use http::{HeaderMap, HeaderValue, header};
use reading::{Reading, write};
use std::sync::Arc;

/// Events on a page unless told otherwise, and at most.
const PAGE: (usize, usize) = (100, 1000);

/// Bytes of most events.
const USUAL: usize = 512;

/// The media type of the stream: one JSON document a line.
const NDJSON: &str = "application/x-ndjson";

enum Until {
    Seq(Seq),
    Instant(Timestamp),
}

#[derive(Default)]
struct Asked {
    after: Seq,
    until: Option<Until>,
    name: Option<&'static str>,
    subject: Option<TokenId>,
}

fn asked(query: &Query) -> Result<Asked, Problem> {
    let after = query
        .get("after")
        .map(|text| position(text).ok_or_else(|| Problem::malformed("after", "It is an event's seq, or 0.")));
    let name = query.get("type").map(|text| {
        let known = Event::NAMES.iter().find(|known| **known == text);
        known.copied().ok_or_else(|| Problem::malformed("type", "There is no event type of this name."))
    });
    let subject = query.get("subject").map(|text| {
        let wrong = |_| Problem::malformed("subject", "It is the id of what the events are about.");
        text.parse().map_err(wrong)
    });
    Ok(Asked {
        after: after.transpose()?.unwrap_or(0),
        until: query.get("until").map(until).transpose()?,
        name: name.transpose()?,
        subject: subject.transpose()?,
    })
}

fn until(text: &str) -> Result<Until, Problem> {
    if let Some(seq) = position(text) {
        return Ok(Until::Seq(seq));
    }
    match Timestamp::parse(text) {
        Ok(instant) => Ok(Until::Instant(instant)),
        Err(NotATimestamp::Malformed) => {
            let detail = "It is an event's seq, or an RFC 3339 date-time; send a `+` in it as %2B.";
            Err(Problem::malformed("until", detail))
        }
        Err(error) => Err(not_an_instant("until", error)),
    }
}

/// A position of the log, in digits and nothing else.
fn position(text: &str) -> Option<Seq> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|seq| i64::try_from(*seq).is_ok())
}

/// The feed, as far as the caller may see it.
///
/// Owners, admins and auditors see every event of the organization and its members'; others see their own. Events come in
/// the order of the log. A page may be empty and not the last one: `more` says whether to go on, from `next_after`. Each
/// event is shown as it was written, with its chain value, so that a download proves itself. A user has at most 4
/// streams open at a time.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "Events",
    operation_id = "list_events",
    security(("bearer" = ["read"]), ("session" = ["read"])),
    params(
        ("after" = Option<u64>, Query, maximum = 9223372036854775807u64, description = "The position after which to \
            begin; 0 by default."),
        ("until" = inline(Option<EventsUntil>), Query, description = "The last position, or a date-time (RFC 3339) before which \
            the events were decided; by default the head."),
        ("type" = inline(Option<EventType>), Query, description = "Only events of this type."),
        ("subject" = Option<Uuid>, Query, description = "Only events about the thing of this id."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Events on a page, 100 by \
            default; of a stream, all by default."),
    ),
    responses((status = 200, description = "A page; or, if that is asked for by `Accept`, a stream of lines: one an \
        event, and a last one that says where to go on. A stream without the last line was cut. Within a second of the \
        end of its credential, or of the right to read, a stream ends there, or is cut if its client takes nothing.", content(
        (FeedPage = "application/json"),
        (String = "application/x-ndjson", example = json!(examples::stream())),
    ), links(
        ("next_page" = (operation_id = "list_events", parameters(("after" = "$response.body#/next_after")))),
    ))),
    extensions(("x-refuses" = json!(["too-many-streams", "invalid"]))),
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    uri: OriginalUri,
    progress: Extension<Arc<Progress>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = Query::parse(&uri, &["after", "until", "type", "subject", "limit"])?;
    let asked = asked(&query)?;
    if wants_stream(&headers) {
        // Without a limit the stream has none.
        let limit = query.get("limit").map(|_| query.limit(PAGE.0, PAGE.1)).transpose()?;
        let feed = app.feeds.open(caller.user).map_err(|too_many| match too_many {
            TooMany::OfOne => Problem::too_many_streams(),
            TooMany::All => Problem::overloaded(),
        })?;
        let room = app.memory.going(stream::ROOM).map_err(|_| Problem::overloaded())?;
        let reading = Reading::begin(app, caller, asked, limit.unwrap_or(usize::MAX)).await?;
        return Ok(answer(NDJSON, Body::from_stream(stream::lines(reading, progress.0, (feed, room)))));
    }
    let limit = query.limit(PAGE.0, PAGE.1)?;
    // Before anything is read, as far as that can be known.
    let mut room = app.memory.going(limit * USUAL).map_err(|_| Problem::overloaded())?;
    let mut reading = Reading::begin(app, caller, asked, limit).await?;
    let items = reading.next(PAGE.1).await?;
    let mut text = String::from("{\"items\":[");
    for (place, item) in items.iter().enumerate() {
        text.push_str(if place == 0 { "" } else { "," });
        write(item, &mut text);
    }
    text.push_str("],");
    text.push_str(&reading.position());
    text.push('}');
    room.hold(text.len()).map_err(|_| Problem::overloaded())?;
    let mut response = answer("application/json", Body::new(Kept::new(Body::from(text), room)));
    response.extensions_mut().insert(HasRoom);
    Ok(response)
}

fn answer(media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether the stream is what is asked for: it is named, and pages are wanted less; or as much, and not named before it
/// (RFC 9110 section 12.5.1).
fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<_> = accepted.flat_map(|line| line.split(',')).map(weighed).collect();
    let find = |range: &str| {
        let place = ranges.iter().position(|(essence, _)| essence.eq_ignore_ascii_case(range))?;
        Some((ranges[place].1, place))
    };
    let Some((stream, place)) = find(NDJSON).filter(|(weight, _)| *weight > 0) else { return false };
    match find("application/json") {
        Some((pages, before)) => stream > pages || stream == pages && place < before,
        None => find("application/*").or_else(|| find("*/*")).is_none_or(|(pages, _)| stream >= pages),
    }
}

/// A media range without its parameters, and how much it is wanted, in thousandths: wholly, unless it says so and that is
/// a number.
fn weighed(range: &str) -> (&str, u16) {
    let mut parts = range.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    let weight = weight.and_then(|text| text.parse::<f32>().ok());
    (essence, weight.map_or(1000, |weight| (weight * 1000.0).round() as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_for_who_wants_it_more_than_pages() {
        for (accept, stream) in [
            (&["application/x-ndjson"][..], true),
            (&["application/X-NDJSON; charset=utf-8"], true),
            (&["application/x-ndjson, application/json"], true),
            (&["application/json, application/x-ndjson"], false),
            (&["application/json;q=0.5, application/x-ndjson"], true),
            (&["application/x-ndjson;q=0.1", "application/json;q=0.9"], false),
            (&["application/x-ndjson;q=0"], false),
            (&["application/json;q=0", "application/x-ndjson; q=0.001"], true),
            (&["*/*"], false),
            (&["*/*, application/x-ndjson"], true),
            (&["*/*, application/x-ndjson;q=0.1"], false),
            (&["application/*;q=0.5, */*, application/x-ndjson;q=0.6"], true),
            (&["application/*, application/json;q=0.2, application/x-ndjson;q=0.3"], true),
            (&["text/html"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(line));
            }
            assert_eq!(wants_stream(&headers), stream, "{accept:?}");
        }
    }
}
