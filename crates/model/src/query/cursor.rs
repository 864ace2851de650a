//! Going on where a page ended, however far into a list: `next` of a reply and `after` of the next call.
//!
//! A cursor holds what the last object of the page sorts by, so it stands in the order by itself: objects that come
//! or go do not move it, not even the last object's own end. It is text that clients do not look into. It fits the
//! query that it came from and no other; a forged one shows nothing that the query would not show anyway.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::sort::Position;
use super::{Query, Sort};
use crate::{Error, ObjectId, Result};

/// How many bytes the texts in a cursor may take; an object that sorts by longer ones is found by its id.
const VALUES_BYTES_MAX: usize = 2 << 10;
/// How many bytes of `after` are looked at.
const TEXT_BYTES_MAX: usize = 8 << 10;
/// The form of what is inside.
const VERSION: u64 = 1;

/// Where to go on in a list.
#[derive(Clone, Debug, PartialEq)]
pub enum After {
    Position(Position),
    /// Right behind where this object stands now, if it is still there.
    Object(ObjectId),
}

impl Query {
    /// The cursor behind the last object of a page, given its JSON; `None` when the page is not full, so that
    /// nothing can follow.
    pub fn next(&self, results: usize, last: Option<&Value>) -> Option<String> {
        let full = u32::try_from(results).is_ok_and(|results| results == self.page.limit);
        let last = last.filter(|_| full)?;
        let Position { values, id } = self.sort.position(last);
        let bytes: usize = values.iter().filter_map(Value::as_str).map(str::len).sum();
        let values = match bytes > VALUES_BYTES_MAX {
            true => Value::Null,
            false => Value::Array(values),
        };
        let inside = json!([VERSION, self.fingerprint(), values, id]);
        Some(URL_SAFE_NO_PAD.encode(inside.to_string()))
    }

    pub(super) fn read_cursor(&self, text: &str) -> Result<After> {
        let inside = read_inside(text).ok_or_else(|| {
            Error::bad_request("after must be the `next` of an earlier reply, unchanged; leave it out to start over")
        })?;
        let (fingerprint, after) = inside;
        let fits = match &after {
            After::Position(position) => position.values.len() == terms(&self.sort),
            After::Object(_) => true,
        };
        if fingerprint != self.fingerprint() || !fits {
            return Err(Error::bad_request(
                "after belongs to another query: send the same q and sort as in the call that gave it, or leave \
                 it out to start over",
            ));
        }
        Ok(after)
    }

    /// Tells queries apart whose lists come in different orders or of different objects.
    fn fingerprint(&self) -> String {
        let sort = self
            .sort_json
            .as_ref()
            .map(Value::to_string)
            .unwrap_or_default();
        let text = format!("{}\n{sort}", self.filter.source());
        // FNV-1a: it guards against mistakes, not against anybody.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

fn terms(sort: &Sort) -> usize {
    sort.keys().len() + usize::from(sort.nearest().is_some())
}

fn read_inside(text: &str) -> Option<(String, After)> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let inside: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let [version, fingerprint, values, id] = inside.as_array()?.as_slice() else {
        return None;
    };
    let id: ObjectId = id.as_str()?.parse().ok()?;
    (version.as_u64()? == VERSION).then_some(())?;
    let after = match values {
        Value::Null => After::Object(id),
        Value::Array(values) if values.iter().all(is_sort_value) => After::Position(Position {
            values: values.clone(),
            id: id.to_string(),
        }),
        _ => return None,
    };
    Some((fingerprint.as_str()?.to_owned(), after))
}

fn is_sort_value(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Parameters;
    use super::*;

    const ID: &str = "51cdbc08989e975ec300772a";

    fn parse(q: &str, sort: &str, after: &str) -> Result<Query> {
        Query::parse(&Parameters {
            q: Some(q),
            sort: Some(sort),
            limit: Some("1"),
            after: Some(after),
            ..Parameters::default()
        })
    }

    fn cursor(q: &str, sort: &str, last: &Value) -> String {
        parse(q, sort, "").unwrap().next(1, Some(last)).unwrap()
    }

    #[test]
    fn a_cursor_holds_what_the_last_object_sorts_by() {
        let sort = r#"[{"sortBy":"a"},{"sortBy":"b","direction":"desc"},{"sortBy":"c"},{"sortBy":"d"},{"sortBy":"e"}]"#;
        let last = json!({"id": ID, "a": 18_446_744_073_709_551_615_u64, "b": "é\n", "c": {"x": 1}, "d": [1], "z": 1});
        let text = cursor("", sort, &last);
        assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
            "{text}"
        );
        let query = parse("", sort, &text).unwrap();
        let expected = Position {
            values: vec![
                json!(18_446_744_073_709_551_616.0),
                json!("é\n"),
                json!({}),
                json!([]),
                json!(null),
            ],
            id: ID.into(),
        };
        assert_eq!(query.after, Some(After::Position(expected.clone())));
        assert_eq!(query.sort.position(&last), expected);
    }

    #[test]
    fn there_is_a_next_only_behind_a_full_page() {
        let query = Query::parse(&Parameters {
            limit: Some("2"),
            ..Parameters::default()
        })
        .unwrap();
        let last = json!({ "id": ID });
        assert_eq!(query.next(1, Some(&last)), None);
        assert_eq!(query.next(0, None), None);
        assert!(query.next(2, Some(&last)).is_some());
        let none = Query::parse(&Parameters {
            limit: Some("0"),
            ..Parameters::default()
        })
        .unwrap();
        assert_eq!(none.next(0, None), None);
    }

    #[test]
    fn a_long_text_is_not_carried_along() {
        let sort = r#"{"sortBy":"a"}"#;
        let text = cursor(
            "",
            sort,
            &json!({"id": ID, "a": "x".repeat(VALUES_BYTES_MAX + 1)}),
        );
        assert!(text.len() < 200, "{text}");
        assert_eq!(
            parse("", sort, &text).unwrap().after,
            Some(After::Object(ID.parse().unwrap()))
        );
        let fits = cursor(
            "",
            sort,
            &json!({"id": ID, "a": "x".repeat(VALUES_BYTES_MAX)}),
        );
        assert!(matches!(
            parse("", sort, &fits).unwrap().after,
            Some(After::Position(_))
        ));
    }

    #[test]
    fn a_cursor_of_another_query_is_refused() {
        let last = json!({"id": ID, "a": 1});
        let text = cursor(r#"{"a": 1}"#, r#"{"sortBy":"a"}"#, &last);
        assert!(
            parse(r#"{ "a":1 }"#, r#"{"sortBy": "a"}"#, &text).is_ok(),
            "spaces do not matter"
        );
        for (q, sort) in [
            (r#"{"a":2}"#, r#"{"sortBy":"a"}"#),
            ("", r#"{"sortBy":"a"}"#),
            (r#"{"a":1}"#, ""),
            (r#"{"a":1}"#, r#"{"sortBy":"a","direction":"desc"}"#),
            (r#"{"a":1}"#, r#"[{"sortBy":"a"},{"sortBy":"b"}]"#),
        ] {
            let error = parse(q, sort, &text).unwrap_err();
            assert!(
                error.message.starts_with("after belongs to another query"),
                "{error}"
            );
        }
    }

    #[test]
    fn garbage_is_refused_with_what_to_do() {
        let query = parse("", "", "").unwrap();
        let encode = |inside: &Value| URL_SAFE_NO_PAD.encode(inside.to_string());
        let print = query.fingerprint();
        let mut cases = vec![
            "x".to_owned(),
            "%".into(),
            "=".into(),
            "é".into(),
            "A".repeat(TEXT_BYTES_MAX * 2),
        ];
        cases.extend(
            [
                json!(1),
                json!([]),
                json!([VERSION, print, [], "x"]),
                json!([VERSION + 1, print, [], ID]),
                json!([VERSION, 1, [], ID]),
                json!([VERSION, print, {}, ID]),
                json!([VERSION, print, [[1]], ID]),
                json!([VERSION, print, [{"a": 1}], ID]),
            ]
            .iter()
            .map(encode),
        );
        for text in cases {
            let error = parse("", "", &text).unwrap_err();
            assert_eq!(error.kind, crate::Kind::BadRequest);
            assert!(
                error.message.contains("the `next` of an earlier reply"),
                "{text}: {error}"
            );
        }
        // A term too many.
        assert!(parse("", "", &encode(&json!([VERSION, print, [1], ID]))).is_err());
    }

    #[test]
    fn a_cursor_and_an_offset_exclude_each_other() {
        let text = cursor("", "", &json!({ "id": ID }));
        let parse = |offset| {
            Query::parse(&Parameters {
                limit: Some("1"),
                offset: Some(offset),
                after: Some(&text),
                ..Parameters::default()
            })
        };
        assert!(
            parse("1")
                .unwrap_err()
                .message
                .starts_with("after and offset")
        );
        assert!(parse("0").is_ok(), "one client always sends it");
    }
}
