//! What is said of a file beside its bytes: its name, its content type, and what it is for (`eds.md` §10).
//!
//! Names and types come from people and their programs, and go into headers, addresses and file systems of others. So
//! neither is refused, and neither is believed: [`FileName`] and [`ContentType`] hold what is left after cleaning.

use std::fmt;

use serde_json::{Map, Value};

use crate::object::SYSTEM_PROPERTIES;
use crate::{Error, ObjectId, ObjectType, Result};

/// How long the name of a file may be: what most file systems take.
const NAME_BYTES_MAX: usize = 255;
/// An ending is kept when a name is shortened, if it is no longer than this, its dot included.
const ENDING_BYTES_MAX: usize = 16;
/// What a file is called whose name has nothing in it.
const UNNAMED: &str = "file";
const CONTENT_TYPE_BYTES_MAX: usize = 127;
const PROPERTY_BYTES_MAX: usize = 200;

/// What is known of a file that nobody knows anything about.
const OCTETS: &str = "application/octet-stream";

/// The properties of a file that follow from its bytes and its place. A client that sends them back is not heard.
pub const FILE_PROPERTIES: [&str; 7] = [
    "fileSize",
    "status",
    "sha256",
    "received",
    "url",
    "variants",
    "targetFileProperty",
];

/// The name of a file: no path, nothing that is not seen, and short enough for every file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(String);

impl FileName {
    /// What is left of a name when what could lead somewhere else, or make it look like another one, is taken out.
    pub fn clean(text: &str) -> Self {
        // Clients of both worlds send whole paths.
        let last = text
            .rsplit(['/', '\\'])
            .find(|part| !part.trim().is_empty());
        let seen: String = last
            .unwrap_or_default()
            .chars()
            .filter(|letter| !letter.is_control() && !is_invisible(*letter))
            .collect();
        // Leading dots hide a file or lead upwards, and trailing ones are dropped silently by some systems.
        let bare = seen.trim().trim_end_matches(['.', ' ']);
        let bare = match bare.trim_start_matches('.') {
            "" => "",
            rest if bare.starts_with("..") => rest,
            _ => bare,
        };
        match shortened(bare) {
            name if name.is_empty() => Self(UNNAMED.to_owned()),
            name => Self(name),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the last dot, in lower case; empty when there is none.
    fn ending(&self) -> String {
        let ending = self.0.rsplit_once('.').map(|(_, ending)| ending);
        ending.unwrap_or_default().to_ascii_lowercase()
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Marks that turn the direction of a text, or join and separate nothing: with them `exe.gnp` reads as `png.exe`.
fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// At most [`NAME_BYTES_MAX`] bytes, with the ending.
fn shortened(name: &str) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    let ending = match name.rfind('.') {
        Some(dot) if name.len() - dot <= ENDING_BYTES_MAX => &name[dot..],
        _ => "",
    };
    let start = name.floor_char_boundary(NAME_BYTES_MAX - ending.len());
    format!("{}{ending}", &name[..start])
}

/// What kind of bytes a file has, as far as anybody said: `image/png`, `text/plain; charset=utf-8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType(String);

impl ContentType {
    /// Takes what somebody said, if it is a content type: two names and a slash, and parameters that fit into a header.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (essence, parameters) = match text.split_once(';') {
            Some((essence, parameters)) => (essence.trim_end(), parameters.trim()),
            None => (text, ""),
        };
        let (kind, name) = essence.split_once('/')?;
        let is_name = |name: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
            !name.is_empty() && name.bytes().all(fits)
        };
        let is_plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        let fits = is_name(kind)
            && is_name(name)
            && parameters.bytes().all(is_plain)
            && text.len() <= CONTENT_TYPE_BYTES_MAX;
        let mut shown = essence.to_ascii_lowercase();
        if !parameters.is_empty() {
            shown.push_str("; ");
            shown.push_str(parameters);
        }
        fits.then_some(Self(shown))
    }

    /// What a name suggests.
    pub fn guess(name: &FileName) -> Self {
        let ending = name.ending();
        let known = ENDINGS
            .iter()
            .find(|(_, endings)| endings.contains(&ending.as_str()));
        Self(known.map_or(OCTETS, |(kind, _)| kind).to_owned())
    }

    /// What was said, unless that says nothing, and else what the name suggests.
    pub fn of(said: Option<&str>, name: &FileName) -> Self {
        let said = said.and_then(Self::parse).filter(|kind| kind.0 != OCTETS);
        said.unwrap_or_else(|| Self::guess(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The content types that names are known to stand for.
const ENDINGS: &[(&str, &[&str])] = &[
    ("image/png", &["png"]),
    ("image/jpeg", &["jpg", "jpeg", "jpe"]),
    ("image/gif", &["gif"]),
    ("image/webp", &["webp"]),
    ("image/avif", &["avif"]),
    ("image/heic", &["heic"]),
    ("image/bmp", &["bmp"]),
    ("image/tiff", &["tif", "tiff"]),
    ("image/svg+xml", &["svg"]),
    ("image/x-icon", &["ico"]),
    ("audio/mpeg", &["mp3"]),
    ("audio/mp4", &["m4a"]),
    ("audio/ogg", &["oga", "ogg", "opus"]),
    ("audio/wav", &["wav"]),
    ("audio/flac", &["flac"]),
    ("video/mp4", &["mp4", "m4v"]),
    ("video/webm", &["webm"]),
    ("video/quicktime", &["mov"]),
    ("video/x-msvideo", &["avi"]),
    ("video/x-matroska", &["mkv"]),
    ("text/plain", &["txt", "log", "text", "ini", "conf"]),
    ("text/markdown", &["md"]),
    ("text/csv", &["csv"]),
    ("text/html", &["html", "htm"]),
    ("text/css", &["css"]),
    ("text/javascript", &["js", "mjs"]),
    ("text/calendar", &["ics"]),
    ("text/vcard", &["vcf"]),
    ("text/x-qml", &["qml"]),
    ("application/json", &["json"]),
    ("application/xml", &["xml"]),
    ("application/yaml", &["yaml", "yml"]),
    ("application/toml", &["toml"]),
    ("application/pdf", &["pdf"]),
    ("application/rtf", &["rtf"]),
    ("application/zip", &["zip"]),
    ("application/gzip", &["gz", "tgz"]),
    ("application/x-tar", &["tar"]),
    ("application/x-7z-compressed", &["7z"]),
    ("application/epub+zip", &["epub"]),
    ("application/msword", &["doc"]),
    ("application/vnd.ms-excel", &["xls"]),
    ("application/vnd.ms-powerpoint", &["ppt"]),
    (
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        &["docx"],
    ),
    (
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        &["xlsx"],
    ),
    (
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        &["pptx"],
    ),
    ("application/vnd.oasis.opendocument.text", &["odt"]),
    ("application/vnd.oasis.opendocument.spreadsheet", &["ods"]),
    ("application/vnd.sqlite3", &["sqlite", "sqlite3", "db"]),
    ("application/vnd.android.package-archive", &["apk"]),
    ("application/wasm", &["wasm"]),
    ("font/ttf", &["ttf"]),
    ("font/otf", &["otf"]),
    ("font/woff2", &["woff2"]),
    ("font/woff", &["woff"]),
];

/// What an upload is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTarget {
    pub object_type: ObjectType,
    pub id: ObjectId,
    /// The property that is to name the file; `None`: the client will name it itself.
    pub property: Option<String>,
}

impl FileTarget {
    /// As file objects show it.
    pub fn to_json(&self) -> Value {
        let mut shown = Map::new();
        shown.insert("id".to_owned(), self.id.to_string().into());
        shown.insert("objectType".to_owned(), self.object_type.as_str().into());
        if let Some(property) = &self.property {
            shown.insert("propertyName".to_owned(), property.as_str().into());
        }
        Value::Object(shown)
    }
}

/// What comes along with a file, as clients of different ages say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadNote {
    pub file_name: Option<String>,
    pub content_type: Option<String>,
    pub target: Option<FileTarget>,
}

impl UploadNote {
    /// Reads `{"targetFileProperty":{"id","objectType","propertyName"},"file":{"fileName"}}`, or what clients said
    /// before that, `{"object":{"id","objectType"},"fileName"}`. A target without an id is none.
    pub fn from_json(note: &Value) -> Result<Self> {
        let Value::Object(note) = note else {
            return Err(Error::bad_request(
                "what comes along with a file must be a JSON object, such as \
                 {\"targetFileProperty\":{\"id\":\"…\",\"objectType\":\"objects.photos\",\"propertyName\":\"file\"},\
                 \"file\":{\"fileName\":\"test.png\"}}",
            ));
        };
        let of_file = |name: &str| note.get("file").and_then(|file| text(file.get(name)));
        let target = match (note.get("targetFileProperty"), note.get("object")) {
            (Some(target), _) if !target.is_null() => target_of(target, "targetFileProperty")?,
            (_, Some(object)) if !object.is_null() => {
                let target = target_of(object, "object")?;
                target.map(|target| FileTarget {
                    property: None,
                    ..target
                })
            }
            _ => None,
        };
        Ok(Self {
            file_name: of_file("fileName").or_else(|| text(note.get("fileName"))),
            content_type: of_file("contentType").or_else(|| text(note.get("contentType"))),
            target,
        })
    }
}

fn text(value: Option<&Value>) -> Option<String> {
    let text = value?.as_str()?;
    (!text.trim().is_empty()).then(|| text.to_owned())
}

fn target_of(target: &Value, what: &str) -> Result<Option<FileTarget>> {
    if !target.is_object() {
        let message = format!("`{what}` must be an object with `id` and `objectType`");
        return Err(Error::bad_request(message));
    }
    let id = match target.get("id") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(id)) if id.is_empty() => return Ok(None),
        Some(id) => id.as_str().and_then(|id| id.parse().ok()),
    };
    let id = id.ok_or_else(|| {
        Error::not_found(format!(
            "`{what}` names an object that does not exist; an id is 24 lower-case hex characters"
        ))
    })?;
    let object_type = target.get("objectType").and_then(Value::as_str);
    let object_type: ObjectType = object_type.unwrap_or_default().parse()?;
    if object_type == ObjectType::files() {
        let message = format!("`{what}` names a file; files belong to objects that are none");
        return Err(Error::bad_request(message));
    }
    let property = match target.get("propertyName") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) if name.is_empty() => None,
        Some(Value::String(name)) if is_property(name) => Some(name.clone()),
        Some(_) => {
            let message = format!("`{what}` has a propertyName that no file can be set on");
            return Err(Error::bad_request(message));
        }
    };
    Ok(Some(FileTarget {
        object_type,
        id,
        property,
    }))
}

fn is_property(name: &str) -> bool {
    name.len() <= PROPERTY_BYTES_MAX
        && !name.starts_with('$')
        && !name.contains(['.', '\0'])
        && !SYSTEM_PROPERTIES.contains(&name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_leads_nowhere() {
        let table = [
            ("test.png", "test.png"),
            ("Käse & Brot (1).jpg", "Käse & Brot (1).jpg"),
            ("照片.png", "照片.png"),
            ("/etc/passwd", "passwd"),
            ("../../etc/passwd", "passwd"),
            ("..\\..\\boot.ini", "boot.ini"),
            ("C:\\Users\\a\\b.txt", "b.txt"),
            ("a/b/", "b"),
            ("..", "file"),
            (".", "file"),
            ("...", "file"),
            ("", "file"),
            ("   ", "file"),
            ("/", "file"),
            (".htaccess", ".htaccess"),
            ("..hidden", "hidden"),
            ("name. . ", "name"),
            ("a\0b\r\nc\u{7f}\u{85}.txt", "abc.txt"),
            ("\u{202e}gnp.exe", "gnp.exe"),
            ("in\u{200b}visible\u{feff}.txt", "invisible.txt"),
            ("..\u{202e}/x\u{2066}", "x"),
            ("\u{202e}..", "file"),
        ];
        for (given, expected) in table {
            assert_eq!(FileName::clean(given).as_str(), expected, "{given:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_ending() {
        let long = format!("{}.jpeg", "ä".repeat(300));
        let name = FileName::clean(&long);
        assert!(name.as_str().len() <= NAME_BYTES_MAX);
        assert!(name.as_str().ends_with("ä.jpeg"));
        let dots = FileName::clean(&format!("a.{}", "b".repeat(400)));
        assert_eq!(dots.as_str().len(), NAME_BYTES_MAX);
        assert!(FileName::clean(&"x".repeat(255)).as_str().len() == 255);
    }

    #[test]
    fn a_content_type_is_what_was_said_or_what_the_name_suggests() {
        let of = |said: Option<&str>, name: &str| {
            ContentType::of(said, &FileName::clean(name)).to_string()
        };
        assert_eq!(of(Some("image/png"), "a.txt"), "image/png");
        assert_eq!(
            of(Some(" Text/Plain ;charset=UTF-8"), "a"),
            "text/plain; charset=UTF-8"
        );
        assert_eq!(of(None, "A.JPG"), "image/jpeg");
        assert_eq!(of(None, "a.unheard"), OCTETS);
        assert_eq!(of(None, "noending"), OCTETS);
        // Says nothing, or cannot be a content type.
        for said in [
            OCTETS,
            "",
            "png",
            "image/",
            "/png",
            "image/png\r\nSet-Cookie: a=b",
            "image/png; a=\u{e4}",
            "a b/c",
            "image/png/x; y",
        ] {
            assert_eq!(of(Some(said), "a.gif"), "image/gif", "{said:?}");
        }
        let long = format!("a/b; {}", "c".repeat(200));
        assert_eq!(of(Some(&long), "a.gif"), "image/gif");
    }

    #[test]
    fn each_client_says_its_own_way_what_a_file_is_for() {
        let id = "51cdbc08989e975ec300772a";
        let target = |property: Option<&str>| {
            Some(FileTarget {
                object_type: ObjectType::custom("photos").unwrap(),
                id: id.parse().unwrap(),
                property: property.map(str::to_owned),
            })
        };
        let reference = json!({"id": id, "objectType": "objects.photos", "propertyName": "file"});
        let table = [
            // Qt since 2013, and the Java app.
            (
                json!({"targetFileProperty": reference, "file": {"fileName": "test.png"}}),
                (Some("test.png"), target(Some("file"))),
            ),
            // Node and C++.
            (
                json!({"targetFileProperty": reference}),
                (None, target(Some("file"))),
            ),
            // Qt before.
            (
                json!({"object": {"id": id, "objectType": "objects.photos"}, "fileName": "a.b"}),
                (Some("a.b"), target(None)),
            ),
            (json!({"object": reference}), (None, target(None))),
            // Nothing to belong to.
            (json!({"file": {"fileName": " "}}), (None, None)),
            (
                json!({"targetFileProperty": null, "object": null}),
                (None, None),
            ),
            (
                json!({"targetFileProperty": {"objectType": "objects.photos", "propertyName": "file"}}),
                (None, None),
            ),
            (json!({"targetFileProperty": {"id": ""}}), (None, None)),
            (json!({}), (None, None)),
        ];
        for (note, (name, target)) in table {
            let read = UploadNote::from_json(&note).unwrap();
            assert_eq!(
                (read.file_name.as_deref(), read.target),
                (name, target),
                "{note}"
            );
        }
    }

    #[test]
    fn a_target_that_cannot_be_one_is_refused() {
        let id = "51cdbc08989e975ec300772a";
        let bad = crate::Kind::BadRequest;
        let table = [
            (json!([]), bad),
            (json!("x"), bad),
            (json!({"targetFileProperty": "x"}), bad),
            (json!({"targetFileProperty": {"id": id}}), bad),
            (
                json!({"targetFileProperty": {"id": id, "objectType": "nothing"}}),
                bad,
            ),
            (
                json!({"targetFileProperty": {"id": id, "objectType": "files"}}),
                bad,
            ),
            (
                json!({"targetFileProperty": {"id": id, "objectType": "users", "propertyName": "$x"}}),
                bad,
            ),
            (
                json!({"targetFileProperty": {"id": id, "objectType": "users", "propertyName": "a.b"}}),
                bad,
            ),
            (
                json!({"targetFileProperty": {"id": id, "objectType": "users", "propertyName": "creator"}}),
                bad,
            ),
            (
                json!({"targetFileProperty": {"id": id, "objectType": "users", "propertyName": 5}}),
                bad,
            ),
            (
                json!({"targetFileProperty": {"id": "INVALID_ID", "objectType": "users"}}),
                crate::Kind::NotFound,
            ),
            (
                json!({"object": {"id": 5, "objectType": "users"}}),
                crate::Kind::NotFound,
            ),
        ];
        for (note, kind) in table {
            assert_eq!(
                UploadNote::from_json(&note).unwrap_err().kind,
                kind,
                "{note}"
            );
        }
    }
}
