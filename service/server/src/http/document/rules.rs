//! What is said of every operation alike.

use super::params::ORGANIZATION;
use super::refusals::{Form, header};
use super::security::{API_KEY, BEARER, SESSION};
use serde_json::Value;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{OpenApi, Ref, RefOr, SecurityRequirement};

/// Completes the document.
pub(super) fn complete(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            describe(operation);
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

fn also_by_api_key(operation: &mut Operation, guards: &[(String, Vec<String>)]) {
    if let Some((_, scopes)) = guards.iter().find(|(scheme, _)| scheme == BEARER) {
        operation.security.get_or_insert_default().push(SecurityRequirement::new(API_KEY, scopes));
    }
}

/// The refusals of an operation: those that every door has, those that its guards and its body bring, and a form for
/// those that it names itself.
fn refuse(path: &str, operation: &mut Operation, guards: &[(String, Vec<String>)]) {
    let form = Form::of(path);
    let mut statuses = vec![400, 431, 500, 503];
    if !guards.is_empty() {
        statuses.push(401);
    }
    if guards.iter().any(|(scheme, _)| scheme == BEARER || scheme == SESSION) {
        statuses.extend([403, 404]);
    }
    if operation.request_body.is_some() {
        statuses.extend([408, 413, 415]);
    }
    if !matches!(path, "/livez" | "/readyz") {
        statuses.push(429);
    }
    let responses = &mut operation.responses.responses;
    for (status, response) in responses.iter_mut() {
        let (Ok(status), RefOr::T(response)) = (status.parse(), response) else { continue };
        if status >= 400 {
            form.fill(status, response);
        }
        response.headers.entry("X-Request-Id".into()).or_insert(header("X-Request-Id"));
    }
    for (status, shared) in statuses.into_iter().filter_map(|status| form.shared(status)) {
        responses.entry(status).or_insert(shared);
    }
}
