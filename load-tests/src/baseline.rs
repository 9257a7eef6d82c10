//! What the introspection is compared with: axum as its documentation serves it, reading the same body and answering a
//! fixed one of the same size, with the same headers.

use crate::Result;
use axum::Router;
use axum::body::Bytes;
use axum::response::IntoResponse;
use axum::routing::post;
use http::header;
use std::net::SocketAddr;

/// Serves until it is killed.
pub(crate) async fn serve(addr: SocketAddr, answer: Vec<u8>) -> Result<()> {
    let answer = Bytes::from(answer);
    let introspect = post(async move |body: Bytes| {
        assert!(!body.is_empty());
        let headers = [
            (header::CONTENT_TYPE, "application/json"),
            (header::CACHE_CONTROL, "no-store"),
            (header::HeaderName::from_static("x-request-id"), "00000000-0000-7000-8000-000000000000"),
        ];
        (headers, answer.clone()).into_response()
    });
    let app = Router::new().route("/oauth2/introspect", introspect);
    axum::serve(tokio::net::TcpListener::bind(addr).await?, app).await?;
    Ok(())
}
