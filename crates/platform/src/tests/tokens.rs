//! The three kinds of token, from making to revocation.

use pilvi_base::Secret;
use pilvi_core::Principal;
use serde_json::{Value, json};

use super::World;

/// The command line keeps tokens in an ini file whose reader casts numbers and cuts at comment signs.
fn survives_the_ini_file(token: &str) {
    assert!(token.parse::<f64>().is_err(), "{token}");
    assert!(
        token
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
        "{token}"
    );
}

#[tokio::test]
async fn the_first_start_happens_once() {
    let world = World::new().await;
    assert!(world.platform.bootstrap().await.unwrap().is_none());
    assert_eq!(
        world.get("/v1/user").await.expect(200),
        json!({
            "id": world.person.to_string(),
            "email": "operator@localhost",
            "name": "Operator",
            "emailVerified": false,
            "operator": true,
        })
    );
    let accounts = world.get("/v1/user/accounts").await.expect(200);
    assert_eq!(
        accounts,
        json!({"results": [{
            "id": world.account.to_string(),
            "name": "My Cloud",
            "datacenter": {"id": "eu-1", "description": "This server"},
            "vpc": false,
            "createdAt": "2015-03-18T09:00:00Z",
            "role": "owner",
        }]})
    );
    assert_eq!(
        world.get(&world.account_path("")).await.expect(200),
        accounts["results"][0]
    );
    survives_the_ini_file(&world.token);
}

#[tokio::test]
async fn a_personal_access_token_is_shown_once() {
    let world = World::new().await;
    let named = world
        .call("POST", "/v1/authorizations", json!({"name": "laptop"}))
        .await;
    assert_eq!(named.headers["cache-control"], "no-store");
    let named = named.expect(201);
    let token = named["access_token"].as_str().unwrap();
    survives_the_ini_file(token);
    assert!(token.starts_with("pilvi_pat_"));
    world
        .call_as(token, "GET", "/v1/user", Value::Null)
        .await
        .expect(200);

    let list = world.get("/v1/authorizations").await.expect(200);
    assert!(!list.to_string().contains("access_token"));
    assert_eq!(list["results"].as_array().unwrap().len(), 2);
    assert_eq!(
        list["results"][1],
        json!({
            "id": named["id"],
            "name": "laptop",
            "createdAt": "2015-03-18T09:00:00Z",
            "lastUsedAt": "2015-03-18T09:00:00Z",
        })
    );
    let path = format!("/v1/authorizations/{}", named["id"]);
    assert_eq!(
        world.call("DELETE", &path, Value::Null).await.expect(200),
        json!({})
    );
    world
        .call_as(token, "GET", "/v1/user", Value::Null)
        .await
        .expect(401);
    world.call("DELETE", &path, Value::Null).await.expect(404);
}

#[tokio::test]
async fn the_token_of_another_person_cannot_be_deleted() {
    let world = World::new().await;
    let neighbour = world.add_neighbour().await;
    let list = world
        .call_as(&neighbour.token, "GET", "/v1/authorizations", Value::Null)
        .await;
    let path = format!(
        "/v1/authorizations/{}",
        list.expect(200)["results"][0]["id"]
    );
    world.call("DELETE", &path, Value::Null).await.expect(404);
    world
        .call_as(&neighbour.token, "GET", "/v1/user", Value::Null)
        .await
        .expect(200);
}

#[tokio::test]
async fn an_account_has_a_token_from_the_start_and_again_after_each_post() {
    let world = World::new().await;
    let created = world
        .call(
            "POST",
            "/v1/accounts",
            json!({"name": "second", "vpc": true}),
        )
        .await;
    let created = created.expect(201);
    assert_eq!(created["vpc"], true);
    let path = format!(
        "/v1/accounts/{}/authorizations",
        created["id"].as_str().unwrap()
    );

    let first = world.get(&path).await;
    let token = first.first_token();
    survives_the_ini_file(&token);
    assert_eq!(
        world.get(&path).await.body,
        first.body,
        "it can be shown again and again"
    );
    let again = world.call("POST", &path, json!({})).await.expect(200);
    assert_eq!(
        again, first.body["results"][0],
        "a member has one account token"
    );

    let own = format!("{path}/{}", again["id"]);
    world.call("DELETE", &own, Value::Null).await.expect(200);
    assert_eq!(world.get(&path).await.expect(200), json!({"results": []}));
    let made = world.call("POST", &path, json!({})).await.expect(201);
    assert_eq!(world.get(&path).await.body, json!({"results": [made]}));
    assert_ne!(
        made["access_token"], token,
        "a deleted token does not come back"
    );
    assert_eq!(
        world
            .identity
            .authenticate(&Secret::new(token))
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn members_have_account_tokens_of_their_own() {
    let world = World::new().await;
    let neighbour = world.add_neighbour().await;
    let path = format!("/v1/accounts/{}/authorizations", neighbour.account);
    let theirs = world
        .call_as(&neighbour.token, "GET", &path, Value::Null)
        .await
        .first_token();
    assert_eq!(theirs, neighbour.account_token);
    assert_ne!(
        theirs,
        world
            .get(&world.account_path("/authorizations"))
            .await
            .first_token()
    );
    let holder = world
        .identity
        .authenticate(&Secret::new(theirs))
        .await
        .unwrap();
    assert_eq!(
        holder,
        Some(Principal::Account {
            id: neighbour.account,
            person: neighbour.person
        })
    );
}

#[tokio::test]
async fn an_instance_has_a_security_token_and_can_have_more() {
    let world = World::new().await;
    let id = world.add_instance("mws").await.id;
    let path = format!("/v1/instances/{id}/authorizations");
    let first = world.get(&path).await.expect(200)["results"][0].clone();
    survives_the_ini_file(first["access_token"].as_str().unwrap());
    let second = world.call("POST", &path, Value::Null).await.expect(201);
    assert_ne!(first["access_token"], second["access_token"]);
    assert_eq!(
        world.get(&path).await.expect(200),
        json!({"results": [first, second]})
    );

    let administers = async |token: &Value| {
        let instance = world.directory.find_any(&id).await.unwrap().unwrap();
        let token = Secret::new(token["access_token"].as_str().unwrap());
        world.identity.administers(&token, &instance).await.unwrap()
    };
    assert!(administers(&first).await && administers(&second).await);
    let own = format!("{path}/{}", first["id"]);
    world.call("DELETE", &own, Value::Null).await.expect(200);
    assert!(!administers(&first).await && administers(&second).await);
    assert_eq!(
        world.get(&path).await.expect(200),
        json!({"results": [second]})
    );
}

#[tokio::test]
async fn an_account_goes_with_its_tokens_once_it_is_empty() {
    let world = World::new().await;
    let own = world
        .get(&world.account_path("/authorizations"))
        .await
        .first_token();
    let id = world.add_instance("eds").await.id;
    let refused = world
        .call("DELETE", &world.account_path(""), Value::Null)
        .await
        .expect(409);
    assert_eq!(refused["error"]["reason"], "Conflict");

    world
        .call(
            "DELETE",
            &format!("/v1/instances/{id}?now=true"),
            Value::Null,
        )
        .await
        .expect(200);
    assert_eq!(
        world
            .call("DELETE", &world.account_path(""), json!({}))
            .await
            .expect(200),
        json!({})
    );
    world.get(&world.account_path("")).await.expect(404);
    world
        .get(&world.account_path("/authorizations"))
        .await
        .expect(404);
    world
        .call_as(&own, "GET", &world.account_path("/instances"), Value::Null)
        .await
        .expect(401);
    assert_eq!(
        world.get("/v1/user/accounts").await.expect(200),
        json!({"results": []})
    );
}

/// The whole database, as text: no token may be in it.
#[tokio::test]
async fn the_database_gives_no_token_away() {
    let world = World::new().await;
    let id = world.add_instance("eds").await.id;
    let tokens = [
        world.token.clone(),
        world
            .get(&world.account_path("/authorizations"))
            .await
            .first_token(),
        world
            .get(&format!("/v1/instances/{id}/authorizations"))
            .await
            .first_token(),
    ];
    for entry in std::fs::read_dir(world.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for token in &tokens {
            let secret = token.rsplit('_').next().unwrap().as_bytes();
            assert!(
                !bytes.windows(secret.len()).any(|part| part == secret),
                "{}",
                path.display()
            );
        }
    }
}
