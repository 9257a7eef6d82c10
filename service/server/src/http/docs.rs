//! The document, and a page that shows it, served from this host alone.
//!
//! The page's script and style are files of the repository, compressed as they are sent. The
//! Content-Security-Policy holds a browser to them, and "Try it out" to this host.

use super::document;
use super::document::names::PageFile;
use super::document::schemas::OpenApiDocument;
use super::problem::Problem;
use super::tracked::HasRoom;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::response::Response;
use http::{HeaderName, HeaderValue, header};

const PAGE: &[u8] = include_bytes!("../../assets/docs/index.html");
/// Name, media type, whether it is compressed, bytes.
const FILES: [(&str, &str, bool, &[u8]); 3] = [
    ("page.js", "text/javascript; charset=utf-8", false, include_bytes!("../../assets/docs/page.js")),
    (
        "swagger-ui-bundle.js",
        "text/javascript; charset=utf-8",
        true,
        include_bytes!("../../assets/docs/swagger-ui-bundle.js.gz"),
    ),
    (
        "swagger-ui.css",
        "text/css; charset=utf-8",
        true,
        include_bytes!("../../assets/docs/swagger-ui.css.gz"),
    ),
];

/// Styles may stand in the page, since the script sets them on what it draws; nothing else may.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The document of this API (OpenAPI 3.1).
///
/// It is made from the routes, and is the repository's `api.yaml` as JSON.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "Document",
    operation_id = "openapi",
    security(()),
    responses((status = 200, description = "The document.", body = OpenApiDocument)),
)]
pub async fn openapi() -> Response {
    file("application/json", document::JSON.clone())
}

/// A page that shows the document.
///
/// It comes from this host alone, and its "Try it out" asks no other.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "Document",
    operation_id = "docs",
    security(()),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")),
)]
pub async fn page() -> Response {
    let mut response = file("text/html; charset=utf-8", Bytes::from_static(PAGE));
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A file of the page.
///
/// What is compressed is sent with `Content-Encoding: gzip`.
///
/// # Errors
/// 404 for another.
#[utoipa::path(
    get,
    path = "/docs/{file}",
    tag = "Document",
    operation_id = "docs_file",
    security(()),
    params(("file" = inline(PageFile), Path, description = "The file's name.", example = "page.js")),
    responses((status = 200, description = "The file.", content((String = "text/javascript"), (String = "text/css")))),
    extensions(("x-refuses" = json!(["not-found"]))),
)]
pub async fn page_file(Path(name): Path<String>) -> Result<Response, Problem> {
    let found = FILES.iter().find(|(known, ..)| *known == name);
    let (_, kind, compressed, bytes) = found.ok_or_else(Problem::not_found)?;
    let mut response = file(kind, Bytes::from_static(bytes));
    if *compressed {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

/// An answer that may be kept for an hour: it changes with the program only.
fn file(kind: &'static str, bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.extensions_mut().insert(HasRoom);
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "public, max-age=3600"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
