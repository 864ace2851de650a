//! What all pages look like.

use maud::{DOCTYPE, Markup, html};
use pilvi_model::FieldError;

use crate::assets;
use crate::form::TOKEN;
use crate::session::SignedIn;

/// A page around its content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    title: &'a str,
    person: Option<&'a SignedIn>,
    onward: Option<&'a str>,
}

/// How good a piece of news is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Plain,
}

impl<'a> Frame<'a> {
    pub(crate) fn new(title: &'a str) -> Self {
        Self {
            title,
            person: None,
            onward: None,
        }
    }

    /// Shows who is signed in, and lets them sign out.
    #[must_use]
    pub(crate) fn of(self, person: &'a SignedIn) -> Self {
        Self {
            person: Some(person),
            ..self
        }
    }

    /// Sends the browser on at once.
    #[must_use]
    pub(crate) fn onward(self, path: &'a str) -> Self {
        Self {
            onward: Some(path),
            ..self
        }
    }

    /// One thing in the middle of the window.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what is around it is written around it"
    )]
    pub(crate) fn narrow(&self, content: Markup) -> Markup {
        self.around(html! { main.card { (content) } })
    }

    /// Several things, one below the other.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what is around it is written around it"
    )]
    pub(crate) fn wide(&self, content: Markup) -> Markup {
        self.around(html! { main.wide { (content) } })
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "what is around it is written around it"
    )]
    fn around(&self, main: Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="robots" content="noindex";
                    @if let Some(path) = self.onward {
                        meta http-equiv="refresh" content={ "0; url=" (path) };
                    }
                    title { (self.title) " · Pilvi" }
                    link rel="icon" href=(assets::icon_path()) type="image/svg+xml";
                    link rel="stylesheet" href=(assets::style_path());
                }
                body {
                    header {
                        a.brand href="/console" { img src=(assets::icon_path()) alt="" width="28" height="28"; "Pilvi" }
                        @if let Some(signed_in) = self.person {
                            form.who method="post" action="/console/sign-out" {
                                (token(&signed_in.token()))
                                a.name href="/console/profile" title=(signed_in.person.email) {
                                    (signed_in.person.name)
                                }
                                button.plain type="submit" { "Sign out" }
                            }
                        }
                    }
                    (main)
                }
            }
        }
    }
}

/// A piece of news.
pub(crate) fn notice(tone: Tone, words: &str) -> Markup {
    match tone {
        Tone::Good => html! { p.notice.good role="status" { (words) } },
        Tone::Bad => html! { p.notice.bad role="alert" { (words) } },
        Tone::Plain => html! { p.notice role="status" { (words) } },
    }
}

/// The hidden field by which a form is known to come from this page.
pub(crate) fn token(value: &str) -> Markup {
    html! { input type="hidden" name=(TOKEN) value=(value); }
}

/// A field of a form with its label.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    name: &'a str,
    label: &'a str,
    kind: &'a str,
    value: &'a str,
    hint: &'a str,
    autocomplete: &'a str,
    optional: bool,
    focus: bool,
    fault: Option<&'a str>,
    /// Something in its form is wrong, so the reader is led there.
    is_among_faults: bool,
}

impl<'a> Input<'a> {
    pub(crate) fn text(name: &'a str, label: &'a str) -> Self {
        Self {
            name,
            label,
            kind: "text",
            value: "",
            hint: "",
            autocomplete: "off",
            optional: false,
            focus: false,
            fault: None,
            is_among_faults: false,
        }
    }

    pub(crate) fn email(name: &'a str, label: &'a str) -> Self {
        Self {
            kind: "email",
            autocomplete: "username",
            ..Self::text(name, label)
        }
    }

    /// The password that somebody has.
    pub(crate) fn password(name: &'a str, label: &'a str) -> Self {
        Self {
            kind: "password",
            autocomplete: "current-password",
            ..Self::text(name, label)
        }
    }

    /// A password that somebody chooses.
    pub(crate) fn new_password(name: &'a str, label: &'a str) -> Self {
        Self {
            autocomplete: "new-password",
            hint: "At least 10 characters. A few words that belong to nobody else are good.",
            ..Self::password(name, label)
        }
    }

    #[must_use]
    pub(crate) fn value(self, value: &'a str) -> Self {
        Self { value, ..self }
    }

    #[must_use]
    pub(crate) fn hint(self, hint: &'a str) -> Self {
        Self { hint, ..self }
    }

    #[must_use]
    pub(crate) fn autocomplete(self, autocomplete: &'a str) -> Self {
        Self {
            autocomplete,
            ..self
        }
    }

    #[must_use]
    pub(crate) fn optional(self) -> Self {
        Self {
            optional: true,
            ..self
        }
    }

    #[must_use]
    pub(crate) fn focus(self) -> Self {
        self.focus_if(true)
    }

    #[must_use]
    pub(crate) fn focus_if(self, focus: bool) -> Self {
        Self { focus, ..self }
    }

    /// Says beside the field what is wrong with it.
    #[must_use]
    pub(crate) fn faults(self, faults: &'a [FieldError], property: &str) -> Self {
        let found = faults.iter().find(|fault| fault.property == property);
        Self {
            fault: found.map(|fault| fault.message.as_str()),
            is_among_faults: !faults.is_empty(),
            ..self
        }
    }

    pub(crate) fn show(self) -> Markup {
        let described = match (self.fault, self.hint) {
            (Some(_), _) => Some(format!("{}-fault", self.name)),
            (None, "") => None,
            (None, _) => Some(format!("{}-hint", self.name)),
        };
        let focus = match self.is_among_faults {
            true => self.fault.is_some(),
            false => self.focus,
        };
        html! {
            div.field {
                label for=(self.name) { (self.label) }
                input id=(self.name) name=(self.name) type=(self.kind) value=(self.value)
                    autocomplete=(self.autocomplete) maxlength="1024" required[!self.optional] autofocus[focus]
                    autocapitalize="off" spellcheck="false" aria-invalid[self.fault.is_some()]
                    aria-describedby=[described];
                @if let Some(fault) = self.fault {
                    p.fault id={ (self.name) "-fault" } { (self.label) " " (fault) "." }
                } @else if !self.hint.is_empty() {
                    p.hint id={ (self.name) "-hint" } { (self.hint) }
                }
            }
        }
    }
}
