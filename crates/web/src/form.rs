//! The parameters of a token request, wherever an old client puts them (`eds.md` §8.1).

use pilvi_base::Secret;
use serde_json::Value;

use crate::{Body, Refusal};

/// Parameters from the body, be it a form or JSON, and from the query.
///
/// The Qt library leaves a `+` as it is where everybody else means a space by it. So forms are read both ways.
pub struct Form {
    usual: Vec<(String, String)>,
    /// With `+` taken literally; empty when there is none.
    literal: Vec<(String, String)>,
}

/// A name and a password.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub username: String,
    pub password: Secret,
}

impl Form {
    /// The body counts before the query. What its `Content-Type` says does not: Android labels its forms as JSON.
    pub fn read(body: &[u8], query: Option<&str>) -> Result<Self, Refusal> {
        let mut form = Self {
            usual: Vec::new(),
            literal: Vec::new(),
        };
        let begins = body.iter().find(|byte| !byte.is_ascii_whitespace());
        if begins == Some(&b'{') {
            form.usual = members(Body::parse(body)?);
        } else {
            // As with JSON, what is no UTF-8 is ISO-8859-1.
            let text = match std::str::from_utf8(body) {
                Ok(text) => text.to_owned(),
                Err(_) => body.iter().map(|&byte| char::from(byte)).collect(),
            };
            form.add(text.trim_ascii());
        }
        form.add(query.unwrap_or_default());
        Ok(form)
    }

    fn add(&mut self, text: &str) {
        let parse = |text: &str| {
            form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect()
        };
        let pairs: Vec<_> = parse(text);
        if text.contains('+') {
            let literal: Vec<_> = parse(&text.replace('+', "%2B"));
            self.literal.extend(literal);
        } else {
            self.literal.extend(pairs.iter().cloned());
        }
        self.usual.extend(pairs);
    }

    /// The first value of a parameter, which may be empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        find(&self.usual, name)
    }

    /// What to try to sign in with, in this order; none when something is missing or empty.
    pub fn credentials(&self) -> Vec<Credentials> {
        let mut all: Vec<Credentials> = Vec::new();
        for pairs in [&self.usual, &self.literal] {
            let (Some(username), Some(password)) =
                (find(pairs, "username"), find(pairs, "password"))
            else {
                continue;
            };
            let password = Secret::new(password);
            let known = all
                .iter()
                .any(|other| other.username == username && other.password == password);
            if !known && !username.is_empty() && !password.expose().is_empty() {
                all.push(Credentials {
                    username: username.to_owned(),
                    password,
                });
            }
        }
        all
    }
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = pairs.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}

fn members(body: Body) -> Vec<(String, String)> {
    let Some(Value::Object(members)) = body.0 else {
        return Vec::new();
    };
    let texts = members.into_iter().filter_map(|(name, value)| match value {
        Value::String(text) => Some((name, text)),
        Value::Number(number) => Some((name, number.to_string())),
        _ => None,
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8], query: &str) -> Form {
        Form::read(body, Some(query)).unwrap()
    }

    fn pairs(form: &Form) -> Vec<(String, String)> {
        let pairs = form.credentials().into_iter();
        pairs
            .map(|pair| (pair.username, pair.password.expose().to_owned()))
            .collect()
    }

    fn pair(username: &str, password: &str) -> (String, String) {
        (username.to_owned(), password.to_owned())
    }

    #[test]
    fn parameters_are_found_wherever_they_are() {
        let form = "grant_type=password&username=anna&password=secret";
        let json = r#" {"grant_type":"password","username":"anna","password":"secret"}"#;
        for (body, query) in [
            (form, ""),
            (json, ""),
            ("", form),
            ("grant_type=password", form),
        ] {
            let form = read(body.as_bytes(), query);
            assert_eq!(form.get("grant_type"), Some("password"), "{body} {query}");
            assert_eq!(pairs(&form), [pair("anna", "secret")], "{body} {query}");
        }
    }

    #[test]
    fn a_plus_is_a_space_or_itself() {
        let form = read(b"username=first+user&password=a%2Bb+c", "");
        assert_eq!(
            pairs(&form),
            [pair("first user", "a+b c"), pair("first+user", "a+b+c")]
        );
        let form = read(b"username=first user&password=a%2Bb", "");
        assert_eq!(pairs(&form), [pair("first user", "a+b")]);
    }

    #[test]
    fn text_is_utf_8_or_else_latin_1_encoded_or_not() {
        for body in [
            "username=ä ö&password=ü".as_bytes(),
            b"username=\xe4 \xf6&password=\xfc",
            b"username=%C3%A4%20%C3%B6&password=%C3%BC",
        ] {
            assert_eq!(pairs(&read(body, "")), [pair("ä ö", "ü")]);
        }
    }

    #[test]
    fn what_is_missing_or_empty_is_no_credential() {
        for body in [
            "",
            "username=anna",
            "username=&password=x",
            "username=anna&password=",
            r#"{"username":"anna","password":null}"#,
            r#"{"username":{"a":1},"password":"x"}"#,
            "[]",
            "%",
            "&&==",
        ] {
            assert!(read(body.as_bytes(), "").credentials().is_empty(), "{body}");
        }
        assert!(Form::read(b"{\"username\":", None).is_err());
    }
}
