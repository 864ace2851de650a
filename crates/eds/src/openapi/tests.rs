//! The document holds every call and nothing that leads nowhere, and its copy is up to date.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::{document, operation_id, text, verb};
use crate::ROUTES;

#[test]
fn the_copy_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi/eds.json");
    let copy = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        copy == text(),
        "docs/openapi/eds.json differs from what the server is; write it anew with \
         `cargo run -p pilvi -- openapi eds > docs/openapi/eds.json`"
    );
}

#[test]
fn every_call_is_in_it() {
    let document = document();
    for route in ROUTES {
        let operation = &document["paths"][route.path][verb(route.verb)];
        assert_eq!(operation["summary"], route.summary, "{route:?}");
        let kind = if route.takes == "Bytes" {
            "octet-stream"
        } else {
            "json"
        };
        let takes =
            &operation["requestBody"]["content"][format!("application/{kind}")]["schema"]["$ref"];
        let expected = format!("#/components/schemas/{}", route.takes);
        assert_eq!(
            takes.as_str(),
            (!route.takes.is_empty()).then_some(&*expected),
            "{route:?}"
        );
        for name in route.path.split('/').filter(|name| name.starts_with('{')) {
            let parameters = document["paths"][route.path]["parameters"].as_array();
            let described = parameters.into_iter().flatten().any(|parameter| {
                let parameter = follow(&document, parameter);
                parameter["name"] == name.trim_matches(['{', '}'])
            });
            assert!(described, "{name} of {}", route.path);
        }
    }
    let verbs = document["paths"].as_object().unwrap().values();
    let operations = verbs.flat_map(|path| path.as_object().unwrap().keys());
    let count = operations.filter(|verb| *verb != "parameters").count();
    assert_eq!(count, ROUTES.len());
}

#[test]
fn every_call_has_a_name_of_its_own() {
    let names: BTreeSet<String> = ROUTES.iter().map(operation_id).collect();
    assert_eq!(names.len(), ROUTES.len());
    assert!(names.contains("putObjectsTypeIdAccess"));
    assert!(names.contains("postAuthPasswordResetConfirm"));
}

#[test]
fn every_reference_leads_somewhere_and_nothing_is_left_over() {
    let document = document();
    let mut used = BTreeSet::new();
    let mut waiting = vec![&document];
    while let Some(value) = waiting.pop() {
        if let Some(target) = value.get("$ref").and_then(Value::as_str) {
            assert!(document.pointer(&target[1..]).is_some(), "{target}");
            used.insert(target.to_owned());
        }
        match value {
            Value::Array(items) => waiting.extend(items),
            Value::Object(members) => waiting.extend(members.values()),
            _ => {}
        }
    }
    for kind in ["schemas", "parameters", "responses"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            let target = format!("#/components/{kind}/{name}");
            assert!(used.contains(&target), "nobody uses {target}");
        }
    }
}

fn follow<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value["$ref"].as_str().unwrap();
    document.pointer(&target[1..]).unwrap()
}
