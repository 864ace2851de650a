//! Which texts of an object a search looks at.

use serde_json::{Map, Value};

use super::words::words;
use crate::query::value::Reference;

/// Words of one object that are looked at; those behind are not found.
pub const WORDS_MAX: usize = 50_000;
/// What the server says about an object is no text of its owner's.
const SYSTEM: [&str; 6] = [
    "id",
    "objectType",
    "createdAt",
    "updatedAt",
    "creator",
    "updater",
];
/// How deep texts are looked for. Documents are not nested deeper than their parser allows.
const DEPTH_MAX: usize = 128;

/// The properties of a type whose texts are searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Searchable {
    Nothing,
    /// All texts, whatever they are called.
    Everything,
    /// These properties; sorted, each once.
    Properties(Vec<String>),
}

/// A text of an object.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// The names that lead to it; places in arrays are left out.
    pub path: &'a [&'a str],
    /// There is at least one.
    pub words: &'a [String],
}

impl Searchable {
    /// What the schema of a type means for searching: `settings.search` decides, which is `all`, `none` or `indexed`.
    /// Where it says nothing, a type that has described properties is searched by those with `indexed: true`, as Qt's
    /// service did, and any other by all.
    pub fn of_schema(schema: &Map<String, Value>) -> Self {
        let no_properties = Vec::new();
        let properties = schema.get("properties").and_then(Value::as_array);
        let properties = properties.unwrap_or(&no_properties);
        // Properties that the server found by itself describe nothing.
        let is_described = properties
            .iter()
            .any(|property| property.get("inferred") != Some(&Value::Bool(true)));
        let setting = schema.get("settings").and_then(|all| all.get("search"));
        match setting.and_then(Value::as_str) {
            Some("all") => return Self::Everything,
            Some("none") => return Self::Nothing,
            Some("indexed") => {}
            _ if !is_described => return Self::Everything,
            _ => {}
        }
        let indexed = properties
            .iter()
            .filter(|property| property.get("indexed") == Some(&Value::Bool(true)));
        Self::of_names(indexed.filter_map(|property| property.get("name")?.as_str()))
    }

    fn of_names<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Self::Nothing;
        }
        Self::Properties(names)
    }

    /// Written down, for [`Searchable::from_text`].
    pub fn to_text(&self) -> String {
        match self {
            Self::Nothing => "none".to_owned(),
            Self::Everything => "all".to_owned(),
            Self::Properties(names) => serde_json::json!(names).to_string(),
        }
    }

    pub fn from_text(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::Nothing),
            "all" => Some(Self::Everything),
            names => {
                let names: Vec<String> = serde_json::from_str(names).ok()?;
                Some(Self::of_names(names.iter().map(String::as_str)))
            }
        }
    }

    /// Shows every text of an object that is searched, in order. References and what is no text are passed over.
    pub fn visit(&self, document: &Value, mut visit: impl FnMut(&Text<'_>)) {
        let Some(members) = document.as_object() else {
            return;
        };
        let mut walk = Walk {
            path: Vec::new(),
            left: WORDS_MAX,
            visit: &mut visit,
        };
        for (name, value) in members {
            let is_searched = match self {
                Self::Nothing => false,
                Self::Everything => !SYSTEM.contains(&name.as_str()),
                Self::Properties(names) => {
                    names.binary_search(name).is_ok() && !SYSTEM.contains(&name.as_str())
                }
            };
            if is_searched {
                walk.member(name, value, DEPTH_MAX);
            }
        }
    }
}

struct Walk<'a, 'v> {
    path: Vec<&'a str>,
    left: usize,
    visit: &'v mut dyn FnMut(&Text<'_>),
}

impl<'a> Walk<'a, '_> {
    fn member(&mut self, name: &'a str, value: &'a Value, depth: usize) {
        self.path.push(name);
        self.value(value, depth);
        self.path.pop();
    }

    fn value(&mut self, value: &'a Value, depth: usize) {
        if self.left == 0 || depth == 0 {
            return;
        }
        match value {
            Value::String(text) => {
                let words: Vec<String> = words(text).take(self.left).collect();
                self.left -= words.len();
                if !words.is_empty() {
                    let path = &self.path;
                    (self.visit)(&Text {
                        path,
                        words: &words,
                    });
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.value(item, depth - 1)),
            Value::Object(_) if Reference::of(value).is_some() => {}
            Value::Object(members) => members
                .iter()
                .for_each(|(name, value)| self.member(name, value, depth - 1)),
            _ => {}
        }
    }
}
