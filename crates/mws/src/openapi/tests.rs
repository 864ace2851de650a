//! The document holds every call and nothing that leads nowhere, and its copy is up to date.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::{BASE, document, operation_id, text, verb};
use crate::routes::ROUTES;

#[test]
fn the_copy_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi/mws.json");
    let copy = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        copy == text(),
        "docs/openapi/mws.json differs from what the server is; write it anew with \
         `cargo run -p pilvi -- openapi mws > docs/openapi/mws.json`"
    );
}

#[test]
fn every_call_is_in_it() {
    let document = document();
    for route in ROUTES {
        let path = &document["paths"][format!("{BASE}{}", route.path)];
        let operation = &path[verb(route.verb)];
        assert_eq!(operation["summary"], route.summary, "{route:?}");
        let body = &operation["requestBody"]["content"]["application/json"];
        let taken = body["schema"]["$ref"].as_str().unwrap_or_default();
        let taken = taken.trim_start_matches("#/components/schemas/");
        assert_eq!(taken, route.takes, "{route:?}");
        for name in route.path.split('/').filter(|name| name.starts_with('{')) {
            let parameters = path["parameters"].as_array();
            let described = parameters.into_iter().flatten().any(|parameter| {
                let target = parameter["$ref"].as_str().unwrap();
                let parameter = document.pointer(&target[1..]).unwrap();
                parameter["name"] == name.trim_matches(['{', '}'])
            });
            assert!(described, "{name} of {}", route.path);
        }
    }
    let paths = document["paths"].as_object().unwrap();
    let below_a_gateway = paths.iter().filter(|(path, _)| path.starts_with(BASE));
    let verbs = below_a_gateway.flat_map(|(_, path)| path.as_object().unwrap().keys());
    let count = verbs.filter(|verb| *verb != "parameters").count();
    assert_eq!(count, ROUTES.len());
}

#[test]
fn every_call_is_described_and_has_a_name_of_its_own() {
    for route in ROUTES {
        assert!(
            !route.summary.is_empty() && !route.gives.is_empty(),
            "{route:?}"
        );
    }
    let names: BTreeSet<String> = ROUTES.iter().map(operation_id).collect();
    assert_eq!(names.len(), ROUTES.len());
    assert!(names.contains("deleteSocketsId"));
    assert!(names.contains("postWebhookReceiversEnginio"));
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
