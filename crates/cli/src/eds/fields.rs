//! Properties and filters on the command line: `title='Buy milk' done:=false`, or a JSON object.

use clap::Args;
use serde_json::{Map, Value};

/// `NAME=TEXT`, `NAME:=JSON`, or a whole JSON object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field(Map<String, Value>);

/// Reads one word of the command line.
pub(super) fn field(text: &str) -> Result<Field, String> {
    if text.trim_start().starts_with('{') {
        return match serde_json::from_str(text) {
            Ok(object) => Ok(Field(object)),
            Err(error) => Err(format!("this JSON cannot be read: {error}")),
        };
    }
    let (name, value) = text
        .split_once('=')
        .ok_or("write NAME=TEXT, NAME:=JSON, or a JSON object such as '{\"done\":false}'")?;
    let (name, value) = match name.strip_suffix(':') {
        Some(name) => {
            let value = serde_json::from_str(value).map_err(|error| {
                format!(
                    "what stands behind {name}:= is no JSON ({error}); for a text write {name}=TEXT"
                )
            })?;
            (name, value)
        }
        None => (name, Value::from(value)),
    };
    if name.is_empty() {
        return Err("a name stands before the =".into());
    }
    Ok(Field(Map::from_iter([(name.to_owned(), value)])))
}

/// All of them together; where a name comes twice, the last counts.
pub(super) fn object(fields: &[Field]) -> Map<String, Value> {
    let all = fields.iter().flat_map(|Field(members)| members);
    all.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// What objects have to be like.
#[derive(Args, Clone, Debug)]
pub(super) struct Filter {
    /// Only objects like this: NAME=TEXT, NAME:=JSON, or a JSON object such as '{"age":{"$gt":17}}'
    #[arg(value_name = "FILTER", value_parser = field)]
    filter: Vec<Field>,
}

impl Filter {
    pub(super) fn to_object(&self) -> Map<String, Value> {
        object(&self.filter)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(words: &[&str]) -> Value {
        let fields: Vec<Field> = words.iter().map(|word| field(word).unwrap()).collect();
        Value::Object(object(&fields))
    }

    #[test]
    fn texts_and_json_are_told_apart_by_the_sign() {
        let words = [
            "title=12",
            "n:=12",
            "done:=false",
            "note=a=b",
            "none:=null",
            "empty=",
        ];
        assert_eq!(
            read(&words),
            json!({"title": "12", "n": 12, "done": false, "note": "a=b", "none": null, "empty": ""})
        );
    }

    #[test]
    fn objects_and_fields_add_up() {
        assert_eq!(
            read(&["{\"a\":1,\"b\":2}", "b:=3"]),
            json!({"a": 1, "b": 3})
        );
    }

    #[test]
    fn what_is_neither_is_refused_with_what_would_do() {
        for (word, hint) in [
            ("title", "write NAME=TEXT"),
            ("{\"a\":}", "cannot be read"),
            ("done:=flase", "for a text write done=TEXT"),
            ("=x", "a name stands before"),
            (":=1", "a name stands before"),
        ] {
            let why = field(word).unwrap_err();
            assert!(why.contains(hint), "{word}: {why}");
        }
    }
}
