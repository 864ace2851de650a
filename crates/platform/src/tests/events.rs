//! Every route that changes something × the one event that it leaves in the audit log.

use axum::body::Body;
use http::Request;
use http::header::AUTHORIZATION;
use pilvi_store::platform::{Decision, Event, Log, LogPage, Role};
use serde_json::{Value, json};

use super::World;
use super::people::{PASSWORD, open_world};
use super::who_may::routes_in_sources;

const GUEST: &str = "guest@example.org";

/// Whose log the event is in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// That of the operator's account.
    Home,
    /// That of an account that the call makes.
    New,
    /// Only the server's.
    Server,
}

/// An event and whose log it is in, or why there is none.
type Outcome = Result<(&'static str, Place), &'static str>;

use Place::{Home, New, Server};

/// Every call that changes something, and some that give much away: its event, or why it leaves none.
#[rustfmt::skip]
const EVENTS: &[(&str, &str, Outcome)] = &[
    ("PUT", "/v1/user", Ok(("person.change", Server))),
    ("PUT", "/v1/user/password", Ok(("person.password.change", Server))),
    ("POST", "/v1/user/sign_up", Err("it only asks for a mail")),
    ("POST", "/v1/user/verify", Ok(("person.sign_up", Server))),
    ("POST", "/v1/user/sign_in", Ok(("person.sign_in", Server))),
    ("POST", "/v1/user/forgot_password", Err("it only asks for a mail")),
    ("POST", "/v1/user/reset_password", Ok(("person.password.reset", Server))),
    ("POST", "/v1/device_codes", Err("a program asks to be let in, and nobody has decided")),
    ("POST", "/v1/device_codes/token", Ok(("person.token.create", Server))),
    ("POST", "/v1/user/invitations", Ok(("invitation.accept", Home))),
    ("POST", "/v1/user/invitations/{invitation}", Ok(("invitation.accept", Home))),
    ("DELETE", "/v1/user/invitations/{invitation}", Ok(("invitation.decline", Home))),
    ("POST", "/v1/authorizations", Ok(("person.token.create", Server))),
    ("DELETE", "/v1/authorizations/{token}", Ok(("person.token.remove", Server))),
    ("POST", "/v1/user/ssh_keys", Ok(("ssh_key.create", Server))),
    ("DELETE", "/v1/user/ssh_keys/{key}", Ok(("ssh_key.remove", Server))),
    ("POST", "/v1/accounts", Ok(("account.create", New))),
    ("PUT", "/v1/accounts/{id}", Ok(("account.rename", Home))),
    ("DELETE", "/v1/accounts/{id}", Ok(("account.remove", Home))),
    ("PUT", "/v1/accounts/{id}/quotas", Ok(("account.quotas", Home))),
    ("PUT", "/v1/accounts/{id}/members/{person}", Ok(("member.change", Home))),
    ("DELETE", "/v1/accounts/{id}/members/{person}", Ok(("member.remove", Home))),
    ("POST", "/v1/accounts/{id}/invitations", Ok(("invitation.create", Home))),
    ("DELETE", "/v1/accounts/{id}/invitations/{invitation}", Ok(("invitation.remove", Home))),
    ("POST", "/v1/accounts/{id}/authorizations", Ok(("account.token.create", Home))),
    ("DELETE", "/v1/accounts/{id}/authorizations/{token}", Ok(("account.token.remove", Home))),
    ("POST", "/v1/accounts/{id}/instances", Ok(("instance.create", Home))),
    ("POST", "/v1/accounts/{id}/instances/restore", Ok(("instance.import", Home))),
    ("PUT", "/v1/instances/{id}", Ok(("instance.change", Home))),
    ("DELETE", "/v1/instances/{id}", Ok(("instance.delete", Home))),
    ("POST", "/v1/instances/{id}/restore", Ok(("instance.restore", Home))),
    ("POST", "/v1/instances/{id}/authorizations", Ok(("instance.token.create", Home))),
    ("DELETE", "/v1/instances/{id}/authorizations/{token}", Ok(("instance.token.remove", Home))),
    ("POST", "/v1/account/auth/oauth2/token", Ok(("person.sign_in", Server))),
    ("POST", "/v1/account/auth/identity", Ok(("person.sign_in", Server))),
    ("POST", "/v1/account/auth/oauth2/revoke", Err("a tool gives back what it was given")),
    ("POST", "/v1/account/apps", Ok(("instance.create", Home))),
    ("DELETE", "/v1/account/apps/{id}", Ok(("instance.remove", Home))),
    ("GET", "/v1/instances/{id}/backup", Ok(("instance.backup", Home))),
    ("GET", "/v1/server/backup", Ok(("server.backup", Server))),
];

/// A call, ready to be made with success.
struct Call {
    token: String,
    path: String,
    body: Vec<u8>,
    /// Who acts. `None`: the guest, who may be a person only afterwards, and upon themselves.
    who: Option<String>,
    /// The id or name of what it is done to. `None`: the answer says it.
    subject: Option<String>,
}

/// A route that is added without saying here which event it leaves fails.
#[test]
fn the_table_names_every_route_that_changes_something() {
    let changing = |(method, _): &&(String, String)| method != "GET";
    let found = routes_in_sources();
    for (method, path) in found.iter().filter(changing) {
        let rows = EVENTS.iter().filter(|row| (row.0, row.1) == (method, path));
        assert_eq!(rows.count(), 1, "{method} {path}");
    }
    for (method, path, _) in EVENTS {
        let row = ((*method).to_owned(), (*path).to_owned());
        assert!(found.contains(&row), "{method} {path} is not a route");
    }
}

#[tokio::test]
async fn every_change_is_one_event() {
    for (method, route, outcome) in EVENTS {
        let world = open_world().await.with_backups();
        let call = prepare(&world, method, route).await;
        let before = world.written_down().await.len();
        let request = Request::builder().method(*method).uri(&call.path);
        let request = request.header(AUTHORIZATION, format!("Bearer {}", call.token));
        let request = request.body(Body::from(call.body.clone())).unwrap();
        let said = match *method {
            "GET" => world.archive(&call.path).await.len().into(),
            _ => {
                let answer = world.send(request).await;
                assert!(
                    answer.status.is_success(),
                    "{method} {route}: {}",
                    answer.body
                );
                answer.body
            }
        };
        let events = world.written_down().await.split_off(before);
        let names: Vec<&str> = events.iter().map(|event| event.event.as_str()).collect();
        match outcome {
            Err(_) => assert!(names.is_empty(), "{method} {route}: {names:?}"),
            Ok((event, place)) => {
                assert_eq!(names, [*event], "{method} {route}");
                check(&world, &events[0], *place, &call, &said);
            }
        }
    }
}

fn check(world: &World, event: &Event, place: Place, call: &Call, said: &Value) {
    assert_eq!(event.actor, "person", "{event:?}");
    let person = event.person.as_ref().expect("somebody acted");
    match &call.who {
        Some(who) => assert_eq!(person.id.to_string(), *who, "{event:?}"),
        None => assert_eq!(person.email.as_deref(), Some(GUEST), "{event:?}"),
    }
    assert_eq!(event.peer.as_deref(), Some("127.0.0.1"), "{event:?}");
    assert_eq!(event.request, Some("01".repeat(16)), "{event:?}");
    let account = event.account.map(|account| account.to_string());
    match place {
        Home => assert_eq!(account, Some(world.account.to_string()), "{event:?}"),
        New => assert_eq!(account.as_deref(), said["id"].as_str(), "{event:?}"),
        Server => assert_eq!(account, None, "{event:?}"),
    }
    let subject = match (&call.subject, &call.who, &said["id"]) {
        (Some(subject), _, _) => subject.clone(),
        (None, None, _) => person.id.to_string(),
        (None, Some(_), Value::String(id)) => id.clone(),
        (None, Some(_), id) => id.to_string(),
    };
    assert_eq!(event.subject, subject, "{event:?}");
    let written = format!("{event:?}");
    let sent = serde_json::from_slice(&call.body).unwrap_or_default();
    for secret in secrets(&sent)
        .chain(secrets(said))
        .chain([call.token.as_str()])
    {
        assert!(secret.is_empty() || !written.contains(secret), "{written}");
    }
}

fn secrets(value: &Value) -> impl Iterator<Item = &str> {
    let names = [
        "access_token",
        "sessionToken",
        "password",
        "code",
        "device_code",
    ];
    names.into_iter().filter_map(|name| value[name].as_str())
}

impl World {
    /// All that was written down, oldest first, once everything that runs is done.
    async fn written_down(&self) -> Vec<Event> {
        self.rest().await;
        let page = LogPage {
            limit: 1000,
            ..LogPage::default()
        };
        let mut events = self.store.list_events(Log::Server, page).await.unwrap();
        events.reverse();
        events
    }

    /// A guest with a proven address and an invitation: their token, who they are, and its number.
    async fn invite_guest(&self) -> (String, String, i64) {
        let (person, token) = self.add_guest(GUEST).await;
        self.verify(person, GUEST).await;
        let invitation = self.invite(GUEST, "viewer").await;
        (
            token,
            person.to_string(),
            invitation["id"].as_i64().unwrap(),
        )
    }
}

/// Whatever the call needs is there afterwards.
async fn prepare(world: &World, method: &str, route: &str) -> Call {
    let mut call = Call {
        token: world.token.clone(),
        path: route.to_owned(),
        body: Vec::new(),
        who: Some(world.person.to_string()),
        subject: None,
    };
    let mut body = Value::Null;
    if route.starts_with("/v1/instances/") || route.ends_with("/instances/restore") {
        let id = world.add_instance("mws").await.id;
        let path = format!("/v1/instances/{id}");
        match (method, route.rsplit_once('/').unwrap().1) {
            ("POST", "restore") if route.starts_with("/v1/accounts/") => {
                call.body = world.archive(&format!("{path}/backup")).await;
            }
            ("POST", "restore") => {
                world.call("DELETE", &path, Value::Null).await.expect(200);
            }
            ("DELETE", "{token}") => {
                let tokens = world.get(&format!("{path}/authorizations")).await.body;
                let number = tokens["results"][0]["id"].to_string();
                call.path = call.path.replace("{token}", &number);
            }
            _ => body = json!({"name": "new"}),
        }
        if route.starts_with("/v1/instances/") {
            call.path = call.path.replace("{id}", &id);
            call.subject = Some(id);
        }
    } else if route.starts_with("/v1/accounts/{id}") {
        body = of_an_account(world, method, route, &mut call).await;
    } else if method != "GET" {
        body = of_a_person(world, method, route, &mut call).await;
    } else {
        call.subject = Some("server".to_owned());
    }
    if route == "/v1/account/apps/{id}" {
        let id = world.add_instance("eds").await.id;
        call.path = call.path.replace("{id}", &id);
        call.subject = Some(id);
    }
    call.path = call.path.replace("{id}", &world.account.to_string());
    if !body.is_null() {
        call.body = body.to_string().into_bytes();
    }
    call
}

async fn of_an_account(world: &World, method: &str, route: &str, call: &mut Call) -> Value {
    let mut body = Value::Null;
    let rest = route.trim_start_matches("/v1/accounts/{id}");
    let list = world.account_path("/authorizations");
    match (method, rest) {
        (_, "" | "/quotas") => {
            call.subject = Some(world.account.to_string());
            body = match rest {
                "" => json!({"name": "new"}),
                _ => json!({"instances": 50}),
            };
        }
        (_, "/members/{person}") => {
            let (person, _) = world.add_guest(GUEST).await;
            let joined = world
                .store
                .insert_member(world.account, person, Role::Developer);
            joined.await.unwrap();
            call.path = call.path.replace("{person}", &person.to_string());
            call.subject = Some(GUEST.to_owned());
            body = json!({"role": "viewer"});
        }
        ("POST", "/invitations") => {
            call.subject = Some(GUEST.to_owned());
            body = json!({"email": GUEST});
        }
        (_, "/invitations/{invitation}") => {
            let number = world.invite(GUEST, "viewer").await["id"].to_string();
            call.path = call.path.replace("{invitation}", &number);
            call.subject = Some(GUEST.to_owned());
        }
        (_, "/authorizations" | "/authorizations/{token}") => {
            let number = world.get(&list).await.body["results"][0]["id"].to_string();
            match method {
                "POST" => {
                    let path = format!("{list}/{number}");
                    world.call("DELETE", &path, Value::Null).await.expect(200);
                }
                _ => {
                    call.path = call.path.replace("{token}", &number);
                    call.subject = Some(number);
                }
            }
        }
        ("POST", "/instances") => body = json!({"name": "n", "serviceProviderId": "eds"}),
        _ => panic!("{method} {route} is not prepared"),
    }
    body
}

async fn of_a_person(world: &World, method: &str, route: &str, call: &mut Call) -> Value {
    let own = Some(world.person.to_string());
    match (method, route) {
        ("PUT", "/v1/user") => {
            call.subject = own;
            json!({"name": "New"})
        }
        ("PUT", "/v1/user/password") => {
            call.subject = own;
            json!({"password": PASSWORD})
        }
        ("POST", "/v1/authorizations") => json!({"name": "n"}),
        ("DELETE", "/v1/authorizations/{token}") => {
            let made = world.call("POST", "/v1/authorizations", Value::Null).await;
            let number = made.expect(201)["id"].to_string();
            call.path = call.path.replace("{token}", &number);
            call.subject = Some(number);
            Value::Null
        }
        ("POST", "/v1/user/ssh_keys") => json!({"name": "n", "key": super::ssh_keys::KEY}),
        ("DELETE", "/v1/user/ssh_keys/{key}") => {
            let body = json!({"name": "n", "key": super::ssh_keys::KEY});
            let made = world.call("POST", "/v1/user/ssh_keys", body).await;
            let number = made.expect(201)["id"].to_string();
            call.path = call.path.replace("{key}", &number);
            call.subject = Some(number);
            Value::Null
        }
        ("POST", "/v1/accounts" | "/v1/account/apps") => json!({"name": "n"}),
        (_, "/v1/account/apps/{id}") => Value::Null,
        (_, "/v1/user/invitations") => {
            let (token, person, _) = world.invite_guest().await;
            let code = world.invitation_code(GUEST).await;
            (call.token, call.who) = (token, Some(person));
            call.subject = Some(GUEST.to_owned());
            json!({"code": code})
        }
        (_, "/v1/user/invitations/{invitation}") => {
            let (token, person, number) = world.invite_guest().await;
            (call.token, call.who) = (token, Some(person));
            call.subject = Some(GUEST.to_owned());
            call.path = call.path.replace("{invitation}", &number.to_string());
            Value::Null
        }
        ("POST", "/v1/device_codes") => json!({"client": "n"}),
        ("POST", "/v1/device_codes/token") => {
            let (device_code, user_code) = world.begin().await;
            world.decide(&user_code, Decision::Approved).await;
            call.token.clear();
            json!({"device_code": device_code})
        }
        _ => of_nobody(world, route, call).await,
    }
}

async fn of_nobody(world: &World, route: &str, call: &mut Call) -> Value {
    (call.token, call.who) = (String::new(), None);
    let joined = ["/v1/user/sign_in", "/v1/user/reset_password"];
    if joined.contains(&route) || route.starts_with("/v1/account/auth/") {
        world.join(GUEST).await;
    }
    match route {
        "/v1/user/sign_up" => json!({"email": GUEST, "name": "n", "password": PASSWORD}),
        "/v1/user/forgot_password" => json!({"email": GUEST}),
        "/v1/user/sign_in" | "/v1/account/auth/identity" => {
            json!({"email": GUEST, "password": PASSWORD})
        }
        "/v1/account/auth/oauth2/token" => {
            json!({"grant_type": "password", "username": GUEST, "password": PASSWORD})
        }
        "/v1/account/auth/oauth2/revoke" => json!({"token": "x"}),
        "/v1/user/verify" => {
            world.sign_up(GUEST, PASSWORD).await.expect(201);
            let code = world.newest_code(GUEST).await;
            json!({"code": code, "password": PASSWORD})
        }
        "/v1/user/reset_password" => {
            let body = json!({"email": GUEST});
            let asked = world.ask("POST", "/v1/user/forgot_password", body).await;
            asked.expect(200);
            let code = world.newest_code(GUEST).await;
            json!({"code": code, "password": "another one that is long"})
        }
        _ => panic!("{route} is not prepared"),
    }
}
