//! What a form holds.

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::header::CONTENT_TYPE;
use pilvi_base::Secret;
use pilvi_web::{Arrival, RawBody};

use crate::Console;
use crate::page::{Trouble, unheard_form};
use crate::session::{SignedIn, Visitor, is_from_here};

/// The fields of a form that came from a page of this site. Whoever takes one out must still say whose page it was:
/// [`Form::of_visitor`] or [`Form::of`].
#[derive(Debug)]
pub(crate) struct Form(Vec<(String, String)>);

/// The field with the token.
pub(crate) const TOKEN: &str = "form";

/// The fields of a form whose sender is known.
#[derive(Debug)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Form {
    /// The fields, if the page was given to this browser.
    pub(crate) fn of_visitor(self, visitor: &Visitor) -> Result<Fields, Trouble> {
        let known = visitor.knows(self.token());
        self.heard(known)
    }

    /// The fields, if the page was this person's.
    pub(crate) fn of(self, person: &SignedIn) -> Result<Fields, Trouble> {
        let known = person.knows(self.token());
        self.heard(known)
    }

    fn token(&self) -> &str {
        value(&self.0, TOKEN)
    }

    fn heard(self, known: bool) -> Result<Fields, Trouble> {
        match known {
            true => Ok(Fields(self.0)),
            false => Err(Trouble::page(unheard_form())),
        }
    }
}

impl Fields {
    /// A field's text; empty when the form has none of this name.
    pub(crate) fn text(&self, name: &str) -> &str {
        value(&self.0, name)
    }

    /// The same without blanks around it.
    pub(crate) fn trimmed(&self, name: &str) -> &str {
        self.text(name).trim()
    }

    pub(crate) fn secret(&self, name: &str) -> Secret {
        Secret::new(self.text(name))
    }

    /// Whether a box was ticked.
    pub(crate) fn is_ticked(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    /// The number of something; `None` when it is none.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.trimmed(name).parse().ok()
    }
}

fn value<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    let found = fields.iter().find(|(known, _)| known == name);
    found.map_or("", |(_, value)| value.as_str())
}

impl FromRequest<Console> for Form {
    type Rejection = Trouble;

    async fn from_request(request: Request, console: &Console) -> Result<Self, Trouble> {
        let (mut parts, body) = request.into_parts();
        let Ok(arrival) = Arrival::from_request_parts(&mut parts, console).await;
        let is_form = parts.headers.get(CONTENT_TYPE).is_some_and(|kind| {
            kind.as_bytes()
                .starts_with(b"application/x-www-form-urlencoded")
        });
        if !is_form || !is_from_here(&parts.headers, &arrival) {
            return Err(Trouble::page(unheard_form()));
        }
        let request = Request::from_parts(parts, body);
        let RawBody(bytes) = RawBody::from_request(request, console).await?;
        Ok(Self(form_urlencoded::parse(&bytes).into_owned().collect()))
    }
}
