//! Places: stored as the Node client wraps them, found by distance and by shape.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use pilvi_e2e::api::{Backend, text};
use pilvi_e2e::http::Request;
use pilvi_e2e::server::Server;
use serde_json::{Value, json};

fn cities(backend: &Backend) {
    for (name, at) in [
        (
            "Helsinki",
            json!({"$type": "geoloc", "$value": [24.9384, 60.1699]}),
        ),
        ("Tallinn", json!([24.7536, 59.4370])),
        (
            "Oulu",
            json!({"type": "Point", "coordinates": [25.4651, 65.0121]}),
        ),
        ("Suva", json!([178.4419, -18.1416])),
        ("Apia", json!([-171.7513, -13.8507])),
        ("Longyearbyen", json!([15.6356, 78.2232])),
        ("Nowhere", json!(null)),
    ] {
        backend.create("cities", &json!({"name": name, "at": at}));
    }
}

fn send(backend: &Backend, parameters: &str) -> Value {
    backend
        .send(Request::get(format!("/v1/objects/cities?{parameters}")))
        .must_be(200)
}

fn names(backend: &Backend, q: &Value) -> Vec<String> {
    let page = send(backend, &format!("q={q}"));
    page["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|city| text(city, "/name"))
        .collect()
}

#[test]
fn near_sorts_and_within_encloses() {
    let server = Server::demo();
    let backend = server.backend();
    cities(&backend);
    let point = |at: [f64; 2]| json!({"type": "Point", "coordinates": at});
    let helsinki = point([24.94, 60.17]);
    assert_eq!(
        names(
            &backend,
            &json!({"at": {"$near": {"$geometry": helsinki, "$maxDistance": 600_000}}})
        ),
        ["Helsinki", "Tallinn", "Oulu"]
    );
    assert_eq!(
        names(
            &backend,
            &json!({"at": {"$near": {"$geometry": helsinki, "$minDistance": 1000}}})
        )[..2],
        ["Tallinn", "Oulu"]
    );
    // Over the meridian of 180 degrees; on the plane that is the whole way around.
    assert_eq!(
        names(
            &backend,
            &json!({"at": {"$nearSphere": [179.9, -16], "$maxDistance": 0.2}})
        ),
        ["Suva", "Apia"]
    );
    assert_eq!(
        names(
            &backend,
            &json!({"at": {"$near": [179.9, -16], "$maxDistance": 20}})
        ),
        ["Suva"]
    );
    assert_eq!(
        names(
            &backend,
            &json!({"at": {"$within": {"$centerSphere": [[-120, 89], 0.25]}}})
        ),
        ["Longyearbyen"]
    );
    assert_eq!(
        names(
            &backend,
            &json!({"at": {"$geoWithin": {"$box": [[24, 59], [25, 61]]}}})
        ),
        ["Helsinki", "Tallinn"]
    );
    assert_eq!(
        names(
            &backend,
            &json!({"at": {"$within": {"$polygon": [[20, 59], [30, 59], [25, 66]]}}, "name": {"$ne": "Oulu"}})
        ),
        ["Helsinki", "Tallinn"]
    );
    let wrapped =
        json!({"at": {"$near": {"$type": "geoloc", "$value": [24.7, 59.4]}, "$maxDistance": 1}});
    assert_eq!(names(&backend, &wrapped), ["Tallinn", "Helsinki"]);
}

#[test]
fn near_counts_pages_and_yields_to_a_sort() {
    let server = Server::demo();
    let backend = server.backend();
    cities(&backend);
    let q = json!({"at": {"$nearSphere": [24.94, 60.17]}});
    assert_eq!(
        send(&backend, &format!("q={q}&count"))["count"],
        6,
        "what has no place is not near"
    );
    let first = send(&backend, &format!("q={q}&limit=4"));
    let second = send(
        &backend,
        &format!("q={q}&limit=4&after={}", text(&first, "/next")),
    );
    let walked: Vec<String> = [&first, &second]
        .iter()
        .flat_map(|page| page["results"].as_array().unwrap())
        .map(|city| text(city, "/name"))
        .collect();
    assert_eq!(walked, names(&backend, &q));
    let sorted = send(
        &backend,
        &format!(r#"q={q}&sort={{"sortBy":"name"}}&limit=1"#),
    );
    assert_eq!(sorted["results"][0]["name"], "Apia");
}

#[test]
fn what_is_stored_is_the_pair_and_what_is_wrong_is_refused() {
    let server = Server::demo();
    let backend = server.backend();
    let sent = json!({
        "at": {"$type": "geoloc", "$value": [24.9, 60]},
        "when": {"$type": "time", "$value": 1_372_437_512_369_i64},
        "list": [{"$type": "ref", "$value": {"id": "51cdbc08989e975ec300772a", "objectType": "objects.a", "x": 1}}],
    });
    let stored = backend.create("cities", &sent);
    assert_eq!(stored["at"].to_string(), "[24.9,60]");
    assert_eq!(stored["when"], "2013-06-28T16:38:32.369Z");
    assert_eq!(
        stored["list"],
        json!([{"id": "51cdbc08989e975ec300772a", "objectType": "objects.a"}])
    );
    let later = backend.update(
        &stored,
        &json!({"when": {"$type": "time", "$value": "2014-01-01T02:00:00+02:00"}}),
    );
    assert_eq!(later["when"], "2014-01-01T00:00:00.000Z");
    let found = send(
        &backend,
        r#"q={"when":{"$gte":{"$type":"time","$value":"2014-01-01"}}}"#,
    );
    assert_eq!(found["results"].as_array().unwrap().len(), 1);

    for wrong in [
        json!({"at": {"$type": "geoloc", "$value": "here"}}),
        json!({"when": {"$type": "time", "$value": "soon"}}),
        json!({"what": {"$type": "money", "$value": 1}}),
    ] {
        let reply = backend
            .send(Request::post("/v1/objects/cities").json(&wrong))
            .must_be(400);
        assert_eq!(
            text(&reply, "/errors/0/reason"),
            "ValidationFailed",
            "{reply}"
        );
        assert_eq!(
            text(&reply, "/errors/0/property"),
            *wrong.as_object().unwrap().keys().next().unwrap()
        );
    }
    for q in [
        r#"{"$or":[{"at":{"$near":[0,0]}}]}"#,
        r#"{"at":{"$nearSphere":[0,91]}}"#,
        r#"{"at":{"$within":{}}}"#,
    ] {
        let reply = backend
            .send(Request::get(format!("/v1/objects/cities?q={q}")))
            .must_be(400);
        assert_eq!(text(&reply, "/errors/0/reason"), "BadRequest", "{reply}");
    }
}
