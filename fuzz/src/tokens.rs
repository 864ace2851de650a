//! Token requests: reading the parameters neither panics nor invents anything, and what was read reads as the same when
//! it is written as a form or as JSON.
//!
//! An input is the body; behind its last line feed stands the query.

use pilvi_eds::form::{Credentials, Form};
use serde_json::json;

use crate::Random;

/// The promises about any client's bytes.
pub fn check(input: &[u8]) {
    let (body, query) = match input.iter().rposition(|&byte| byte == b'\n') {
        Some(end) => (&input[..end], std::str::from_utf8(&input[end + 1..]).ok()),
        None => (input, None),
    };
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let Ok(form) = Form::read(body, query) else {
        assert_eq!(first, Some(&b'{'), "only JSON can be malformed");
        return;
    };
    let found = form.credentials();
    assert!(found.len() <= 2, "a plus has two meanings");
    for pair in &found {
        let (name, password) = (&*pair.username, pair.password.expose());
        assert!(!name.is_empty() && !password.is_empty());
        reads_as(
            pair,
            &format!("username={}&password={}", escape(name), escape(password)),
        );
        reads_as(
            pair,
            &json!({"password": password, "username": name}).to_string(),
        );
    }
}

/// Nothing in such a text can be read in two ways.
fn reads_as(pair: &Credentials, text: &str) {
    let again = Form::read(text.as_bytes(), None).map(|form| form.credentials());
    let again = again.unwrap_or_else(|refusal| panic!("{text} is refused: {refusal:?}"));
    let [only] = &again[..] else {
        panic!("{text} reads as {} pairs", again.len());
    };
    assert_eq!(
        (&only.username, &only.password),
        (&pair.username, &pair.password),
        "{text}"
    );
}

fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A request that is right, or almost.
pub fn make(random: &mut Random) -> Vec<u8> {
    const VALUES: [&str; 12] = [
        "anna",
        "first+user",
        "a b",
        "%C3%A4",
        "ä",
        "%",
        "%zz",
        "+",
        "%2B",
        "{1}",
        "",
        "\u{1f388}",
    ];
    const NAMES: [&str; 6] = [
        "username",
        "password",
        "grant_type",
        "refresh_token",
        "token",
        "user%6Eame",
    ];
    let mut pairs = Vec::new();
    for _ in 0..random.below(6) {
        pairs.push((*random.pick(&NAMES), *random.pick(&VALUES)));
    }
    let text = match random.below(3) {
        0 => {
            let members: Vec<String> = pairs
                .iter()
                .map(|(name, value)| format!("{}:{}", json!(name), json!(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        _ => {
            let members: Vec<String> = pairs
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            members.join("&")
        }
    };
    let mut bytes = text.into_bytes();
    if random.one_in(8) {
        bytes.push(0xe4);
    }
    if random.one_in(4) {
        bytes.extend_from_slice(b"\nusername=anna&password=a+b");
    }
    bytes
}
