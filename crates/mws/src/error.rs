//! How the gateway says no (`mws.md` §7), and what browsers may do (§8).

use http::StatusCode;
use pilvi_model::FieldError;
use pilvi_web::{Cors, Manners, Refusal};
use serde_json::{Map, Value, json};

/// So many elements of a list can be told to be wrong in the old keys.
const OLD_ELEMENTS_MAX: usize = 1_000;

pub(crate) struct MwsManners {
    pub(crate) body_bytes_max: usize,
    /// Whether broken rules are told under the names of their fields, too, as the open-source server told them.
    pub(crate) adds_old_keys: bool,
}

impl Manners for MwsManners {
    fn dress(&self, refusal: &Refusal) -> (StatusCode, Value) {
        if !refusal.fields.is_empty() {
            let mut told = faults(refusal);
            if self.adds_old_keys {
                add_old_keys(&mut told, &refusal.fields);
            }
            return (refusal.status, Value::Object(told));
        }
        let (status, reason) = match refusal.status {
            _ if refusal.malformed_json => (StatusCode::UNPROCESSABLE_ENTITY, "InvalidJson"),
            StatusCode::UNAUTHORIZED => (StatusCode::UNAUTHORIZED, "AccessDenied"),
            status => (status, refusal.reason),
        };
        let error = json!({"error": {"reason": reason, "message": refusal.message}});
        (status, error)
    }

    fn cors(&self) -> Cors {
        Cors::Reflect
    }

    fn body_max_bytes(&self) -> usize {
        self.body_bytes_max
    }
}

fn faults(refusal: &Refusal) -> Map<String, Value> {
    let faults = refusal.fields.iter().map(|field| {
        json!({
            "reason": refusal.reason,
            "property": field.property,
            "message": field.message,
        })
    });
    Map::from_iter([("errors".to_owned(), faults.collect())])
}

/// Adds what the open-source server told, beside what its documentation promised: each text under the name of its
/// field, those of a list's elements in their places, with null for the good ones before them.
fn add_old_keys(told: &mut Map<String, Value>, faults: &[FieldError]) {
    for fault in faults {
        let names: Vec<&str> = fault.property.split('.').collect();
        let Some((last, outer)) = names.split_last() else {
            continue;
        };
        let mut place = &mut *told;
        for name in outer {
            let inner = place.entry(*name).or_insert_with(|| json!({}));
            let Value::Object(inner) = inner else {
                // The whole is wrong; no more is to be said about its parts.
                return;
            };
            place = inner;
        }
        match element(&fault.message) {
            None => drop(
                place
                    .entry(*last)
                    .or_insert_with(|| fault.message.as_str().into()),
            ),
            Some(index) if index < OLD_ELEMENTS_MAX => {
                let list = place.entry(*last).or_insert_with(|| json!([]));
                if let Value::Array(list) = list {
                    list.resize(list.len().max(index + 1), Value::Null);
                    list[index] = fault.message.as_str().into();
                }
            }
            Some(_) => {}
        }
    }
}

/// The place of the element that a text such as `Tags[3] isn't a string` is about.
fn element(message: &str) -> Option<usize> {
    let (_, rest) = message.split_once('[')?;
    let (index, _) = rest.split_once("] ")?;
    index.parse().ok()
}

#[cfg(test)]
mod tests {
    use pilvi_model::Error;

    use super::*;

    fn dress(refusal: impl Into<Refusal>) -> (u16, Value) {
        dress_as(false, refusal)
    }

    fn dress_as(adds_old_keys: bool, refusal: impl Into<Refusal>) -> (u16, Value) {
        let manners = MwsManners {
            body_bytes_max: 1,
            adds_old_keys,
        };
        let (status, body) = manners.dress(&refusal.into());
        (status.as_u16(), body)
    }

    #[test]
    fn the_old_keys_stand_beside_the_documented_ones() {
        let rows: [(&[(&str, &str)], Value); 5] = [
            (
                &[("data", "Data can't be nil")],
                json!({"data": "Data can't be nil"}),
            ),
            (
                &[
                    ("receivers.sockets", "Sockets isn't an array"),
                    ("receivers.tags", "Tags[2] isn't a string"),
                    ("receivers.tags", "Tags[3] isn't a string"),
                ],
                json!({"receivers": {
                    "sockets": "Sockets isn't an array",
                    "tags": [null, null, "Tags[2] isn't a string", "Tags[3] isn't a string"],
                }}),
            ),
            (
                &[("tags", "Tags[0] isn't a string")],
                json!({"tags": ["Tags[0] isn't a string"]}),
            ),
            // A list that is too long is told about in the documented form alone.
            (&[("tags", "Tags[99999999] isn't a string")], json!({})),
            (
                &[
                    ("receivers", "Receivers can't be more than 5"),
                    ("receivers.tags", "Tags[0] isn't a string"),
                ],
                json!({"receivers": "Receivers can't be more than 5"}),
            ),
        ];
        for (faults, old) in rows {
            let fields = faults.iter().map(|(property, message)| FieldError {
                property: (*property).to_owned(),
                message: (*message).to_owned(),
            });
            let refusal = || Error::invalid_fields(fields.clone().collect());
            let (status, documented) = dress(refusal());
            let (status_of_one, mut told) = dress_as(true, refusal());
            assert_eq!((status, status_of_one), (422, 422));
            let errors = told.as_object_mut().unwrap().remove("errors");
            assert_eq!(errors, documented.get("errors").cloned());
            assert_eq!(told, old);
        }
        // Where the two would need one key, the documented form stands.
        assert_eq!(
            dress_as(true, Error::unauthenticated("Access denied")),
            dress(Error::unauthenticated("Access denied"))
        );
    }

    #[test]
    fn the_table_of_errors() {
        let single = |reason, message| json!({"error": {"reason": reason, "message": message}});
        assert_eq!(
            dress(Error::unauthenticated("Access denied")),
            (401, single("AccessDenied", "Access denied"))
        );
        assert_eq!(
            dress(Error::forbidden("Access denied")),
            (403, single("Forbidden", "Access denied"))
        );
        assert_eq!(
            dress(Error::not_found("gone")),
            (404, single("NotFound", "gone"))
        );
        assert_eq!(
            dress(Refusal::malformed_json("Invalid json")),
            (422, single("InvalidJson", "Invalid json"))
        );
        let fault = json!({
            "reason": "ValidationFailed",
            "property": "data",
            "message": "Data can't be nil",
        });
        assert_eq!(
            dress(Error::invalid("data", "Data can't be nil")),
            (422, json!({"errors": [fault]}))
        );
    }
}
