//! Names of object types, and how objects are shown.

use std::convert::Infallible;
use std::str::FromStr;

use serde_json::Value;

use crate::session::text;
use crate::table::{Table, elastic_named, whole};
use crate::url::segment;

/// Columns of properties in a table, unless the user names others.
const COLUMNS_MAX: usize = 6;
/// What the server keeps about every object.
pub(super) const SYSTEM: [&str; 6] = [
    "id",
    "objectType",
    "createdAt",
    "updatedAt",
    "creator",
    "updater",
];

/// An object type: `todos` for short or `objects.todos`; `users` and `usergroups` are the built-in ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Collection {
    /// `objects.todos`.
    pub(super) name: String,
    /// `objects/todos`.
    pub(super) path: String,
}

impl FromStr for Collection {
    type Err = Infallible;

    /// Whether the name can be one is for the server to say.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "users" | "usergroups" | "files" => Self {
                name: text.to_owned(),
                path: text.to_owned(),
            },
            _ => {
                let own = text.strip_prefix("objects.").unwrap_or(text);
                Self {
                    name: format!("objects.{own}"),
                    path: format!("objects/{}", segment(own)),
                }
            }
        })
    }
}

impl Collection {
    /// Where one object of it is.
    pub(super) fn object(&self, id: &str) -> String {
        format!("{}/{}", self.path, segment(id))
    }

    pub(super) fn is_custom(&self) -> bool {
        self.path.starts_with("objects/")
    }

    /// As users type it.
    pub(super) fn short(&self) -> &str {
        self.name.strip_prefix("objects.").unwrap_or(&self.name)
    }
}

/// Objects as a table of the properties that are asked for, or else of the first that they have. Also says which
/// properties there was no room for.
pub(super) fn table(objects: &[Value], asked: &[String]) -> (Table, Vec<String>) {
    let mut names: Vec<String> = asked.to_vec();
    let mut left_out = Vec::new();
    if names.is_empty() {
        for name in objects.iter().flat_map(own_properties) {
            if names.contains(name) || left_out.contains(name) {
                continue;
            }
            match names.len() < COLUMNS_MAX {
                true => names.push(name.clone()),
                false => left_out.push(name.clone()),
            }
        }
    }
    let id = std::iter::once(whole("ID"));
    let columns: Vec<_> = id
        .chain(names.iter().map(|name| elastic_named(name)))
        .chain(std::iter::once(whole("UPDATED")))
        .collect();
    let mut table = Table::new(&columns);
    for object in objects {
        let cells = names.iter().map(|name| shown(at(object, name)));
        let id = std::iter::once(text(object, "id"));
        let updated = std::iter::once(text(object, "updatedAt"));
        table.row_of(id.chain(cells).chain(updated));
    }
    (table, left_out)
}

/// The names of what users put into an object.
fn own_properties(object: &Value) -> impl Iterator<Item = &String> {
    let members = object.as_object().into_iter().flatten();
    members
        .map(|(name, _)| name)
        .filter(|name| !SYSTEM.contains(&name.as_str()))
}

/// `a.b` is the property `b` of the object at `a`.
fn at<'o>(object: &'o Value, path: &str) -> &'o Value {
    path.split('.').fold(object, |inside, name| {
        inside.get(name).unwrap_or(&Value::Null)
    })
}

/// A value in a cell: texts as they are, references as what they refer to, everything else as JSON.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(members) if is_reference(members) => {
            format!("{} {}", text(value, "objectType"), text(value, "id"))
        }
        other => other.to_string(),
    }
}

fn is_reference(members: &serde_json::Map<String, Value>) -> bool {
    members.len() == 2 && members.contains_key("id") && members.contains_key("objectType")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::screen::Look;

    fn collection(text: &str) -> Collection {
        let Ok(collection) = text.parse();
        collection
    }

    #[test]
    fn a_type_is_named_with_or_without_its_prefix() {
        assert_eq!(collection("todos"), collection("objects.todos"));
        assert_eq!(collection("todos").path, "objects/todos");
        assert_eq!(collection("users").path, "users");
        // An ordinary type of that name.
        assert_eq!(collection("objects.users").path, "objects/users");
        assert_eq!(collection("../user").path, "objects/..%2Fuser");
        assert_eq!(collection("todos").object("a/b"), "objects/todos/a%2Fb");
    }

    #[test]
    fn a_table_has_the_properties_that_objects_have() {
        let objects = [
            json!({"id": "1", "objectType": "objects.a", "updatedAt": "now", "title": "Milk", "done": false}),
            json!({"id": "2", "objectType": "objects.a", "updatedAt": "then",
                   "list": {"id": "7", "objectType": "objects.b"}, "at": {"shelf": 4}, "done": null}),
        ];
        let (table, left_out) = super::table(&objects, &[]);
        assert!(left_out.is_empty());
        assert_eq!(
            table.lines(Look::default()),
            [
                "ID  title  done   list         at           UPDATED",
                "1   Milk   false                            now",
                "2                 objects.b 7  {\"shelf\":4}  then",
            ]
        );
        let (table, _) = super::table(&objects, &["at.shelf".into()]);
        assert_eq!(
            table.lines(Look::default()),
            [
                "ID  at.shelf  UPDATED",
                "1             now",
                "2   4         then"
            ]
        );
    }

    #[test]
    fn what_has_no_room_is_named() {
        let object =
            json!({"id": "1", "a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7, "h": 8});
        let (_, left_out) = super::table(&[object], &[]);
        assert_eq!(left_out, ["g", "h"]);
    }
}
