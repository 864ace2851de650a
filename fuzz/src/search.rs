//! Searches: reading one neither panics nor takes long, every fault is a bad request in a few words, and what is read
//! behaves as the operators say, whatever an object's texts are.
//!
//! An input is the parameter `search`; behind its first line feed stands the object that it is asked about. An input
//! that is no JSON is taken for a phrase.

use pilvi_model::Kind;
use pilvi_model::search::{Operator, Phrase, Search, Searchable, words};
use serde_json::{Value, json};

use crate::Random;

/// The longest words of a refusal.
const REFUSAL_BYTES_MAX: usize = 1 << 10;
/// What is asked about when an input says nothing about it.
const STORED: &str =
    r#"{"title":"a black cat","tags":["dog","cats"],"at":[24.9,60.2],"in":{"text":"Über e-mail"}}"#;

/// The promises about any search.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (search, document) = text.split_once('\n').unwrap_or((&text, STORED));
    let document: Value = serde_json::from_str(document)
        .unwrap_or_else(|_| serde_json::from_str(STORED).expect("the constant is JSON"));
    check_words(&text);
    let source = match serde_json::from_str::<Value>(search) {
        Ok(source) => source,
        Err(_) => json!({ "phrase": search }),
    };
    let search = match Search::from_json(source) {
        Ok(search) => search,
        Err(error) => {
            assert_eq!(error.kind, Kind::BadRequest);
            assert!(
                error.message.len() <= REFUSAL_BYTES_MAX,
                "{}",
                error.message
            );
            return;
        }
    };
    let finds = search.matches(&Searchable::Everything, &document);
    let again = Search::from_json(search.source().clone()).expect("an echo can be read");
    assert_eq!(again, search);
    assert_eq!(again.matches(&Searchable::Everything, &document), finds);
    check_operators(&search, &document);
}

/// Words are words again, and hold nothing that an index could take for something else.
fn check_words(text: &str) {
    for word in words::words(text) {
        assert!(word.chars().count() <= words::WORD_CHARS_MAX);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || !c.is_ascii();
        assert!(word.chars().all(is_plain), "{word:?}");
        let again: Vec<String> = words::words(&word).collect();
        assert_eq!(again.concat(), word, "{word:?} is split");
    }
}

/// A phrase in parentheses means itself, twice itself means itself, and it excludes its contrary.
fn check_operators(search: &Search, document: &Value) {
    let Some(phrase) = search.source()["phrase"].as_str() else {
        return;
    };
    let mut texts = Vec::new();
    Searchable::Everything.visit(document, |text| texts.push(text.words.to_vec()));
    for operator in [Operator::Or, Operator::And] {
        let holds = |text: &str| Some(Phrase::parse(text, operator).ok()?.matches(&texts));
        let Some(alone) = holds(phrase) else {
            continue;
        };
        for (same, expected) in [
            (format!("({phrase})"), alone),
            (format!("({phrase}) AND ({phrase})"), alone),
            (format!("({phrase}) OR ({phrase})"), alone),
            (format!("NOT ({phrase})"), !alone),
            (format!("({phrase}) AND NOT ({phrase})"), false),
        ] {
            // The longer one may have too many words.
            if let Some(holds) = holds(&same) {
                assert_eq!(holds, expected, "{same}");
            }
        }
    }
}

const PIECES: [&str; 24] = [
    "cat",
    "dog",
    "black cat",
    "\"",
    "\"black cat\"",
    "(",
    ")",
    " OR ",
    " AND ",
    " NOT ",
    "-",
    "+",
    "*",
    "cat*",
    "*at",
    "*at*",
    " ",
    "é",
    "東京",
    "example.com",
    "&&",
    "||",
    "\\u0000",
    "Über",
];

/// A search that is right, or almost.
pub fn make(random: &mut Random) -> Vec<u8> {
    let mut phrase = String::new();
    for _ in 0..=random.below(10) {
        phrase.push_str(random.pick::<&str>(&PIECES));
    }
    if random.below(2) == 0 {
        return phrase.into_bytes();
    }
    let mut search = json!({ "phrase": phrase });
    if random.below(3) == 0 {
        search["properties"] = random
            .pick(&[
                json!("title"),
                json!("in.text,tags"),
                json!(["tags"]),
                json!(""),
                json!(7),
            ])
            .clone();
    }
    if random.below(4) == 0 {
        search["defaultOperator"] = json!(random.pick(&["AND", "or", "XOR"]));
    }
    if random.below(4) == 0 {
        let distance = random.pick(&[json!(1000), json!(-1), json!(1e300)]).clone();
        search["near"] = json!({"point": [24.9, 60.2], "distance": distance});
    }
    let mut input = search.to_string();
    if random.below(3) == 0 {
        input.push_str("\n{\"title\":\"cat dog\",\"n\":[\"at\",{\"a\":\"black\"}]}");
    }
    input.into_bytes()
}
