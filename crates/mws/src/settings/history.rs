//! Of which tags a gateway keeps the latest messages, and how many.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::tag_pattern::TagPattern;

/// The key under which an instance keeps it.
pub(super) const HISTORY: &str = "history";

const RULES_MAX: usize = 20;

/// A number in a rule: its key, what it is when nothing is said, and what it may be.
struct Bound {
    key: &'static str,
    default: u64,
    least: u64,
    most: u64,
    fault: &'static str,
}

const MESSAGES: Bound = Bound {
    key: "messages",
    default: 100,
    least: 1,
    most: 1_000,
    fault: "messages of history can be 1 to 1000",
};
const BYTES: Bound = Bound {
    key: "bytes",
    default: 256 << 10,
    least: 1,
    most: 1 << 20,
    fault: "bytes of history can be 1 to 1048576",
};
const SECONDS: Bound = Bound {
    key: "seconds",
    default: 3_600,
    least: 1,
    most: 86_400,
    fault: "seconds of history can be 1 to 86400",
};
const REPLAY: Bound = Bound {
    key: "replay",
    default: 0,
    least: 0,
    most: 1_000,
    fault: "replay of history can be 0 to as many as messages are kept",
};

/// What is kept of the messages to some tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HistoryRule {
    pattern: TagPattern,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) life: Duration,
    /// How many of them a new socket gets first.
    pub(crate) replay: usize,
}

/// The rules of a gateway; a tag goes by the first that is about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HistoryPlan {
    rules: Box<[HistoryRule]>,
}

impl HistoryPlan {
    /// Whether any of these tags has its messages kept.
    pub(crate) fn keeps_any(&self, tags: &[String]) -> bool {
        tags.iter().any(|tag| self.rule_for(tag).is_some())
    }

    /// Whether a new socket with this tag gets some first.
    pub(crate) fn replays(&self, tag: &str) -> bool {
        self.rule_for(tag).is_some_and(|rule| rule.replay > 0)
    }

    /// How the messages to a tag are kept. `None`: not at all.
    pub(crate) fn rule_for(&self, tag: &str) -> Option<&HistoryRule> {
        self.rules.iter().find(|rule| rule.pattern.matches(tag))
    }
}

/// The value as it is kept, or what is wrong with it.
pub(super) fn normal(value: &Value) -> Result<Value, &'static str> {
    let rules = match value {
        Value::Null => return Ok(Value::Null),
        Value::Array(rules) => rules,
        _ => return Err("History can be null or [{\"tag\":\"room.*\",\"messages\":100}]"),
    };
    if rules.is_empty() || rules.len() > RULES_MAX {
        return Err("History needs 1 to 20 rules");
    }
    rules.iter().map(normal_rule).collect()
}

fn normal_rule(value: &Value) -> Result<Value, &'static str> {
    let rule = value.as_object();
    let rule = rule.ok_or("a rule of history is {\"tag\":\"room.*\",\"messages\":100}")?;
    let keys = ["tag", MESSAGES.key, BYTES.key, SECONDS.key, REPLAY.key];
    if !rule.keys().all(|key| keys.contains(&key.as_str())) {
        return Err("a rule of history has only the keys tag, messages, bytes, seconds and replay");
    }
    let tag = rule.get("tag").unwrap_or(&Value::Null);
    if TagPattern::read(tag).is_none() {
        return Err(
            "a rule of history needs a tag of up to 256 bytes, or its beginning followed by *",
        );
    }
    let messages = MESSAGES.read(rule)?;
    let replay = REPLAY.read(rule)?;
    if replay > messages {
        return Err(REPLAY.fault);
    }
    Ok(json!({
        "tag": tag,
        "messages": messages,
        "bytes": BYTES.read(rule)?,
        "seconds": SECONDS.read(rule)?,
        "replay": replay,
    }))
}

impl Bound {
    fn read(&self, rule: &Map<String, Value>) -> Result<u64, &'static str> {
        match rule.get(self.key) {
            None | Some(Value::Null) => Ok(self.default),
            Some(number) => number
                .as_u64()
                .filter(|number| (self.least..=self.most).contains(number))
                .ok_or(self.fault),
        }
    }
}

/// What a gateway does by what is kept. `None`: nothing is kept of any tag.
pub(super) fn plan(kept: &Value) -> Option<HistoryPlan> {
    let rules: Box<[HistoryRule]> = kept.as_array()?.iter().filter_map(rule).collect();
    (!rules.is_empty()).then_some(HistoryPlan { rules })
}

fn rule(kept: &Value) -> Option<HistoryRule> {
    let rule = kept.as_object()?;
    let number = |bound: &Bound| usize::try_from(bound.read(rule).ok()?).ok();
    Some(HistoryRule {
        pattern: TagPattern::read(rule.get("tag")?)?,
        messages: number(&MESSAGES)?,
        bytes: number(&BYTES)?,
        life: Duration::from_secs(SECONDS.read(rule).ok()?),
        replay: number(&REPLAY)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_goes_by_the_first_rule_about_it() {
        let body = json!([{"tag": "room.1", "messages": 5, "replay": 5}, {"tag": "room.*"}]);
        let kept = normal(&body).unwrap();
        assert_eq!(
            kept[1],
            json!({"tag": "room.*", "messages": 100, "bytes": 262_144, "seconds": 3600, "replay": 0})
        );
        let plan_of_rooms = plan(&kept).unwrap();
        let first = plan_of_rooms.rule_for("room.1").unwrap();
        assert_eq!((first.messages, first.replay), (5, 5));
        let other = plan_of_rooms.rule_for("room.2").unwrap();
        assert_eq!(
            (other.bytes, other.life),
            (262_144, Duration::from_secs(3600))
        );
        assert_eq!(plan_of_rooms.rule_for("lobby"), None);
        assert_eq!(plan(&normal(&json!(null)).unwrap()), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let rows = [
            (json!({"tag": "a"}), "null or"),
            (json!([]), "1 to 20"),
            (json!(vec![json!({"tag": "a"}); RULES_MAX + 1]), "1 to 20"),
            (json!(["a"]), "a rule of history is"),
            (json!([{}]), "needs a tag"),
            (json!([{"tag": "a*b"}]), "needs a tag"),
            (json!([{"tag": "a", "messages": 0}]), "1 to 1000"),
            (json!([{"tag": "a", "messages": 1001}]), "1 to 1000"),
            (json!([{"tag": "a", "messages": 1.5}]), "1 to 1000"),
            (
                json!([{"tag": "a", "bytes": (1 << 20) + 1}]),
                "1 to 1048576",
            ),
            (json!([{"tag": "a", "seconds": 86_401}]), "1 to 86400"),
            (
                json!([{"tag": "a", "messages": 5, "replay": 6}]),
                "as many as",
            ),
            (json!([{"tag": "a", "size": 1}]), "only the keys"),
        ];
        for (body, said) in rows {
            let fault = normal(&body).unwrap_err();
            assert!(fault.contains(said), "{body}: {fault}");
        }
    }
}
