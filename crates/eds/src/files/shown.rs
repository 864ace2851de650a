//! What a file looks like to whoever asks: as it is stored, and where its bytes can be fetched.

use pilvi_model::{Blob, Error, ObjectId, Result};
use pilvi_store::backend::WholeFile;
use serde_json::{Map, Value};

use crate::Eds;
use crate::caller::Caller;

/// What the documents of files say beside what is stored.
pub(crate) struct Shown<'a> {
    eds: &'a Eds,
    caller: &'a Caller,
    /// How many bytes are there of those that are not whole.
    received: Vec<(ObjectId, u64)>,
}

impl Eds {
    /// One file as replies show it.
    pub(crate) async fn shown_file(&self, caller: &Caller, text: String) -> Result<String> {
        let mut texts = self.shown_files(caller, vec![text]).await?;
        texts
            .pop()
            .ok_or_else(|| Error::internal("showing a file lost it"))
    }

    /// Files as replies show them.
    pub(crate) async fn shown_files(
        &self,
        caller: &Caller,
        texts: Vec<String>,
    ) -> Result<Vec<String>> {
        let mut documents = texts
            .iter()
            .map(|text| serde_json::from_str(text).map_err(Error::internal))
            .collect::<Result<Vec<Map<String, Value>>>>()?;
        let shown = Shown::of(self, caller, &documents).await?;
        documents
            .iter_mut()
            .for_each(|document| shown.complete(document));
        let texts = documents.iter().map(serde_json::to_string);
        texts.collect::<Result<_, _>>().map_err(Error::internal)
    }
}

impl<'a> Shown<'a> {
    /// For these documents, of which some are files.
    pub(crate) async fn of(
        eds: &'a Eds,
        caller: &'a Caller,
        documents: impl IntoIterator<Item = &Map<String, Value>>,
    ) -> Result<Self> {
        let unfinished: Vec<ObjectId> = documents
            .into_iter()
            .filter(|document| is_file(document) && !is_whole(document))
            .filter_map(id)
            .collect();
        let received = match unfinished.is_empty() {
            true => Vec::new(),
            false => caller.backend.received_of(unfinished).await?,
        };
        Ok(Self {
            eds,
            caller,
            received,
        })
    }

    /// Says where the bytes of a whole file are, and how many there are of another.
    pub(crate) fn complete(&self, document: &mut Map<String, Value>) {
        if !is_file(document) {
            return;
        }
        if is_whole(document) {
            if let Some(file) = whole(document) {
                let base = self.caller.arrival.base("http");
                let backend = self.caller.backend.id;
                let address = self.eds.expiring_url(&base, backend, &file, None);
                document.insert("url".to_owned(), address.url.into());
            }
        } else if let Some(id) = id(document)
            && let Some((_, received)) = self.received.iter().find(|(other, _)| *other == id)
        {
            document.insert("received".to_owned(), (*received).into());
        }
    }
}

/// A whole file, read back from its document.
fn whole(document: &Map<String, Value>) -> Option<WholeFile> {
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    Some(WholeFile {
        id: id(document)?,
        name: text("fileName")?.to_owned(),
        content_type: text("contentType")?.to_owned(),
        blob: Blob {
            digest: text("sha256")?.parse().ok()?,
            bytes: document.get("fileSize")?.as_u64()?,
        },
    })
}

fn id(document: &Map<String, Value>) -> Option<ObjectId> {
    document.get("id")?.as_str()?.parse().ok()
}

fn is_file(document: &Map<String, Value>) -> bool {
    document
        .get("objectType")
        .is_some_and(|name| name == "files")
}

fn is_whole(document: &Map<String, Value>) -> bool {
    document
        .get("status")
        .is_some_and(|status| status == "complete")
}
