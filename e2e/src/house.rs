//! A server's data folder with something of everything in it, and the question whether it is all there still.
//!
//! [`furnish`] fills a new server and notes what it answers; [`must_be_as_it_was`] asks another server on the same
//! folder. The folders below `fixtures/` were furnished by earlier versions (`examples/furnish.rs` makes one), so that
//! the same questions show whether today's version reads what they wrote.

mod boxes;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::api::{Backend, Cloud, Gateway, path_of, text};
use crate::app::{App, Source};
use crate::http::Request;
use crate::receiver::{Arrived, Receiver};
use crate::server::Server;
use crate::{receiver, shape, wait};

pub use boxes::{names, pack, unpack};

/// The header that a webhook brings, which is sealed in the file.
const SEALED: &str = "Bearer sealed-before-the-upgrade";
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHT9rTzqHhk7S0SqVzKGbJmtpPMM7OZYOp8ibJDjsPvE anna@desk";
const PASSWORD: &str = "Anna's secret";
const GREETING: &str = "Grüße = 世界";
const DOMAIN: &str = "www.furnished.example";

/// An app takes this long to start again while other tests run beside it.
const STARTED_WITHIN: Duration = Duration::from_secs(90);

/// The app of a furnished house: it says what its config var says.
const PROCFILE: &str = "web: perl hello.pl\n";
const PROGRAM: &str = r#"use strict;
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalPort => $ENV{PORT}, Listen => 64, ReuseAddr => 1) or die "$@\n";
while (my $client = $server->accept) {
    while (defined(my $line = <$client>)) { last if $line =~ /\A\r?\n\z/ }
    my $body = "It says: $ENV{GREETING}";
    print $client "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ", length $body, "\r\n\r\n", $body;
    close $client;
}
"#;

/// Makes something of everything on a new server, and notes how it answers. Its webhook delivers to `target`, where
/// nobody may listen now; whoever looks at the house later must be able to. Where git is missing, the running test is
/// reported as skipped and there is nothing.
#[track_caller]
pub fn furnish(server: &Server, target: SocketAddr) -> Option<Value> {
    let source = Source::of(&[("Procfile", PROCFILE), ("hello.pl", PROGRAM)])?;
    let cloud = server.cloud();
    let more = make_tokens(&cloud);
    let backend = cloud.create_backend("Furnished data");
    let gateway = cloud.create_gateway("Furnished sockets");
    let path = format!("/v1/instances/{}", backend.id);
    let tags = json!({"name": "Data, furnished", "tags": ["kept", "grün"]});
    cloud.send(Request::put(path).json(&tags)).must_be(200);
    let people = fill(&backend);
    guard(&gateway, &backend);
    let waiting = leave_a_delivery(&backend, target);
    let app = App::create(server, "Furnished app");
    app.set(&[&format!("GREETING={GREETING}")]);
    app.mar(&["domains", "add", DOMAIN]);
    app.deploy(&source);
    must_greet(server, &app.host());

    let mut house = json!({
        "accountId": cloud.account_id, "token": cloud.token, "tokens": more, "people": people,
        "eds": {"id": backend.id, "token": backend.token},
        "mws": {"id": gateway.id, "token": gateway.token},
        "app": {"id": app.id, "host": app.host()},
        "waiting": waiting,
    });
    house["answers"] = questions(&house)
        .into_iter()
        .map(|question| {
            let reply = ask_in(server, &house, &question);
            json!({"to": question, "is": reply})
        })
        .collect();
    Some(house)
}

/// Tokens of a person and of the account beside those of the first start, and a key.
#[track_caller]
fn make_tokens(cloud: &Cloud) -> Value {
    let account = format!("/v1/accounts/{}/authorizations", cloud.account_id);
    let made = cloud.send(Request::post("/v1/authorizations")).must_be(201);
    let person = text(&made, "/access_token");
    // An account has one token for each member; asking again gives it again.
    let made = cloud.send(Request::post(account));
    let account = text(&made.must_be(made.status), "/access_token");
    let key = json!({"name": "Anna's desk", "key": KEY});
    cloud
        .send(Request::post("/v1/user/ssh_keys").json(&key))
        .must_be(201);
    json!({"person": person, "account": account})
}

/// Objects of several kinds, users, a group, and who may see what.
#[track_caller]
fn fill(backend: &Backend) -> Value {
    let anna =
        json!({"username": "anna", "password": PASSWORD, "email": "anna@example.org", "shoe": 38});
    let anna = backend
        .send(Request::post("/v1/users").json(&anna))
        .must_be(201);
    let bea = json!({"username": "bea", "password": "Bea's secret"});
    let bea = backend
        .send(Request::post("/v1/users").json(&bea))
        .must_be(201);
    let group = json!({"name": "keepers"});
    let group = backend
        .send(Request::post("/v1/usergroups").json(&group))
        .must_be(201);
    let member = json!({"id": anna["id"], "objectType": "users"});
    let members = format!("{}/members", path_of(&group));
    backend
        .send(Request::post(members).json(&member))
        .must_be(201);

    for (number, title) in ["Ring the bell", "Grüße, 世界", ""].into_iter().enumerate() {
        let todo = json!({
            "title": title, "number": number, "price": 12.5, "completed": number == 1, "nothing": null,
            "nested": {"list": [1, "two", {"three": 3}]},
        });
        backend.create("todos", &todo);
    }
    let place = json!({"name": "Oulu", "geo": {"$type": "geoloc", "$value": [25.47, 65.01]}});
    backend.create("places", &place);
    let gone = backend.create("todos", &json!({"title": "deleted before the upgrade"}));
    backend.delete(&gone);

    let signed_in = sign_in(backend);
    let annas = text(&signed_in, "/access_token");
    let note = Request::post("/v1/objects/notes").json(&json!({"text": "for keepers only"}));
    let note = backend.send(note.bearer(&annas)).must_be(201);
    let group = json!([{"id": group["id"], "objectType": "usergroups"}]);
    let member = json!([member]);
    let access = json!({"read": group, "update": member, "delete": member, "admin": member});
    let path = format!("{}/access", path_of(&note));
    let share = Request::put(&*path).json(&access);
    backend.send(share.bearer(&annas)).must_be(200);
    let everybody = json!([{"id": "*", "objectType": "aclSubject"}]);
    let nobody_else =
        json!({"read": everybody, "update": everybody, "delete": everybody, "admin": everybody});
    let close = Request::delete(path).json(&nobody_else);
    backend.send(close.bearer(&annas)).must_be(200);
    json!({
        "anna": anna["id"], "bea": bea["id"], "annasToken": annas,
        "annasRefreshToken": signed_in["refresh_token"], "note": path_of(&note),
    })
}

#[track_caller]
fn sign_in(backend: &Backend) -> Value {
    let form = "grant_type=password&username=anna&password=Anna%27s+secret";
    token(backend, form)
}

#[track_caller]
fn token(backend: &Backend, form: &str) -> Value {
    let request = Request::post("/v1/auth/oauth2/token")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(form);
    backend.send(request).must_be(200)
}

/// Only users of the backend may listen, and only the owner may send.
#[track_caller]
fn guard(gateway: &Gateway, backend: &Backend) {
    let configuration = json!({
        "identityProvider": {"type": "eds", "backendId": backend.id},
        "permissions": {"read": ["*"], "write": []},
    });
    let put = Request::put(gateway.path("configuration")).json(&configuration);
    gateway.send_as_admin(put).must_be(200);
}

/// A webhook whose target has never been there, with a delivery that waits for it.
#[track_caller]
fn leave_a_delivery(backend: &Backend, target: SocketAddr) -> Value {
    let webhook = backend.create_webhook(&json!({
        "url": receiver::url(target),
        "headers": {"Authorization": SEALED},
        "objectTypes": ["objects.parcels"],
    }));
    let parcel = backend.create("parcels", &json!({"to": "the next version"}));
    let deliveries = format!("/v1/webhooks/{}/deliveries", text(&webhook, "/id"));
    let tried = wait::until("a first attempt", STARTED_WITHIN, || {
        let reply = backend
            .send_as_admin(Request::get(&deliveries))
            .must_be(200);
        let delivery = shape::results(&reply).first()?.clone();
        (delivery["attempts"].as_u64() >= Some(1)).then_some(delivery)
    });
    json!({"target": target.to_string(), "delivery": tried["id"], "object": parcel["id"], "webhook": webhook["id"]})
}

/// What is asked before and after: whose token, which backend, which path. What names the ports of a server is left
/// out, since they differ from one start to the next.
fn questions(house: &Value) -> Vec<Value> {
    let account = text(house, "/accountId");
    let [eds, mws, app] = ["eds", "mws", "app"].map(|kind| text(house, &format!("/{kind}/id")));
    let operator = [
        "/v1/user".to_owned(),
        "/v1/user/accounts".to_owned(),
        "/v1/user/ssh_keys".to_owned(),
        format!("/v1/accounts/{account}"),
        format!("/v1/instances/{eds}"),
        format!("/v1/instances/{mws}"),
        format!("/v1/apps/{app}/env_vars"),
        format!("/v1/apps/{app}/domains"),
        format!("/v1/apps/{app}/releases"),
    ];
    let note = text(house, "/people/note");
    let eds_admin = [
        "/v1/objects/todos?include={\"creator\":{}}&sort=[{\"sortBy\":\"number\"}]",
        "/v1/objects/places",
        "/v1/objects/notes",
        "/v1/objects/parcels",
        "/v1/users",
        "/v1/usergroups",
        "/v1/webhooks",
        "/v1/objects/places?q={\"geo\":{\"$near\":[25,65]}}",
    ];
    let eds_admin = eds_admin.into_iter().map(str::to_owned);
    let eds_admin = eds_admin.chain([note.clone(), format!("{note}/access")]);
    let mut questions: Vec<Value> = Vec::new();
    let mut add = |token: &str, backend: bool, path: String| {
        questions.push(json!({"token": token, "backend": backend, "path": path}));
    };
    operator
        .into_iter()
        .for_each(|path| add("/token", false, path));
    eds_admin.for_each(|path| add("/eds/token", true, path));
    add("/tokens/person", false, "/v1/user/accounts".to_owned());
    let instances = format!("/v1/accounts/{account}");
    add("/tokens/account", false, instances);
    add("/people/annasToken", true, note.clone());
    add("/people/annasToken", true, "/v1/user".to_owned());
    // Nobody in particular does not see it.
    add("", true, note);
    let configuration = format!("/v1/gateways/{mws}/configuration");
    add("/mws/token", false, configuration);
    questions
        .into_iter()
        .map(|mut question| {
            if question["backend"] == true {
                question["backend"] = json!(eds);
            }
            question
        })
        .collect()
}

/// Puts one of the questions, with the token that the house has at this place.
#[track_caller]
fn ask_in(server: &Server, house: &Value, question: &Value) -> Value {
    let mut request = Request::get(text(question, "/path"));
    if let Some(backend) = question["backend"].as_str() {
        request = request.backend(backend);
    }
    let place = text(question, "/token");
    if !place.is_empty() {
        request = request.bearer(&text(house, &place));
    }
    let reply = request.send(server.http);
    json!({"status": reply.status, "body": reply.must_be(reply.status)})
}

/// Expects a server that opened the folder of a house to answer all questions as they were answered then.
#[track_caller]
pub fn must_answer_as_before(server: &Server, house: &Value) {
    let answers = house["answers"].as_array().expect("answers were noted");
    assert!(answers.len() > 20, "the house is empty: {answers:?}");
    for answer in answers {
        let now = ask_in(server, house, &answer["to"]);
        if let Some(difference) = difference(&answer["is"], &now) {
            panic!("{} is answered otherwise: {difference}", answer["to"]);
        }
    }
}

/// How long ago a house was furnished: ids begin with the time.
#[track_caller]
pub fn age(house: &Value) -> Duration {
    let id = text(house, "/people/anna");
    let seconds = u64::from_str_radix(&id[..8], 16).expect("an id begins with its seconds");
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    then.elapsed().unwrap_or_default()
}

/// Where the webhook of a house delivers to. What waited in it is told as soon as a server has opened the folder, and
/// again after longer and longer pauses, so this is to be there before.
#[track_caller]
pub fn target_of(house: &Value) -> Receiver {
    let target = text(house, "/waiting/target").parse();
    Receiver::start_at(target.expect("it is an address"))
}

/// Expects the same, and that everything goes on living: once, since a house is lived in then.
#[track_caller]
pub fn must_be_as_it_was(server: &Server, house: &Value, target: &Receiver) {
    must_answer_as_before(server, house);
    let backend = Backend::new(
        server.http,
        &text(house, "/eds/id"),
        &text(house, "/eds/token"),
    );
    signs_in(&backend, house);
    delivers_what_waited(&backend, house, target);
    let gateway = Gateway::new(
        server.http,
        &text(house, "/mws/id"),
        &text(house, "/mws/token"),
    );
    tells_users(&gateway, house);
    must_greet(server, &text(house, "/app/host"));
    must_greet(server, DOMAIN);
}

/// Passwords and what was signed in with them.
#[track_caller]
fn signs_in(backend: &Backend, house: &Value) {
    let again = sign_in(backend);
    let renewed = format!(
        "grant_type=refresh_token&refresh_token={}",
        text(house, "/people/annasRefreshToken")
    );
    for signed_in in [again, token(backend, &renewed)] {
        let request = Request::get("/v1/user").bearer(&text(&signed_in, "/access_token"));
        let user = backend.send(request).must_be(200);
        assert_eq!(user["id"], house["people"]["anna"]);
        assert_eq!(user["usergroups"][0]["name"], "keepers");
    }
}

/// What waited is delivered under its old id, with the header that was sealed, and so is what is new.
#[track_caller]
fn delivers_what_waited(backend: &Backend, house: &Value, target: &Receiver) {
    let new = backend.create("parcels", &json!({"to": "whoever lives here now"}));
    // It waited for its next attempt when the server was stopped, and may wait for it still.
    let arrived = target.wait_for(2);
    let of = |id: &str| -> Arrived {
        let found = arrived.iter().find(|arrived| arrived.object_id() == id);
        found
            .unwrap_or_else(|| panic!("{id} did not arrive: {arrived:?}"))
            .clone()
    };
    let waited = of(&text(house, "/waiting/object"));
    let delivery = text(house, "/waiting/delivery");
    assert_eq!(waited.header("Pilvi-Delivery"), Some(delivery.as_str()));
    for arrived in [waited, of(&text(&new, "/id"))] {
        assert_eq!(arrived.header("Authorization"), Some(SEALED));
    }
    backend.delete(&new);
}

/// Users of the backend may listen with a token of before.
#[track_caller]
fn tells_users(gateway: &Gateway, house: &Value) {
    let uri = Request::get(gateway.path("websocket_uri"));
    shape::error(&gateway.send(&uri), 401, "AccessDenied");
    let reply = gateway.send(&uri.bearer(&text(house, "/people/annasToken")));
    let mut socket = crate::socket::Socket::open(&text(&reply.must_be(200), "/uri"));
    let message = json!({"data": {"told": true}, "receivers": {"sockets": ["*"], "tags": []}});
    gateway
        .send_as_admin(Request::post(gateway.path("messages")).json(&message))
        .must_be(201);
    assert_eq!(socket.hear_json()["told"], true);
    socket.close();
}

/// The app runs, with its config var.
#[track_caller]
fn must_greet(server: &Server, host: &str) {
    let said = wait::until(
        &format!("the app to answer at {host}"),
        STARTED_WITHIN,
        || {
            let reply = Request::get("/")
                .header("Host", host)
                .header("Connection", "close")
                .send(server.http);
            (reply.status == 200).then(|| reply.text())
        },
    );
    assert_eq!(said, format!("It says: {GREETING}"));
}

/// Where `now` lacks something of `before`, or says otherwise. More than there was is no difference: new versions have
/// more to say.
fn difference(before: &Value, now: &Value) -> Option<String> {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => before.iter().find_map(|(key, value)| {
            let found = difference(value, now.get(key).unwrap_or(&Value::Null))?;
            Some(format!("{key}: {found}"))
        }),
        (Value::Array(before), Value::Array(now)) if before.len() == now.len() => {
            let mut pairs = before.iter().zip(now).enumerate();
            pairs.find_map(|(at, (before, now))| {
                Some(format!("[{at}] {}", difference(before, now)?))
            })
        }
        _ => (before != now).then(|| format!("was {before}, is {now}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_or_changed_is_a_difference() {
        let before = json!({"a": [1, {"b": null}], "c": "x"});
        let more = json!({"a": [1, {"b": null, "new": 1}], "c": "x", "d": 2});
        assert_eq!(difference(&before, &more), None);
        for changed in [
            json!({"a": [1], "c": "x"}),
            json!({"a": [1, {"b": 1}], "c": "x"}),
            json!({"a": [1, {"b": null}]}),
        ] {
            assert!(difference(&before, &changed).is_some(), "{changed}");
        }
    }
}
