//! What browsers on other sites are told, byte by byte.

mod common;

use common::{Answer, EDS_HEADERS, House};

fn undated(reply: &str) -> String {
    let lines = reply.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("Date: ")).collect()
}

const ID: &str = "X-Request-Id: 1\r\n";

#[tokio::test]
async fn eds_answers_a_preflight_on_any_path_without_a_backend() {
    let house = House::open().await;
    let expected = format!(
        "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Methods: GET, POST, PUT, DELETE, OPTIONS\r\n\
         Access-Control-Allow-Headers: {EDS_HEADERS}\r\nAccess-Control-Max-Age: 86400\r\n\
         Access-Control-Allow-Origin: *\r\nX-Request-Id: 1\r\n\r\n"
    );
    for (path, asked) in [
        (
            "/v1/objects/todos",
            "Access-Control-Request-Headers: content-type\r\n",
        ),
        (
            "/v1/user",
            "Access-Control-Request-Headers: authorization, enginio-backend-id\r\n",
        ),
        ("/v1/search", ""),
    ] {
        let reply = house
            .ask(format!(
                "OPTIONS {path} HTTP/1.1\r\nHost: h\r\nOrigin: null\r\n\
                 Access-Control-Request-Method: PUT\r\n{asked}{ID}\r\n"
            ))
            .await;
        assert_eq!(undated(&reply), expected, "{path}");
    }
}

#[tokio::test]
async fn mws_names_the_asking_site_back() {
    let house = House::open().await;
    let preflight = house
        .ask(format!(
            "OPTIONS /v1/gateways/1/messages HTTP/1.1\r\nHost: h\r\nOrigin: http://a.example\r\n\
             Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type, x-a\r\n{ID}\r\n"
        ))
        .await;
    let common = "Access-Control-Allow-Origin: http://a.example\r\n\
        Access-Control-Allow-Methods: GET, POST, PUT, DELETE, OPTIONS\r\n\
        Access-Control-Allow-Credentials: true\r\nAccess-Control-Max-Age: 1728000\r\n\
        Access-Control-Expose-Headers: \r\nVary: Origin\r\nX-Request-Id: 1\r\n";
    assert_eq!(
        undated(&preflight),
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nAccess-Control-Allow-Headers: content-type, x-a\r\n\
             {common}Content-Length: 0\r\n\r\n"
        )
    );

    let refused = house
        .ask(format!(
            "GET /v1/gateways/1/nothing HTTP/1.1\r\nHost: h\r\nOrigin: http://a.example\r\n{ID}\r\n"
        ))
        .await;
    assert!(refused.starts_with("HTTP/1.1 404 "));
    assert!(undated(&refused).contains(common), "{refused}");
}

#[tokio::test]
async fn mws_says_nothing_to_who_is_no_browser() {
    let house = House::open().await;
    for request in [
        "POST /v1/gateways/1/messages HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
        "OPTIONS /v1/gateways/1/messages HTTP/1.1\r\nHost: h\r\nAccess-Control-Request-Method: POST\r\n\r\n",
    ] {
        let reply = house.ask(request).await;
        assert!(!reply.contains("Access-Control"), "{reply}");
        assert!(!reply.contains("Vary"), "{reply}");
    }
}

#[tokio::test]
async fn the_platform_allows_other_sites_nothing() {
    let house = House::open().await;
    let reply = house
        .ask("OPTIONS /v1/user HTTP/1.1\r\nHost: h\r\nOrigin: http://a\r\nAccess-Control-Request-Method: GET\r\n\r\n")
        .await;
    assert!(!reply.contains("Access-Control"), "{reply}");
    assert_eq!(Answer::parse(&reply).status, 405);
}
