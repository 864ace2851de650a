//! What one client remembers: what the server acknowledged, and the one request whose fate it does not know.

use std::collections::BTreeMap;

use pilvi_e2e::api::{Backend, path_of, text};
use pilvi_e2e::chance::Chance;
use pilvi_e2e::http::{Reply, Request};
use pilvi_e2e::shape;
use serde_json::{Value, json};

/// Objects that a client keeps; with more it deletes.
const OBJECTS_MAX: usize = 40;

/// A client that alone writes the objects of one type.
pub(crate) struct Ledger {
    pub(crate) backend: Backend,
    object_type: String,
    /// As last acknowledged, by id.
    objects: BTreeMap<String, Value>,
    deleted: Vec<String>,
    doubt: Option<Change>,
    /// Every change carries another number.
    mark: u64,
    filler: usize,
}

/// Something to ask for.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Create(u64),
    Update(String, u64),
    Delete(String),
}

impl Ledger {
    /// `filler` is the size of an object beside what it means.
    pub(crate) fn new(backend: &Backend, name: &str, filler: usize) -> Self {
        Self {
            backend: backend.clone(),
            object_type: name.to_owned(),
            objects: BTreeMap::new(),
            deleted: Vec::new(),
            doubt: None,
            mark: 0,
            filler,
        }
    }

    /// Chooses what to do next.
    pub(crate) fn choose(&mut self, chance: &mut Chance) -> Change {
        self.mark += 1;
        let ids: Vec<&String> = self.objects.keys().collect();
        match chance.below(100) {
            _ if ids.is_empty() => Change::Create(self.mark),
            0..45 if ids.len() < OBJECTS_MAX => Change::Create(self.mark),
            0..80 => Change::Update((*chance.one_of(&ids)).clone(), self.mark),
            _ => Change::Delete((*chance.one_of(&ids)).clone()),
        }
    }

    /// A new object.
    pub(crate) fn choose_create(&mut self) -> Change {
        self.mark += 1;
        Change::Create(self.mark)
    }

    /// The request for a change, noted as begun.
    pub(crate) fn begin(&mut self, change: &Change) -> Request {
        self.doubt = Some(change.clone());
        let request = match change {
            Change::Create(mark) => Request::post(format!("/v1/objects/{}", self.object_type))
                .json(&self.properties(*mark)),
            Change::Update(id, mark) => {
                Request::put(path_of(&self.objects[id])).json(&self.properties(*mark))
            }
            Change::Delete(id) => Request::delete(path_of(&self.objects[id])),
        };
        request.backend(&self.backend.id)
    }

    /// The change was acknowledged.
    #[track_caller]
    pub(crate) fn acknowledged(&mut self, reply: &Reply) {
        match self.doubt.take().expect("a reply answers a request") {
            Change::Create(mark) => {
                let object = reply.must_be(201);
                assert_eq!(object["mark"], mark);
                self.objects.insert(text(&object, "/id"), object);
            }
            Change::Update(id, mark) => {
                let object = reply.must_be(200);
                assert_eq!([&object["mark"], &object["id"]], [&json!(mark), &json!(id)]);
                self.objects.insert(id, object);
            }
            Change::Delete(id) => {
                reply.must_be(200);
                self.forget(&id);
            }
        }
    }

    /// The change was refused: nothing of it may ever be seen.
    pub(crate) fn refused(&mut self) {
        self.doubt = None;
    }

    /// Compares with what the server shows, and takes over how the doubt came out.
    #[track_caller]
    pub(crate) fn compare(&mut self) {
        let path = format!("/v1/objects/{}?limit=1000", self.object_type);
        let reply = self.backend.send(Request::get(path)).must_be(200);
        let shown: BTreeMap<String, Value> = shape::results(&reply)
            .iter()
            .map(|object| (text(object, "/id"), object.clone()))
            .collect();
        let doubt = self.doubt.take();
        if let Some(doubt) = &doubt {
            self.take_over(doubt, &shown);
        }
        let name = &self.object_type;
        for id in &self.deleted {
            assert!(
                !shown.contains_key(id),
                "{name}: {id} was deleted, and is there"
            );
        }
        for (id, known) in &self.objects {
            let found = shown.get(id);
            assert_eq!(
                found,
                Some(known),
                "{name}: {id} was acknowledged; the doubt was {doubt:?}"
            );
        }
        for (id, object) in &shown {
            let known = self.objects.contains_key(id);
            assert!(
                known,
                "{name}: nobody made {object}; the doubt was {doubt:?}"
            );
        }
    }

    /// If the change in doubt was made, all of it was, and it is part of what is known from now on.
    fn take_over(&mut self, doubt: &Change, shown: &BTreeMap<String, Value>) {
        match doubt {
            Change::Create(mark) => {
                let mut made = shown.iter().filter(|(_, object)| object["mark"] == *mark);
                if let Some((id, object)) = made.next() {
                    shape::object(
                        object,
                        &format!("objects.{}", self.object_type),
                        &self.properties(*mark),
                    );
                    self.objects.insert(id.clone(), object.clone());
                }
                assert!(made.next().is_none(), "mark {mark} was created twice");
            }
            Change::Update(id, mark) => {
                if let Some(object) = shown.get(id).filter(|object| object["mark"] == *mark) {
                    let known = &self.objects[id];
                    assert_eq!(object["createdAt"], known["createdAt"]);
                    assert!(text(object, "/updatedAt") > text(known, "/updatedAt"));
                    shape::object(object, &text(known, "/objectType"), &self.properties(*mark));
                    self.objects.insert(id.clone(), object.clone());
                }
            }
            Change::Delete(id) => {
                if !shown.contains_key(id) {
                    self.forget(id);
                }
            }
        }
    }

    fn forget(&mut self, id: &str) {
        self.objects.remove(id);
        self.deleted.push(id.to_owned());
    }

    /// Two properties that must change together, and some weight.
    fn properties(&self, mark: u64) -> Value {
        json!({"mark": mark, "echo": format!("mark {mark}"), "filler": "x".repeat(self.filler)})
    }

    /// The id of any object.
    pub(crate) fn any(&self) -> Option<&String> {
        self.objects.keys().next()
    }
}
