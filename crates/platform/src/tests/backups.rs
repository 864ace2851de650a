//! Backups of instances that are little more than their rows: who may bring what back, as what, and into which account.

use std::path::Path;

use axum::body::{Body, to_bytes};
use http::Request;
use http::header::AUTHORIZATION;
use pilvi_base::Keyring;
use pilvi_core::Secrets;
use pilvi_model::RequestId;
use pilvi_store::platform::Role;
use pilvi_web::{Arrival, Door, Hosts, Service};
use serde_json::{Value, json};

use super::{Step, World};
use crate::BackupPlaces;

impl World {
    /// The same world, making backups.
    pub(super) fn with_backups(mut self) -> Self {
        let places = BackupPlaces {
            staging: self.staging(),
            private: Vec::new(),
            key: self.folder.path().join("secret.key"),
            left_out: vec!["a stack".to_owned()],
            restore_bytes_max: 1 << 20,
        };
        self.platform = self.platform.with_backups(places).unwrap();
        self.door = Door::new(Hosts::shared(), pilvi_web::Limits::default())
            .site(Service::Platform, self.platform.site())
            .site(Service::Account, self.platform.account_site());
        self
    }

    fn staging(&self) -> std::path::PathBuf {
        self.folder.path().join("staging")
    }

    pub(super) async fn archive(&self, path: &str) -> Vec<u8> {
        let request = Request::builder()
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Body::empty())
            .unwrap();
        let arrival = Arrival::in_process("localhost:8080", RequestId::from_bytes([1; 16]));
        let answer = self.door.call(request, arrival).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/x-tar");
        to_bytes(answer.into_body(), 8 << 20)
            .await
            .unwrap()
            .to_vec()
    }

    async fn bring(&self, token: &str, account: &str, query: &str, archive: &[u8]) -> (u16, Value) {
        let request = Request::builder()
            .method("POST")
            .uri(format!("/v1/accounts/{account}/instances/restore{query}"))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::from(archive.to_vec()))
            .unwrap();
        let answer = self.send(request).await;
        (answer.status.as_u16(), answer.body)
    }

    async fn bring_home(&self, query: &str, archive: &[u8]) -> (u16, Value) {
        self.bring(&self.token, &self.account.to_string(), query, archive)
            .await
    }
}

/// The same manifest with other keys behind its signature.
fn signed_by_somebody_else(archive: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let manifest = pilvi_backup::unpack(archive, folder.path(), pilvi_backup::Bounds::default())
        .unwrap()
        .manifest;
    let mut out = Vec::new();
    let writer = pilvi_backup::Writer::new(&mut out);
    let other = Keyring::from_bytes([9; 32]);
    writer
        .finish(manifest.kind, manifest.created_at, &other)
        .unwrap();
    out
}

#[tokio::test]
async fn an_instance_comes_back_with_its_words_and_only_its_own_id() {
    let world = World::new().await.with_backups();
    let made = world.add_instance("mws").await;
    let path = format!("/v1/instances/{}/authorizations", made.id);
    let token = world.get(&path).await.first_token();
    let archive = world
        .archive(&format!("/v1/instances/{}/backup", made.id))
        .await;

    let (status, copy) = world.bring_home("?name=Copy", &archive).await;
    assert_eq!(status, 201, "{copy}");
    assert_eq!(copy["name"], "Copy");
    assert_eq!(copy["restored"]["origin"], made.id);
    assert_ne!(copy["id"], made.id);
    for (query, expected) in [
        (format!("?id={}", made.id), 409),
        ("?id=5417e5485a3d8b418a01adb7".to_owned(), 422),
        ("?replace=true".to_owned(), 422),
        ("?replace=maybe".to_owned(), 422),
        ("?name=".to_owned() + &"x".repeat(1000), 422),
    ] {
        let (status, body) = world.bring_home(&query, &archive).await;
        assert_eq!(status, expected, "{query}: {body}");
    }
    let query = format!("?id={}&replace=true", made.id);
    let (status, same) = world.bring_home(&query, &archive).await;
    assert_eq!((status, &same["id"]), (201, &json!(made.id)), "{same}");
    assert_eq!(world.get(&path).await.first_token(), token);
    assert_eq!(std::fs::read_dir(world.staging()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_id_does_not_move_to_another_account() {
    let world = World::new().await.with_backups();
    let made = world.add_instance("mws").await;
    let archive = world
        .archive(&format!("/v1/instances/{}/backup", made.id))
        .await;
    let neighbour = world.add_neighbour().await;
    let gone = format!("/v1/instances/{}?now=true", made.id);
    world.call("DELETE", &gone, Value::Null).await.expect(200);
    let theirs = neighbour.account.to_string();
    let query = format!("?id={}", made.id);
    let (status, body) = world
        .bring(&neighbour.token, &theirs, &query, &archive)
        .await;
    assert_eq!(status, 422, "{body}");
    // A copy is another instance, and whoever has the archive may have that. What is sealed in it stays sealed for
    // whoever could not look at it otherwise.
    let (status, _) = world.bring(&neighbour.token, &theirs, "", &archive).await;
    assert_eq!(status, 201);
}

#[tokio::test]
async fn secrets_come_along_only_for_whoever_may_see_them() {
    let world = World::new().await.with_backups();
    let made = world.add_instance("eds").await;
    let path = format!("/v1/instances/{}/backup", made.id);
    let archive = world.archive(&path).await;
    let neighbour = world.add_neighbour().await;
    let theirs = neighbour.account.to_string();
    let foreign = signed_by_somebody_else(&archive);
    let (developer, _) = world.add_member(Role::Developer).await;
    let home = world.account.to_string();
    for (token, account, archive, expected) in [
        (&world.token, &home, &archive, Secrets::Open),
        (&developer, &home, &archive, Secrets::Open),
        (&neighbour.token, &theirs, &archive, Secrets::LeaveBehind),
        (&world.token, &home, &foreign, Secrets::LeaveBehind),
    ] {
        let (status, body) = world.bring(token, account, "", archive).await;
        assert_eq!(status, 201, "{body}");
        assert_eq!(world.eds.arrived.lock().unwrap().pop(), Some(expected));
    }
}

#[tokio::test]
async fn what_cannot_be_restored_in_place_stays_as_it_was() {
    let world = World::new().await.with_backups();
    let made = world.add_instance("eds").await;
    let archive = world
        .archive(&format!("/v1/instances/{}/backup", made.id))
        .await;
    let tokens = format!("/v1/instances/{}/authorizations", made.id);
    let token = world.get(&tokens).await.first_token();
    let query = format!("?id={}&replace=true", made.id);
    for step in [Step::Import, Step::Replace] {
        world.eds.break_at(step);
        assert_eq!(world.bring_home(&query, &archive).await.0, 503);
        world.eds.break_at(None);
        assert!(world.eds.holds(&made.id));
        assert_eq!(world.eds.len(), 1, "nothing is left beside it");
        assert_eq!(world.get(&tokens).await.first_token(), token);
    }
    let unfinished = world.store.list_unfinished_instances().await.unwrap();
    assert!(unfinished.is_empty());
    // What was deleted comes back with it.
    let path = format!("/v1/instances/{}", made.id);
    world.call("DELETE", &path, Value::Null).await.expect(200);
    let (status, body) = world.bring_home(&query, &archive).await;
    assert_eq!((status, &body["id"]), (201, &json!(made.id)), "{body}");
    assert_eq!(world.get(&tokens).await.first_token(), token);
    assert_eq!(world.eds.len(), 1);
}

#[tokio::test]
async fn a_restoration_stays_within_the_quota() {
    let world = World::new().await.with_backups();
    let made = world.add_instance("eds").await;
    let mut out = Vec::new();
    let mut writer = pilvi_backup::Writer::new(&mut out);
    writer.bytes("more", &[0; 3000]).unwrap();
    let path = format!("/v1/instances/{}/backup", made.id);
    let folder = tempfile::tempdir().unwrap();
    let bounds = pilvi_backup::Bounds::default();
    let unpacked = pilvi_backup::unpack(&*world.archive(&path).await, folder.path(), bounds);
    let kind = unpacked.unwrap().manifest.kind;
    writer
        .finish(kind, String::new(), &Keyring::from_bytes([7; 32]))
        .unwrap();
    // The backend that is there holds a thousand bytes.
    let in_place = format!("?id={}&replace=true", made.id);
    for (most, alone, replacing) in [(2999, 429, 429), (3999, 429, 201), (10_000, 201, 201)] {
        let quota = json!({"edsStorageBytes": most});
        let path = world.account_path("/quotas");
        world.call("PUT", &path, quota).await.expect(200);
        let (status, body) = world.bring_home("", &out).await;
        assert_eq!(status, alone, "{most}: {body}");
        let (status, body) = world.bring_home(&in_place, &out).await;
        assert_eq!(status, replacing, "{most}: {body}");
    }
}

#[tokio::test]
async fn what_this_server_did_not_make_only_an_operator_brings_in() {
    let world = World::new().await.with_backups();
    let made = world.add_instance("mws").await;
    let archive = world
        .archive(&format!("/v1/instances/{}/backup", made.id))
        .await;
    let foreign = signed_by_somebody_else(&archive);
    let (developer, _) = world.add_member(Role::Developer).await;
    let account = world.account.to_string();
    let (status, body) = world.bring(&developer, &account, "", &foreign).await;
    assert_eq!(status, 403, "{body}");
    assert_eq!(world.bring_home("", &foreign).await.0, 201);
    // In the place of one that is there, it gets the tokens that are valid now.
    let query = format!("?id={}&replace=true", made.id);
    let path = format!("/v1/instances/{}/authorizations", made.id);
    let token = world.get(&path).await.first_token();
    assert_eq!(world.bring_home(&query, &foreign).await.0, 201);
    assert_eq!(world.get(&path).await.first_token(), token);
    // Under its old id it gets new ones, because its own were derived from other keys.
    let gone = format!("/v1/instances/{}?now=true", made.id);
    world.call("DELETE", &gone, Value::Null).await.expect(200);
    let query = format!("?id={}", made.id);
    assert_eq!(world.bring_home(&query, &foreign).await.0, 201);
    assert_ne!(world.get(&path).await.first_token(), token);
}

#[tokio::test]
async fn a_restoration_that_breaks_off_leaves_nothing() {
    let world = World::new().await.with_backups();
    let made = world.add_instance("eds").await;
    let archive = world
        .archive(&format!("/v1/instances/{}/backup", made.id))
        .await;
    let list = world.account_path("/instances");
    world.eds.break_at(Step::Import);
    let (status, _) = world.bring_home("", &archive).await;
    assert_eq!(status, 503);
    world.eds.break_at(None);
    let listed = world.get(&list).await.expect(200);
    assert_eq!(listed["results"].as_array().unwrap().len(), 1);
    assert!(
        world
            .store
            .list_unfinished_instances()
            .await
            .unwrap()
            .is_empty()
    );
    for part in [&archive[..archive.len() / 3], b"", b"hello"] {
        assert_eq!(world.bring_home("", part).await.0, 400);
    }
    assert_eq!(std::fs::read_dir(world.staging()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_backup_that_breaks_off_says_why() {
    let world = World::new().await.with_backups();
    let made = world.add_instance("eds").await;
    world.eds.break_at(Step::Export);
    for path in [
        format!("/v1/instances/{}/backup", made.id),
        "/v1/server/backup".to_owned(),
    ] {
        let archive = world.archive(&path).await;
        let error = pilvi_backup::check(&*archive, pilvi_backup::Bounds::default()).unwrap_err();
        assert!(error.to_string().contains("the shelf is broken"), "{error}");
    }
}

#[tokio::test]
async fn a_whole_server_is_one_archive_that_no_account_takes_in() {
    let world = World::new().await.with_backups();
    world.add_instance("mws").await;
    let deleted = world.add_instance("eds").await;
    let path = format!("/v1/instances/{}", deleted.id);
    world.call("DELETE", &path, Value::Null).await.expect(200);
    let archive = world.archive("/v1/server/backup").await;
    let folder = tempfile::tempdir().unwrap();
    let unpacked =
        pilvi_backup::unpack(&*archive, folder.path(), pilvi_backup::Bounds::default()).unwrap();
    let manifest = unpacked.manifest;
    assert_eq!(manifest.title(), "a whole server with 2 instances");
    assert_eq!(manifest.left_out, ["a stack"]);
    assert_eq!(manifest.databases["pilvi.db"].tables["instances"], 2);
    assert!(manifest.file("secret.key").is_none());
    assert!(folder.path().join(Path::new("pilvi.db")).is_file());
    let (status, body) = world.bring_home("", &archive).await;
    assert_eq!(status, 400);
    assert!(body.to_string().contains("--to DIR"), "{body}");
}

#[tokio::test]
async fn an_archive_has_a_bound() {
    let world = World::new().await.with_backups();
    let mut out = Vec::new();
    let mut writer = pilvi_backup::Writer::new(&mut out);
    writer.bytes("backend.db", &vec![0; (1 << 20) + 1]).unwrap();
    let kind = pilvi_backup::Kind::Server(pilvi_backup::Contents::default());
    let keyring = Keyring::from_bytes([7; 32]);
    writer.finish(kind, String::new(), &keyring).unwrap();
    assert_eq!(world.bring_home("", &out).await.0, 413);
}
