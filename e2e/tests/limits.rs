//! How often one may ask, how much one gets, and that nobody pays for another's flood.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use pilvi_e2e::api::{Backend, text};
use pilvi_e2e::app::{App, Source};
use pilvi_e2e::http::{Connection, Reply, Request};
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::socket::Heard;
use pilvi_e2e::wait;
use serde_json::{Value, json};

fn serve(more: &[&str]) -> Server {
    Server::start(&Options {
        more: more.iter().map(|word| (*word).to_owned()).collect(),
        ..Options::serve()
    })
}

/// What the classic command line asks before each of its calls.
fn hottest(server: &Server) -> Request {
    let account = text(&server.ready, "/accountId");
    Request::get(format!("/v1/accounts/{account}/authorizations"))
}

/// Asks so many times on one connection; the replies other than 200 and 429 are failures.
fn ask(server: &Server, times: usize, request: &Request) -> Vec<Reply> {
    let mut connection = Connection::open(server.http);
    let bytes = request.bytes(&server.http.to_string());
    let ask = || {
        connection.write(&bytes);
        let reply = connection.reply();
        assert!(matches!(reply.status, 200 | 429), "{}", reply.text());
        reply
    };
    std::iter::repeat_with(ask).take(times).collect()
}

fn count(replies: &[Reply], status: u16) -> usize {
    replies
        .iter()
        .filter(|reply| reply.status == status)
        .count()
}

#[test]
fn a_script_that_runs_the_classic_command_line_meets_no_limit() {
    let server = serve(&[]);
    let token = text(&server.ready, "/token");
    // A few hundred commands, one right after the other: faster than Ruby starts.
    let replies = ask(&server, 600, &hottest(&server).bearer(&token));
    assert_eq!(count(&replies, 200), 600);
    let last = replies.last().unwrap();
    let policy = last.header("Ratelimit-Policy").unwrap();
    assert_eq!(policy, "\"token\";q=1000;w=10");
    assert!(last.header("Ratelimit").is_some());
}

#[test]
fn a_loop_without_a_pause_is_told_to_wait_and_another_token_is_not() {
    // A bucket that no machine is too slow to empty.
    let server = serve(&["--rate-token", "1"]);
    let cloud = server.cloud();
    let other = cloud.send(Request::post("/v1/authorizations")).must_be(201);
    let other = text(&other, "/access_token");
    let replies = ask(&server, 400, &hottest(&server).bearer(&cloud.token));
    let refused = replies.iter().find(|reply| reply.status == 429).unwrap();
    let wait: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
    let body = refused.must_be(429);
    assert_eq!(body["error"]["reason"], "TooManyRequests");
    assert!(text(&body, "/error/message").contains("try again in"));
    let replies = ask(&server, 5, &hottest(&server).bearer(&other));
    assert_eq!(count(&replies, 200), 5);
    wait::until(
        "the loop to be heard again",
        Duration::from_secs(10),
        || {
            let reply = cloud.send(hottest(&server));
            (reply.status == 200).then_some(())
        },
    );
}

#[test]
fn a_flood_of_wrong_tokens_shuts_out_nobody_who_is_known() {
    let server = serve(&["--rate-failures", "1"]);
    let cloud = server.cloud();
    let [backend, fresh] = ["known", "fresh"].map(|name| cloud.create_backend(name));
    let todos = || Request::get("/v1/objects/todos");
    backend.send_as_admin(todos()).must_be(200);
    let mut refused = 0;
    for number in 0..100 {
        let wrong = format!("wrong {number}");
        let reply = backend.send(todos().bearer(&wrong));
        assert!(matches!(reply.status, 401 | 429), "{}", reply.text());
        refused += u32::from(reply.status == 429);
    }
    assert!(refused > 0, "ten pass, and one more each second");
    backend.send_as_admin(todos()).must_be(200);
    backend.send(todos()).must_be(200);
    cloud.send(hottest(&server)).must_be(200);
    let answered = "a token that nobody has seen yet to be looked at";
    wait::until(answered, Duration::from_secs(10), || {
        let reply = fresh.send_as_admin(todos());
        (reply.status == 200).then_some(())
    });
}

/// A backend with enough in it that looking through all takes a while.
fn filled(server: &Server, name: &str) -> Backend {
    let backend = server.cloud().create_backend(name);
    for _ in 0..20 {
        let operations: Vec<Value> = (0..100)
            .map(|number| {
                json!({"method": "POST", "path": "/v1/objects/items",
                       "body": {"number": number, "text": "lorem ipsum ".repeat(60)}})
            })
            .collect();
        let reply = backend
            .send_as_admin(Request::post("/v1/batch").json(&json!({ "operations": operations })));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    backend
}

#[test]
fn a_flood_of_slow_queries_from_one_backend_stops_nobody_elses_reads_and_writes() {
    const FLOOD: usize = 100;
    let server = serve(&["--share-requests", "4"]);
    let (loud, quiet) = (
        filled(&server, "loud"),
        server.cloud().create_backend("quiet"),
    );
    let object = quiet.create("items", &json!({"title": "here"}));
    let path = format!("/v1/objects/items/{}", text(&object, "/id"));
    let filter = "%7B%22text%22%3A%7B%22%24regex%22%3A%22never.*there%22%7D%7D";
    let slow = Request::get(format!("/v1/objects/items?q={filter}"));
    let slow = slow.bearer(&loud.token).backend(&loud.id);
    let bytes = slow.bytes(&server.http.to_string());
    let (over, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..FLOOD {
            scope.spawn(|| {
                let mut connection = Connection::open(server.http);
                while !over.load(Ordering::Relaxed) {
                    connection.write(&bytes);
                    let reply = connection.reply();
                    // Refused or not, it is answered in the shape of the service.
                    if reply.status != 200 {
                        let refused = reply.must_be(reply.status);
                        assert!(matches!(reply.status, 400 | 429 | 503), "{refused}");
                        assert!(refused["errors"][0]["message"].is_string());
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait::until("the flood to flow", Duration::from_secs(60), || {
            (answered.load(Ordering::Relaxed) > 4).then_some(())
        });
        for number in 0..50 {
            quiet.send_as_admin(Request::get(path.clone())).must_be(200);
            quiet.create("items", &json!({ "number": number }));
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_backend_that_has_its_part_of_the_disk_takes_nothing_more_until_something_is_deleted() {
    let server = serve(&[]);
    let cloud = server.cloud();
    let backend = cloud.create_backend("full");
    let account = format!("/v1/accounts/{}", cloud.account_id);
    let large = json!({"text": "x".repeat(1 << 20)});
    let first = backend.create("items", &large);
    let quotas = format!("{account}/quotas");
    let fill = || backend.send(Request::post("/v1/objects/items").json(&large));
    // The log beside the file is not counted until it has been moved into it.
    for _ in 0..8 {
        fill().must_be(201);
    }
    let quota = json!({"edsStorageBytes": 1 << 20});
    wait::until("the file to have grown", Duration::from_secs(30), || {
        let set = cloud
            .send(Request::put(quotas.clone()).json(&quota))
            .must_be(200);
        (set["edsStorageBytes"]["used"].as_u64()? > 1 << 20).then_some(())
    });
    let refused = wait::until("a write to be refused", Duration::from_secs(30), || {
        let reply = fill();
        (reply.status == 429).then_some(reply)
    });
    let why = text(&refused.must_be(429), "/errors/0/message");
    assert!(why.contains("quota"), "{why}");
    let usage = format!("/v1/instances/{}/usage", backend.id);
    let usage = cloud.send(Request::get(usage)).must_be(200);
    assert!(usage["storageBytes"].as_u64().unwrap() > 1 << 20, "{usage}");
    // What is there can be read, and deleted.
    backend
        .send(Request::get("/v1/objects/items?count"))
        .must_be(200);
    backend.delete(&first);
    let more = json!({"edsStorageBytes": null});
    cloud.send(Request::put(quotas).json(&more)).must_be(200);
    fill().must_be(201);
    let sum = cloud
        .send(Request::get(format!("{account}/usage")))
        .must_be(200);
    assert_eq!(sum["results"][0]["instanceId"], backend.id);
}

#[test]
fn sockets_are_counted_over_all_gateways_of_an_account() {
    let server = serve(&["--quota-sockets", "2"]);
    let cloud = server.cloud();
    let [one, other] = ["one", "other"].map(|name| cloud.create_gateway(name));
    let sockets = [one.connect(), other.connect()];
    let reserve = || one.send(&Request::get(one.path("websocket_uri")));
    let refused = wait::until("both to be counted", Duration::from_secs(10), || {
        let reply = reserve();
        (reply.status != 200).then_some(reply)
    });
    let refused = refused.must_be(429).to_string();
    assert!(refused.contains("quota"), "{refused}");
    drop(sockets);
    wait::until("there to be room again", Duration::from_secs(10), || {
        (reserve().status == 200).then_some(())
    });
}

/// Sends a request over and over on so many connections while something else is done.
fn beside_a_flood(server: &Server, request: &Request, connections: usize, quiet: impl FnOnce()) {
    let bytes = request.bytes(&server.http.to_string());
    let (over, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    let address = server.http;
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut connection = Connection::open(address);
                while !over.load(Ordering::Relaxed) {
                    connection.write(&bytes);
                    let status = connection.reply().status;
                    assert!(matches!(status, 200 | 201 | 429 | 503), "{status}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _end = End(&over);
        wait::until("the flood to flow", Duration::from_secs(60), || {
            (answered.load(Ordering::Relaxed) > 100).then_some(())
        });
        quiet();
    });
}

/// Ends a flood, also when a test fails beside it.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_flood_of_writes_reads_or_messages_stops_nobody_elses() {
    let server = serve(&["--share-requests", "4"]);
    let cloud = server.cloud();
    let [loud, quiet] = ["loud", "quiet"].map(|name| cloud.create_backend(name));
    let [loud_gateway, quiet_gateway] = ["loud", "quiet"].map(|name| cloud.create_gateway(name));
    let known = loud.create("items", &json!({"title": "here"}));
    let mut listener = quiet_gateway.connect();
    let _flooded = loud_gateway.connect();
    let message = |data: &str| json!({"data": data, "receivers": {"sockets": ["*"]}});
    let by_loud = |request: Request| request.bearer(&loud.token).backend(&loud.id);
    for flood in [
        by_loud(Request::post("/v1/objects/items").json(&json!({"title": "more"}))),
        by_loud(Request::get(format!(
            "/v1/objects/items/{}",
            text(&known, "/id")
        ))),
        Request::post(loud_gateway.path("messages"))
            .json(&message("loud"))
            .bearer(&loud_gateway.token),
    ] {
        beside_a_flood(&server, &flood, 100, || {
            for number in 0..20 {
                let object = quiet.create("items", &json!({ "number": number }));
                let path = format!("/v1/objects/items/{}", text(&object, "/id"));
                quiet.send_as_admin(Request::get(path)).must_be(200);
                let publish = Request::post(quiet_gateway.path("messages"));
                let data = format!("quiet {number}");
                let publish = publish.json(&message(&data));
                quiet_gateway.send_as_admin(publish).must_be(201);
                assert_eq!(listener.hear(), Heard::Text(data));
            }
        });
    }
}

#[test]
fn an_account_whose_part_of_the_disk_is_full_pushes_nothing_and_hears_why() {
    let Some(source) = Source::of_example("hello-procfile") else {
        return;
    };
    let server = serve(&[]);
    let cloud = server.cloud();
    let app = App::create(&server, "hello");
    let quotas = format!("/v1/accounts/{}/quotas", cloud.account_id);
    let none = json!({"appDiskBytes": 0});
    cloud.send(Request::put(quotas).json(&none)).must_be(200);
    let pushed = app.push(&source);
    let said = &pushed.errors;
    assert!(!pushed.status.success(), "{said}");
    assert!(said.contains("its quota is 0 MB"), "{said}");
    let slug = json!({"tag": "v1", "process_types": {"web": "./run"}});
    let announce = Request::post(format!("/v1/apps/{}/slugs", app.id)).json(&slug);
    cloud.send(announce).must_be(429);
}
