//! The audit log: every act is in it, with who, from where and upon what, and for no one else's eyes.

use pilvi_core::{Act, Actor, Audit};
use pilvi_store::platform::{Log, LogPage, Role};
use serde_json::{Value, json};

use super::World;

impl World {
    /// A part of the account's log.
    async fn log(&self, query: &str) -> Vec<Value> {
        let path = self.account_path(&format!("/log{query}"));
        let log = self.get(&path).await.expect(200);
        log["results"].as_array().unwrap().clone()
    }

    async fn events(&self, query: &str) -> Vec<String> {
        let log = self.log(query).await;
        let names = log.iter().map(|event| event["event"].as_str().unwrap());
        names.map(str::to_owned).collect()
    }

    fn audit(&self) -> Audit {
        self.platform.audit.clone()
    }
}

#[tokio::test]
async fn an_act_is_written_down_with_who_and_from_where() {
    let world = World::new().await;
    let body = json!({"name": "todos", "serviceProviderId": "eds"});
    let created = world
        .call("POST", &world.account_path("/instances"), body)
        .await
        .expect(201);
    let event = world.log("").await[0].clone();
    assert_eq!(
        event,
        json!({
            "id": 1,
            "time": "2015-03-18T09:00:00Z",
            "event": "instance.create",
            "subject": created["id"],
            "by": "person",
            "user": {
                "id": world.person.to_string(),
                "email": "operator@localhost",
                "name": "Operator",
            },
            "accountId": world.account.to_string(),
            "detail": {"name": "todos"},
            "requestId": "01010101010101010101010101010101",
            "address": "127.0.0.1",
        })
    );
}

/// One call of every kind that changes an account or what is in it, in turn.
#[tokio::test]
async fn every_change_leaves_its_event() {
    let world = World::new().await;
    let id = world.add_instance("eds").await.id;
    let (token, _) = world.add_member(Role::Developer).await;
    let user = world.call_as(&token, "GET", "/v1/user", Value::Null).await;
    let person = user.expect(200)["id"].as_str().unwrap().to_owned();
    let list = world.account_path("/authorizations");
    let listed = world.get(&list).await.expect(200);
    let account_token = &listed["results"][0]["id"];
    let calls = [
        (
            "PUT",
            "".to_owned(),
            json!({"name": "new"}),
            "account.rename",
        ),
        (
            "PUT",
            format!("/members/{person}"),
            json!({"role": "viewer"}),
            "member.change",
        ),
        (
            "DELETE",
            format!("/members/{person}"),
            json!({}),
            "member.remove",
        ),
        (
            "POST",
            "/invitations".to_owned(),
            json!({"email": "a@example.org"}),
            "invitation.create",
        ),
        (
            "DELETE",
            "/invitations/1".to_owned(),
            json!({}),
            "invitation.remove",
        ),
        (
            "DELETE",
            format!("/authorizations/{account_token}"),
            json!({}),
            "account.token.remove",
        ),
        (
            "POST",
            "/authorizations".to_owned(),
            json!({}),
            "account.token.create",
        ),
    ];
    let mut expected = Vec::new();
    for (method, rest, body, event) in calls {
        let answer = world.call(method, &world.account_path(&rest), body).await;
        assert!(answer.status.is_success(), "{event}: {}", answer.body);
        expected.insert(0, event);
    }
    let path = format!("/v1/instances/{id}");
    for (method, rest, body, event) in [
        ("PUT", "", json!({"name": "new"}), "instance.change"),
        (
            "POST",
            "/authorizations",
            json!({}),
            "instance.token.create",
        ),
        ("DELETE", "", json!({}), "instance.delete"),
        ("POST", "/restore", json!({}), "instance.restore"),
        ("DELETE", "?now=true", json!({}), "instance.remove"),
    ] {
        let answer = world.call(method, &format!("{path}{rest}"), body).await;
        assert!(answer.status.is_success(), "{event}: {}", answer.body);
        expected.insert(0, event);
    }
    assert_eq!(world.events("").await, expected);
}

#[tokio::test]
async fn what_was_refused_is_no_act() {
    let world = World::new().await;
    let id = world.add_instance("eds").await.id;
    let (viewer, _) = world.add_member(Role::Viewer).await;
    let path = format!("/v1/instances/{id}");
    let refused = world.call_as(&viewer, "DELETE", &path, Value::Null);
    refused.await.expect(403);
    world
        .call("PUT", &path, json!({"name": ""}))
        .await
        .expect(422);
    world
        .call("DELETE", &world.account_path(""), Value::Null)
        .await
        .expect(409);
    assert!(world.log("").await.is_empty());
}

#[tokio::test]
async fn no_secret_is_written_down() {
    let world = World::new().await;
    let id = world.add_instance("eds").await.id;
    let path = format!("/v1/instances/{id}/authorizations");
    let created = world.call("POST", &path, Value::Null).await.expect(201);
    let pat = world.call("POST", "/v1/authorizations", Value::Null).await;
    let pat = pat.expect(201);
    let log = world.get("/v1/server/log").await.expect(200).to_string();
    for token in [&created, &pat] {
        let secret = token["access_token"].as_str().unwrap();
        assert!(!log.contains(secret), "{log}");
    }
    assert!(log.contains("person.token.create"), "{log}");
}

#[tokio::test]
async fn the_log_is_read_in_pages_and_narrowed() {
    let world = World::new().await;
    let audit = world.audit();
    for number in 0..5 {
        let event = ["app.start", "app.stop"][number % 2];
        let act = Act::new(Actor::Person(world.person), event, number);
        audit.record(act.in_account(world.account)).await.unwrap();
    }
    let act = Act::new(Actor::Server, "apple.eat", 5).in_account(world.account);
    audit.record(act).await.unwrap();
    let subjects = async |query: &str| {
        let log = world.log(query).await;
        let subjects = log.iter().map(|event| event["subject"].as_str().unwrap());
        subjects.map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(subjects("").await, "5 4 3 2 1 0");
    assert_eq!(subjects("?limit=2").await, "5 4");
    assert_eq!(subjects("?limit=2&before=5").await, "3 2");
    assert_eq!(subjects("?before=1").await, "");
    assert_eq!(subjects("?event=app.stop").await, "3 1");
    assert_eq!(subjects("?event=app").await, "4 3 2 1 0");
    assert_eq!(subjects("?event=ap").await, "");
    let person = world.person;
    assert_eq!(subjects(&format!("?person={person}&limit=1")).await, "4");

    for wrong in [
        "?limit=0",
        "?limit=1001",
        "?limit=x",
        "?before=x",
        "?person=x",
    ] {
        let path = world.account_path(&format!("/log{wrong}"));
        world.get(&path).await.expect(422);
    }
}

#[tokio::test]
async fn an_account_sees_its_own_log_and_an_operator_that_of_the_server() {
    let world = World::new().await;
    let neighbour = world.add_neighbour().await;
    let path = format!("/v1/instances/{}", neighbour.instance);
    let renamed = world
        .call_as(&neighbour.token, "PUT", &path, json!({"name": "new"}))
        .await;
    renamed.expect(200);
    assert!(world.log("").await.is_empty());
    let everything = world.get("/v1/server/log").await.expect(200);
    assert_eq!(everything["results"][0]["event"], "instance.change");
    assert_eq!(
        everything["results"][0]["accountId"],
        neighbour.account.to_string()
    );
    let refused = world
        .call_as(&neighbour.token, "GET", "/v1/server/log", Value::Null)
        .await;
    refused.expect(403);
}

#[tokio::test]
async fn old_events_are_forgotten() {
    let world = World::new().await;
    let audit = world.audit();
    let note = async |subject: &str| {
        let act = Act::new(Actor::Server, "a.b", subject).in_account(world.account);
        audit.record(act).await.unwrap();
    };
    note("old").await;
    world.clock.advance(pilvi_core::audit::KEPT_FOR);
    note("new").await;
    assert_eq!(audit.trim().await.unwrap(), 0);
    world.clock.advance(std::time::Duration::from_millis(1));
    assert_eq!(audit.trim().await.unwrap(), 1);
    assert_eq!(world.log("").await[0]["subject"], "new");
}

#[tokio::test]
async fn the_end_of_an_account_is_in_the_log_of_the_server() {
    let world = World::new().await;
    let path = world.account_path("");
    world.call("DELETE", &path, Value::Null).await.expect(200);
    let page = LogPage {
        limit: 10,
        ..LogPage::default()
    };
    let events = world.store.list_events(Log::Server, page).await.unwrap();
    assert_eq!(events[0].event, "account.remove");
    assert_eq!(events[0].subject, world.account.to_string());
}
