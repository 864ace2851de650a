//! What is said to followers, and in which form.

use bytes::Bytes;
use pilvi_store::backend::{Change, FeedEvent, FeedRow, Position};
use serde_json::{Value, json};

/// A larger document is not sent along: many sockets share the memory for what waits for them.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// What a live query says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Word {
    /// The object matches now and did not before, or could not be read.
    Enter,
    /// It matched before, and still does.
    Update,
    /// It does not match any more, or cannot be read, or is gone.
    Leave,
    /// What was told may not hold any more: read anew.
    Resync,
    /// Everything up to here has been told.
    CaughtUp,
}

impl Word {
    fn as_str(self) -> &'static str {
        match self {
            Self::Enter => "enter",
            Self::Update => "update",
            Self::Leave => "leave",
            Self::Resync => "resync",
            Self::CaughtUp => "caught_up",
        }
    }
}

/// A message of a live query. Whoever has its position has everything up to there; a snapshot is whole only with what
/// comes behind it, so its objects have none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    word: Word,
    position: Option<Position>,
    text: String,
}

impl Message {
    /// About the object of a row.
    pub(super) fn about(word: Word, row: &FeedRow) -> Self {
        let data = match word {
            Word::Leave => {
                let mut data = stub(row);
                if row.event == FeedEvent::Change(Change::Delete) {
                    data["deleted"] = true.into();
                }
                data.to_string()
            }
            _ => document(row),
        };
        Self::new(word, Some(row.position()), Some(&data))
    }

    /// An object that matches at the beginning.
    pub(super) fn of_snapshot(object: &str) -> Self {
        Self::new(Word::Enter, None, Some(object))
    }

    /// About no object.
    pub(super) fn bare(word: Word, position: Option<Position>) -> Self {
        Self::new(word, position, None)
    }

    fn new(word: Word, position: Option<Position>, data: Option<&str>) -> Self {
        let mut text = format!(r#"{{"event":"{}""#, word.as_str());
        if let Some(position) = position {
            text.push_str(&format!(r#","seq":"{position}""#));
        }
        if let Some(data) = data {
            text.push_str(r#","data":"#);
            text.push_str(data);
        }
        text.push('}');
        Self {
            word,
            position,
            text,
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// As an event of an event stream. A browser that comes back repeats the id of the last one that had one.
    pub(super) fn event(&self) -> Bytes {
        let (word, text) = (self.word.as_str(), &self.text);
        let event = match self.position {
            Some(position) => format!("id: {position}\nevent: {word}\ndata: {text}\n\n"),
            None => format!("event: {word}\ndata: {text}\n\n"),
        };
        event.into()
    }
}

/// The message of a stream about a change (`eds.md` §12.4).
pub(super) fn of_stream(change: Change, row: &FeedRow) -> String {
    format!(
        r#"{{"event":"{}","data":{},"origin":{{"apiRequestId":{}}}}}"#,
        change.as_str(),
        document(row),
        Value::from(row.request.as_str())
    )
}

fn document(row: &FeedRow) -> String {
    if row.document.len() <= DOCUMENT_BYTES_MAX {
        return row.document.clone();
    }
    let mut data = stub(row);
    data["truncated"] = true.into();
    data.to_string()
}

fn stub(row: &FeedRow) -> Value {
    json!({
        "id": row.object_id.map(|id| id.to_string()),
        "objectType": row.object_type,
    })
}
