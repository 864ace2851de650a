//! The shapes that replies must have, as the three services document them.

use serde_json::{Value, json};

use crate::http::Reply;

/// An EDS refusal (`eds.md` §3): `{"errors":[{"message","reason"}]}`, `property` only for fields.
#[track_caller]
pub fn eds_error(reply: &Reply, status: u16, reason: &str) -> Value {
    let body = reply.must_be(status);
    let errors = body["errors"]
        .as_array()
        .unwrap_or_else(|| panic!("no errors in {body}"));
    assert!(!errors.is_empty(), "an empty list of errors tells nothing");
    for error in errors {
        expect_words(error, &body);
    }
    assert_eq!(errors[0]["reason"], reason, "{body}");
    assert_eq!(
        body.as_object().map(|body| body.len()),
        Some(1),
        "an EDS refusal has nothing beside errors: {body}"
    );
    body
}

/// A refusal of MWS or the platform (`mws.md` §7, `platform.md` §4): `{"error":{"reason","message"}}`.
#[track_caller]
pub fn error(reply: &Reply, status: u16, reason: &str) -> Value {
    let body = reply.must_be(status);
    expect_words(&body["error"], &body);
    assert_eq!(body["error"]["reason"], reason, "{body}");
    body
}

/// A validation refusal of MWS or the platform: 422 with `errors`, of which one is about `property`.
#[track_caller]
pub fn invalid(reply: &Reply, property: &str) -> Value {
    let body = reply.must_be(422);
    let errors = body["errors"]
        .as_array()
        .unwrap_or_else(|| panic!("no errors in {body}"));
    for error in errors {
        expect_words(error, &body);
    }
    assert!(
        errors.iter().any(|error| error["property"] == property),
        "no error is about {property}: {body}"
    );
    body
}

#[track_caller]
fn expect_words(error: &Value, body: &Value) {
    for key in ["reason", "message"] {
        assert!(
            error[key].as_str().is_some_and(|text| !text.is_empty()),
            "no {key} in {body}"
        );
    }
}

/// A stored object with its system properties (`eds.md` §4.1) and everything in `properties`.
#[track_caller]
pub fn object(object: &Value, object_type: &str, properties: &Value) {
    assert!(
        object["id"].as_str().is_some_and(|id| is_hex(id, 24)),
        "{object}"
    );
    assert_eq!(object["objectType"], object_type);
    for key in ["createdAt", "updatedAt"] {
        assert!(
            object[key].as_str().is_some_and(is_timestamp),
            "{key} of {object}"
        );
    }
    for (key, value) in properties.as_object().into_iter().flatten() {
        assert_eq!(&object[key], value, "{key} of {object}");
    }
}

/// A list reply (`eds.md` §5.2): returns its results after a look at the echo of the filter.
#[track_caller]
pub fn list<'a>(reply: &'a Value, filter: &Value) -> &'a [Value] {
    assert_eq!(
        &reply["query"]["query"], filter,
        "the filter is echoed at query.query: {reply}"
    );
    results(reply)
}

/// The keys of an object, in order.
#[track_caller]
pub fn keys(value: &Value) -> Vec<&str> {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("{value} is not an object"));
    object.keys().map(String::as_str).collect()
}

/// The `results` of a reply.
#[track_caller]
pub fn results(reply: &Value) -> &[Value] {
    reply["results"]
        .as_array()
        .unwrap_or_else(|| panic!("no results in {reply}"))
}

/// Whether `text` is `length` lower-case hex characters.
pub fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `text` looks like `2013-06-28T16:38:32.369Z`.
pub fn is_timestamp(text: &str) -> bool {
    let pattern = "0000-00-00T00:00:00.000Z";
    text.len() == pattern.len()
        && text
            .bytes()
            .zip(pattern.bytes())
            .all(|(byte, like)| match like {
                b'0' => byte.is_ascii_digit(),
                other => byte == other,
            })
}

/// Who hears of an object that everybody may read.
pub fn everybody() -> Value {
    json!([{"id": "*", "objectType": "aclSubject"}])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_always_has_three_fraction_digits() {
        assert!(is_timestamp("2013-06-28T16:38:32.369Z"));
        assert!(!is_timestamp("2013-06-28T16:38:32Z"));
        assert!(!is_timestamp("2013-06-28 16:38:32.369Z"));
    }
}
