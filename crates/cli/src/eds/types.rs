//! `pilvi eds types`: what is said about object types.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::access::list;
use super::collection::{Collection, shown};
use super::subjects::{Subject, in_words, subject, template_subject};
use super::target::Backend;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::{Session, array, results, text};
use crate::table::{Table, elastic, whole};
use crate::url::segment;

/// A description of a type has at most this many bytes for the server.
const FILE_BYTES_MAX: u64 = 256 << 10;

#[derive(Args, Clone, Debug)]
pub(super) struct Types {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List the object types (this is what no verb does, too)
    List,
    /// Show an object type with its properties and its rights
    Show {
        #[arg(value_name = "TYPE")]
        collection: Collection,
    },
    /// Describe an object type, or add to what is known of it
    Set(Set),
    /// Remove an object type: what is said about it, and with --objects all its objects
    Remove(Remove),
    /// Change who may list and create objects of a type, and who may do what with new ones
    Access(Rights),
}

#[derive(Args, Clone, Debug)]
struct Set {
    #[arg(value_name = "TYPE")]
    collection: Collection,
    /// Properties with their types, such as title:string done:boolean author:ref=users
    #[arg(value_name = "PROPERTY:TYPE", value_parser = property)]
    properties: Vec<Property>,
    /// Objects take over the rights of what these references lead to, such as those of a note's notebook
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    inherit: Vec<String>,
    /// Properties that must be there, and neither null nor an empty text
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    required: Vec<String>,
    /// Properties whose value no two objects of the type have
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    unique: Vec<String>,
    /// Properties whose values must be of the type that is named for them
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    strict: Vec<String>,
    /// Properties to be searched by their words, and found fast
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    indexed: Vec<String>,
    /// Objects go with what these references lead to, as cards go with their board
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    delete_with: Vec<String>,
    /// These references become null when what they lead to is deleted
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    clear: Vec<String>,
    /// What these references lead to cannot be deleted
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    restrict: Vec<String>,
    /// Tell the notification stream of objects of this type
    #[arg(long)]
    stream: bool,
    /// Take the whole description from this file: an object with `properties`, `settings`, `validators`
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "properties", "inherit", "required", "unique", "strict", "indexed", "delete_with", "clear", "restrict",
        "stream",
    ])]
    file: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
struct Remove {
    #[arg(value_name = "TYPE")]
    collection: Collection,
    /// Delete the objects of the type, too; a type that has some stays otherwise
    #[arg(long)]
    objects: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Args, Clone, Debug)]
struct Rights {
    #[arg(value_name = "TYPE")]
    collection: Collection,
    /// Who may list objects of this type, such as everyone, authenticated or users.ID,usergroups.ID
    #[arg(long, value_name = "SUBJECTS", value_delimiter = ',', value_parser = subject)]
    list: Option<Vec<Subject>>,
    /// Who may create some
    #[arg(long, value_name = "SUBJECTS", value_delimiter = ',', value_parser = subject)]
    create: Option<Vec<Subject>>,
    /// Who may read an object that is created from now on; `creator` is whoever creates it
    #[arg(long, value_name = "SUBJECTS", value_delimiter = ',', value_parser = template_subject)]
    new_read: Option<Vec<Subject>>,
    /// Who may change one
    #[arg(long, value_name = "SUBJECTS", value_delimiter = ',', value_parser = template_subject)]
    new_update: Option<Vec<Subject>>,
    /// Who may delete one
    #[arg(long, value_name = "SUBJECTS", value_delimiter = ',', value_parser = template_subject)]
    new_delete: Option<Vec<Subject>>,
    /// Who may do all of that and share it
    #[arg(long, value_name = "SUBJECTS", value_delimiter = ',', value_parser = template_subject)]
    new_admin: Option<Vec<Subject>>,
}

/// `done:boolean`, or `author:ref=users`.
#[derive(Clone, Debug, PartialEq)]
struct Property {
    name: String,
    kind: String,
    refers_to: Option<String>,
}

fn property(text: &str) -> std::result::Result<Property, &'static str> {
    let hint = "write NAME:TYPE, such as title:string, or NAME:ref=OBJECT_TYPE";
    let (name, kind) = text.split_once(':').ok_or(hint)?;
    let (kind, refers_to) = match kind.split_once('=') {
        Some((kind, refers_to)) => (kind, Some(refers_to)),
        None => (kind, None),
    };
    if name.is_empty() || kind.is_empty() || refers_to.is_some_and(str::is_empty) {
        return Err(hint);
    }
    let refers_to = refers_to.map(|name| {
        let Ok(collection) = name.parse::<Collection>();
        collection.name
    });
    Ok(Property {
        name: name.to_owned(),
        kind: kind.to_owned(),
        refers_to,
    })
}

impl Types {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        match &self.verb {
            None | Some(Verb::List) => list_all(session, backend).await?,
            Some(Verb::Show { collection }) => {
                let found = find(backend, collection).await?;
                print(session, &found)?;
            }
            Some(Verb::Set(set)) => {
                let body = set.body(session)?;
                let changed = backend.post("object_types", &body).await?;
                print(session, &changed)?;
            }
            Some(Verb::Remove(remove)) => remove.carry_out(session, backend).await?,
            Some(Verb::Access(rights)) => {
                let found = find(backend, &rights.collection).await?;
                let body = rights.body(&found)?;
                let changed = backend.put(&resource(&rights.collection), &body).await?;
                print(session, &changed)?;
            }
        }
        Ok(0)
    }
}

fn resource(collection: &Collection) -> String {
    format!("object_types/{}", segment(&collection.name))
}

async fn find(backend: &Backend, collection: &Collection) -> Result<Value> {
    let found = backend.get(&resource(collection)).await;
    found.map_err(|failure| {
        let next = "see `pilvi eds types` for those that there are; the first insert makes one";
        failure.on(Code::NotFound, next)
    })
}

impl Set {
    fn body(&self, session: &Session<'_, '_>) -> Result<Value> {
        self.check()?;
        let mut body = match &self.file {
            Some(file) => read(&session.place.folder.join(file))?,
            None => self.described(),
        };
        body.insert("name".into(), self.collection.name.as_str().into());
        Ok(Value::Object(body))
    }

    fn described(&self) -> Map<String, Value> {
        let properties = self.properties.iter().map(|property| {
            let mut entry = json!({"name": property.name, "type": property.kind});
            if let Some(refers_to) = &property.refers_to {
                entry["objectType"] = refers_to.as_str().into();
            }
            if self.inherit.contains(&property.name) {
                entry["onCreate"] = json!({"accessControlList": "extend"});
            }
            if self.indexed.contains(&property.name) {
                entry["indexed"] = true.into();
            }
            let constraints = [
                (&self.delete_with, "deleteObject"),
                (&self.clear, "clear"),
                (&self.restrict, "restrict"),
            ];
            let named = constraints
                .iter()
                .find(|(names, _)| names.contains(&property.name));
            if let Some((_, dependency)) = named {
                entry["target"] = json!({"onDelete": {"dependency": dependency}});
            }
            entry
        });
        let properties: Vec<Value> = properties.collect();
        let mut body = Map::from_iter([("properties".to_owned(), properties.into())]);
        let rules = [
            ("required", &self.required),
            ("unique", &self.unique),
            ("type", &self.strict),
        ];
        let rules = rules.iter().flat_map(|(kind, names)| {
            let rule = move |name| json!({"property": name, "type": kind, "options": {}});
            names.iter().map(rule)
        });
        let rules: Vec<Value> = rules.collect();
        if !rules.is_empty() {
            body.insert("validators".to_owned(), rules.into());
        }
        if self.stream {
            body.insert("settings".to_owned(), json!({"websocket": true}));
        }
        body
    }

    /// What is said about a property needs the property: what it is was described with it.
    fn check(&self) -> Result<()> {
        let is_there = |name: &&String| self.properties.iter().any(|known| known.name == **name);
        for (option, names, example) in [
            ("inherit", &self.inherit, "ref=lists"),
            ("strict", &self.strict, "string"),
            ("indexed", &self.indexed, "string"),
            ("delete-with", &self.delete_with, "ref=lists"),
            ("clear", &self.clear, "ref=lists"),
            ("restrict", &self.restrict, "ref=lists"),
        ] {
            if let Some(name) = names.iter().find(|name| !is_there(name)) {
                return Err(Failure::usage(
                    format!("--{option} names {name}, which is none of the properties before it"),
                    format!("describe it as well, such as {name}:{example}"),
                ));
            }
        }
        Ok(())
    }
}

impl Remove {
    async fn carry_out(&self, session: &mut Session<'_, '_>, backend: &Backend) -> Result<()> {
        let name = self.collection.short();
        let mut resource = resource(&self.collection);
        let mut loss = "with what is said about it".to_owned();
        if self.objects {
            resource += "?objects=true";
            loss += " and all its objects";
        }
        session.confirm_removal(name, &loss, self.yes)?;
        let answer = backend.delete(&resource).await.map_err(|failure| {
            let next = "see `pilvi eds types` for those that there are";
            failure.on(Code::NotFound, next)
        })?;
        let line = match answer["objects"].as_u64() {
            None | Some(0) => format!("Removed the type {name}."),
            Some(1) => format!("Removed the type {name} with its only object."),
            Some(count) => format!("Removed the type {name} with {count} objects."),
        };
        session.done(&answer, &line)?;
        Ok(())
    }
}

fn read(file: &std::path::Path) -> Result<Map<String, Value>> {
    use std::io::Read as _;
    let shown = file.display();
    let next = "name a file with a JSON object such as {\"properties\":[{\"name\":\"title\",\"type\":\"string\"}]}";
    let fail = |why: String| Failure::usage(format!("{shown} {why}"), next);
    let opened =
        std::fs::File::open(file).map_err(|error| fail(format!("cannot be read: {error}")))?;
    let mut bytes = Vec::new();
    opened
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fail(format!("is longer than {FILE_BYTES_MAX} bytes")));
    }
    serde_json::from_slice(&bytes).map_err(|error| fail(format!("holds no JSON object: {error}")))
}

impl Rights {
    /// What is not named stays as it is.
    fn body(&self, present: &Value) -> Result<Value> {
        let mut lists = present["accessControlList"].clone();
        let mut template = present["accessControlListTemplate"].clone();
        let mut changes = 0;
        let mut set = |place: &mut Value, name: &str, subjects: &Option<Vec<Subject>>| {
            if let Some(subjects) = subjects {
                place[name] = list(subjects);
                changes += 1;
            }
        };
        set(&mut lists, "read", &self.list);
        set(&mut lists, "create", &self.create);
        set(&mut template, "read", &self.new_read);
        set(&mut template, "update", &self.new_update);
        set(&mut template, "delete", &self.new_delete);
        set(&mut template, "admin", &self.new_admin);
        match changes {
            0 => Err(Failure::usage(
                "nothing is to be changed",
                "name somebody with --list, --create, --new-read, --new-update, --new-delete or --new-admin",
            )),
            _ => Ok(json!({"accessControlList": lists, "accessControlListTemplate": template})),
        }
    }
}

async fn list_all(session: &mut Session<'_, '_>, backend: &Backend) -> Result<()> {
    let answer = backend.get("object_types").await?;
    if session.screen.wants_json() {
        return Ok(session.screen.json(&answer)?);
    }
    let mut table = Table::new(&[
        whole("TYPE"),
        elastic("PROPERTIES"),
        elastic("LIST"),
        elastic("CREATE"),
    ]);
    for found in results(&answer) {
        let names = array(&found["properties"])
            .iter()
            .map(|property| text(property, "name"));
        let rights = &found["accessControlList"];
        table.row([
            short(found),
            names.collect::<Vec<_>>().join(", "),
            in_words(&rights["read"]),
            in_words(&rights["create"]),
        ]);
    }
    Ok(session.screen.table(&table)?)
}

fn short(found: &Value) -> String {
    let Ok(collection) = text(found, "name").parse::<Collection>();
    collection.short().to_owned()
}

fn print(session: &mut Session<'_, '_>, found: &Value) -> Result<()> {
    if session.screen.wants_json() {
        return Ok(session.screen.json(found)?);
    }
    let (rights, template) = (
        &found["accessControlList"],
        &found["accessControlListTemplate"],
    );
    session.screen.facts(&[
        ("Type", short(found)),
        ("Listed by", in_words(&rights["read"])),
        ("Created by", in_words(&rights["create"])),
        ("New ones read by", in_words(&template["read"])),
        ("New ones changed by", in_words(&template["update"])),
        ("New ones deleted by", in_words(&template["delete"])),
        ("New ones shared by", in_words(&template["admin"])),
    ])?;
    session.screen.line("")?;
    let properties = array(&found["properties"]);
    if properties.is_empty() {
        return Ok(session.screen.line("No property is known yet.")?);
    }
    let mut table = Table::new(&[
        elastic("PROPERTY"),
        whole("TYPE"),
        elastic("REFERS TO"),
        whole("RIGHTS"),
        elastic("RULES"),
    ]);
    for property in properties {
        let inherits = property["onCreate"]["accessControlList"] == "extend";
        table.row([
            text(property, "name"),
            text(property, "type"),
            shown(&property["objectType"]),
            if inherits { "inherited" } else { "" }.to_owned(),
            rules(found, property),
        ]);
    }
    Ok(session.screen.table(&table)?)
}

/// What a property's value must be like, and what its reference means when its target goes.
fn rules(found: &Value, property: &Value) -> String {
    let name = &property["name"];
    let validators = array(&found["validators"]).iter();
    let own = validators.filter(|validator| validator["property"] == *name);
    let mut rules: Vec<String> = own.map(|validator| text(validator, "type")).collect();
    match property["target"]["onDelete"]["dependency"].as_str() {
        Some("deleteObject") => rules.push("goes with its target".to_owned()),
        Some("clear") => rules.push("cleared with its target".to_owned()),
        Some("restrict") => rules.push("keeps its target".to_owned()),
        _ => {}
    }
    if property["indexed"] == true {
        rules.push("indexed".to_owned());
    }
    if property["inferred"] == true {
        rules.push("only seen in use".to_owned());
    }
    rules.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_described_in_a_word() {
        let title = property("title:string").unwrap();
        assert_eq!(
            (&*title.name, &*title.kind, title.refers_to),
            ("title", "string", None)
        );
        let list = property("list:ref=todoLists").unwrap();
        assert_eq!(list.refers_to.as_deref(), Some("objects.todoLists"));
        for text in ["title", ":string", "title:", "list:ref="] {
            assert!(property(text).is_err(), "{text}");
        }
    }
}
