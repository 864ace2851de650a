//! What a Procfile says (`mar.md` §4.8), and the same as JSON.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::ProcessTypes;
use crate::Error;

/// A longer Procfile is refused unread.
pub const PROCFILE_MAX_BYTES: usize = 64 << 10;

impl ProcessTypes {
    /// Reads a Procfile: a YAML map of texts, as the hosted platform took it; where it is none, lines of
    /// `name: command`, as other platforms do.
    pub fn from_procfile(text: &str) -> Result<Self, Error> {
        if text.len() > PROCFILE_MAX_BYTES {
            return Err(Error::invalid(
                "Procfile",
                format!("is larger than {PROCFILE_MAX_BYTES} bytes"),
            ));
        }
        let text = text.trim_start_matches('\u{feff}');
        match serde_saphyr::from_str::<Pairs>(text) {
            Ok(Pairs(pairs)) => Self::from_pairs(&pairs),
            Err(_) => Self::from_lines(text),
        }
        .map_err(|error| Error::invalid("Procfile", words_of(error)))
    }

    /// Reads `{"web": "node server.js"}`.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, Error> {
        let mut types = Self::default();
        for (name, command) in map {
            let Value::String(command) = command else {
                return Err(Error::invalid(
                    "process_types",
                    format!("must give `{name}` a command, which is a text"),
                ));
            };
            types.add(name.parse()?, command)?;
        }
        Ok(types)
    }

    /// What [`ProcessTypes::from_json`] reads.
    pub fn to_json(&self) -> Map<String, Value> {
        self.iter()
            .map(|(process_type, command)| (process_type.to_string(), command.into()))
            .collect()
    }

    fn from_pairs(pairs: &[(String, String)]) -> Result<Self, Error> {
        let mut types = Self::default();
        for (name, command) in pairs {
            types.add(name.parse()?, command)?;
        }
        Ok(types)
    }

    fn from_lines(text: &str) -> Result<Self, Error> {
        let mut types = Self::default();
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, command) = line.split_once(':').ok_or_else(|| {
                let shown: String = line.chars().take(60).collect();
                Error::invalid(
                    "process_types",
                    format!("has the line `{shown}`; each must read `name: command`"),
                )
            })?;
            types.add(name.trim().parse()?, command)?;
        }
        Ok(types)
    }
}

fn words_of(error: Error) -> String {
    let first = error.fields.into_iter().next();
    first.map_or(error.message, |field| field.message)
}

/// A YAML map of texts in its own order.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of process types to commands")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let types = ProcessTypes::from_procfile(text).unwrap();
        types
            .iter()
            .map(|(name, command)| (name.to_string(), command.to_owned()))
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|(name, command)| ((*name).to_owned(), (*command).to_owned()))
            .collect()
    }

    #[test]
    fn a_procfile_is_a_yaml_map() {
        for (text, expected) in [
            ("web: node server.js", pairs(&[("web", "node server.js")])),
            (
                "web: rackup -p $PORT -E production\nworker: bundle exec ruby worker.rb\n",
                pairs(&[
                    ("web", "rackup -p $PORT -E production"),
                    ("worker", "bundle exec ruby worker.rb"),
                ]),
            ),
            (
                "z: java $JAVA_OPTS -Dserver.port=$PORT -jar target/*.jar\na: b\r\n",
                pairs(&[
                    ("z", "java $JAVA_OPTS -Dserver.port=$PORT -jar target/*.jar"),
                    ("a", "b"),
                ]),
            ),
            (
                "---\n\"web\": 'echo \"a: b\"'\n",
                pairs(&[("web", "echo \"a: b\"")]),
            ),
            (
                "{\"web\": \"./src/runtime-hello\"}",
                pairs(&[("web", "./src/runtime-hello")]),
            ),
            ("web: >\n  one\n  two\n", pairs(&[("web", "one two")])),
            ("\u{feff}web: x", pairs(&[("web", "x")])),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn where_it_is_no_yaml_map_each_line_counts() {
        for (text, expected) in [
            (
                "web: run --label a: b",
                pairs(&[("web", "run --label a: b")]),
            ),
            (
                "web:run\n\n# a comment: here\n worker:  [ -e x ] && run\n",
                pairs(&[("web", "run"), ("worker", "[ -e x ] && run")]),
            ),
            ("web: *.sh", pairs(&[("web", "*.sh")])),
            ("web: %run", pairs(&[("web", "%run")])),
            ("web: @run", pairs(&[("web", "@run")])),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_the_line() {
        for (text, part) in [
            ("just words", "just words"),
            ("web: a\nweb: b", "twice"),
            ("web:", "no command"),
            ("we b: x", "we b"),
            (&"a".repeat(PROCFILE_MAX_BYTES + 1), "larger"),
        ] {
            let error = ProcessTypes::from_procfile(text).unwrap_err();
            assert!(error.message.starts_with("Procfile "), "{}", error.message);
            assert!(error.message.contains(part), "{}", error.message);
        }
    }

    #[test]
    fn an_empty_procfile_has_no_types() {
        for text in ["", "\n", "# nothing\n", "{}"] {
            assert!(
                ProcessTypes::from_procfile(text).unwrap().is_empty(),
                "{text}"
            );
        }
    }

    #[test]
    fn aliases_that_would_grow_without_bound_are_no_map() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            let row = [before.as_str(); 10].join(",");
            text.push_str(&format!("a{level}: &a{level} [{row}]\n"));
        }
        // Read line by line then, which multiplies nothing.
        assert_eq!(read(&text).len(), 12);
    }

    #[test]
    fn json_keeps_types_and_order() {
        let types = ProcessTypes::from_procfile("web: a\nworker: b").unwrap();
        assert_eq!(
            Value::Object(types.to_json()).to_string(),
            r#"{"web":"a","worker":"b"}"#
        );
        assert_eq!(ProcessTypes::from_json(&types.to_json()).unwrap(), types);
        let wrong = serde_json::json!({"web": 1});
        assert!(ProcessTypes::from_json(wrong.as_object().unwrap()).is_err());
    }
}
