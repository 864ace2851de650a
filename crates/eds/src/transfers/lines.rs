//! The lines of an export: one object each, with what belongs to it. `docs/export-format.md` describes them.

use pilvi_core::passwords::is_bearable_hash;
use pilvi_model::{
    AccessList, Blob, ContentType, Error, FileName, FileTarget, Object, ObjectId, ObjectType,
    Result, Timestamp,
};
use pilvi_store::backend::{FileParcel, Login, Membership, Parcel};
use serde_json::{Map, Value, json};

/// An object with its access list is no longer than this, however it is written.
pub(super) const LINE_BYTES_MAX: usize = 16 << 20;

/// An object as a line, without the line's end.
pub(super) fn write(parcel: &Parcel) -> String {
    let mut rest = Map::new();
    rest.insert("access".to_owned(), parcel.access.to_json());
    if let Some(login) = &parcel.login {
        rest.insert("password".to_owned(), login.password.as_str().into());
        rest.insert(
            "passwordAt".to_owned(),
            login.password_at.to_millis_text().into(),
        );
        let verified = login.email_verified_at.map(Timestamp::to_millis_text);
        rest.insert("emailVerifiedAt".to_owned(), json!(verified));
    }
    if let Some(file) = &parcel.file {
        rest.insert(
            "file".to_owned(),
            json!({
                "sha256": file.blob.digest.to_string(),
                "bytes": file.blob.bytes,
                "owner": file.owner.as_ref().map(FileTarget::to_json),
                "attached": file.is_attached,
                "linked": file.is_linked,
            }),
        );
    }
    let rest = Value::Object(rest).to_string();
    // The object is kept as the text that it is shown as.
    format!("{{\"object\":{},{}", parcel.object.text, &rest[1..])
}

/// Reads a line of the objects of a type. `unknown` is the hash of a password that nobody knows, for users who come
/// without one.
pub(super) fn read(line: &[u8], object_type: &ObjectType, unknown: &str) -> Result<Parcel> {
    let mut line = map(line)?;
    let mut document = line
        .shift_remove("object")
        .ok_or_else(|| Error::bad_request("has no `object`"))?;
    if *object_type == ObjectType::files() {
        clean(&mut document);
    }
    let object = Object::from_shown(document)?;
    if object.object_type != *object_type {
        return Err(Error::bad_request(format!(
            "holds an object of the type {}, which belongs into another file",
            object.object_type
        )));
    }
    let access = match line.get("access") {
        None | Some(Value::Null) => {
            return Err(Error::bad_request(
                "has no `access`, the access list of the object",
            ));
        }
        Some(access) => AccessList::from_json(access)?,
    };
    let login = match object_type.as_str() {
        "users" => Some(login(&line, &object, unknown)?),
        _ => None,
    };
    let file = match object_type.as_str() {
        "files" => Some(file(&line)?),
        _ => None,
    };
    Ok(Parcel {
        object,
        access,
        login,
        file,
    })
}

/// What a file says of itself is believed as little as that of an upload.
fn clean(file: &mut Value) {
    let name = file.get("fileName").and_then(Value::as_str);
    let name = FileName::clean(name.unwrap_or_default());
    if let Some(said) = file.get_mut("contentType") {
        let known = said.as_str().and_then(ContentType::parse);
        *said = known
            .unwrap_or_else(|| ContentType::guess(&name))
            .as_str()
            .into();
    }
    if let Some(said) = file.get_mut("fileName") {
        *said = name.as_str().into();
    }
}

fn map(line: &[u8]) -> Result<Map<String, Value>> {
    serde_json::from_slice(line).map_err(|error| {
        Error::bad_request(format!(
            "is no JSON object (column {} of it)",
            error.column()
        ))
    })
}

fn login(line: &Map<String, Value>, user: &Object, unknown: &str) -> Result<Login> {
    let password = match line.get("password") {
        None | Some(Value::Null) => unknown.to_owned(),
        Some(Value::String(hash)) if is_bearable_hash(hash) => hash.clone(),
        Some(_) => {
            return Err(Error::bad_request(
                "has a `password` that is no argon2id hash of a bearable cost; leave it out, and the user asks for a \
                 new one by mail",
            ));
        }
    };
    let email_verified_at = time(line, "emailVerifiedAt")?;
    Ok(Login {
        password,
        password_at: time(line, "passwordAt")?.unwrap_or(user.created_at),
        email_verified_at,
    })
}

fn time(line: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>> {
    match line.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(time) => match time.as_str().and_then(Timestamp::from_millis_text) {
            Some(time) => Ok(Some(time)),
            None => Err(Error::bad_request(format!(
                "has a `{name}` that is no time such as 2013-06-28T16:38:32.369Z"
            ))),
        },
    }
}

fn file(line: &Map<String, Value>) -> Result<FileParcel> {
    let malformed = || {
        Error::bad_request(
            "has no `file` with `sha256`, `bytes` and the `owner` that it belongs to, or null",
        )
    };
    let file = line
        .get("file")
        .and_then(Value::as_object)
        .ok_or_else(malformed)?;
    let digest = file.get("sha256").and_then(Value::as_str);
    let digest = digest.and_then(|digest| digest.parse().ok());
    let owner = match file.get("owner") {
        None | Some(Value::Null) => None,
        Some(owner) => Some(owner_of(owner).ok_or_else(malformed)?),
    };
    let flag = |name: &str| file.get(name).and_then(Value::as_bool).unwrap_or_default();
    Ok(FileParcel {
        blob: Blob {
            digest: digest.ok_or_else(malformed)?,
            bytes: file
                .get("bytes")
                .and_then(Value::as_u64)
                .filter(|bytes| i64::try_from(*bytes).is_ok())
                .ok_or_else(malformed)?,
        },
        is_attached: flag("attached") && owner.is_some(),
        is_linked: flag("linked") && flag("attached") && owner.is_some(),
        owner,
    })
}

fn owner_of(owner: &Value) -> Option<FileTarget> {
    let text = |name: &str| owner.get(name)?.as_str();
    Some(FileTarget {
        object_type: text("objectType")?.parse().ok()?,
        id: text("id")?.parse().ok()?,
        property: text("propertyName").map(str::to_owned),
    })
}

/// Somebody in a usergroup, as a line.
pub(super) fn write_member(member: Membership) -> String {
    let Membership { usergroup, user } = member;
    json!({"usergroup": usergroup.to_string(), "user": user.to_string()}).to_string()
}

pub(super) fn read_member(line: &[u8]) -> Result<Membership> {
    let line = map(line)?;
    let id = |name: &str| -> Result<ObjectId> {
        let id = line.get(name).and_then(Value::as_str);
        id.and_then(|id| id.parse().ok())
            .ok_or_else(|| Error::bad_request(format!("has no `{name}` with an id")))
    };
    Ok(Membership {
        usergroup: id("usergroup")?,
        user: id("user")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNKNOWN: &str = "nobody knows";

    fn user() -> Value {
        json!({
            "object": {
                "id": "51cdbc08989e975ec300772a", "objectType": "users", "createdAt": "2013-06-28T16:38:32.369Z",
                "updatedAt": "2013-06-28T16:38:32.370Z", "username": "wim",
            },
            "access": {"read": [{"id": "*", "objectType": "aclSubject"}], "admin": []},
        })
    }

    fn read(line: &Value, object_type: &str) -> Result<Parcel> {
        super::read(
            line.to_string().as_bytes(),
            &object_type.parse().unwrap(),
            UNKNOWN,
        )
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let user = read(&user(), "users").unwrap();
        assert_eq!(user.login.as_ref().unwrap().password, UNKNOWN);
        let hash = format!(
            "$argon2id$v=19$m=19456,t=2,p=1${}${}",
            "c29tZXNhbHQ",
            "A".repeat(43)
        );
        let known = Parcel {
            login: Some(Login {
                password: hash,
                password_at: Timestamp::from_millis(5),
                email_verified_at: Some(Timestamp::from_millis(6)),
            }),
            ..user
        };
        let again = super::read(write(&known).as_bytes(), &ObjectType::users(), UNKNOWN).unwrap();
        assert_eq!((again.object, again.login), (known.object, known.login));
        assert_eq!(again.access, known.access);
    }

    #[test]
    fn the_line_of_a_file_says_where_it_belongs() {
        let mut line = user();
        line["object"]["objectType"] = json!("files");
        line["file"] = json!({
            "sha256": "ab".repeat(32), "bytes": 7, "attached": true, "linked": true,
            "owner": {"objectType": "objects.photos", "id": "51cdbc08989e975ec300772b", "propertyName": "picture"},
        });
        let parcel = read(&line, "files").unwrap();
        let file = parcel.file.clone().unwrap();
        assert!(file.is_attached && file.is_linked);
        assert_eq!(
            file.owner.as_ref().unwrap().property.as_deref(),
            Some("picture")
        );
        let files = "files".parse().unwrap();
        let again = super::read(write(&parcel).as_bytes(), &files, UNKNOWN).unwrap();
        assert_eq!(again.file, Some(file));
        for wrong in [
            json!(null),
            json!({"sha256": "ab", "bytes": 7}),
            json!({"sha256": "ab".repeat(32)}),
            json!({"sha256": "ab".repeat(32), "bytes": -1}),
            json!({"sha256": "ab".repeat(32), "bytes": 7, "owner": {"id": "x"}}),
        ] {
            line["file"] = wrong.clone();
            assert!(read(&line, "files").is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_name_and_the_type_of_a_file_are_cleaned() {
        let mut line = user();
        line["object"]["objectType"] = json!("files");
        line["file"] = json!({"sha256": "ab".repeat(32), "bytes": 7});
        let long = format!("{}.png", "x".repeat(400));
        let shortened = format!("{}.png", "x".repeat(251));
        for (said, expected) in [
            (("a.png", "image/png"), ("a.png", "image/png")),
            (
                ("a.png", "application/octet-stream"),
                ("a.png", "application/octet-stream"),
            ),
            (
                ("../../a\u{202e}\r\n.png", "text/html\r\nx: y"),
                ("a.png", "image/png"),
            ),
            ((&long, "Text/Plain"), (&shortened, "text/plain")),
        ] {
            line["object"]["fileName"] = json!(said.0);
            line["object"]["contentType"] = json!(said.1);
            let parcel = read(&line, "files").unwrap();
            let shown: Value = serde_json::from_str(&parcel.object.text).unwrap();
            let found = (
                shown["fileName"].as_str().unwrap(),
                shown["contentType"].as_str().unwrap(),
            );
            assert_eq!(found, expected, "{said:?}");
        }
        line["object"]["fileName"] = json!({"a": 1});
        line["object"]["contentType"] = json!(1);
        let parcel = read(&line, "files").unwrap();
        let shown: Value = serde_json::from_str(&parcel.object.text).unwrap();
        assert!(shown["fileName"].is_string() && shown["contentType"].is_string());
        // Elsewhere these are properties like others.
        let mut line = user();
        line["object"]["fileName"] = json!("../a");
        let kept = read(&line, "users").unwrap().object.text;
        assert!(kept.contains("\"../a\""), "{kept}");
    }

    #[test]
    fn what_is_wrong_is_refused() {
        assert!(read(&user(), "usergroups").is_err(), "another type");
        for (pointer, wrong) in [
            ("/access", json!(null)),
            ("/access", json!({"read": ["x"]})),
            ("/object", json!(1)),
            ("/object/id", json!("x")),
            ("/object/createdAt", json!("now")),
        ] {
            let mut line = user();
            *line.pointer_mut(pointer).unwrap() = wrong;
            assert!(read(&line, "users").is_err(), "{pointer}");
        }
        let mut line = user();
        line["password"] = json!("plain");
        assert!(read(&line, "users").is_err());
        for junk in [&b"{"[..], b"[]", b"", b"\xff", b"{\"object\":"] {
            assert!(super::read(junk, &ObjectType::users(), UNKNOWN).is_err());
            assert!(read_member(junk).is_err());
        }
        // Deep nesting is refused and not followed.
        let deep = format!(
            "{{\"object\":{}{}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(super::read(deep.as_bytes(), &ObjectType::users(), UNKNOWN).is_err());
    }

    #[test]
    fn a_member_is_read_as_it_was_written() {
        let member = Membership {
            usergroup: "51cdbc08989e975ec300772a".parse().unwrap(),
            user: "51cdbc08989e975ec300772b".parse().unwrap(),
        };
        assert_eq!(
            read_member(write_member(member).as_bytes()).unwrap(),
            member
        );
        assert!(read_member(br#"{"usergroup":"51cdbc08989e975ec300772a"}"#).is_err());
    }
}
