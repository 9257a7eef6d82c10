//! The query of a request's target: one way to read it at every list, with one answer to each mistake.

use super::problem::Problem;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::request::Parts;
use http::{Method, Uri};
use percent_encoding::percent_decode_str;
use std::collections::HashSet;
use std::sync::Arc;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::ParameterIn;

/// The parameters of a request. Each is known and given once: a filter that is not understood must not widen what is
/// shown.
pub struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Reads the parameters that a door knows.
    ///
    /// # Errors
    /// 400 for one that is unknown, given twice, or not UTF-8. What was sent is not repeated.
    pub fn parse(uri: &Uri, known: &[&'static str]) -> Result<Self, Problem> {
        let mut read: Vec<(&'static str, String)> = Vec::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            let Some(name) = known.iter().find(|known| **known == name) else {
                let detail = format!("The parameters are {}.", known.join(", "));
                return Err(Problem::malformed("query", detail));
            };
            if read.iter().any(|(seen, _)| seen == name) {
                return Err(Problem::malformed(name, "It is given twice."));
            }
            read.push((name, value));
        }
        Ok(Self(read))
    }

    /// The value of a parameter, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// How many things a page is to have: `default` unless `limit` says so, and at most `most`.
    ///
    /// # Errors
    /// 400 for what is not a number from 1 to `most`, in ASCII digits.
    pub fn limit(&self, default: usize, most: usize) -> Result<usize, Problem> {
        let Some(text) = self.get("limit") else { return Ok(default) };
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let limit = digits.then(|| text.parse().ok()).flatten().filter(|limit| (1..=most).contains(limit));
        limit.ok_or_else(|| Problem::malformed("limit", format!("It is 1 to {most}.")))
    }
}

/// Undoes percent-encoding, and the `+` that forms write for a blank.
fn decoded(text: &str) -> Result<String, Problem> {
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8();
    decoded.map(String::from).map_err(|_| Problem::malformed("query", "It is not UTF-8."))
}

/// The operations that take parameters at all: those of GET, by their paths.
pub(super) type Queried = Arc<HashSet<String>>;

/// Finds them in the document: no other method has any.
pub(super) fn queried(document: &OpenApi) -> Queried {
    let paths = document.paths.paths.iter().filter(|(_, item)| {
        let get = item.get.iter().flat_map(|operation| operation.parameters.iter().flatten());
        get.filter_map(|parameter| match parameter {
            utoipa::openapi::RefOr::T(parameter) => Some(parameter),
            utoipa::openapi::RefOr::Ref(_) => None,
        })
        .any(|parameter| parameter.parameter_in == ParameterIn::Query)
    });
    Arc::new(paths.map(|(path, _)| path.clone()).collect())
}

/// Marks a request that has parameters where its operation has none.
#[derive(Clone, Copy)]
struct Unknown;

/// Looks for parameters where an operation has none. They are refused where it is known who asks: before that nobody is
/// told what a door takes.
pub(super) async fn note_unknown(
    State(queried): State<Queried>,
    mut request: Request,
    next: Next,
) -> Response {
    let asks = request.uri().query().is_some_and(|query| !query.is_empty());
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if asks && path.starts_with("/v1/") && !(reads && queried.contains(path)) {
        request.extensions_mut().insert(Unknown);
    }
    next.run(request).await
}

/// Refuses those parameters: what is not understood must not be taken for understood.
///
/// # Errors
/// 400.
pub(super) fn refuse_unknown(parts: &Parts) -> Result<(), Problem> {
    match parts.extensions.get::<Unknown>() {
        Some(Unknown) => Err(Problem::malformed("query", "There are no parameters here.")),
        None => Ok(()),
    }
}

/// No parameters, for a door that asks nobody who they are. Whoever takes a caller has asked for this already.
pub struct NoParameters;

impl<S: Sync> FromRequestParts<S> for NoParameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        refuse_unknown(parts).map(|()| Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Option<Vec<(&'static str, String)>> {
        let uri = format!("/list?{query}").parse().unwrap();
        Query::parse(&uri, &["limit", "search"]).ok().map(|query| query.0)
    }

    #[test]
    fn a_query_is_read_or_refused() {
        let one = |name, value: &str| Some(vec![(name, value.to_string())]);
        assert_eq!(read(""), Some(vec![]));
        assert_eq!(read("search=a+b%2B%C3%A4"), one("search", "a b+ä"));
        assert_eq!(read("&search=a=b&"), one("search", "a=b"));
        assert_eq!(read("search"), one("search", ""));
        for wrong in ["search=%ff", "search=a&search=a", "Search=a", "page=1", "search=a&%73earch=b"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_limit_is_a_number_of_things() {
        let limit = |query: &str| {
            let uri = format!("/list?{query}").parse().unwrap();
            Query::parse(&uri, &["limit"]).and_then(|query| query.limit(50, 100)).ok()
        };
        assert_eq!((limit(""), limit("limit=1"), limit("limit=100")), (Some(50), Some(1), Some(100)));
        for wrong in [
            "",
            "0",
            "-1",
            "101",
            "%2B5",
            "1.5",
            "2147483648",
            "99999999999999999999",
            "%EF%BC%91",
            "5 ",
            "5%00",
        ] {
            assert_eq!(limit(&format!("limit={}", wrong.replace(' ', "%20"))), None, "{wrong:?}");
        }
    }
}
