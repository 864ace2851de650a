//! The list of an object, and who may read by it.

use serde_json::{Map, Value};

use super::subject::{Subject, Subjects, member};
use super::{Asker, Permission};
use crate::{Error, ObjectId, Result};

/// Who may read, update, delete and administer an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AccessList {
    pub read: Subjects,
    pub update: Subjects,
    pub delete: Subjects,
    pub admin: Subjects,
}

/// What a request does to a list (`eds.md` §9.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessChange {
    /// PUT: adds the subjects to what is there.
    Add(AccessList),
    /// POST: puts the list in the place of the one that is there.
    Replace(AccessList),
    /// DELETE: takes the subjects away.
    Withdraw(AccessList),
}

impl AccessList {
    /// What everybody may do with objects of an open backend: all but administer them.
    pub fn open() -> Self {
        Self {
            read: Subjects::everyone(),
            update: Subjects::everyone(),
            delete: Subjects::everyone(),
            admin: Subjects::default(),
        }
    }

    /// Reads a request's body: any of the four lists; all else in it does not matter. `creator` stands for nobody
    /// once an object exists, so it is refused.
    pub fn from_json(body: &Value) -> Result<Self> {
        let list = Self::template_from_json(body)?;
        let names_creator = |permission| list.of(permission).contains(&Subject::Creator);
        if Permission::ALL.into_iter().any(names_creator) {
            return Err(Error::bad_request(
                "`creator` stands for whoever creates an object, so it can only be in a template",
            ));
        }
        Ok(list)
    }

    /// The same where `creator` may occur.
    pub fn template_from_json(body: &Value) -> Result<Self> {
        let Value::Object(body) = body else {
            return Err(Error::bad_request(
                "an access list is a JSON object with the arrays read, update, delete and admin",
            ));
        };
        let given = |permission: Permission| {
            Ok::<_, Error>(member(body, permission.as_str())?.unwrap_or_default())
        };
        Ok(Self {
            read: given(Permission::Read)?,
            update: given(Permission::Update)?,
            delete: given(Permission::Delete)?,
            admin: given(Permission::Admin)?,
        })
    }

    /// What replies show: always all four.
    pub fn to_json(&self) -> Value {
        let entries = Permission::ALL.into_iter().map(|permission| {
            (
                permission.as_str().to_owned(),
                self.of(permission).to_json(),
            )
        });
        Value::Object(Map::from_iter(entries))
    }

    pub fn of(&self, permission: Permission) -> &Subjects {
        match permission {
            Permission::Read => &self.read,
            Permission::Update => &self.update,
            Permission::Delete => &self.delete,
            Permission::Admin => &self.admin,
        }
    }

    /// Whether this list gives the asker the permission. For an object that inherits it must be the effective one.
    pub fn allows(&self, permission: Permission, asker: &Asker) -> bool {
        self.of(permission).includes(asker) || self.admin.includes(asker)
    }

    /// Adds all that the other gives.
    pub fn extend(&mut self, other: &Self) {
        self.read.extend(&other.read);
        self.update.extend(&other.update);
        self.delete.extend(&other.delete);
        self.admin.extend(&other.admin);
    }

    /// The list after a change. Refuses one that grew too long.
    pub fn changed_by(mut self, change: AccessChange) -> Result<Self> {
        match change {
            AccessChange::Replace(list) => return Ok(list),
            AccessChange::Add(list) => self.extend(&list),
            AccessChange::Withdraw(list) => {
                self.read.withdraw(&list.read);
                self.update.withdraw(&list.update);
                self.delete.withdraw(&list.delete);
                self.admin.withdraw(&list.admin);
            }
        }
        for permission in Permission::ALL {
            self.of(permission).check_size(permission.as_str())?;
        }
        Ok(self)
    }

    /// A template becomes the list of a new object.
    #[must_use]
    pub fn resolve(self, creator: Option<ObjectId>) -> Self {
        Self {
            read: self.read.resolve(creator),
            update: self.update.resolve(creator),
            delete: self.delete.resolve(creator),
            admin: self.admin.resolve(creator),
        }
    }

    /// One text for each list, however it was written.
    pub fn to_text(&self) -> String {
        let lists = Permission::ALL.map(|permission| self.of(permission).to_text());
        format!("[{}]", lists.join(","))
    }

    /// Reads [`AccessList::to_text`] back.
    pub fn from_text(text: &str) -> Result<Self> {
        let lists: [Vec<String>; 4] = serde_json::from_str(text).map_err(Error::internal)?;
        let [read, update, delete, admin] = lists.map(|list| {
            let subjects = list.iter().map(|subject| subject.parse());
            subjects.collect::<Result<Vec<_>>>().map(Subjects::of)
        });
        Ok(Self {
            read: read?,
            update: update?,
            delete: delete?,
            admin: admin?,
        })
    }
}

/// Who may read an object: what lists and counts filter by, and who hears of its changes. Where everybody may, it is
/// nobody else's name that counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Readers(Subjects);

impl Readers {
    /// Of an effective list: whoever may read or administer.
    pub fn of(list: &AccessList) -> Self {
        let mut subjects = list.read.clone();
        subjects.extend(&list.admin);
        Self::normal(subjects)
    }

    pub fn everyone() -> Self {
        Self(Subjects::everyone())
    }

    fn normal(subjects: Subjects) -> Self {
        if subjects.contains(&Subject::Everyone) {
            return Self::everyone();
        }
        Self(subjects)
    }

    /// Those who are among these or the others.
    #[must_use]
    pub fn union(&self, others: &Self) -> Self {
        let mut subjects = self.0.clone();
        subjects.extend(&others.0);
        Self::normal(subjects)
    }

    /// Whether the others add nobody.
    pub fn cover(&self, others: &Self) -> bool {
        self.0.contains(&Subject::Everyone) || others.0.is_subset(&self.0)
    }

    pub fn includes(&self, asker: &Asker) -> bool {
        self.0.includes(asker)
    }

    pub fn subjects(&self) -> &Subjects {
        &self.0
    }

    /// One text for each set.
    pub fn to_text(&self) -> String {
        self.0.to_text()
    }

    /// Reads [`Readers::to_text`] back.
    pub fn from_text(text: &str) -> Result<Self> {
        Subjects::from_text(text).map(Self::normal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn user(number: u8) -> Asker {
        Asker::User {
            id: ObjectId::from_bytes([number; 12]),
            groups: vec![ObjectId::from_bytes([100 + number; 12])],
        }
    }

    fn list(value: &Value) -> AccessList {
        AccessList::from_json(value).unwrap()
    }

    fn reference(number: u8, object_type: &str) -> Value {
        json!({"id": ObjectId::from_bytes([number; 12]).to_string(), "objectType": object_type})
    }

    #[test]
    fn a_body_may_name_any_of_the_four_lists_and_other_things() {
        let partial = list(
            &json!({"id": "x", "objectType": 1, "read": [reference(1, "users")], "admin": null}),
        );
        assert_eq!(
            partial.to_json(),
            json!({"read": [reference(1, "users")], "update": [], "delete": [], "admin": []})
        );
        for wrong in [json!([]), json!({"read": {}}), json!({"read": ["*"]})] {
            assert!(AccessList::from_json(&wrong).is_err(), "{wrong}");
        }
        let creator = json!({"admin": [{"id": "creator", "objectType": "aclSubject"}]});
        assert!(AccessList::from_json(&creator).is_err());
        let template = AccessList::template_from_json(&creator).unwrap();
        assert_eq!(template.clone().resolve(None), AccessList::default());
        let resolved = template.resolve(Some(ObjectId::from_bytes([1; 12])));
        assert_eq!(resolved.admin.to_json(), json!([reference(1, "users")]));
    }

    #[test]
    fn admin_implies_the_rest_and_groups_count() {
        let owned = list(
            &json!({"admin": [reference(1, "users")], "update": [reference(102, "usergroups")]}),
        );
        for permission in Permission::ALL {
            assert!(owned.allows(permission, &user(1)));
            assert!(owned.allows(permission, &Asker::Admin));
            assert!(!owned.allows(permission, &Asker::Anonymous));
            assert_eq!(
                owned.allows(permission, &user(2)),
                permission == Permission::Update
            );
        }
        let open = AccessList::open();
        assert!(open.allows(Permission::Delete, &Asker::Anonymous));
        assert!(!open.allows(Permission::Admin, &user(1)));
        let signed_in = AccessList {
            read: Subjects::authenticated(),
            ..AccessList::default()
        };
        assert!(signed_in.allows(Permission::Read, &user(9)));
        assert!(!signed_in.allows(Permission::Read, &Asker::Anonymous));
    }

    #[test]
    fn the_verbs_add_replace_and_withdraw() {
        let one = list(&json!({"read": [reference(1, "users")]}));
        let two =
            list(&json!({"read": [reference(2, "users")], "update": [reference(2, "users")]}));
        let added = one
            .clone()
            .changed_by(AccessChange::Add(two.clone()))
            .unwrap();
        assert_eq!((added.read.len(), added.update.len()), (2, 1));
        let again = added
            .clone()
            .changed_by(AccessChange::Add(two.clone()))
            .unwrap();
        assert_eq!(again, added);
        let withdrawn = added
            .clone()
            .changed_by(AccessChange::Withdraw(two.clone()))
            .unwrap();
        assert_eq!(withdrawn, one);
        assert_eq!(
            added
                .changed_by(AccessChange::Replace(two.clone()))
                .unwrap(),
            two
        );
    }

    #[test]
    fn a_list_cannot_grow_without_end() {
        let many = |from: usize| AccessList {
            read: Subjects::of((from..from + 600).map(|n| Subject::User(n.to_string()))),
            ..AccessList::default()
        };
        assert!(many(0).changed_by(AccessChange::Add(many(300))).is_ok());
        assert!(many(0).changed_by(AccessChange::Add(many(600))).is_err());
    }

    #[test]
    fn a_text_is_read_back() {
        let written =
            list(&json!({"read": [reference(1, "users")], "admin": [reference(2, "usergroups")]}));
        assert_eq!(AccessList::from_text(&written.to_text()).unwrap(), written);
        assert_eq!(
            AccessList::open().to_text(),
            r#"[["aclSubject.*"],["aclSubject.*"],["aclSubject.*"],[]]"#
        );
    }

    #[test]
    fn where_everybody_may_read_nobody_else_is_named() {
        let mut open = AccessList::open();
        open.extend(&list(&json!({"admin": [reference(1, "users")]})));
        assert_eq!(Readers::of(&open), Readers::everyone());
        let closed = Readers::of(&list(
            &json!({"read": [reference(1, "users")], "admin": [reference(2, "users")]}),
        ));
        assert_eq!(closed.subjects().len(), 2);
        assert!(closed.includes(&user(2)) && !closed.includes(&user(3)));
        assert_eq!(closed.union(&Readers::everyone()), Readers::everyone());
        assert!(Readers::everyone().cover(&closed) && !closed.cover(&Readers::everyone()));
    }
}
