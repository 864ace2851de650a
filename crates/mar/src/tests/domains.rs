//! Domains and certificates.

use pilvi_base::Secret;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use super::{APP, SIBLING, World, addresses};
use crate::{certificates, domains};

#[tokio::test]
async fn domains_come_and_go() {
    let world = World::new().await;
    for (name, stored) in [
        ("www.Example.com", "www.example.com"),
        ("todo.apps.localhost", "todo.apps.localhost"),
    ] {
        let added = world
            .call("POST", "/domains", json!({"name": name}))
            .await
            .must_be(201);
        assert_eq!(added, json!({"name": stored}));
    }
    assert_eq!(world.stage.acts(), vec![format!("apply {APP}"); 2]);
    let listed = world.get("/domains").await.must_be(200);
    assert_eq!(
        listed,
        json!({"results": [{"name": "todo.apps.localhost"}, {"name": "www.example.com"}]})
    );
    let hosts = domains::hosts(&world.store, &addresses(), &world.app())
        .await
        .unwrap();
    assert_eq!(
        hosts,
        [
            &format!("{APP}.apps.localhost"),
            "todo.apps.localhost",
            "www.example.com"
        ]
    );
    assert_eq!(
        world
            .call("DELETE", "/domains/www.example.com", Value::Null)
            .await
            .must_be(200),
        json!({})
    );
    for gone in ["/domains/www.example.com", "/domains/x"] {
        world.call("DELETE", gone, Value::Null).await.must_be(404);
    }
}

#[tokio::test]
async fn a_name_that_became_the_servers_own_leads_to_no_app_any_more() {
    let world = World::new().await;
    for name in ["cloud.example.com", "www.example.com", "x.apps.localhost"] {
        let body = json!({"name": name});
        world.call("POST", "/domains", body).await.must_be(201);
    }
    let mut addresses = addresses();
    addresses.own_hosts.push("cloud.example.com".to_owned());
    addresses.own_hosts.push("x.apps.localhost".to_owned());
    let hosts = domains::hosts(&world.store, &addresses, &world.app()).await;
    assert_eq!(
        hosts.unwrap(),
        [&format!("{APP}.apps.localhost"), "www.example.com"]
    );
}

#[tokio::test]
async fn a_domain_that_is_not_free_is_refused() {
    let world = World::new().await;
    world
        .call("POST", "/domains", json!({"name": "www.example.com"}))
        .await
        .must_be(201);
    let path = format!("/v1/apps/{SIBLING}/domains");
    let body = json!({"name": "WWW.example.com"}).to_string();
    world
        .send("account", "POST", &path, body.into())
        .await
        .must_be(409);
    world
        .call("POST", "/domains", json!({"name": "www.example.com"}))
        .await
        .must_be(409);
    for wrong in [
        json!({"name": "localhost"}),
        json!({"name": "127.0.0.1"}),
        json!({"name": "a b.com"}),
        json!({"name": "*.example.com"}),
        json!({"name": "api.pilvi.example"}),
        json!({"name": "apps.localhost"}),
        json!({"name": format!("{SIBLING}.apps.localhost")}),
        json!({"name": "a.b.apps.localhost"}),
        json!({"name": ""}),
        json!({"name": null}),
        json!({}),
    ] {
        let refused = world
            .call("POST", "/domains", wrong.clone())
            .await
            .must_be(422);
        assert_eq!(refused["errors"][0]["property"], "name", "{wrong}");
    }
}

struct Made {
    certificate: String,
    key: String,
}

fn made(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Made {
    let names = names
        .iter()
        .map(|name| (*name).to_owned())
        .collect::<Vec<_>>();
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Made {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

fn upload(made: &Made) -> Value {
    json!({"name": APP, "privateKey": made.key, "certificateBody": made.certificate})
}

#[tokio::test]
async fn a_certificate_is_checked_sealed_and_served() {
    let world = World::new().await;
    let first = made(&["www.example.com", "example.com"], |params| {
        params.not_after = rcgen::date_time_ymd(2016, 2, 3);
    });
    let expected = json!({
        "name": APP,
        "expiresAt": "2016-02-03T00:00:00Z",
        "names": ["www.example.com", "example.com"],
    });
    let set = world
        .call("POST", "/ssl_certificate", upload(&first))
        .await
        .must_be(201);
    assert_eq!(set, expected);
    assert_eq!(world.get("").await.must_be(200)["sslCertificate"], expected);
    assert_eq!(world.stage.acts(), [format!("apply {APP}")]);

    let parts = world.mar.parts();
    let key = certificates::certified_key(&parts.store, &parts.keyring, &world.app())
        .await
        .unwrap();
    assert_eq!(key.unwrap().cert.len(), 1);
    let stored = world
        .store
        .find_certificate(&world.app())
        .await
        .unwrap()
        .unwrap();
    let middle = &first.key.as_bytes()[40..60];
    assert!(!stored.key.windows(20).any(|window| window == middle));

    // A second one takes its place.
    let second = made(&["other.example.com"], |_| {});
    let set = world
        .call("POST", "/ssl_certificate", upload(&second))
        .await
        .must_be(201);
    assert_eq!(set["names"], json!(["other.example.com"]));

    let removed = world
        .call("DELETE", "/ssl_certificate", json!({}))
        .await
        .must_be(200);
    assert_eq!(removed, json!({}));
    world
        .call("DELETE", "/ssl_certificate", json!({}))
        .await
        .must_be(404);
    assert_eq!(
        world.get("").await.must_be(200)["sslCertificate"],
        Value::Null
    );
}

#[tokio::test]
async fn a_chain_is_kept_in_its_order() {
    let world = World::new().await;
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "an issuer");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["www.example.com".to_owned()]).unwrap();
    let own = params.signed_by(&key, &issuer).unwrap();
    let stranger = made(&["x.example.com"], |_| {});
    let mut body = upload(&Made {
        certificate: own.pem(),
        key: key.serialize_pem(),
    });
    body["certificateChain"] = stranger.certificate.into();
    let refused = world
        .call("POST", "/ssl_certificate", body.clone())
        .await
        .must_be(422);
    assert_eq!(refused["errors"][0]["property"], "certificateChain");

    body["certificateChain"] = issuer.pem().into();
    world
        .call("POST", "/ssl_certificate", body.clone())
        .await
        .must_be(201);
    let parts = world.mar.parts();
    let served = certificates::certified_key(&parts.store, &parts.keyring, &world.app())
        .await
        .unwrap();
    assert_eq!(served.unwrap().cert.len(), 2);
    body["certificateChain"] = Value::Null;
    world
        .call("POST", "/ssl_certificate", body)
        .await
        .must_be(201);
}

#[tokio::test]
async fn a_certificate_that_cannot_serve_is_refused_with_the_reason() {
    let world = World::new().await;
    let good = made(&["www.example.com"], |_| {});
    let other = made(&["www.example.com"], |_| {});
    let expired = made(&["www.example.com"], |params| {
        params.not_after = rcgen::date_time_ymd(2015, 1, 1);
    });
    let future = made(&["www.example.com"], |params| {
        params.not_before = rcgen::date_time_ymd(2016, 1, 1);
    });
    let nameless = made(&[], |_| {});
    let with = |field: &str, value: Value| {
        let mut body = upload(&good);
        body[field] = value;
        body
    };
    for (body, property, words) in [
        (
            with("privateKey", other.key.clone().into()),
            "privateKey",
            "not the key of this",
        ),
        (
            with("privateKey", "x".into()),
            "privateKey",
            "not a private key",
        ),
        (
            with("privateKey", "-----BEGIN ENCRYPTED PRIVATE KEY-----".into()),
            "privateKey",
            "passphrase",
        ),
        (with("privateKey", Value::Null), "privateKey", "required"),
        (
            with("certificateBody", "x".into()),
            "certificateBody",
            "not PEM",
        ),
        (
            with("certificateBody", good.key.clone().into()),
            "certificateBody",
            "not PEM",
        ),
        (
            with(
                "certificateBody",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(),
            ),
            "certificateBody",
            "no X.509",
        ),
        (
            with("certificateBody", "x".repeat(70_000).into()),
            "certificateBody",
            "larger",
        ),
        (
            with("certificateChain", 1.into()),
            "certificateChain",
            "must be a string",
        ),
        (upload(&expired), "certificateBody", "expired at 2015-01-01"),
        (
            upload(&future),
            "certificateBody",
            "not valid before 2016-01-01",
        ),
        (upload(&nameless), "certificateBody", "names no host"),
    ] {
        let refused = world
            .call("POST", "/ssl_certificate", body)
            .await
            .must_be(422);
        let fault = &refused["errors"][0];
        assert_eq!(fault["property"], property, "{refused}");
        assert!(
            fault["message"].as_str().unwrap().contains(words),
            "{refused}"
        );
        let secret = Secret::new(good.key.clone());
        assert!(!refused.to_string().contains(secret.expose()));
    }
    assert_eq!(
        world.get("").await.must_be(200)["sslCertificate"],
        Value::Null
    );
}
