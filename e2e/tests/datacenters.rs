//! A server that has more than one datacenter: each is found, has instances, and has host names of its own.

use pilvi_e2e::api::text;
use pilvi_e2e::http::{Connection, Reply, Request};
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::shape;
use serde_json::{Value, json};

const DATACENTERS: &str = "eu-1=Helsinki,us-2=Oregon";

#[test]
fn every_datacenter_is_found_and_has_instances_and_names() {
    let server = Server::start(&Options {
        more: vec!["--datacenter".to_owned(), DATACENTERS.to_owned()],
        ..Options::serve()
    });
    let cloud = server.cloud();
    let listed = cloud.send(Request::get("/v1/datacenters")).must_be(200);
    let listed: Vec<(String, String)> = shape::results(&listed)
        .iter()
        .map(|datacenter| {
            let services = datacenter["services"].as_array().map_or(0, Vec::len);
            assert_eq!(services, 3, "{datacenter}");
            (text(datacenter, "/id"), text(datacenter, "/description"))
        })
        .collect();
    let expected = [("eu-1", "Helsinki"), ("us-2", "Oregon")];
    assert_eq!(
        listed,
        expected.map(|(id, words)| (id.to_owned(), words.to_owned()))
    );

    let create = |path: &str, body: Value| cloud.send(Request::post(path).json(&body));
    let account = create(
        "/v1/accounts",
        json!({"name": "There", "datacenter": "us-2"}),
    );
    let account = account.must_be(201);
    assert_eq!(account["datacenter"]["id"], "us-2", "{account}");
    let there = format!("/v1/accounts/{}/instances", text(&account, "/id"));
    let here = format!("/v1/accounts/{}/instances", cloud.account_id);
    let app = json!({"name": "echo", "serviceProviderId": "mar"});
    let asked = json!({"name": "echo", "serviceProviderId": "mar", "datacenterId": "us-2"});
    for (path, body, expected) in [
        (&here, &app, "eu-1"),
        (&there, &app, "us-2"),
        (&here, &asked, "us-2"),
    ] {
        let made = create(path, body.clone()).must_be(201);
        assert_eq!(made["datacenterId"], *expected, "{made}");
        let id = text(&made, "/id");
        assert!(id.starts_with(&format!("mar-{expected}-")), "{made}");
        // Each service answers under its name in each datacenter, whatever else the request says.
        let status = format!("/v1/apps/{id}/status");
        for datacenter in ["eu-1", "us-2"] {
            let host = format!("mar-{datacenter}.localhost");
            let reply = ask(&server, &host, Request::get(&*status).bearer(&cloud.token));
            reply.must_be(200);
        }
    }
    let gateway = json!({"name": "g", "serviceProviderId": "mws", "datacenterId": "us-2"});
    let gateway = text(&create(&here, gateway).must_be(201), "/id");
    let tokens = Request::get(format!("/v1/instances/{gateway}/authorizations"));
    let token = text(&cloud.send(tokens).must_be(200), "/results/0/access_token");
    let configuration = format!("/v1/gateways/{gateway}/configuration");
    for datacenter in ["eu-1", "us-2"] {
        let read = Request::get(&*configuration).bearer(&token);
        ask(&server, &format!("mws-{datacenter}.localhost"), read).must_be(200);
        // The name decides: this is no path of that service.
        let user = Request::get("/v1/user").bearer(&cloud.token);
        let refused = ask(&server, &format!("mws-{datacenter}.localhost"), user);
        shape::error(&refused, 404, "NotFound");
        let git = Request::get("/git/x/info/refs?service=git-upload-pack");
        let mut connection = Connection::open(server.http);
        connection.write(&git.bytes(&format!("git-mar-{datacenter}.localhost")));
        let head = connection.head().unwrap_or_default();
        assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    }
    // A name like those of a datacenter that is not there is no service's.
    let read = Request::get(&*configuration).bearer(&token);
    let nobodys = ask(&server, "mws-xx-9.localhost", read);
    shape::error(&nobodys, 404, "NotFound");
    server.stop();
}

#[test]
fn a_datacenter_that_is_not_there_is_refused_by_name() {
    let server = Server::serve();
    let cloud = server.cloud();
    let account = json!({"name": "There", "datacenter": "us-2"});
    let refused = cloud.send(Request::post("/v1/accounts").json(&account));
    shape::invalid(&refused, "datacenter");
    let path = format!("/v1/accounts/{}/instances", cloud.account_id);
    let app = json!({"name": "echo", "serviceProviderId": "mar", "datacenterId": "us-2"});
    let refused = cloud.send(Request::post(path).json(&app));
    shape::invalid(&refused, "datacenterId");
    assert!(
        refused.text().contains("eu-1"),
        "it names what there is: {}",
        refused.text()
    );
    server.stop();
}

fn ask(server: &Server, host: &str, request: Request) -> Reply {
    let host = format!("{host}:{}", server.http.port());
    request.header("Host", host).send(server.http)
}
