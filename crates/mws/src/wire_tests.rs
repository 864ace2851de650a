use pilvi_model::{GatewayId, Kind};
use serde_json::json;

use super::*;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

fn message(body: Value) -> Result<Message> {
    Message::read(object(body), &Limits::default())
}

fn webhook(body: Value) -> Result<Message> {
    Message::read_webhook(object(body), &Limits::default())
}

fn tags(body: Value) -> Result<Vec<Arc<str>>> {
    read_tags(object(body), &Limits::default())
}

fn faults<T: std::fmt::Debug>(outcome: Result<T>) -> Vec<(String, String)> {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind, Kind::Invalid);
    let fields = error.fields.into_iter();
    fields
        .map(|field| (field.property, field.message))
        .collect()
}

fn text(message: &Message) -> String {
    serde_json::to_string(message).unwrap()
}

#[test]
fn a_message_is_answered_as_it_was_stored() {
    let rows = [
        (
            json!({"data": "Hello World!", "receivers": {"sockets": ["*"], "tags": null}}),
            r#"{"data":"Hello World!","receivers":{"sockets":["*"],"tags":null}}"#,
        ),
        (
            json!({"receivers": {"tags": ["a", 5], "sockets": [], "other": 1}, "data": "x"}),
            r#"{"data":"x","receivers":{"sockets":[],"tags":["a","5"]}}"#,
        ),
        (
            json!({"data": "x", "receivers": {}}),
            r#"{"data":"x","receivers":{"sockets":null,"tags":null}}"#,
        ),
    ];
    for (body, expected) in rows {
        assert_eq!(text(&message(body).unwrap()), expected);
    }
}

#[test]
fn data_may_be_any_json_value_but_null_and_is_not_stripped() {
    let rows = [
        (json!("  padded \n"), "  padded \n"),
        (json!(" "), " "),
        (json!(""), ""),
        (
            json!({"o": 1, "a": [true, null]}),
            r#"{"o":1,"a":[true,null]}"#,
        ),
        (json!([1, 2]), "[1,2]"),
        (json!(5), "5"),
        (json!(1.5), "1.5"),
        (json!(false), "false"),
    ];
    for (data, delivered) in rows {
        let message = message(json!({"data": data, "receivers": {}})).unwrap();
        assert_eq!(message.data, delivered);
    }
}

#[test]
fn a_message_that_breaks_a_rule() {
    let rows = [
        (json!({"receivers": {}}), "data", "Data can't be nil"),
        (
            json!({"data": null, "receivers": {}}),
            "data",
            "Data can't be nil",
        ),
        (json!({"data": "x"}), "receivers", "Receivers can't be nil"),
        (
            json!({"data": "x", "receivers": null}),
            "receivers",
            "Receivers can't be nil",
        ),
        (
            json!({"data": "x", "receivers": []}),
            "receivers",
            "Receivers isn't a hash",
        ),
        (
            json!({"data": "x", "receivers": {"sockets": "*"}}),
            "receivers.sockets",
            "Sockets isn't an array",
        ),
        (
            json!({"data": "x", "receivers": {"sockets": ["*", {}]}}),
            "receivers.sockets",
            "Sockets[1] isn't a string",
        ),
        (
            json!({"data": "x", "receivers": {"tags": [null]}}),
            "receivers.tags",
            "Tags[0] isn't a string",
        ),
    ];
    for (body, property, text) in rows {
        let expected = [(property.to_owned(), text.to_owned())];
        assert_eq!(faults(message(body.clone())), expected, "{body}");
    }
    assert_eq!(faults(message(json!({}))).len(), 2, "all faults at once");
}

#[test]
fn a_message_is_bounded() {
    let body = |size| json!({"data": "x".repeat(size), "receivers": {}});
    assert!(message(body(1 << 20)).is_ok());
    let error = message(body((1 << 20) + 1)).unwrap_err();
    assert_eq!(error.kind, Kind::TooLarge);

    let many =
        |count| json!({"data": "x", "receivers": {"sockets": ["*"], "tags": vec!["t"; count]}});
    assert!(message(many(9_999)).is_ok());
    assert_eq!(faults(message(many(10_000)))[0].0, "receivers");
}

#[test]
fn receivers_are_what_their_names_say() {
    let id = SocketId::random();
    let body = json!({
        "data": "x",
        "receivers": {"sockets": [id.to_string(), "no-id"], "tags": ["*", "a"]},
    });
    let receivers = message(body).unwrap().receivers();
    let expected = Receivers {
        everyone: false,
        sockets: vec![id],
        tags: vec!["*".to_owned(), "a".to_owned()],
    };
    assert_eq!(receivers, expected);
    let all = message(json!({"data": "x", "receivers": {"sockets": ["*"]}})).unwrap();
    assert!(all.receivers().everyone);
}

#[test]
fn a_webhook_becomes_a_message() {
    let everyone = json!({"id": "*", "objectType": "aclSubject"});
    let user = json!({"id": "1", "objectType": "users"});
    let group = json!({"id": "2", "objectType": "usergroups"});
    let payload = json!({"object": {"id": "x"}, "meta": {"eventName": "update"}});
    let delivered = r#"{"object":{"id":"x"},"meta":{"eventName":"update"}}"#;
    let rows = [
        (json!([everyone]), json!({"sockets": ["*"], "tags": []})),
        (
            json!([user, group]),
            json!({"sockets": [], "tags": ["users.1", "usergroups.2"]}),
        ),
        (
            json!([everyone, user]),
            json!({"sockets": ["*"], "tags": ["users.1"]}),
        ),
        (json!([]), json!({"sockets": [], "tags": []})),
    ];
    for (receivers, expected) in rows {
        let body = json!({"payload": payload, "receivers": receivers});
        let message = webhook(body).unwrap();
        assert_eq!(message.data, delivered);
        assert_eq!(json!(message)["receivers"], expected);
    }
    let as_text = webhook(json!({"payload": delivered, "receivers": []})).unwrap();
    assert_eq!(as_text.data, delivered);
}

#[test]
fn a_webhook_that_breaks_a_rule() {
    let rows = [
        (json!({"receivers": []}), "payload", "Payload can't be nil"),
        (
            json!({"payload": 1, "receivers": []}),
            "payload",
            "Payload isn't a string",
        ),
        (
            json!({"payload": "x"}),
            "receivers",
            "Receivers can't be nil",
        ),
        (
            json!({"payload": "x", "receivers": {}}),
            "receivers",
            "Receivers isn't an array",
        ),
        (
            json!({"payload": "x", "receivers": [{"id": "1"}]}),
            "receivers",
            "Receivers[0] isn't a hash with an id and an objectType",
        ),
    ];
    for (body, property, text) in rows {
        let expected = [(property.to_owned(), text.to_owned())];
        assert_eq!(faults(webhook(body.clone())), expected, "{body}");
    }
}

#[test]
fn tags_of_a_new_socket() {
    let rows = [
        (json!({}), vec![]),
        (json!({"tags": null}), vec![]),
        (json!({"tags": ["a", 5, "a"]}), vec!["a", "5"]),
    ];
    for (body, expected) in rows {
        let found = tags(body).unwrap();
        assert_eq!(found.iter().map(|tag| &**tag).collect::<Vec<_>>(), expected);
    }
    let rows = [
        (json!({"tags": "a"}), "Tags isn't an array"),
        (json!({"tags": [["a"]]}), "Tags[0] isn't a string"),
        (
            json!({"tags": vec!["t"; 101]}),
            "Tags can't be more than 100",
        ),
        (
            json!({"tags": ["t".repeat(257)]}),
            "Tags[0] can't be longer than 256 bytes",
        ),
    ];
    for (body, text) in rows {
        assert_eq!(faults(tags(body)), [("tags".to_owned(), text.to_owned())]);
    }
}

#[test]
fn replies_have_exactly_their_keys() {
    let reservation = Reservation {
        share: crate::hub::Share::boundless(),
        gateway: GatewayId::from_bytes([1; 12]),
        id: SocketId::random(),
        tags: vec!["player1".into()],
        expires_at: Timestamp::from_millis(1_394_778_831_999),
    };
    let token = reservation.id.to_string();
    let uri = serde_json::to_string(&SocketUri::new(&reservation, "wss://host")).unwrap();
    let expected = format!(
        r#"{{"expiresAt":"2014-03-14T06:33:51Z","uri":"wss://host/?token={token}","tags":["player1"]}}"#
    );
    assert_eq!(uri, expected);
    let socket = serde_json::to_string(&NewSocket::new(&reservation, "ws://host:1")).unwrap();
    let expected = format!(
        r#"{{"id":"{token}","tags":["player1"],"expiresAt":"2014-03-14T06:33:51Z","uri":"ws://host:1/?token={token}"}}"#
    );
    assert_eq!(socket, expected);
}

#[test]
fn a_connected_socket_has_its_moment_under_both_names() {
    let connected = [Connected {
        id: SocketId::random(),
        tags: vec!["players".into()],
        connected_at: Timestamp::from_millis(1_395_572_665_000),
    }];
    let page = serde_json::to_value(Page::from(&connected[..])).unwrap();
    let expected = json!({"results": [{
        "id": connected[0].id.to_string(),
        "connectedAt": "2014-03-23T11:04:25Z",
        "createdAt": "2014-03-23T11:04:25Z",
        "tags": ["players"],
    }]});
    assert_eq!(page, expected);
}
