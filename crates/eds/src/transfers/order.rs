//! In which order types are built: those first from which others inherit, so that nothing is worked out twice.

use std::collections::{HashMap, HashSet};

use pilvi_model::ObjectType;
use serde_json::Value;

/// The types in an order in which what is inherited from comes first, as far as there is one. Files come last: they
/// belong to all kinds of objects.
pub(super) fn ordered(types: &[ObjectType], schema: &Value) -> Vec<ObjectType> {
    let parents = parents(schema);
    let is_there: HashSet<&ObjectType> = types.iter().collect();
    let mut done = HashSet::new();
    let mut ordered = Vec::with_capacity(types.len());
    for first in [ObjectType::users(), ObjectType::usergroups()] {
        if is_there.contains(&first) && done.insert(first.clone()) {
            ordered.push(first);
        }
    }
    for object_type in types {
        // What is open, and whether its parents are on the way.
        let mut open = vec![(object_type, false)];
        let mut met = HashSet::new();
        while let Some((next, is_ready)) = open.pop() {
            if done.contains(next) || *next == ObjectType::files() {
                continue;
            }
            if is_ready {
                done.insert(next.clone());
                ordered.push(next.clone());
            } else if met.insert(next) {
                open.push((next, true));
                let above = parents.get(next).into_iter().flatten();
                open.extend(above.filter_map(|parent| Some((*is_there.get(parent)?, false))));
            }
        }
    }
    if is_there.contains(&ObjectType::files()) {
        ordered.push(ObjectType::files());
    }
    ordered
}

/// From which types the objects of a type inherit.
fn parents(schema: &Value) -> HashMap<ObjectType, Vec<ObjectType>> {
    let mut parents: HashMap<ObjectType, Vec<ObjectType>> = HashMap::new();
    let entries = schema.get("objects").and_then(Value::as_array);
    for entry in entries.into_iter().flatten() {
        let object = entry.get("object").unwrap_or(entry);
        let name = object.get("name").and_then(Value::as_str);
        let Some(child) = name.and_then(|name| name.parse::<ObjectType>().ok()) else {
            continue;
        };
        let properties = object.get("properties").and_then(Value::as_array);
        let above = properties.into_iter().flatten().filter_map(|property| {
            let extends = property.pointer("/onCreate/accessControlList")? == "extend";
            let of = property.get("objectType")?.as_str()?;
            extends.then(|| of.parse().ok())?
        });
        parents.entry(child).or_default().extend(above);
    }
    parents
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(edges: &[(&str, &str)]) -> Value {
        let objects: Vec<Value> = edges
            .iter()
            .map(|(child, parent)| {
                json!({"object": {"name": child, "properties": [{"name": "above", "type": "ref", "objectType": parent,
                    "onCreate": {"accessControlList": "extend"}}]}})
            })
            .collect();
        json!({ "objects": objects })
    }

    fn order(names: &[&str], edges: &[(&str, &str)]) -> Vec<String> {
        let types: Vec<ObjectType> = names.iter().map(|name| name.parse().unwrap()).collect();
        let ordered = ordered(&types, &schema(edges));
        ordered.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_inherited_from_comes_first() {
        let names = ["files", "objects.a", "objects.b", "objects.c", "users"];
        let edges = [("objects.a", "objects.b"), ("objects.b", "objects.c")];
        assert_eq!(
            order(&names, &edges),
            ["users", "objects.c", "objects.b", "objects.a", "files"]
        );
    }

    #[test]
    fn circles_and_strangers_hold_up_nobody() {
        let names = ["objects.a", "objects.b"];
        let edges = [
            ("objects.a", "objects.b"),
            ("objects.b", "objects.a"),
            ("objects.a", "objects.a"),
            ("objects.b", "objects.gone"),
        ];
        let mut order = order(&names, &edges);
        order.sort();
        assert_eq!(order, names);
    }
}
