//! Full-text search: what `search` of a search call asks for (`eds.md` §11), and which objects have it.
//!
//! A [`Phrase`] is read once and checked fully. It also evaluates in memory, and **that evaluator is the
//! specification**: `pilvi-store` looks phrases up in an index of words, and a property test holds the index to what
//! [`Search::matches`] says.
//!
//! Where to read: [`words`] says what a word is, [`phrase`] how words are put together, [`searchable`] which texts of
//! an object are looked at.

pub mod near;
pub mod phrase;
pub mod searchable;
#[cfg(test)]
mod tests;
pub mod words;

use serde_json::Value;

use crate::query::Path;
use crate::query::parse::json;
use crate::{Error, Result};

pub use near::Near;
pub use phrase::{Group, Node, Operator, Phrase, Words};
pub use searchable::{Searchable, Text};

/// Properties that one search may be limited to.
pub const PROPERTIES_MAX: usize = 32;

/// What a search asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    pub phrase: Phrase,
    /// Only texts at these properties, or below them, are looked at; `None`: all that are searchable.
    pub properties: Option<Vec<Path>>,
    /// Where results must be.
    pub near: Option<Near>,
    source: Value,
}

impl Search {
    /// Reads the parameter `search`. Every fault is a bad request that says what to write.
    pub fn parse(text: &str) -> Result<Self> {
        Self::from_json(json("search", text)?)
    }

    /// Reads a search that was parsed as JSON before.
    pub fn from_json(source: Value) -> Result<Self> {
        let members = source.as_object().ok_or_else(|| {
            Error::bad_request(r#"search must be a JSON object such as {"phrase":"cat OR dog"}"#)
        })?;
        let operator = match members.get("defaultOperator") {
            None | Some(Value::Null) => Operator::Or,
            Some(value) => operator(value)?,
        };
        let phrase = match members.get("phrase") {
            Some(Value::String(text)) => Phrase::parse(text, operator)?,
            _ => {
                return Err(Error::bad_request(
                    r#"search needs a `phrase`, the words to look for, as in {"phrase":"cat OR dog"}"#,
                ));
            }
        };
        let properties = members.get("properties").map(properties).transpose()?;
        let near = members.get("near").map(Near::from_json).transpose()?;
        Ok(Self {
            phrase,
            properties: properties.flatten(),
            near: near.flatten(),
            source,
        })
    }

    /// The search as it was sent.
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// Whether an object has what is looked for, when these of its texts are searchable.
    pub fn matches(&self, searchable: &Searchable, document: &Value) -> bool {
        let mut texts = Vec::new();
        searchable.visit(document, |text: &Text<'_>| {
            if self.looks_at(text) {
                texts.push(text.words.to_vec());
            }
        });
        self.phrase.matches(&texts) && self.near.as_ref().is_none_or(|near| near.matches(document))
    }

    /// Whether a text is at one of the properties that the search is limited to.
    fn looks_at(&self, text: &Text<'_>) -> bool {
        let Some(properties) = &self.properties else {
            return true;
        };
        properties.iter().any(|path| {
            let segments = path.segments();
            segments.len() <= text.path.len()
                && segments
                    .iter()
                    .zip(text.path)
                    .all(|(segment, name)| segment.name == *name)
        })
    }
}

fn operator(value: &Value) -> Result<Operator> {
    match value.as_str() {
        Some(text) if text.eq_ignore_ascii_case("or") => Ok(Operator::Or),
        Some(text) if text.eq_ignore_ascii_case("and") => Ok(Operator::And),
        _ => Err(Error::bad_request(
            "search.defaultOperator must be \"OR\" or \"AND\"",
        )),
    }
}

/// An array of names, or names with commas between them; nothing named means everything.
fn properties(value: &Value) -> Result<Option<Vec<Path>>> {
    let refuse = || {
        Error::bad_request(
            "search.properties must be an array of property names, or names with commas between them",
        )
    };
    let names: Vec<&str> = match value {
        Value::Null => Vec::new(),
        Value::String(list) => list.split(',').map(str::trim).collect(),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::trim).ok_or_else(refuse))
            .collect::<Result<_>>()?,
        _ => return Err(refuse()),
    };
    let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    if names.len() > PROPERTIES_MAX {
        return Err(Error::bad_request(format!(
            "search.properties has at most {PROPERTIES_MAX} names; leave it out to search all properties"
        )));
    }
    if names.is_empty() {
        return Ok(None);
    }
    let paths = names.into_iter().map(|name| Path::parse(name, "search"));
    paths.collect::<Result<_>>().map(Some)
}
