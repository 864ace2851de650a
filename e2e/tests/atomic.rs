//! Atomic updates over the wire: the calls that old apps made, and many callers at once.

use std::thread;

use pilvi_e2e::api::{Backend, path_of, text};
use pilvi_e2e::http::{Reply, Request};
use pilvi_e2e::receiver::Receiver;
use pilvi_e2e::server::Server;
use serde_json::{Value, json};

fn atomic(backend: &Backend, object: &Value, update: &Value) -> Reply {
    backend.send(Request::put(format!("{}/atomic", path_of(object))).json(update))
}

#[test]
fn the_updates_of_old_apps() {
    let server = Server::demo();
    let backend = server.backend();
    let made = backend.create(
        "lists",
        &json!({"name": "a", "balance": 5, "forms": [1, 2, 3]}),
    );
    let after = atomic(&backend, &made, &json!({"$push": {"List": "x"}})).must_be(200);
    assert_eq!(after["List"], json!(["x"]));
    assert_eq!((&after["id"], &after["name"]), (&made["id"], &json!("a")));
    assert_eq!(after["createdAt"], made["createdAt"]);
    assert!(text(&after, "/updatedAt") > text(&made, "/updatedAt"));
    let after = atomic(
        &backend,
        &made,
        &json!({"$pull": {"List": "x"}, "$pop": {"forms": "text"}}),
    )
    .must_be(200);
    assert_eq!(
        (&after["List"], &after["forms"]),
        (&json!([]), &json!([1, 2]))
    );
    let after = atomic(&backend, &made, &json!({"$inc": {"balance": -7, "a.b": 1}})).must_be(200);
    assert_eq!(
        (&after["balance"], &after["a"]),
        (&json!(-2), &json!({"b": 1}))
    );
    let read = backend.send(Request::get(path_of(&made))).must_be(200);
    assert_eq!(read, after);
}

#[test]
fn of_many_who_count_up_nobody_is_lost() {
    let server = Server::demo();
    let backend = server.backend();
    let made = backend.create("counters", &json!({"n": 0}));
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let (backend, made) = (backend.clone(), made.clone());
            thread::spawn(move || {
                for number in 0..25 {
                    let update = json!({"$inc": {"n": 1}, "$push": {"who": caller * 25 + number}});
                    atomic(&backend, &made, &update).must_be(200);
                }
            })
        })
        .collect();
    callers
        .into_iter()
        .for_each(|caller| caller.join().unwrap());
    let read = backend.send(Request::get(path_of(&made))).must_be(200);
    assert_eq!(read["n"], 200);
    let mut who: Vec<u64> = read["who"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_u64().unwrap())
        .collect();
    who.sort_unstable();
    assert_eq!(who, (0..200).collect::<Vec<_>>());
}

#[test]
fn a_refused_update_changes_nothing_and_tells_nobody() {
    let server = Server::demo();
    let backend = server.backend();
    let receiver = Receiver::start();
    backend.create_webhook(&json!({"url": receiver.url(), "events": ["update"]}));
    let made = backend.create("lists", &json!({"n": 1, "text": "x"}));
    for (update, reason) in [
        (json!({"$inc": {"n": 1, "text": 1}}), "ValidationFailed"),
        (json!({"$set": {"createdAt": "x"}}), "ValidationFailed"),
        (json!({"$set": {"creator.id": "x"}}), "ValidationFailed"),
        (
            json!({"$set": {"n": 1}, "$unset": {"n.m": 1}}),
            "BadRequest",
        ),
        (json!({"$foo": {"n": 1}}), "BadRequest"),
        (json!({"n": 2}), "BadRequest"),
        (json!({}), "BadRequest"),
        (json!([]), "BadRequest"),
    ] {
        let reply = atomic(&backend, &made, &update).must_be(400);
        assert_eq!(
            text(&reply, "/errors/0/reason"),
            reason,
            "{update}: {reply}"
        );
    }
    assert_eq!(
        backend.send(Request::get(path_of(&made))).must_be(200),
        made
    );
    let missing = json!({"objectType": "objects.lists", "id": "51cdbc08989e975ec300772a"});
    atomic(&backend, &missing, &json!({"$inc": {"n": 1}})).must_be(404);
    // The first thing that is heard is the first thing that happened.
    let after = atomic(&backend, &made, &json!({"$inc": {"n": 1}})).must_be(200);
    let heard = receiver.wait_for(1);
    let body = &heard[0].body;
    assert_eq!(body["payload"]["object"]["updatedAt"], after["updatedAt"]);
    assert_eq!(body["payload"]["meta"]["eventName"], "update");
}

#[test]
fn users_and_usergroups_have_it_too() {
    let server = Server::demo();
    let backend = server.backend();
    let user = json!({"username": "anna", "password": "a-long-password"});
    let user = backend
        .send(Request::post("/v1/users").json(&user))
        .must_be(201);
    let after = atomic(&backend, &user, &json!({"$push": {"friends": "bo"}})).must_be(200);
    assert_eq!(
        (&after["friends"], &after["username"]),
        (&json!(["bo"]), &json!("anna"))
    );
    assert!(after.get("password").is_none());
    for update in [
        json!({"$set": {"password": "x"}}),
        json!({"$rename": {"friends": "password"}}),
    ] {
        let reply = atomic(&backend, &user, &update).must_be(400);
        assert_eq!(text(&reply, "/errors/0/property"), "password");
    }
    let group = backend
        .send(Request::post("/v1/usergroups").json(&json!({"name": "g"})))
        .must_be(201);
    let after = atomic(&backend, &group, &json!({"$max": {"level": 3}})).must_be(200);
    assert_eq!(after["level"], 3);
}
