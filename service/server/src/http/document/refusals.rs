//! What doors refuse: by the type of the problem, in the form of the door.

use super::schemas::{OauthErrorDocument, ProblemDocument};
use crate::event_log::failure::NotNow;
use crate::http::oauth::{self, OauthError, instead_of};
use crate::http::problem::Problem;
use crate::read_model::freshness::Doubt;
use counterfoil_domain::refusal::Refusal;
use http::StatusCode;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{Ref, RefOr, Response};
use utoipa::{PartialSchema, ToSchema};

/// The form of a door's refusals.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// RFC 9457.
    Problem,
    /// RFC 6749 section 5.2.
    Oauth,
}

/// The name of the header of a challenge that an answer may have or not.
pub(super) const CHALLENGE: &str = "Challenge";

/// Status, name, when, and the types of the problems.
type Shared = (u16, &'static str, &'static str, &'static [&'static str]);

/// The refusals that several doors give.
const SHARED: [Shared; 12] = [
    (
        400,
        "Malformed",
        "The request cannot be understood. `field` names what is wrong.",
        &["malformed", "not-http"],
    ),
    (401, "Unauthenticated", "There is no credential, or one that does not count.", &["unauthenticated"]),
    (
        403,
        "Forbidden",
        "The credential lacks a scope, its user's role does not allow this, or a browser sent its cookie for a \
         foreign page.",
        &["insufficient-scope", "forbidden", "cross-origin"],
    ),
    (404, "NotFound", "There is no such thing, or it is not the caller's.", &["not-found"]),
    (408, "Timeout", "The body did not come in time.", &["timeout"]),
    (413, "TooLarge", "The body is too large.", &["too-large"]),
    (
        415,
        "MediaType",
        "The body has another media type than this operation takes, or is compressed.",
        &["media-type", "content-encoding"],
    ),
    (
        422,
        "Invalid",
        "The request is understood, and not allowed. `field` names what is wrong.",
        &["invalid"],
    ),
    (
        429,
        "TooMany",
        "There were too many requests, or too many failures to authenticate.",
        &["too-many-requests"],
    ),
    (431, "HeadersTooLarge", "The headers are too many or too large.", &["headers-too-large"]),
    (
        500,
        "Internal",
        "The service failed. Its log has the request under the request's id, and the failure; of many alike it tells \
         one in ten seconds.",
        &["internal"],
    ),
    (
        503,
        "Unavailable",
        "This cannot be answered now. The type says why, and `Retry-After` when to ask again.",
        &[
            "starting",
            "database-unreachable",
            "database-recovering",
            "database-unfit",
            "database-error",
            "another-serves",
            "index-behind",
            "log-replaced",
            "not-stored",
            "outcome-unknown",
            "overloaded",
            "clocks-disagree",
        ],
    ),
];

/// Every problem that a documented operation may answer, as it is answered.
fn known() -> Vec<Problem> {
    let refused = Problem::from;
    vec![
        Problem::malformed("limit", "It is 1 to 100."),
        Problem::framing(StatusCode::BAD_REQUEST),
        Problem::unauthenticated(),
        Problem::sign_in_failed(),
        refused(Refusal::InsufficientScope("write")),
        refused(Refusal::Forbidden),
        refused(Refusal::Stronger),
        refused(Refusal::WrongPassword),
        Problem::cross_origin(),
        Problem::token_needed(),
        Problem::session_needed(),
        Problem::not_found(),
        Problem::timed_out(),
        refused(Refusal::LimitReached { limit: 50 }),
        refused(Refusal::Ended),
        refused(Refusal::RotatedMeanwhile),
        refused(Refusal::ChangedMeanwhile),
        Problem::too_large(),
        Problem::not_json(),
        Problem::encoded(),
        Problem::invalid("note", "A note has at most 200 characters."),
        Problem::key_reused(),
        Problem::too_many(Duration::from_secs(1)),
        Problem::too_many_failures(60),
        Problem::too_many_streams(),
        Problem::framing(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        Problem::internal(),
        Problem::in_doubt(Doubt::Starting),
        Problem::in_doubt(Doubt::Unreachable),
        Problem::in_doubt(Doubt::Recovering),
        Problem::in_doubt(Doubt::Unfit),
        Problem::in_doubt(Doubt::AnotherServes),
        Problem::in_doubt(Doubt::Behind),
        Problem::in_doubt(Doubt::AnotherLog),
        Problem::database_error(),
        NotNow::NotStored.into(),
        NotNow::Unknown.into(),
        Problem::overloaded(),
        Problem::leaving(),
        refused(Refusal::ClockUntrusted),
    ]
}

/// A type of problem, by its name.
fn problem<'a>(known: &'a [Problem], slug: &str) -> Option<&'a Problem> {
    known.iter().find(|problem| problem.slug() == slug)
}

impl Form {
    /// The form of the refusals of a path.
    pub(super) fn of(path: &str) -> Self {
        if oauth::has(path) { Self::Oauth } else { Self::Problem }
    }

    /// The refusals of an operation: of the types that it names itself, and of the statuses that its door has.
    pub(super) fn refusals(self, own: &[&str], shared: &BTreeSet<u16>) -> Vec<(u16, RefOr<Response>)> {
        let known = known();
        let own: Vec<&Problem> = own.iter().filter_map(|slug| problem(&known, slug)).collect();
        let statuses = own.iter().map(|problem| problem.status().as_u16());
        let statuses: BTreeSet<u16> = statuses.chain(shared.iter().copied()).collect();
        let of = |status| {
            let mut own: Vec<&Problem> =
                own.iter().filter(|own| own.status().as_u16() == status).copied().collect();
            // An operation may name what others share by a door.
            let every = SHARED.iter().find(|(known, _, _, types)| {
                let named = |slug| own.iter().any(|own| own.slug() == slug);
                *known == status && (shared.contains(known) || types.iter().all(|slug| named(*slug)))
            });
            own.retain(|own| every.is_none_or(|(.., types)| !types.contains(&own.slug())));
            match every {
                Some((_, name, ..)) if own.is_empty() => RefOr::Ref(Ref::from_response_name(self.name(name))),
                every => RefOr::T(self.refusal(&known, status, every, &own)),
            }
        };
        statuses.into_iter().map(|status| (status, of(status))).collect()
    }

    fn name(self, name: &str) -> String {
        match self {
            Self::Problem => name.into(),
            Self::Oauth => format!("Oauth{name}"),
        }
    }

    /// A refusal with an example of each type that it may have.
    fn refusal(self, known: &[Problem], status: u16, every: Option<&Shared>, own: &[&Problem]) -> Response {
        let when = every.map(|(_, _, when, _)| (*when).to_string());
        let titles = own.iter().map(|problem| format!("{} (`{}`).", problem.title(), problem.slug()));
        let sentences: Vec<String> = when.into_iter().chain(titles).collect();
        let types = every.into_iter().flat_map(|(.., types)| *types);
        let problems = types.filter_map(|slug| problem(known, slug)).chain(own.iter().copied());
        let (media_type, schema) = match self {
            Self::Problem => ("application/problem+json", ProblemDocument::name()),
            Self::Oauth => ("application/json", OauthErrorDocument::name()),
        };
        let mut examples: Vec<(String, Value)> = Vec::new();
        for (name, example) in problems.map(|problem| self.example(problem)) {
            // OAuth has one error for several types: the most usual is shown.
            if examples.iter().all(|(known, _)| *known != name) {
                examples.push((name, example));
            }
        }
        let examples = examples
            .into_iter()
            .map(|(name, example)| (name, ExampleBuilder::new().value(Some(example)).build()));
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(schema)))
            .examples_from_iter(examples)
            .build();
        let mut response =
            ResponseBuilder::new().description(sentences.join(" ")).content(media_type, content).build();
        let headers: &[&str] = match status {
            401 => &["WWW-Authenticate"],
            429 | 503 => &["Retry-After"],
            _ => &[],
        };
        for name in headers.iter().chain(&["X-Request-Id"]) {
            response.headers.insert((*name).into(), header(name));
        }
        // OAuth's doors answer every wrong client alike, with 401.
        if matches!((self, status), (Self::Problem, 400 | 403)) {
            response.headers.insert("WWW-Authenticate".into(), header(CHALLENGE));
        }
        response
    }

    /// The name of an example, which is the type of the problem or the error of OAuth, and the example as it is
    /// answered.
    fn example(self, problem: &Problem) -> (String, Value) {
        match self {
            Self::Problem => (problem.slug().into(), problem.document()),
            Self::Oauth => {
                let own = instead_of(problem.slug()).map(OauthError::document);
                let document = own.unwrap_or_else(|| problem.oauth_document());
                (document["error"].as_str().unwrap_or_default().into(), document)
            }
        }
    }
}

/// The reference to a shared header.
pub(super) fn header(name: &str) -> RefOr<utoipa::openapi::header::Header> {
    RefOr::Ref(Ref::new(format!("#/components/headers/{name}")))
}

/// The shared refusals, in both forms.
pub(super) fn shared() -> impl Iterator<Item = (String, RefOr<Response>)> {
    let known = known();
    [Form::Problem, Form::Oauth].into_iter().flat_map(move |form| {
        let known = known.clone();
        SHARED.iter().map(move |shared| {
            let refusal = form.refusal(&known, shared.0, Some(shared), &[]);
            (form.name(shared.1), RefOr::T(refusal))
        })
    })
}

/// The documents of refusals.
pub(super) fn schemas() -> [(String, RefOr<Schema>); 2] {
    [
        (ProblemDocument::name().into(), ProblemDocument::schema()),
        (OauthErrorDocument::name().into(), OauthErrorDocument::schema()),
    ]
}
