//! What a gateway does beside carrying messages; all of it is off until somebody turns it on.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::super::target::Gateway;
use crate::bytes;
use crate::failure::{Failure, Result};
use crate::session::{array, text};

#[derive(Args, Clone, Debug)]
pub(super) struct Additions {
    /// Compress messages for clients that ask for it
    #[arg(long, value_enum)]
    compression: Option<Switch>,
    /// Tell the app at this address what happens at the sockets
    #[arg(long, value_name = "URL", conflicts_with = "no_events")]
    events: Option<String>,
    /// Tell it of these only; may be repeated [default: all]
    #[arg(
        long = "event",
        value_name = "EVENT",
        value_enum,
        conflicts_with = "no_events"
    )]
    kinds: Vec<Kind>,
    /// Tell no app any more
    #[arg(long)]
    no_events: bool,
    /// Tell who is there with this tag, or with all that begin alike, such as room.*; may be repeated
    #[arg(long, value_name = "TAG", conflicts_with = "no_presence")]
    presence: Vec<String>,
    /// Tell of no tag any more who is there
    #[arg(long)]
    no_presence: bool,
    /// Keep what is sent to this tag, or to all that begin alike, such as
    /// room.*,messages=100,bytes=256KB,seconds=3600,replay=0; numbers that are left out are these. May be repeated: the
    /// first that is about a tag counts
    #[arg(long, value_name = "TAG[,NAME=NUMBER…]", value_parser = rule, conflicts_with = "no_history")]
    history: Vec<Value>,
    /// Keep nothing that is sent any more
    #[arg(long)]
    no_history: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// What an app can be told of.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Connect,
    Message,
    Disconnect,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Message => "message",
            Self::Disconnect => "disconnect",
        }
    }
}

/// Reads a rule of the history: a tag, and numbers behind it. A tag may hold commas itself.
fn rule(written: &str) -> std::result::Result<Value, String> {
    let mut rule = Map::new();
    let mut tag = written;
    while let Some((before, last)) = tag.rsplit_once(',') {
        let Some((name, number)) = last.split_once('=') else {
            break;
        };
        let number = match name {
            "bytes" => bytes::read(number),
            "messages" | "seconds" | "replay" => number.parse().ok(),
            _ => break,
        };
        let number = number.ok_or_else(|| format!("{name} needs a number"))?;
        rule.insert(name.into(), number.into());
        tag = before;
    }
    if tag.is_empty() {
        return Err("begin with the tag, such as room.*".into());
    }
    rule.insert("tag".into(), tag.into());
    Ok(Value::Object(rule))
}

impl Additions {
    /// Only what was named.
    pub(super) async fn add_to(
        &self,
        body: &mut Map<String, Value>,
        gateway: &Gateway,
    ) -> Result<()> {
        if let Some(switch) = self.compression {
            body.insert("compression".into(), matches!(switch, Switch::On).into());
        }
        if self.no_events {
            body.insert("events".into(), Value::Null);
        } else if self.events.is_some() || !self.kinds.is_empty() {
            body.insert("events".into(), self.events(gateway).await?);
        }
        if self.no_presence {
            body.insert("presence".into(), Value::Null);
        } else if !self.presence.is_empty() {
            body.insert("presence".into(), json!({"tags": self.presence}));
        }
        if self.no_history {
            body.insert("history".into(), Value::Null);
        } else if !self.history.is_empty() {
            body.insert("history".into(), json!(self.history));
        }
        Ok(())
    }

    /// The gateway replaces the address and the list together, so what was not named is sent as it is.
    async fn events(&self, gateway: &Gateway) -> Result<Value> {
        let present = match (&self.events, self.kinds.is_empty()) {
            (Some(_), false) => Value::Null,
            _ => gateway.get("configuration").await?["events"].take(),
        };
        let mut events = Map::new();
        let url = match &self.events {
            Some(url) => url.clone(),
            None => text(&present, "url"),
        };
        if url.is_empty() {
            return Err(Failure::usage(
                "there is no app that could be told",
                "name its address with --events URL",
            ));
        }
        events.insert("url".into(), url.into());
        let kinds: Vec<Value> = match self.kinds.is_empty() {
            true => array(&present["events"]).to_vec(),
            false => self.kinds.iter().map(|kind| kind.as_str().into()).collect(),
        };
        if !kinds.is_empty() {
            events.insert("events".into(), kinds.into());
        }
        Ok(Value::Object(events))
    }
}

/// What a gateway does beside, in words. A server of before this was there says nothing of it.
pub(super) fn facts(config: &Value) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(on) = config["compression"].as_bool() {
        let words = match on {
            true => "for clients that ask for it",
            false => "off",
        };
        facts.push(("Compression", words.into()));
    }
    if let Some(events) = config.get("events") {
        let kinds = array(&events["events"]).iter().filter_map(Value::as_str);
        let kinds: Vec<&str> = kinds.collect();
        facts.push((
            "Events",
            match events {
                Value::Null => "told to no app".into(),
                events => format!("{} to {}", kinds.join(", "), text(events, "url")),
            },
        ));
    }
    if let Some(presence) = config.get("presence") {
        let tags = array(&presence["tags"]).iter().filter_map(Value::as_str);
        let tags: Vec<&str> = tags.collect();
        facts.push((
            "Presence",
            match tags.as_slice() {
                [] => "told of no tag".into(),
                tags => format!("of {}", tags.join(", ")),
            },
        ));
    }
    if let Some(history) = config.get("history") {
        let rules = array(history);
        if rules.is_empty() {
            facts.push(("History", "nothing is kept".into()));
        }
        // The name stands on the first line only.
        let names = std::iter::once("History").chain(std::iter::repeat(""));
        facts.extend(names.zip(rules.iter().map(rule_in_words)));
    }
    facts
}

fn rule_in_words(rule: &Value) -> String {
    let number = |name: &str| rule[name].as_u64().unwrap_or_default();
    let newcomers = match number("replay") {
        0 => String::new(),
        replay => format!("; new sockets get the last {replay}"),
    };
    format!(
        "of {}: {} messages, {}, {} s{newcomers}",
        text(rule, "tag"),
        number("messages"),
        bytes::in_words(number("bytes")),
        number("seconds"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_tag_and_numbers() {
        for (written, expected) in [
            ("lobby", json!({"tag": "lobby"})),
            (
                "room.*,messages=10,replay=5",
                json!({"tag": "room.*", "messages": 10, "replay": 5}),
            ),
            ("a,b,bytes=1kb", json!({"tag": "a,b", "bytes": 1024})),
            (
                "a,color=1,seconds=60",
                json!({"tag": "a,color=1", "seconds": 60}),
            ),
        ] {
            assert_eq!(rule(written).unwrap(), expected, "{written}");
        }
        for (written, said) in [
            ("", "begin with the tag"),
            (",messages=1", "begin with the tag"),
            ("room,messages=many", "messages needs a number"),
            ("room,bytes=-1", "bytes needs a number"),
        ] {
            let fault = rule(written).unwrap_err();
            assert!(fault.contains(said), "{written}: {fault}");
        }
    }
}
