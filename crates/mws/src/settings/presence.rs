//! Of which tags a gateway says who is there.

use serde_json::Value;

use super::tag_pattern::TagPattern;

/// The key under which an instance keeps it.
pub(super) const PRESENCE: &str = "presence";

const PATTERNS_MAX: usize = 20;

/// The tags whose members are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PresencePlan {
    patterns: Box<[TagPattern]>,
}

impl PresencePlan {
    pub(crate) fn matches(&self, tag: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(tag))
    }
}

/// The value as it is kept, or what is wrong with it.
pub(super) fn normal(value: &Value) -> Result<Value, &'static str> {
    let presence = match value {
        Value::Null => return Ok(Value::Null),
        Value::Object(presence) => presence,
        _ => return Err("Presence can be null or {\"tags\":[\"room.*\",\"lobby\"]}"),
    };
    if presence.keys().any(|key| key != "tags") {
        return Err("Presence has only the key tags");
    }
    let tags = presence.get("tags").and_then(Value::as_array);
    let tags = tags.ok_or("Presence needs a list of tags")?;
    if tags.is_empty() || tags.len() > PATTERNS_MAX {
        return Err("Presence needs 1 to 20 tags");
    }
    if tags.iter().any(|tag| TagPattern::read(tag).is_none()) {
        return Err(
            "a tag of presence is a tag of up to 256 bytes, or its beginning followed by *",
        );
    }
    Ok(value.clone())
}

/// What a gateway does by what is kept. `None`: no tag has presence.
pub(super) fn plan(kept: &Value) -> Option<PresencePlan> {
    let tags = kept.get("tags")?.as_array()?;
    let patterns: Box<[TagPattern]> = tags.iter().filter_map(TagPattern::read).collect();
    (!patterns.is_empty()).then_some(PresencePlan { patterns })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn presence_is_of_the_named_tags() {
        let kept = normal(&json!({"tags": ["room.*", "lobby"]})).unwrap();
        let plan_of_tags = plan(&kept).unwrap();
        assert!(plan_of_tags.matches("room.7") && plan_of_tags.matches("lobby"));
        assert!(!plan_of_tags.matches("lobby.7"));
        assert_eq!(plan(&normal(&json!(null)).unwrap()), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let many = vec!["x"; PATTERNS_MAX + 1];
        let rows = [
            (json!(true), "null or"),
            (json!({}), "list of tags"),
            (json!({"tags": "room.*"}), "list of tags"),
            (json!({"tags": []}), "1 to 20"),
            (json!({"tags": many}), "1 to 20"),
            (json!({"tags": ["*room"]}), "followed by *"),
            (json!({"tags": [7]}), "followed by *"),
            (json!({"tags": ["a"], "list": true}), "only the key"),
        ];
        for (body, said) in rows {
            let fault = normal(&body).unwrap_err();
            assert!(fault.contains(said), "{body}: {fault}");
        }
    }
}
