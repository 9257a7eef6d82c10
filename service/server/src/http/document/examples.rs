//! Documents as they are answered, for readers and for generators of clients. A test holds each against its schema.

use crate::http::oauth::metadata_document;
use serde_json::{Value, json};

const TOKEN: &str = "0198c9a0-0000-7000-8000-000000000001";
const GATEWAY: &str = "0198c9a0-0000-7000-8000-000000000002";
const USER: &str = "0198c9a0-0000-7000-8000-000000000003";
const ORGANIZATION: &str = "0198c9a0-0000-7000-8000-000000000004";
const REQUEST: &str = "0198c9a0-0000-7000-8000-000000000005";
const CLIENT: &str = "gw_0198c9a0000070008000000000000002";
const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// A token that was just issued.
pub fn token() -> Value {
    json!({
        "id": TOKEN,
        "kind": "personal",
        "note": "ci",
        "hint": "cf_pat_a1b2",
        "scopes": ["read", "write"],
        "state": "live",
        "generation": 1,
        "created_at": "2027-06-01T00:00:00Z",
        "expires_at": null,
        "last_used_at": null,
        "last_used_by": null,
        "uses": 0,
        "plaintext": "cf_pat_…",
    })
}

/// A token in a list: without its plaintext.
fn listed() -> Value {
    let mut token = token();
    token["last_used_at"] = "2027-06-02T08:15:00Z".into();
    token["last_used_by"] = json!({ "client_id": CLIENT, "name": "edge" });
    token["uses"] = 42.into();
    if let Some(fields) = token.as_object_mut() {
        fields.remove("plaintext");
    }
    token
}

/// A page of tokens.
pub fn token_page() -> Value {
    json!({ "items": [listed()], "next_cursor": null })
}

/// A gateway's token in a list.
fn gateway_token() -> Value {
    let mut token = listed();
    token["kind"] = "gateway".into();
    token["note"] = Value::Null;
    token["hint"] = "cf_gw_a1b2".into();
    token
}

/// A page of a gateway's tokens.
pub fn gateway_token_page() -> Value {
    json!({ "items": [gateway_token()], "next_cursor": null })
}

/// A gateway.
pub fn gateway() -> Value {
    json!({
        "id": GATEWAY,
        "client_id": CLIENT,
        "name": "edge",
        "kinds": ["personal", "caller"],
        "environment_id": null,
    })
}

/// A page of gateways.
pub fn gateway_page() -> Value {
    json!({ "items": [gateway()], "next_cursor": null })
}

fn organizations() -> Value {
    json!([{ "id": ORGANIZATION, "name": "acme", "role": "owner" }])
}

/// A session that was opened.
pub fn signed_in() -> Value {
    json!({
        "user": { "id": USER, "email": "owner@example.com" },
        "organization_id": ORGANIZATION,
        "organizations": organizations(),
        "expires_at": "2027-06-01T12:00:00Z",
    })
}

/// Who is asking.
pub fn who_am_i() -> Value {
    json!({
        "id": USER,
        "email": "owner@example.com",
        "organization_id": ORGANIZATION,
        "organizations": organizations(),
        "tokens": { "standing": 1, "limit": 50 },
        "credential": { "kind": "token", "id": TOKEN, "scopes": ["read", "write"] },
    })
}

/// An active token.
pub fn introspection() -> Value {
    json!({
        "active": true,
        "scope": "read write",
        "client_id": USER,
        "sub": USER,
        "username": "owner@example.com",
        "token_type": "Bearer",
        "iat": 1_811_808_000,
        "exp": 1_811_894_400,
        "iss": "https://tokens.example.com",
        "jti": TOKEN,
        "organization_id": ORGANIZATION,
        "kind": "personal",
        "role": "owner",
    })
}

/// Where the doors are.
pub fn metadata() -> Value {
    metadata_document("https://tokens.example.com")
}

fn feed_item() -> Value {
    json!({
        "chain": DIGEST,
        "record": {
            "seq": 12,
            "type": "token.renamed",
            "version": 1,
            "actor": { "kind": "token", "token_id": TOKEN, "generation": 1, "user_id": USER },
            "request_id": REQUEST,
            "decided_at": "2027-06-01T00:00:00Z",
            "body": { "id": TOKEN },
        },
    })
}

/// A page of the feed.
pub fn feed_page() -> Value {
    json!({ "items": [feed_item()], "next_after": 12, "more": false, "head": 12 })
}

/// The feed as a stream.
pub fn stream() -> String {
    format!("{}\n{}\n", feed_item(), json!({ "next_after": 12, "more": false, "head": 12 }))
}
