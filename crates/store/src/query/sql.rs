//! Pieces of SQL that carry their bound values along.

use rusqlite::types::Value;

/// A piece of SQL and what its `?` stand for, in their order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sql {
    pub(super) text: String,
    pub(super) values: Vec<Value>,
}

impl Sql {
    /// Text of ours; nothing that came from outside may be in it.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            values: Vec::new(),
        }
    }

    /// A bound value.
    pub(super) fn value(value: impl Into<Value>) -> Self {
        Self {
            text: "?".to_owned(),
            values: vec![value.into()],
        }
    }

    /// Puts one piece for each `{}` of the template.
    ///
    /// # Panics
    /// When there are not as many pieces as places.
    pub(super) fn fill(template: &str, pieces: &[&Sql]) -> Self {
        let length = |piece: &&Self| piece.text.len();
        let mut filled = Self {
            text: String::with_capacity(template.len() + pieces.iter().map(length).sum::<usize>()),
            values: Vec::new(),
        };
        let mut pieces = pieces.iter();
        let mut rest = template;
        while let Some((text, behind)) = rest.split_once('{') {
            filled.text.push_str(text);
            filled.append(pieces.next().expect("each place has its piece"));
            rest = behind.strip_prefix('}').expect("a place is `{}`");
        }
        filled.text.push_str(rest);
        assert!(pieces.next().is_none(), "each piece has its place");
        filled
    }

    /// The pieces with commas between them.
    pub(super) fn list(pieces: &[Sql]) -> Self {
        let mut list = Self::text("");
        for (place, piece) in pieces.iter().enumerate() {
            if place > 0 {
                list.text.push_str(", ");
            }
            list.append(piece);
        }
        list
    }

    /// All hold, or at least the empty piece does.
    pub(super) fn all(pieces: &[Sql]) -> Self {
        Self::join(pieces, "({} AND {})", "1")
    }

    /// At least one holds.
    pub(super) fn any(pieces: &[Sql]) -> Self {
        Self::join(pieces, "({} OR {})", "0")
    }

    /// Holds when the piece does not, `NULL` being no.
    pub(super) fn not(&self) -> Self {
        Self::fill("(({}) IS NOT TRUE)", &[self])
    }

    /// Halves the list again and again: SQLite bounds the depth of an expression, and a chain of `n` is `n` deep.
    fn join(pieces: &[Sql], template: &str, empty: &str) -> Self {
        match pieces {
            [] => Self::text(empty),
            [piece] => piece.clone(),
            pieces => {
                let (left, right) = pieces.split_at(pieces.len() / 2);
                let left = Self::join(left, template, empty);
                let right = Self::join(right, template, empty);
                Self::fill(template, &[&left, &right])
            }
        }
    }

    fn append(&mut self, piece: &Sql) {
        self.text.push_str(&piece.text);
        self.values.extend_from_slice(&piece.values);
    }
}
