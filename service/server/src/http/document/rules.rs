//! What is said of every operation alike.

use super::params::ORGANIZATION;
use super::refusals::{Form, header};
use super::security::{API_KEY, API_KEY_COOKIE, BEARER, SESSION};
use serde_json::Value;
use std::collections::BTreeSet;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{OpenApi, Ref, RefOr, Schema, SecurityRequirement};

/// Completes the document.
pub(super) fn complete(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            describe(operation);
            leave_out_null(operation);
            let guards = guards(operation);
            also_by_api_key(operation, &guards);
            if guards.iter().any(|(scheme, _)| scheme == BEARER || scheme == SESSION) {
                let organization = Ref::new(format!("#/components/parameters/{ORGANIZATION}"));
                operation.parameters.get_or_insert_default().push(RefOr::Ref(organization));
            }
            refuse(path, operation, &guards);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

/// The prose of a handler's comment, without what rustdoc wants of it.
fn describe(operation: &mut Operation) {
    let text = operation.description.take().unwrap_or_default();
    let prose = text.split("# Errors").next().unwrap_or_default().trim();
    operation.description = (!prose.is_empty()).then(|| prose.to_owned());
}

/// A body that may be left out is not null.
fn leave_out_null(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        if let Some(RefOr::T(Schema::OneOf(kinds))) = &content.schema {
            content.schema = kinds.items.iter().find(|kind| matches!(kind, RefOr::Ref(_))).cloned();
        }
    }
}

/// An operation's security schemes, with the scopes that they need. Empty for a door that is open.
fn guards(operation: &Operation) -> Vec<(String, Vec<String>)> {
    let requirements = operation.security.iter().flatten();
    let read = requirements.filter_map(|requirement| serde_json::to_value(requirement).ok());
    let named = read.filter_map(|value| match value {
        Value::Object(fields) => fields.into_iter().next(),
        _ => None,
    });
    let scopes = |scopes: Value| serde_json::from_value(scopes).unwrap_or_default();
    named.map(|(scheme, needed)| (scheme, scopes(needed))).collect()
}

/// Whatever takes a token as Bearer takes it in the other ways, too.
fn also_by_api_key(operation: &mut Operation, guards: &[(String, Vec<String>)]) {
    if let Some((_, scopes)) = guards.iter().find(|(scheme, _)| scheme == BEARER) {
        let security = operation.security.get_or_insert_default();
        security.extend([API_KEY, API_KEY_COOKIE].map(|scheme| SecurityRequirement::new(scheme, scopes)));
    }
}

/// The refusals of an operation: those that every door has, those that its guards, its body and its headers bring, and
/// those that it names itself, by the type of the problem, as `refuses`.
fn refuse(path: &str, operation: &mut Operation, guards: &[(String, Vec<String>)]) {
    let mut shared = BTreeSet::from([400, 431, 500, 503]);
    if !guards.is_empty() {
        shared.insert(401);
    }
    if guards.iter().any(|(scheme, _)| scheme == BEARER || scheme == SESSION) {
        shared.extend([403, 404]);
    }
    if operation.request_body.is_some() {
        shared.extend([408, 413, 415]);
    }
    if !matches!(path, "/livez" | "/readyz") {
        shared.insert(429);
    }
    let named = operation.extensions.take().and_then(|mut extensions| extensions.remove("x-refuses"));
    let named: Vec<String> = named.and_then(|named| serde_json::from_value(named).ok()).unwrap_or_default();
    let mut own: Vec<&str> = named.iter().map(String::as_str).collect();
    for (header, slug) in [("Idempotency-Key", "idempotency-key-reused"), ("If-Match", "changed-meanwhile")] {
        let mut parameters = operation.parameters.iter().flatten();
        if parameters.any(|one| matches!(one, RefOr::T(one) if one.name == header)) {
            own.push(slug);
        }
    }
    let responses = &mut operation.responses.responses;
    for response in responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        response.headers.entry("X-Request-Id".into()).or_insert(header("X-Request-Id"));
        // A rotation has a link only where it was repeated.
        for (_, header) in response.headers.iter_mut().filter(|(name, _)| *name != "Link") {
            if let RefOr::T(header) = header {
                require(header);
            }
        }
    }
    for (status, refusal) in Form::of(path).refusals(&own, &shared) {
        responses.insert(status.to_string(), refusal);
    }
}

/// Says that a header is always there. The crate has no field for `required`; what is in `extensions` stands beside the
/// others.
pub(super) fn require(header: &mut Header) {
    header.extensions.get_or_insert_default().insert("required".into(), true.into());
}
