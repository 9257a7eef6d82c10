//! The file, read.

use reqwest::Method;
use serde_json::{Value, json};
use std::fmt;

/// The methods that an operation may have.
pub(super) const METHODS: [Method; 5] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// The document of the file.
pub(super) struct File {
    pub(super) document: Value,
    /// Its components, with whatever they do not name forbidden.
    components: Value,
    pub(super) operations: Vec<Operation>,
}

/// One operation of it.
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: String,
    /// What the file says of it.
    pub(super) said: Value,
}

/// The file's text.
pub(super) fn text() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../api.yaml")).unwrap()
}

impl File {
    pub(super) fn read() -> Self {
        let document: Value = serde_saphyr::from_str(&text()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, said) in item.as_object().unwrap() {
                let method =
                    METHODS.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(method)).unwrap();
                operations.push(Operation { method, path: path.clone(), said: said.clone() });
            }
        }
        let mut components = document["components"].clone();
        forbid_the_unnamed(&mut components["schemas"]);
        // A document of OpenAPI is not described any further.
        components["schemas"]["OpenApiDocument"]["additionalProperties"] = json!(true);
        Self { document, components, operations }
    }

    /// What is wrong with a document, by its schema.
    pub(super) fn wrong(&self, schema: &Value, document: &Value) -> Vec<String> {
        let schema = json!({ "components": self.components, "allOf": [schema] });
        let validator =
            jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
        let errors = validator.iter_errors(document);
        errors.map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    /// What stands at a reference, or the thing itself.
    pub(super) fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(place) => self.document.pointer(place.trim_start_matches('#')).expect(place),
            None => value,
        }
    }

    pub(super) fn operation(&self, id: &str) -> &Operation {
        self.operations.iter().find(|operation| operation.id() == id).unwrap()
    }
}

impl Operation {
    pub(super) fn id(&self) -> &str {
        self.said["operationId"].as_str().unwrap()
    }

    fn guards(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.said["security"].as_array().unwrap().iter().flat_map(|guard| guard.as_object().unwrap())
    }

    /// Whether it needs no credential.
    pub(super) fn is_open(&self) -> bool {
        self.said["security"].as_array().unwrap().iter().any(|guard| guard.as_object().unwrap().is_empty())
    }

    /// Whether a credential of this kind counts.
    pub(super) fn takes(&self, scheme: &str) -> bool {
        self.guards().any(|(known, _)| known == scheme)
    }

    /// The scopes that a credential of this kind needs.
    pub(super) fn scopes(&self, scheme: &str) -> Vec<&str> {
        let mut found = self.guards().filter(|(known, _)| *known == scheme);
        let (_, scopes) = found.next().unwrap();
        scopes.as_array().unwrap().iter().map(|scope| scope.as_str().unwrap()).collect()
    }

    pub(super) fn takes_a_form(&self) -> bool {
        self.said["requestBody"]["content"]["application/x-www-form-urlencoded"].is_object()
    }

    /// A body that it takes: the file's example, or the least that there is.
    pub(super) fn body(&self, file: &File) -> Option<String> {
        if self.takes_a_form() {
            return Some("token=cf_pat_nonsense".into());
        }
        let json = &self.said["requestBody"]["content"]["application/json"];
        let mut schema = file.resolved(json.get("schema")?);
        if let Some(some) =
            schema["oneOf"].as_array().and_then(|kinds| kinds.iter().find(|kind| kind["$ref"].is_string()))
        {
            schema = file.resolved(some);
        }
        Some(schema.get("example").map_or_else(|| "{}".into(), Value::to_string))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// Forbids whatever a schema does not name.
fn forbid_the_unnamed(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    if fields.get("properties").is_some_and(Value::is_object) && fields.get("type") == Some(&json!("object"))
    {
        fields.insert("additionalProperties".into(), json!(false));
    }
    fields.values_mut().for_each(forbid_the_unnamed);
}
