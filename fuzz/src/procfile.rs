//! Procfiles: reading one neither panics nor takes long, whatever YAML it is; what it gives keeps the bounds of process
//! types, and reads back as the same from JSON and from lines.
//!
//! An input is the text of a Procfile; bytes that are no UTF-8 are replaced, as the server does.

use pilvi_model::Kind;
use pilvi_model::app::{PROCFILE_MAX_BYTES, ProcessTypes};

use crate::Random;

/// The promises about any text.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match ProcessTypes::from_procfile(&text) {
        Ok(types) => holds_together(&types),
        Err(error) => {
            assert_eq!(error.kind, Kind::Invalid);
            assert!(error.message.len() < 600, "{}", error.message);
            assert!(error.message.starts_with("Procfile "), "{}", error.message);
        }
    }
    if text.len() > PROCFILE_MAX_BYTES {
        assert!(ProcessTypes::from_procfile(&text).is_err());
    }
}

fn holds_together(types: &ProcessTypes) {
    assert!(types.len() <= 50);
    for (name, command) in types.iter() {
        let name = name.as_str();
        assert!((1..=40).contains(&name.len()));
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        assert!(
            !command.trim().is_empty() && command.trim() == command,
            "{command:?}"
        );
        assert!(command.len() <= 8 << 10 && !command.contains(['\0', '\r', '\u{1b}']));
    }
    let again = ProcessTypes::from_json(&types.to_json());
    assert_eq!(again.ok().as_ref(), Some(types));
    // JSON of plain characters is YAML, and the one spelling of it that loses nothing.
    let json = serde_json::Value::Object(types.to_json()).to_string();
    if json.len() <= PROCFILE_MAX_BYTES && json.is_ascii() {
        assert_eq!(
            ProcessTypes::from_procfile(&json).ok().as_ref(),
            Some(types),
            "{json}"
        );
    }
}

/// A Procfile that is right, or almost.
pub fn make(random: &mut Random) -> Vec<u8> {
    let mut text = String::new();
    for _ in 0..=random.below(4) {
        let names = [
            "web", "worker", "\"web\"", "a-b_c", "we b", "", "&a web", "? web", "- web", "#web",
        ];
        let separators = [
            ": ", ":", " : ", ":\t", " ", ": >\n  ", ": |\n  ", ": &x ", ": !!str ",
        ];
        let commands = [
            "node server.js",
            "rackup -p $PORT -E production",
            "java -jar target/*.jar",
            "'it''s'",
            "\"a\\\"b\\u0000\"",
            "*x",
            "@run",
            "{a: b}",
            "[1, 2]",
            "~",
            "5",
            "true",
            "a: b",
            "x # not said",
            "",
        ];
        text += *random.pick(&names);
        text += *random.pick(&separators);
        text += *random.pick(&commands);
        text += *random.pick(&["\n", "\n", "\r\n", "\n---\n", ""]);
    }
    text.into_bytes()
}
