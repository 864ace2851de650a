use super::fault::FAULT_HEADER;
use super::*;

fn filter() -> HeadFilter {
    HeadFilter::new(&Limits::default())
}

fn next(bytes: impl AsRef<[u8]>) -> Result<Head, Fault> {
    filter()
        .next(&mut BytesMut::from(bytes.as_ref()))
        .expect("the head is complete")
}

fn canonical(head: impl AsRef<[u8]>) -> (String, Framing) {
    match next(head).expect("the head is taken") {
        Head::Request { canonical, framing } => (text(&canonical), framing),
        Head::Upgrade(_) | Head::EventStream(_) | Head::App => panic!("this is a plain request"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn target(raw: &[u8]) -> String {
    let (head, _) = canonical([b"GET ", raw, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat());
    head.split(' ').nth(1).unwrap().to_owned()
}

fn status(head: &str) -> u16 {
    next(head).expect_err("the head is refused").status.as_u16()
}

#[test]
fn a_plain_head_stays_as_it_is() {
    let head = "POST /v1/objects/todos?limit=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\n";
    assert_eq!(canonical(head), (head.to_owned(), Framing::Length(12)));
}

#[test]
fn a_target_may_hold_raw_characters() {
    for (raw, encoded) in [
        (
            r#"/v1/o?q={"a":[1,"b c"]}"#,
            "/v1/o?q=%7B%22a%22:%5B1,%22b%20c%22%5D%7D",
        ),
        ("/a|b\\c^d`e<f>", "/a%7Cb%5Cc%5Ed%60e%3Cf%3E"),
        ("/a?b=c d  e", "/a?b=c%20d%20%20e"),
        ("/ä\t?ö", "/%C3%A4%09?%C3%B6"),
        ("/a#b", "/a%23b"),
        ("/a%20b%zz+c", "/a%20b%zz+c"),
        ("/a?", "/a?"),
        ("*", "/"),
        ("http://other:81/x?y", "/x?y"),
        ("https://other", "/"),
        ("http://other?x", "/?x"),
    ] {
        assert_eq!(target(raw.as_bytes()), encoded, "{raw}");
        encoded.parse::<http::Uri>().unwrap();
    }
    assert_eq!(target(b"/\xff\x01\x7f"), "/%FF%01%7F");
}

#[test]
fn the_host_of_a_whole_uri_outranks_the_header() {
    let (head, _) = canonical("GET http://a:1/x HTTP/1.1\r\nhost: b\r\nA: 1\r\n\r\n");
    assert_eq!(head, "GET /x HTTP/1.1\r\nHost: a:1\r\nA: 1\r\n\r\n");
}

#[test]
fn headers_that_are_not_the_clients_are_dropped() {
    let (head, _) = canonical(
        "GET / HTTP/1.1\r\nHost: h\r\nX-Pilvi-Fault: 200 fine\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AA\r\nA: 1\r\n\r\n",
    );
    assert_eq!(head, "GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\n\r\n");
}

#[test]
fn simple_clients_are_understood() {
    let (head, _) = canonical("\r\n\r\nGET / HTTP/1.0\n\n");
    assert_eq!(head, "GET / HTTP/1.0\r\n\r\n");
    let (head, framing) = canonical("PUT /x HTTP/1.1\nHost:h\nTransfer-Encoding: Chunked\r\n\n");
    assert_eq!(framing, Framing::Chunked);
    assert!(head.starts_with("PUT /x HTTP/1.1\r\nHost: h\r\n"));
}

#[test]
fn a_head_that_is_not_clear_is_refused() {
    let table = [
        ("GET /\r\nHost: h\r\n\r\n", 400),
        ("GET\r\n\r\n", 400),
        ("GET  HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET http://a@b/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /a\0b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /a\rb HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("G(T / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("CONNECT a:1 HTTP/1.1\r\nHost: h\r\n\r\n", 405),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\nHost: h\r\n\r\n", 505),
        ("GET / http/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA : 1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: a\0b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: a\rb\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\n: 1\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            501,
        ),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        ("\x16\x03\x01\x02", 400),
    ];
    for (head, expected) in table {
        assert_eq!(status(head), expected, "{head:?}");
    }
}

#[test]
fn a_head_has_bounds() {
    let long = "x".repeat(40 << 10);
    assert_eq!(
        status(&format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n")),
        414
    );
    assert_eq!(status(&format!("GET /{long}")), 414);
    let encoded = "\"".repeat(30 << 10);
    assert_eq!(
        status(&format!("GET /{encoded} HTTP/1.1\r\nHost: h\r\n\r\n")),
        414
    );
    // The line is what is bounded while it arrives, so it is bounded when it is all there, too.
    assert_eq!(
        status(&format!("{long} / HTTP/1.1\r\nHost: h\r\n\r\n")),
        414
    );
    assert_eq!(status(&format!("{long} / HTTP/1.1")), 414);
    let header = format!("A: {long}\r\n");
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\n{header}{header}\r\n")),
        431
    );
    assert_eq!(status(&format!("GET / HTTP/1.1\r\n{header}{header}")), 431);
    let many = "A: 1\r\n".repeat(101);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\n{many}\r\n")), 431);
}

#[test]
fn a_head_is_found_however_it_is_cut() {
    let bytes = b"\r\nGET /a b HTTP/1.1\r\nHost: h\r\n\r\nrest";
    let mut filter = filter();
    let mut buffer = BytesMut::new();
    let mut found = None;
    for (at, &byte) in bytes.iter().enumerate() {
        buffer.extend_from_slice(&[byte]);
        if let Some(head) = filter.next(&mut buffer) {
            assert_eq!(at, bytes.len() - 5, "found at its last byte");
            found = Some(head.unwrap());
            break;
        }
    }
    assert!(matches!(found, Some(Head::Request { .. })));
    assert!(buffer.is_empty());
}

#[test]
fn the_next_head_stays_in_the_buffer() {
    let one = b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n".as_slice();
    let two = b"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n".as_slice();
    let mut buffer = BytesMut::from([one, two].concat().as_slice());
    let mut filter = filter();
    assert!(filter.next(&mut buffer).unwrap().is_ok());
    assert_eq!(buffer, two);
    assert!(filter.next(&mut buffer).unwrap().is_ok());
    assert!(filter.next(&mut buffer).is_none());
}

#[test]
fn an_upgrade_is_recognised_however_it_is_spelled() {
    for (connection, upgrade) in [
        ("upgrade", "websocket"),
        ("Upgrade", "WebSocket"),
        ("keep-alive, Upgrade", "websocket"),
    ] {
        let head = next(format!(
            "GET /?token=a\"b HTTP/1.1\r\nHost: h\r\nConnection: {connection}\r\nUpgrade: {upgrade}\r\n\r\n"
        ));
        let Ok(Head::Upgrade(head)) = head else {
            panic!("{connection} {upgrade} is an upgrade")
        };
        assert_eq!(head.target, "/?token=a%22b");
        assert_eq!(head.headers["host"], "h");
    }
}

#[test]
fn what_only_looks_like_an_upgrade_is_a_request() {
    for (line, headers) in [
        (
            "POST / HTTP/1.1",
            "Connection: upgrade\r\nUpgrade: websocket",
        ),
        (
            "GET / HTTP/1.0",
            "Connection: upgrade\r\nUpgrade: websocket",
        ),
        (
            "GET / HTTP/1.1",
            "Connection: keep-alive\r\nUpgrade: websocket",
        ),
        ("GET / HTTP/1.1", "Connection: upgrade\r\nUpgrade: h2c"),
    ] {
        canonical(format!("{line}\r\nHost: h\r\n{headers}\r\n\r\n"));
    }
}

#[test]
fn a_fault_becomes_a_head_that_names_the_same_service() {
    let refused =
        b"POST /v1/objects/a b?q=1 HTTP/1.1\r\nhost: h:1\r\nHost: second\r\nBad Name: x\r\n\
        Enginio-Backend-Id: 51cdbc08989e975ec300772a\r\nX-Pilvi-Fault: 200 ok\r\nOrigin: null\r\n\
        Authorization: Bearer secret\r\nX-Request-Id: a\x01b\r\n\r\n";
    let head = text(&HALF_SENT.as_head(refused));
    assert_eq!(
        head,
        "GET /v1/objects/a HTTP/1.1\r\nhost: h:1\r\nenginio-backend-id: 51cdbc08989e975ec300772a\r\n\
         origin: null\r\nConnection: close\r\n\
         x-pilvi-fault: 400 the request ended before its head did\r\n\r\n"
    );
}

#[test]
fn a_fault_can_be_told_about_anything() {
    for refused in [
        "",
        "\n",
        "GET",
        "HEAD / x",
        "\0\0\0",
        ":::",
        "GET ? HTTP",
        "a b c\n:\n",
    ] {
        let head = NOT_HTTP.as_head(refused.as_bytes());
        let mut slots = [httparse::EMPTY_HEADER; 16];
        let parsed = httparse::Request::new(&mut slots).parse(&head);
        assert!(
            parsed.is_ok_and(|parsed| parsed.is_complete()),
            "{refused:?}"
        );
    }
}

#[test]
fn the_door_reads_what_the_filter_told() {
    let mut headers = HeaderMap::new();
    assert!(Fault::read(&mut headers).is_none());
    headers.insert(FAULT_HEADER, "414 too long".parse().unwrap());
    let refusal = Fault::read(&mut headers).unwrap();
    assert_eq!(
        (refusal.status.as_u16(), refusal.message.as_str()),
        (414, "too long")
    );
    assert!(headers.is_empty());
}

#[test]
fn a_whole_uri_and_many_headers_fit_hyper() {
    let many = "A: 1\r\n".repeat(99);
    let (head, _) = canonical(format!("GET http://h/ HTTP/1.1\r\n{many}\r\n"));
    assert_eq!(head.matches("\r\n").count() - 2, 100);
    assert_eq!(
        status(&format!("GET http://h/ HTTP/1.1\r\nA: 1\r\n{many}\r\n")),
        431
    );
}

proptest::proptest! {
    /// Whatever comes, what is passed on is a head that hyper reads, with a target that is a URI.
    #[test]
    fn what_passes_is_well_formed(
        target in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
        value in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
        tail in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
    ) {
        let head = [
            b"GET /".as_slice(), &target, b" HTTP/1.1\r\nHost: h\r\nA: ", &value, b"\r\n", &tail, b"\r\n\r\n",
        ]
        .concat();
        match filter().next(&mut BytesMut::from(head.as_slice())) {
            Some(Ok(Head::Request { canonical, .. })) => {
                let mut slots = [httparse::EMPTY_HEADER; 100];
                let mut request = httparse::Request::new(&mut slots);
                assert!(request.parse(&canonical).unwrap().is_complete());
                request.path.unwrap().parse::<http::Uri>().unwrap();
            }
            Some(Err(fault)) => {
                let mut slots = [httparse::EMPTY_HEADER; 100];
                let mut request = httparse::Request::new(&mut slots);
                let told = fault.as_head(&head);
                assert!(request.parse(&told).unwrap().is_complete());
            }
            other => panic!("neither passed nor refused: {other:?}"),
        }
    }

    #[test]
    fn no_bytes_break_the_filter(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
    ) {
        let _ = filter().next(&mut BytesMut::from(bytes.as_slice()));
    }
}
