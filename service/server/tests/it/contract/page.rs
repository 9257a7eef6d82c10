//! The page at `/docs`, and the document that it shows.

use super::file::File;
use super::start;
use super::walk::{As, Walk};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn the_page_needs_nobody_but_this_host() {
    let service = start().await;
    let file = File::read();
    let walk = Walk::new(&service, &file);
    let get = async |path: &str| walk.send(reqwest::Method::GET, path, &As::Nobody, None).await;
    let served: Value = serde_json::from_str(&get("/openapi.json").await.text()).unwrap();
    assert_eq!(served, file.document, "what is served is what the file says");
    let page = get("/docs").await;
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self';"), "{policy}");
    assert!(policy.contains("connect-src 'self';") && !policy.contains("http"), "{policy}");
    let text = page.text();
    assert!(!text.contains("://") && !text.contains("<script>") && !text.contains("<style"), "{text}");
    let links = text.split(['"']).filter(|text| text.starts_with("docs/"));
    let links: Vec<&str> = links.collect();
    assert_eq!(links.len(), 3, "{links:?}");
    for link in links {
        let answer = get(&format!("/{link}")).await;
        assert!(answer.status.is_success() && !answer.bytes.is_empty(), "{link}: {answer:?}");
        let kind = if link.ends_with(".css") { "text/css" } else { "text/javascript" };
        assert!(answer.header("content-type").starts_with(kind), "{link}: {answer:?}");
        assert!(answer.header("cache-control").contains("max-age"), "{link}: {answer:?}");
        let compressed = answer.bytes.starts_with(&[0x1f, 0x8b]);
        assert_eq!(compressed, answer.header("content-encoding") == "gzip", "{link}");
    }
    service.stop().await;
}
