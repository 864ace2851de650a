//! What a whole collection allows: who may list it and add to it, and which list a new object gets (`eds.md` §9.1).

use serde_json::{Map, Value, json};

use super::list::AccessList;
use super::subject::{Subject, Subjects, member};
use crate::{Error, ObjectType, Result};

/// The part of a type's schema that decides about rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionRights {
    /// Who may list and count.
    pub read: Subjects,
    /// Who may add an object.
    pub create: Subjects,
    /// The list of a new object, in which `creator` stands for whoever creates it.
    pub template: AccessList,
    /// Who may see and change the members of a usergroup. It has no meaning for other types.
    pub members: MemberRights,
    /// The references by which objects inherit.
    pub extends: Vec<Extends>,
}

/// Whoever administers the group may do all of it in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberRights {
    pub read: Subjects,
    pub create: Subjects,
    pub delete: Subjects,
}

/// A reference by which an object inherits the list of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extends {
    pub property: String,
    /// Objects of this type are inherited from, and no others; `None`: of any.
    pub object_type: Option<ObjectType>,
}

impl CollectionRights {
    /// Of a type that nobody restricted, in a backend that everybody may use (§9.2).
    pub fn open() -> Self {
        let everyone = Subjects::everyone;
        Self {
            read: everyone(),
            create: everyone(),
            template: AccessList {
                admin: Subjects::of([Subject::Creator]),
                ..AccessList::open()
            },
            members: MemberRights {
                read: everyone(),
                create: everyone(),
                delete: everyone(),
            },
            extends: Vec::new(),
        }
    }

    /// Of a type in a private backend: signed-in users may create and list; what they create is theirs alone.
    pub fn private() -> Self {
        Self {
            read: Subjects::authenticated(),
            create: Subjects::authenticated(),
            template: AccessList {
                admin: Subjects::of([Subject::Creator]),
                ..AccessList::default()
            },
            members: MemberRights::default(),
            extends: Vec::new(),
        }
    }

    /// Of the users of a private backend: everybody may still register.
    pub fn private_users() -> Self {
        Self {
            create: Subjects::everyone(),
            ..Self::private()
        }
    }

    /// These rights with those of a schema in their place where it names any. A schema's keys are
    /// `accessControlList` (`read`, `create`, and for usergroups `members`), `accessControlListTemplate`, and the
    /// `properties` that extend.
    pub fn overlaid(mut self, schema: &Map<String, Value>) -> Result<Self> {
        if let Some(lists) = object(schema, "accessControlList")? {
            set(&mut self.read, member(lists, "read")?);
            set(&mut self.create, member(lists, "create")?);
            if let Some(members) = object(lists, "members")? {
                set(&mut self.members.read, member(members, "read")?);
                set(&mut self.members.create, member(members, "create")?);
                set(&mut self.members.delete, member(members, "delete")?);
            }
        }
        self.refuse_creator()?;
        if let Some(template) = schema
            .get("accessControlListTemplate")
            .filter(|value| !value.is_null())
        {
            self.template = AccessList::template_from_json(template)?;
        }
        if let Some(Value::Array(properties)) = schema.get("properties") {
            self.extends = properties
                .iter()
                .filter_map(Extends::from_property)
                .collect();
        }
        Ok(self)
    }

    /// `creator` means nothing where there is no object yet.
    fn refuse_creator(&self) -> Result<()> {
        let MemberRights {
            read,
            create,
            delete,
        } = &self.members;
        let lists = [&self.read, &self.create, read, create, delete];
        if lists.iter().any(|list| list.contains(&Subject::Creator)) {
            return Err(Error::bad_request(
                "`creator` stands for whoever creates an object, so it can only be in accessControlListTemplate",
            ));
        }
        Ok(())
    }

    /// `accessControlList` as schemas show it; `members` only for usergroups.
    pub fn access_json(&self, with_members: bool) -> Value {
        let mut lists = json!({"read": self.read.to_json(), "create": self.create.to_json()});
        if with_members {
            let MemberRights {
                read,
                create,
                delete,
            } = &self.members;
            lists["members"] = json!({"read": read.to_json(), "create": create.to_json(), "delete": delete.to_json()});
        }
        lists
    }

    /// A short text that [`CollectionRights::from_text`] reads back.
    pub fn to_text(&self) -> String {
        let extends: Vec<Value> = self
            .extends
            .iter()
            .map(|extends| {
                json!([
                    extends.property,
                    extends.object_type.as_ref().map(ObjectType::as_str)
                ])
            })
            .collect();
        format!(
            r#"[[{},{},{},{},{}],{},{}]"#,
            self.read.to_text(),
            self.create.to_text(),
            self.members.read.to_text(),
            self.members.create.to_text(),
            self.members.delete.to_text(),
            self.template.to_text(),
            Value::Array(extends),
        )
    }

    pub fn from_text(text: &str) -> Result<Self> {
        type Texts = (Vec<Value>, Value, Vec<(String, Option<String>)>);
        let (lists, template, extends): Texts =
            serde_json::from_str(text).map_err(Error::internal)?;
        let list = |place: usize| {
            let list = lists
                .get(place)
                .ok_or_else(|| Error::internal("stored rights lack a list"))?;
            Subjects::from_text(&list.to_string())
        };
        let extends = extends.into_iter().map(|(property, object_type)| {
            let object_type = object_type.map(|name| name.parse()).transpose()?;
            Ok(Extends {
                property,
                object_type,
            })
        });
        Ok(Self {
            read: list(0)?,
            create: list(1)?,
            members: MemberRights {
                read: list(2)?,
                create: list(3)?,
                delete: list(4)?,
            },
            template: AccessList::from_text(&template.to_string())?,
            extends: extends.collect::<Result<_>>()?,
        })
    }
}

impl Extends {
    /// From a property of a schema, when it is a reference that says so.
    fn from_property(property: &Value) -> Option<Self> {
        let extends = property.pointer("/onCreate/accessControlList")? == "extend";
        let object_type = property.get("objectType").and_then(Value::as_str);
        let name = property.get("name")?.as_str()?.to_owned();
        (extends && property.get("type")? == "ref").then(|| Self {
            property: name,
            object_type: object_type.and_then(|name| name.parse().ok()),
        })
    }

    /// The objects that a document inherits from by this reference; an array of references counts by element.
    pub fn parents<'a>(&self, document: &'a Value) -> Vec<(&'a str, &'a str)> {
        let fits = |object_type: &str| {
            let asked = self.object_type.as_ref();
            asked.is_none_or(|asked| asked.as_str() == object_type)
        };
        let reference = |value: &'a Value| {
            let id = value.get("id")?.as_str()?;
            let object_type = value.get("objectType")?.as_str()?;
            fits(object_type).then_some((object_type, id))
        };
        match document.get(&self.property) {
            Some(Value::Array(items)) => items.iter().filter_map(reference).collect(),
            Some(value) => reference(value).into_iter().collect(),
            None => Vec::new(),
        }
    }
}

fn set(subjects: &mut Subjects, given: Option<Subjects>) {
    if let Some(given) = given {
        *subjects = given;
    }
}

fn object<'a>(
    parent: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a Map<String, Value>>> {
    match parent.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(members)) => Ok(Some(members)),
        Some(_) => Err(Error::bad_request(format!(
            "`{name}` must be a JSON object"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else {
            unreachable!("tests write objects");
        };
        map
    }

    #[test]
    fn a_schema_changes_only_what_it_names() {
        let rights = CollectionRights::open()
            .overlaid(&schema(json!({
                "accessControlList": {"create": []},
                "properties": [
                    {"name": "board", "type": "ref", "objectType": "objects.boards",
                     "onCreate": {"accessControlList": "extend"}},
                    {"name": "owner", "type": "ref", "objectType": "users",
                     "onCreate": {"accessControlList": "schema"}},
                    {"name": "title", "type": "string"},
                ],
            })))
            .unwrap();
        assert_eq!(rights.read, Subjects::everyone());
        assert!(rights.create.is_empty());
        assert_eq!(rights.template, CollectionRights::open().template);
        assert_eq!(rights.extends.len(), 1);
        assert_eq!(
            CollectionRights::from_text(&rights.to_text()).unwrap(),
            rights
        );
        let document = json!({"board": {"id": "a", "objectType": "objects.boards", "more": 1}});
        assert_eq!(
            rights.extends[0].parents(&document),
            [("objects.boards", "a")]
        );
        let other = json!({"board": [{"id": "a", "objectType": "users"}, 5]});
        assert!(rights.extends[0].parents(&other).is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let creator = json!([{"id": "creator", "objectType": "aclSubject"}]);
        for wrong in [
            json!({"accessControlList": {"create": creator}}),
            json!({"accessControlList": []}),
            json!({"accessControlListTemplate": []}),
        ] {
            assert!(
                CollectionRights::open()
                    .overlaid(&schema(wrong.clone()))
                    .is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_private_backend_keeps_everything_to_whoever_creates_it() {
        let rights = CollectionRights::private();
        let creator = crate::ObjectId::from_bytes([1; 12]);
        let list = rights.template.resolve(Some(creator));
        assert_eq!((list.read.len(), list.admin.len()), (0, 1));
        assert!(!rights.read.includes(&super::super::Asker::Anonymous));
        let registering = CollectionRights::private_users().create;
        assert!(registering.includes(&super::super::Asker::Anonymous));
    }
}
