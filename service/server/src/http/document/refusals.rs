//! What every door may refuse, and in which form.

use super::schemas::{OauthErrorDocument, ProblemDocument};
use utoipa::openapi::content::ContentBuilder;
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

/// A refusal that several doors give: status, name, when.
const SHARED: [(u16, &str, &str); 12] = [
    (400, "Malformed", "The request cannot be understood. `field` names what is wrong."),
    (401, "Unauthenticated", "There is no credential, or one that does not count."),
    (403, "Forbidden", "The credential lacks a scope, or its user's role does not allow this."),
    (404, "NotFound", "There is no such thing, or it is not the caller's."),
    (408, "Timeout", "The body did not come in time."),
    (413, "TooLarge", "The body is too large."),
    (415, "MediaType", "The body has another media type than this operation takes."),
    (422, "Invalid", "The request is understood, and not allowed. `field` names what is wrong."),
    (429, "TooMany", "There were too many requests, or too many failures to authenticate."),
    (431, "HeadersTooLarge", "The headers are too many or too large."),
    (500, "Internal", "The service failed. The failure is logged under the request's id."),
    (
        503,
        "Unavailable",
        "The service cannot answer now: it starts, stops, is overloaded or lacks its database.",
    ),
];

impl Form {
    /// The form of the refusals of a path.
    pub(super) fn of(path: &str) -> Self {
        if path.starts_with("/oauth2/") { Self::Oauth } else { Self::Problem }
    }

    /// The reference to a shared refusal.
    pub(super) fn shared(self, status: u16) -> Option<(String, RefOr<Response>)> {
        let (_, name, _) = SHARED.iter().find(|(known, _, _)| *known == status)?;
        Some((status.to_string(), RefOr::Ref(Ref::from_response_name(self.name(name)))))
    }

    fn name(self, name: &str) -> String {
        match self {
            Self::Problem => name.into(),
            Self::Oauth => format!("Oauth{name}"),
        }
    }

    /// Gives a refusal its document and headers.
    pub(super) fn fill(self, status: u16, response: &mut Response) {
        let (media_type, schema) = match self {
            Self::Problem => ("application/problem+json", ProblemDocument::name()),
            Self::Oauth => ("application/json", OauthErrorDocument::name()),
        };
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
        response.content.entry(media_type.into()).or_insert(RefOr::T(content));
        let headers: &[&str] = match status {
            401 => &["WWW-Authenticate"],
            429 | 503 => &["Retry-After"],
            _ => &[],
        };
        for name in headers {
            response.headers.entry((*name).into()).or_insert(header(name));
        }
    }
}

/// The reference to a shared header.
pub(super) fn header(name: &str) -> RefOr<utoipa::openapi::header::Header> {
    RefOr::Ref(Ref::new(format!("#/components/headers/{name}")))
}

/// The shared refusals, in both forms.
pub(super) fn shared() -> impl Iterator<Item = (String, RefOr<Response>)> {
    [Form::Problem, Form::Oauth].into_iter().flat_map(|form| {
        SHARED.iter().map(move |(status, name, when)| {
            let mut response = ResponseBuilder::new().description(*when).build();
            form.fill(*status, &mut response);
            response.headers.insert("X-Request-Id".into(), header("X-Request-Id"));
            (form.name(name), RefOr::T(response))
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
