//! What the file says to somebody who writes a client: what each operation is for, with examples, bounds and all that may
//! come back.

use super::file::{File, Operation};
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn every_operation_says_what_it_is() {
    let file = File::read();
    let mut ids = BTreeSet::new();
    for operation in &file.operations {
        let said = &operation.said;
        assert!(ids.insert(said["operationId"].to_string()), "{operation}: its id is another's too");
        for text in ["summary", "description"] {
            assert!(said[text].as_str().is_some_and(|text| text.ends_with('.')), "{operation}: {text}");
        }
        assert_eq!(said["tags"].as_array().map(Vec::len), Some(1), "{operation}: tags");
        let tag = &said["tags"][0];
        let tags = file.document["tags"].as_array().unwrap();
        assert!(tags.iter().any(|known| known["name"] == *tag), "{operation}: {tag} is not described");
        assert!(said["security"].is_array(), "{operation} does not say who may ask");
    }
    assert!(file.operations.len() > 15, "{}", file.operations.len());
}

/// The parameters of an operation.
fn parameters<'a>(file: &'a File, operation: &'a Operation) -> impl Iterator<Item = &'a Value> {
    operation.said["parameters"].as_array().into_iter().flatten().map(|one| file.resolved(one))
}

#[test]
fn every_parameter_is_described_once_and_bounded() {
    let file = File::read();
    for operation in &file.operations {
        let mut names = BTreeSet::new();
        for parameter in parameters(&file, operation) {
            let name = format!("{}.{}", parameter["in"], parameter["name"]).replace('"', "");
            assert!(parameter["description"].is_string(), "{operation}: {name}");
            // The page fills examples in: what may be left out would be sent, unasked for.
            assert!(parameter["required"] == true || parameter["example"].is_null(), "{operation}: {name}");
            // A tag that is none of ours matches nothing, whatever it is.
            if name != "header.If-Match" {
                assert_bounded(&file, &parameter["schema"], &format!("{operation}: {name}"));
            }
            assert!(names.insert(name.clone()), "{operation}: {name} is there twice");
        }
        let in_path = operation.path.split(['{', '}']).skip(1).step_by(2).map(|name| format!("path.{name}"));
        assert!(in_path.clone().all(|name| names.contains(&name)), "{operation}: {names:?}");
        assert_eq!(
            in_path.count(),
            names.iter().filter(|name| name.starts_with("path.")).count(),
            "{operation}"
        );
    }
}

#[test]
fn every_field_that_is_sent_is_bounded() {
    let file = File::read();
    for operation in file.operations.iter().filter(|operation| !operation.takes_a_form()) {
        let schema = file.resolved(&operation.said["requestBody"]["content"]["application/json"]["schema"]);
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            assert_bounded(&file, field, &format!("{operation}: {name}"));
        }
    }
}

/// A text has names, a form or a length; a number has two ends; a list has a least length, and bounded things in it.
fn assert_bounded(file: &File, schema: &Value, place: &str) {
    let schema = file.resolved(schema);
    for kind in schema["oneOf"].as_array().into_iter().flatten() {
        assert_bounded(file, kind, place);
    }
    let has = |names: &[&str]| names.iter().any(|name| !schema[*name].is_null());
    let is = |kind: &str| {
        schema["type"] == kind
            || schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(|one| one == kind))
    };
    assert!(!is("string") || has(&["enum", "format", "maxLength"]) || has(&["pattern"]), "{place}: {schema}");
    // A password has a form and no bound in that.
    assert!(schema["format"] != "password" || has(&["maxLength"]), "{place}: {schema}");
    assert!(!is("integer") || has(&["minimum"]) && has(&["maximum"]), "{place}: {schema}");
    if is("array") {
        assert!(has(&["minItems"]), "{place}: {schema}");
        assert_bounded(file, &schema["items"], place);
    }
}

#[test]
fn every_document_has_an_example_that_fits() {
    let file = File::read();
    for operation in &file.operations {
        let body = &operation.said["requestBody"]["content"];
        let answers = operation.said["responses"].as_object().unwrap().values();
        let contents = answers.map(|answer| &file.resolved(answer)["content"]).chain([body]);
        for (kind, content) in contents.filter_map(Value::as_object).flatten() {
            if ["text/html", "text/javascript", "text/css"].contains(&kind.as_str()) {
                continue;
            }
            let examples = examples(&file, content);
            assert!(!examples.is_empty(), "{operation}: no example of {kind}: {content}");
            for example in examples {
                let wrong = file.wrong(&content["schema"], example);
                assert!(wrong.is_empty(), "{operation}: {wrong:?} in {example}");
            }
        }
    }
}

#[test]
fn every_problem_is_told_in_sentences() {
    let file = File::read();
    let mut told = BTreeSet::new();
    for operation in &file.operations {
        let answers = operation.said["responses"].as_object().unwrap().values();
        for answer in answers.map(|answer| &file.resolved(answer)["content"]["application/problem+json"]) {
            told.extend(examples(&file, answer).into_iter().filter_map(|problem| problem["detail"].as_str()));
        }
    }
    assert!(told.len() > 25, "{told:?}");
    for detail in told {
        let begins = detail.starts_with(|first: char| first.is_uppercase() || first.is_ascii_digit());
        assert!(begins && detail.ends_with('.'), "{detail}");
    }
}

/// The examples of a media type: its own, or those of its schema.
fn examples<'a>(file: &'a File, content: &'a Value) -> Vec<&'a Value> {
    let many = content["examples"].as_object().into_iter().flatten().map(|(_, example)| &example["value"]);
    let one = content.get("example").or_else(|| file.resolved(&content["schema"]).get("example"));
    many.chain(one).collect()
}

#[test]
fn every_link_leads_to_an_operation_and_its_parameters() {
    let file = File::read();
    let mut count = 0;
    for operation in &file.operations {
        let answers = operation.said["responses"].as_object().unwrap().values();
        let links = answers.filter_map(|answer| answer["links"].as_object()).flatten();
        for (name, link) in links {
            let target = file.operation(link["operationId"].as_str().unwrap());
            for parameter in link["parameters"].as_object().into_iter().flatten().map(|(name, _)| name) {
                let known = |one: &Value| {
                    let (place, name) = (one["in"].as_str().unwrap(), one["name"].as_str().unwrap());
                    *parameter == name || *parameter == format!("{place}.{name}")
                };
                assert!(parameters(&file, target).any(known), "{operation}: {name}: {parameter}");
            }
            count += 1;
        }
    }
    assert!(count > 15, "{count}");
}
