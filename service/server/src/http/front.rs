//! The busiest route, answered before the router: a plain `POST /oauth2/introspect` with a body of at most 8 KiB.
//!
//! A router, boxed bodies, request extensions and a task of its own cost more than an introspection itself. Admission,
//! the request's id, counters and the log are those of every request, and the answer is made by the function that the
//! route calls; whatever is not plain goes there.

use super::admission::Edge;
use super::arriving::Arriving;
use super::body;
use super::oauth::OauthError;
use super::oauth::form::LIMIT;
use super::oauth::introspect::{Answered, answer, early, refused};
use super::problem::{FailedAuthentication, Problem};
use super::progress::Progress;
use super::seen::{Notes, Seen};
use super::tracked::Outgoing;
use axum::body::Body;
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The route that is answered here.
const ROUTE: &str = "/oauth2/introspect";

/// Whether a request is plain: its whole body is announced and small.
pub(super) fn is_plain(request: &Request<Arriving>) -> bool {
    request.method() == Method::POST
        && request.uri().path_and_query().is_some_and(|target| target.as_str() == ROUTE)
        && request.body().size_hint().exact().is_some_and(|bytes| bytes <= LIMIT as u64)
        // Whoever asks whether to send a body is answered before it is read.
        && !request.headers().contains_key(header::EXPECT)
}

/// Answers a plain request.
pub(super) async fn introspect(
    edge: &Edge,
    request: Request<Arriving>,
    peer: IpAddr,
    progress: Arc<Progress>,
) -> Response<Outgoing> {
    let seen = Seen::new(&edge.app, &request, peer);
    progress.request(!request.body().is_end_stream());
    let mut place = match edge.admit(&request) {
        Ok(place) => place,
        Err(problem) => return finish(edge, &seen, problem.into_response(), progress),
    };
    let (parts, body) = request.into_parts();
    let is_client = || {
        drop(place.take());
        early(&edge.app, &parts.headers).map(|()| edge.coming(peer, &progress))
    };
    let response = match body::read_incoming(body, LIMIT, is_client).await {
        Ok(form) => {
            progress.body_came();
            match place.map_or_else(|| edge.place(), Ok) {
                Ok(again) => place = Some(again),
                Err(problem) => return finish(edge, &seen, problem.into_response(), progress),
            }
            match judged(edge, &parts.headers, &form) {
                Some(Ok(answered)) => return active_or_not(edge, &seen, answered, progress),
                Some(Err(error)) => refused(&edge.app, error),
                None => {
                    edge.panicked(&seen);
                    Problem::internal().into_response()
                }
            }
        }
        Err(error) => refused(&edge.app, error),
    };
    drop(place);
    let response = if response.extensions().get::<FailedAuthentication>().is_some() {
        edge.failed(seen.client(), response)
    } else {
        response
    };
    finish(edge, &seen, response, progress)
}

/// The answer, or `None` after a panic, which is this request's failure only, as it is in the router's task.
fn judged(edge: &Edge, headers: &HeaderMap, form: &[u8]) -> Option<Result<Answered, OauthError>> {
    catch_unwind(AssertUnwindSafe(|| answer(&edge.app, headers, form))).ok()
}

/// The common answer, made without anything that it does not need.
fn active_or_not(
    edge: &Edge,
    seen: &Seen,
    answered: Answered,
    progress: Arc<Progress>,
) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::whole(answered.body, progress));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    seen.name(headers);
    edge.introspected(seen);
    response
}

fn finish(edge: &Edge, seen: &Seen, response: Response<Body>, progress: Arc<Progress>) -> Response<Outgoing> {
    let notes = Notes::default();
    notes.route(ROUTE);
    edge.finish(seen, &notes, response).map(|body| Outgoing::new(body, progress))
}
