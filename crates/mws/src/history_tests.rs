use std::time::SystemTime;

use serde_json::{Value, json};

use super::*;
use crate::dress::Kind;
use crate::message_id::MessageIds;
use crate::settings::plan::Plan;

/// A server's histories at a time that the test moves.
struct House {
    histories: Histories,
    ids: MessageIds,
    now: u64,
}

impl House {
    fn new(limits: Limits) -> Self {
        Self {
            histories: Histories::new(Arc::new(limits)),
            ids: MessageIds::new(),
            now: 1_000_000,
        }
    }

    fn id(&self) -> MessageId {
        self.ids
            .next(SystemTime::UNIX_EPOCH + Duration::from_millis(self.now))
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    fn keep(&self, gateway: u8, plan: &HistoryPlan, tags: &[&str], text: &str) -> MessageId {
        let book = self.histories.book(gateway_of(gateway), || self.id());
        let id = self.id();
        let rules: Vec<(Arc<str>, &HistoryRule)> = tags
            .iter()
            .map(|tag| (Arc::from(*tag), plan.rule_for(tag).unwrap()))
            .collect();
        let frame = frame::message(Kind::Text, text.as_bytes());
        book.open().keep(id, &frame, &rules);
        self.histories.make_room();
        id
    }

    fn read(&self, plan: &HistoryPlan, tag: &str, after: Option<MessageId>) -> (String, bool) {
        self.read_of(1, plan, tag, after)
    }

    fn read_of(
        &self,
        gateway: u8,
        plan: &HistoryPlan,
        tag: &str,
        after: Option<MessageId>,
    ) -> (String, bool) {
        let book = self.histories.book(gateway_of(gateway), || self.id());
        let rule = plan.rule_for(tag).unwrap();
        let part = book.open().read(tag, rule, after, 100, self.time());
        (texts(&part.messages), part.complete)
    }

    fn replay(&self, plan: &HistoryPlan, tags: &[&str], bytes_max: usize) -> String {
        let book = self.histories.book(gateway_of(1), || self.id());
        let tags: Vec<Arc<str>> = tags.iter().map(|tag| Arc::from(*tag)).collect();
        let replayed = book
            .open()
            .replay(plan, &tags, Format::Plain, bytes_max, self.time());
        let said = replayed.iter().map(|frame| said(&frame::payload_of(frame)));
        said.collect::<Vec<_>>().join(" ")
    }
}

fn gateway_of(number: u8) -> GatewayId {
    GatewayId::from_bytes([number; 12])
}

fn said(payload: &[u8]) -> String {
    String::from_utf8(payload.to_vec()).unwrap()
}

fn texts(messages: &[Kept]) -> String {
    let said = messages.iter().map(|kept| said(&kept.payload().bytes));
    said.collect::<Vec<_>>().join(" ")
}

fn plan(rules: &Value) -> Arc<HistoryPlan> {
    Plan::testing(&json!({"history": rules})).history.unwrap()
}

#[test]
fn a_tag_keeps_as_many_messages_and_bytes_as_its_rule_says_and_the_oldest_go_first() {
    let house = House::new(Limits::default());
    let plan = plan(&json!([{"tag": "few", "messages": 2}, {"tag": "*", "bytes": 20}]));
    for text in ["a", "b", "c"] {
        house.keep(1, &plan, &["few", "short"], text);
    }
    assert_eq!(house.read(&plan, "few", None), ("b c".into(), true));
    // A frame takes two bytes more than its text.
    house.keep(1, &plan, &["short"], "0123456789abc");
    assert_eq!(
        house.read(&plan, "short", None),
        ("c 0123456789abc".into(), true)
    );
    house.keep(1, &plan, &["short"], &"x".repeat(30));
    assert_eq!(house.read(&plan, "short", None), (String::new(), true));
}

#[test]
fn what_is_asked_for_after_a_message_is_complete_while_nothing_behind_it_was_dropped() {
    let house = House::new(Limits::default());
    let plan = plan(&json!([{"tag": "*", "messages": 3}]));
    let before = house.id();
    let first = house.keep(1, &plan, &["t"], "1");
    let second = house.keep(1, &plan, &["t"], "2");
    house.keep(1, &plan, &["t"], "3");
    // Nobody knows what was sent before the first message was kept.
    assert_eq!(
        house.read(&plan, "t", Some(before)),
        ("1 2 3".into(), false)
    );
    assert_eq!(house.read(&plan, "t", Some(first)), ("2 3".into(), true));
    house.keep(1, &plan, &["t"], "4");
    assert_eq!(house.read(&plan, "t", Some(first)), ("2 3 4".into(), true));
    let last = house.keep(1, &plan, &["t"], "5");
    assert_eq!(house.read(&plan, "t", Some(first)), ("3 4 5".into(), false));
    assert_eq!(house.read(&plan, "t", Some(second)), ("3 4 5".into(), true));
    assert_eq!(house.read(&plan, "t", Some(last)), (String::new(), true));
    let book = house.histories.book(gateway_of(1), || house.id());
    let rule = plan.rule_for("t").unwrap();
    let latest = book.open().read("t", rule, None, 2, house.time());
    assert_eq!(
        (texts(&latest.messages), latest.complete),
        ("4 5".into(), false)
    );
    let next = book.open().read("t", rule, Some(second), 2, house.time());
    assert_eq!((texts(&next.messages), next.complete), ("3 4".into(), true));
}

#[test]
fn a_message_is_kept_for_its_time_and_no_longer() {
    let mut house = House::new(Limits::default());
    let plan = plan(&json!([{"tag": "*", "seconds": 10}]));
    let first = house.keep(1, &plan, &["t"], "1");
    house.now += 5_000;
    let second = house.keep(1, &plan, &["t"], "2");
    house.now += 4_999;
    assert_eq!(house.read(&plan, "t", Some(first)), ("2".into(), true));
    assert_eq!(house.read(&plan, "t", None).0, "1 2");
    house.now += 1;
    assert_eq!(house.read(&plan, "t", None).0, "2");
    house.now += 5_000;
    house.histories.sweep(house.time());
    assert_eq!(house.histories.bytes(), 0);
    assert_eq!(house.read(&plan, "t", Some(second)), (String::new(), true));
    assert_eq!(house.read(&plan, "t", Some(first)), (String::new(), false));
}

#[test]
fn a_newcomer_gets_the_latest_of_its_tags_each_once_and_in_order() {
    let house = House::new(Limits::default());
    let plan = plan(&json!([
        {"tag": "a", "replay": 2},
        {"tag": "b", "replay": 3},
        {"tag": "*"},
    ]));
    house.keep(1, &plan, &["a"], "1");
    house.keep(1, &plan, &["b"], "2");
    house.keep(1, &plan, &["a", "b"], "3");
    house.keep(1, &plan, &["c"], "4");
    house.keep(1, &plan, &["a", "b"], "5");
    house.keep(2, &plan, &["a"], "foreign");
    assert_eq!(house.replay(&plan, &["a", "b", "c"], 1_000), "2 3 5");
    assert_eq!(house.replay(&plan, &["a"], 1_000), "3 5");
    assert_eq!(house.replay(&plan, &["c", "d"], 1_000), "");
    // Of very much it is the latest.
    assert_eq!(house.replay(&plan, &["a", "b"], 6), "3 5");
}

#[test]
fn a_gateway_keeps_no_more_than_it_may_and_nobody_elses_goes() {
    let limits = Limits {
        history_bytes_per_gateway_max: 4 * (KEPT_BYTES + 3),
        history_tags_per_gateway_max: 3,
        ..Limits::default()
    };
    let house = House::new(limits);
    let plan = plan(&json!([{"tag": "*"}]));
    house.keep(2, &plan, &["a"], "0");
    let first = house.keep(1, &plan, &["a"], "1");
    for (tag, text) in [("b", "2"), ("a", "3"), ("a", "4"), ("b", "5")] {
        house.keep(1, &plan, &[tag], text);
    }
    assert_eq!(house.read(&plan, "a", Some(first)), ("3 4".into(), true));
    assert_eq!(house.read(&plan, "b", None).0, "2 5");
    // The tag that was silent for longest makes room for a fourth one.
    house.keep(1, &plan, &["c"], "6");
    house.keep(1, &plan, &["d"], "7");
    assert_eq!(house.read(&plan, "a", Some(first)), (String::new(), false));
    assert_eq!(house.read(&plan, "b", None).0, "5");
    assert_eq!(house.read_of(2, &plan, "a", None).0, "0");
}

#[test]
fn when_all_keep_too_much_the_one_with_the_most_gives_up_its_oldest() {
    let limits = Limits {
        history_bytes_max: 3 << 20,
        ..Limits::default()
    };
    let house = House::new(limits);
    let plan = plan(&json!([{"tag": "*", "bytes": 1 << 20}]));
    let large = "x".repeat(600_000);
    house.keep(1, &plan, &["small"], "1");
    for tag in ["a", "b", "c", "d", "e", "f"] {
        house.keep(2, &plan, &[tag], &large);
    }
    assert!(house.histories.bytes() <= 3 << 20);
    assert_eq!(house.read(&plan, "small", None).0, "1");
    let kept = |tag| !house.read_of(2, &plan, tag, None).0.is_empty();
    assert_eq!([kept("a"), kept("f")], [false, true]);

    house.histories.forget(gateway_of(2));
    assert_eq!(house.histories.bytes(), KEPT_BYTES + 3);
}

#[test]
fn new_rules_hold_for_what_was_kept_and_what_they_begin_with_is_not_taken_for_complete() {
    let house = House::new(Limits::default());
    let before = plan(&json!([{"tag": "a"}, {"tag": "b"}]));
    let first = house.keep(1, &before, &["a", "b"], "1");
    house.keep(1, &before, &["a", "b"], "2");
    let after = plan(&json!([{"tag": "a", "messages": 1}, {"tag": "c"}]));
    let gateway = gateway_of(1);
    let histories = &house.histories;
    histories.rule(gateway, Some(&after), house.time(), || house.id());
    assert_eq!(house.read(&after, "a", Some(first)), ("2".into(), true));
    assert_eq!(house.read(&after, "c", Some(first)), (String::new(), false));
    assert_eq!(histories.bytes(), KEPT_BYTES + 3);
    histories.rule(gateway, None, house.time(), || house.id());
    assert_eq!(histories.bytes(), 0);
}

#[test]
fn a_message_to_more_tags_than_may_be_kept_is_missed_by_some_and_they_know() {
    let house = House::new(Limits {
        history_tags_per_gateway_max: 2,
        ..Limits::default()
    });
    let plan = plan(&json!([{"tag": "*"}]));
    let first = house.keep(1, &plan, &["a", "d"], "one");
    let second = house.keep(1, &plan, &["a", "b", "c", "d"], "two");
    for tag in ["a", "b"] {
        assert_eq!(house.read(&plan, tag, Some(first)), (String::new(), false));
        assert_eq!(house.read(&plan, tag, Some(second)), (String::new(), true));
    }
    assert_eq!(house.read(&plan, "c", None).0, "two");
    assert_eq!(
        house.read(&plan, "d", Some(first)),
        ("two".to_owned(), true)
    );
}

#[test]
fn a_listener_to_an_event_stream_gets_what_it_missed_as_events() {
    let house = House::new(Limits::default());
    let plan = plan(&json!([{"tag": "t", "replay": 1}]));
    let id = house.keep(1, &plan, &["t"], "two\nlines");
    let book = house.histories.book(gateway_of(1), || house.id());
    let tags = [Arc::from("t")];
    let replayed = book
        .open()
        .replay(&plan, &tags, Format::EventStream, 1_000, house.time());
    let event = format!("id: {id}\ndata: two\ndata: lines\n\n");
    assert_eq!(replayed, [Bytes::from(event)]);
}
