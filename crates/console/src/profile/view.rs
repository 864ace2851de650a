//! What the profile looks like.

use maud::{Markup, html};
use pilvi_model::Timestamp;
use pilvi_platform::Caller;
use pilvi_store::platform::{Account, Invitation, Role, Session, SshKey, Token};

use crate::Console;
use crate::form::Fields;
use crate::layout::{Frame, Input, Tone, notice, token};
use crate::oidc::identities_section;
use crate::page::Trouble;
use crate::session::SignedIn;
use crate::text::{browser, day, moment};

/// What the profile says beside what is always there.
#[derive(Default)]
pub(super) struct News<'a> {
    pub(super) good: Option<&'a str>,
    pub(super) bad: Option<String>,
    /// Which of the things that are folded away is open, because what is bad is about it.
    pub(super) open: &'a str,
    /// What was typed there.
    pub(super) typed: Option<&'a Fields>,
    /// The value of a token, shown once.
    pub(super) token: Option<&'a str>,
}

impl News<'_> {
    /// Something folded away. What went wrong in it is said in it.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what is around it is written around it"
    )]
    fn fold(&self, name: &str, title: &str, form: Markup) -> Markup {
        let is_open = self.open == name;
        let bad = self.bad.as_ref().filter(|_| is_open);
        html! {
            details.add id=(name) open[is_open] {
                summary { (title) }
                @if let Some(words) = bad { (notice(Tone::Bad, words)) }
                (form)
            }
        }
    }

    /// What was typed into a field before something about its form was wrong. A secret is typed again.
    fn typed(&self, fold: &str, name: &str) -> &str {
        let typed = self.typed.filter(|_| self.open == fold);
        typed.map_or("", |fields| fields.text(name))
    }

    fn typed_or<'b>(&'b self, fold: &str, name: &str, otherwise: &'b str) -> &'b str {
        let typed = self.typed.filter(|_| self.open == fold);
        typed.map_or(otherwise, |fields| fields.text(name))
    }
}

/// The whole page.
pub(super) async fn page(
    console: &Console,
    signed_in: &SignedIn,
    news: &News<'_>,
) -> Result<Markup, Trouble> {
    let (platform, id) = (&console.platform, signed_in.person.id);
    let tokens = platform.list_person_tokens(id).await?;
    let keys = platform.list_ssh_keys(id).await?;
    let accounts = platform.list_memberships(id).await?;
    let invitations = platform.list_invitations_of(&Caller::Person(id)).await?;
    let sessions = platform.list_sessions(id).await?;
    let identities = platform.list_identities(id).await?;
    let form = signed_in.token();
    let now = platform.now();
    Ok(Frame::new("Profile").of(signed_in).wide(html! {
        h1 { "Profile" }
        @if let Some(words) = news.good { (notice(Tone::Good, words)) }
        @if let Some(words) = news.bad.as_ref().filter(|_| news.open.is_empty()) { (notice(Tone::Bad, words)) }
        @if !invitations.is_empty() { (invitations_section(&invitations, &form)) }
        (tokens_section(&tokens, news, &form, now))
        (keys_section(&keys, news, &form))
        (accounts_section(&accounts, news, &form))
        (person_section(signed_in, news, &form))
        (identities_section(platform, &identities, &form))
        (sessions_section(&sessions, signed_in.session.id, &form))
    }))
}

fn tokens_section(tokens: &[Token], news: &News<'_>, form: &str, now: Timestamp) -> Markup {
    html! {
        section id="tokens" {
            h2 { "Access tokens" }
            p.quiet { "With one, a program may do all that you may. " code { "pilvi login" } " makes its own." }
            @if let Some(made) = news.token {
                (notice(Tone::Good, "The token is made. Copy it now: it is shown only this once."))
                output.secret id="new-token" { (made) }
            }
            @if !tokens.is_empty() {
                ul.rows {
                    @for token in tokens.iter().rev() { (token_row(token, form, now)) }
                }
            }
            (news.fold("add-token", "Make a token", html! {
                form method="post" action="/console/profile/tokens" {
                    (crate::layout::token(form))
                    div.columns {
                        (Input::text("name", "Name").hint("What it is for, such as the name of a machine.")
                                .value(news.typed("add-token", "name")).focus_if(news.open == "add-token").show())
                        div.field {
                            label for="life" { "Ends" }
                            select id="life" name="life" {
                                option value="30" { "in 30 days" }
                                option value="90" selected { "in 90 days" }
                                option value="365" { "in a year" }
                                option value="" { "never" }
                            }
                        }
                    }
                    button type="submit" { "Make the token" }
                }
            }))
        }
    }
}

fn token_row(token: &Token, form: &str, now: Timestamp) -> Markup {
    let is_over = token.expires_at.is_some_and(|end| end <= now);
    html! {
        li {
            div.what {
                strong { (token.name.as_deref().unwrap_or("Without a name")) }
                @if is_over { span.badge.bad { "ended" } }
                p {
                    "Made on " (day(token.created_at))
                    @if let Some(end) = token.expires_at {
                        @if is_over { ", ended on " } @else { ", ends on " }
                        (day(end))
                    } @else { ", never ends" }
                    @match token.used_at {
                        Some(at) => { ". Last used around " (moment(at)) "." }
                        None => { ". Never used." }
                    }
                }
            }
            (remove_form("/console/profile/tokens/remove", token.id, form, "Delete"))
        }
    }
}

fn keys_section(keys: &[SshKey], news: &News<'_>, form: &str) -> Markup {
    html! {
        section id="keys" {
            h2 { "SSH keys" }
            p.quiet { "With one, you push to every app that you may deploy." }
            @if !keys.is_empty() {
                ul.rows {
                    @for key in keys {
                        li {
                            div.what {
                                strong { (key.name) }
                                p { code { (key.fingerprint) } }
                                p { "Added on " (day(key.created_at)) }
                            }
                            (remove_form("/console/profile/keys/remove", key.id, form, "Remove"))
                        }
                    }
                }
            }
            (news.fold("add-key", "Add a key", html! {
                form method="post" action="/console/profile/keys" {
                    (token(form))
                    (Input::text("key-name", "Name").value(news.typed("add-key", "key-name"))
                            .focus_if(news.open == "add-key").show())
                    div.field {
                        label for="key" { "Public key" }
                        textarea id="key" name="key" required spellcheck="false" maxlength="20000"
                            aria-describedby="key-hint" { (news.typed("add-key", "key")) }
                        p.hint id="key-hint" {
                            "The whole text of a file such as " code { "~/.ssh/id_ed25519.pub" } "."
                        }
                    }
                    button type="submit" { "Add the key" }
                }
            }))
        }
    }
}

fn invitations_section(invitations: &[Invitation], form: &str) -> Markup {
    html! {
        section id="invitations" {
            h2 { "Invitations" }
            ul.rows {
                @for invitation in invitations {
                    li {
                        div.what {
                            strong { (invitation.account_name) }
                            span.badge { (invitation.role.as_str()) }
                            p {
                                @if let Some(inviter) = &invitation.invited_by { "From " (inviter) ", until " }
                                @else { "Until " }
                                (day(invitation.expires_at))
                            }
                        }
                        form method="post" action="/console/profile/invitations/accept" {
                            (token(form))
                            input type="hidden" name="id" value=(invitation.id);
                            button type="submit" { "Accept" }
                            button.plain type="submit" formaction="/console/profile/invitations/decline" { "Decline" }
                        }
                    }
                }
            }
        }
    }
}

fn accounts_section(accounts: &[(Account, Role)], news: &News<'_>, form: &str) -> Markup {
    html! {
        section id="accounts" {
            h2 { "Accounts" }
            @if accounts.is_empty() {
                p.quiet { "You are a member of no account. Make one with " code { "pilvi clouds create NAME" } "." }
            } @else {
                ul.rows {
                    @for (account, role) in accounts {
                        li {
                            div.what {
                                strong { (account.name) }
                                span.badge { (role.as_str()) }
                                p { code { (account.id) } }
                            }
                        }
                    }
                }
            }
            (news.fold("join", "Join an account with the code of an invitation", html! {
                form method="post" action="/console/profile/invitations" {
                    (token(form))
                    (Input::text("code", "The code").hint("From the mail that invited you.")
                            .value(news.typed("join", "code")).focus_if(news.open == "join").show())
                    button type="submit" { "Join" }
                }
            }))
        }
    }
}

fn person_section(signed_in: &SignedIn, news: &News<'_>, form: &str) -> Markup {
    let person = &signed_in.person;
    let change_email = match person.verified {
        true => "Change your e-mail address",
        false => "Confirm or change your e-mail address",
    };
    let set_password = match person.has_password {
        true => "Change your password",
        false => "Set a password",
    };
    let name = news.typed_or("rename", "new-name", &person.name);
    let email = news.typed_or("change-email", "email", &person.email);
    html! {
        section id="person" {
            h2 { "You" }
            p.quiet {
                (person.email)
                @if person.verified { span.badge.good { "confirmed" } } @else { span.badge { "not confirmed" } }
                @if person.operator { span.badge { "operator" } }
            }
            (news.fold("rename", "Change your name", html! {
                form method="post" action="/console/profile/name" {
                    (token(form))
                    (Input::text("new-name", "Name").autocomplete("name").value(name)
                        .focus_if(news.open == "rename").show())
                    button type="submit" { "Change the name" }
                }
            }))
            (news.fold("change-email", change_email, html! {
                form method="post" action="/console/profile/email" {
                    (token(form))
                    (Input::email("email", "E-mail address").autocomplete("email").value(email)
                        .focus_if(news.open == "change-email")
                        .hint("A mail with a code goes there. The address is yours once you enter the code.").show())
                    @if person.has_password {
                        (Input::password("current", "Present password").show())
                    }
                    button type="submit" { "Send the mail" }
                }
            }))
            (news.fold("change-password", set_password, html! {
                form method="post" action="/console/profile/password" {
                    (token(form))
                    @if person.has_password {
                        (Input::password("current", "Present password").show())
                    }
                    (Input::new_password("password", "New password").show())
                    button type="submit" { "Set the password" }
                }
            }))
        }
    }
}

fn sessions_section(sessions: &[Session], own: i64, form: &str) -> Markup {
    html! {
        section id="sessions" {
            h2 { "Where you are signed in" }
            ul.rows {
                @for session in sessions {
                    li {
                        div.what {
                            strong { (browser(&session.agent)) }
                            @if session.id == own { span.badge.good { "this browser" } }
                            p { "From " (session.peer) ", since " (moment(session.created_at)) }
                            p { "Last used around " (moment(session.used_at)) }
                        }
                        @if session.id != own {
                            (remove_form("/console/profile/sessions/end", session.id, form, "Sign out"))
                        }
                    }
                }
            }
            @if sessions.len() > 1 {
                form.add method="post" action="/console/profile/sessions/end-others" {
                    (token(form))
                    button.danger type="submit" { "Sign out all other browsers" }
                }
            }
        }
    }
}

fn remove_form(action: &str, id: i64, form: &str, words: &str) -> Markup {
    html! {
        form method="post" action=(action) {
            (token(form))
            input type="hidden" name="id" value=(id);
            button.danger type="submit" { (words) }
        }
    }
}
