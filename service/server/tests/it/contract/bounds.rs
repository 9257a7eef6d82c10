//! What a field or a parameter may hold: the bounds of the file are those that the service keeps. What lies at a bound is
//! understood, and what lies beyond it is refused by the field's name.

use super::file::{File, Operation};
use super::meant::sign_in;
use super::start;
use super::walk::{Answer, As, Walk, things};
use counterfoil::clock::Clock;
use reqwest::StatusCode;
use serde_json::{Map, Value, json};

/// A value, and whether the file allows it.
type Probe = (Value, bool);

/// Values at the bounds of a schema and beyond.
fn probes(file: &File, schema: &Value) -> Vec<Probe> {
    let schema = file.resolved(schema);
    if let Some(kinds) = schema["oneOf"].as_array() {
        // What one kind forbids another may allow, so only what fits is taken from each.
        let fits = kinds.iter().flat_map(|kind| probes(file, kind)).filter(|(_, fits)| *fits);
        let beyond =
            kinds.iter().filter(|kind| kind["maximum"].is_number()).flat_map(|kind| probes(file, kind));
        return fits.chain(beyond.filter(|(_, fits)| !fits)).collect();
    }
    let text = |count: u64| Value::from("x".repeat(count as usize));
    let item = || {
        probes(file, &schema["items"])
            .into_iter()
            .find(|(_, fits)| *fits)
            .map_or(json!("x"), |(item, _)| item)
    };
    let list = |count: u64| (0..count).map(|_| item()).collect::<Value>();
    let mut found: Vec<Probe> = Vec::new();
    if let Some(names) = schema["enum"].as_array() {
        found.extend(names.iter().map(|name| (name.clone(), true)));
        found.push((json!("no_such_name"), false));
    }
    for (bound, make) in [("minLength", &text as &dyn Fn(u64) -> Value), ("minItems", &list)] {
        if let Some(least) = schema[bound].as_u64() {
            found.extend([(make(least), true), (make(least - 1), false)]);
        }
    }
    for (bound, make) in [("maxLength", &text as &dyn Fn(u64) -> Value), ("maxItems", &list)] {
        if let Some(most) = schema[bound].as_u64() {
            found.extend([(make(most), true), (make(most + 1), false)]);
        }
    }
    if let Some(least) = schema["minimum"].as_i64() {
        found.extend([(json!(least), true), (json!(least - 1), false)]);
    }
    if let Some(most) = schema["maximum"].as_u64() {
        found.extend([(json!(most), true), (json!(most + 1), false)]);
    }
    match schema["format"].as_str() {
        Some("uuid") => found.extend([(json!(Clock::system().uuid()), true), (json!("0198c9a0"), false)]),
        Some("date-time") => {
            found.extend([(json!("2099-12-31T00:00:00Z"), true), (json!("2099-12-31"), false)])
        }
        _ => {}
    }
    if schema["pattern"].is_string() {
        found.push((json!("\u{7}"), false));
    }
    found
}

/// Whether a value was understood. It may still name nothing, or come too late.
fn is_understood(answer: &Answer, field: &str) -> bool {
    match answer.status {
        StatusCode::BAD_REQUEST => false,
        // An environment that the organization does not have.
        StatusCode::UNPROCESSABLE_ENTITY => answer.field() != field || field == "environment_id",
        _ => true,
    }
}

/// A request with one value in one place.
struct Sent {
    field: String,
    fits: bool,
    query: String,
    header: Option<(String, String)>,
    body: Option<String>,
}

/// One request for each bound of the operation's parameters.
fn by_parameter(file: &File, operation: &Operation) -> Vec<Sent> {
    let parameters = operation.said["parameters"].as_array().into_iter().flatten();
    let mut sent = Vec::new();
    for parameter in parameters.map(|parameter| file.resolved(parameter)) {
        let field = parameter["name"].as_str().unwrap();
        for (value, fits) in probes(file, &parameter["schema"]) {
            // A cursor of the right form still belongs to no list.
            if fits && field == "cursor" {
                continue;
            }
            let text = value.as_str().map_or_else(|| value.to_string(), String::from);
            let (query, header) = match parameter["in"].as_str() {
                Some("query") => {
                    let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
                    (format!("?{field}={encoded}"), None)
                }
                Some("header") if !text.contains('\u{7}') => (String::new(), Some((field.into(), text))),
                _ => continue,
            };
            sent.push(Sent { field: field.into(), fits, query, header, body: operation.body(file) });
        }
    }
    sent
}

/// One request for each bound of the fields of the operation's body.
fn by_field(file: &File, operation: &Operation) -> Vec<Sent> {
    let schema = file.resolved(&operation.said["requestBody"]["content"]["application/json"]["schema"]);
    let example: Map<String, Value> =
        operation.body(file).map_or_else(Map::new, |body| serde_json::from_str(&body).unwrap());
    let fields = schema["properties"].as_object().into_iter().flatten();
    let sent = fields.flat_map(|(field, schema)| {
        let nullable = schema["type"].as_array().is_some_and(|types| types.contains(&json!("null")))
            || schema["oneOf"].as_array().is_some_and(|kinds| kinds.contains(&json!({ "type": "null" })));
        let example = example.clone();
        probes(file, schema).into_iter().chain([(Value::Null, nullable)]).map(move |(value, fits)| {
            let mut body = example.clone();
            body.insert(field.clone(), value);
            let body = Some(Value::Object(body).to_string());
            Sent { field: field.clone(), fits, query: String::new(), header: None, body }
        })
    });
    sent.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_of_the_file_is_the_services() {
    let service = start().await;
    let file = File::read();
    let walk = Walk::new(&service, &file);
    let session = As::Session(sign_in(&walk).await);
    let mut operations: Vec<_> =
        file.operations.iter().filter(|operation| !operation.takes_a_form()).collect();
    // What ends every token comes last.
    operations.sort_by_key(ends_everything);
    let mut probed = 0;
    for operation in operations {
        let mut sends = by_parameter(&file, operation);
        sends.extend(by_field(&file, operation));
        sends.sort_by_key(|sent| sent.fits);
        if ends_everything(&operation) {
            // After the first that fits, nobody has a credential to ask with.
            sends.truncate(sends.iter().position(|sent| sent.fits).map_or(sends.len(), |at| at + 1));
        }
        for Sent { field, fits, query, header, body } in sends {
            let issued = service.issue(json!({})).await;
            let path = format!("{}{query}", walk.at(&operation.path, &things(&service, &issued).await));
            let itself = As::Bearer(issued["plaintext"].as_str().unwrap().into());
            let who = if operation.takes("session") || operation.is_open() { &session } else { &itself };
            let header = header.as_ref().map(|(name, value)| (name.as_str(), value.as_str()));
            let answer = walk.send_with(operation.method.clone(), &path, who, body.as_deref(), header).await;
            walk.assert_documented(operation, &answer);
            let told = format!("{operation}: {field}, {query}{header:?}{body:?}: {answer:?}");
            assert_eq!(is_understood(&answer, &field), fits, "{told}");
            assert!(fits || [&field, "body"].contains(&answer.field().as_str()), "{told}");
            probed += 1;
            if !ends_everything(&operation) {
                let path = format!("/v1/user/tokens/{}", issued["id"].as_str().unwrap());
                service.call(reqwest::Method::DELETE, &path, &service.made.owner.token, None).await;
            }
        }
    }
    assert!(probed > 100, "{probed}");
    service.stop().await;
}

/// Whether the owner's token is among what it ends.
fn ends_everything(operation: &&Operation) -> bool {
    operation.id() == "revoke_all_tokens"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_the_file_does_not_name_is_refused() {
    let service = start().await;
    let file = File::read();
    let walk = Walk::new(&service, &file);
    let owner = As::Bearer(service.made.owner.token.clone());
    let session = As::Session(sign_in(&walk).await);
    let issued = service.issue(json!({})).await;
    let things = things(&service, &issued).await;
    for operation in file.operations.iter().filter(|operation| operation.path.starts_with("/v1/")) {
        let path = format!("{}?no_such_parameter=1", walk.at(&operation.path, &things));
        let who = if operation.is_open() || operation.takes("bearer") { &owner } else { &session };
        let answer = walk.call(operation, &path, who).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{operation}: {answer:?}");
        assert_eq!(answer.field(), "query", "{operation}: {answer:?}");
    }
    service.stop().await;
}
