//! What a client offers in `Sec-WebSocket-Extensions`, and what is made of it (RFC 6455 §9.1, RFC 7692 §7.1).

use http::HeaderMap;

use crate::dress::Format;

/// The only extension that is spoken here.
const NAME: &str = "permessage-deflate";

/// What both sides keep to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// What messages to this client are dressed in.
    pub(crate) format: Format,
    /// The value of the header in the answer.
    pub(crate) answer: String,
}

/// Takes the first offer that can be kept; `None` when there is none. What is no list of offers at all is passed over,
/// too: a client may be bad at asking for more and still good enough to listen.
pub(crate) fn agree(headers: &HeaderMap) -> Option<Agreed> {
    let fields = headers
        .get_all(http::header::SEC_WEBSOCKET_EXTENSIONS)
        .iter();
    let fields: Option<Vec<&str>> = fields.map(|field| field.to_str().ok()).collect();
    let mut agreed = None;
    for field in fields? {
        let mut take = |offer: Offer<'_>| agreed = agreed.take().or_else(|| offer.accept());
        Reader { rest: field }.offers(&mut take)?;
    }
    agreed
}

/// One more parameter than there are: an offer with more has one that nobody knows, or one twice.
const PARAMETERS_KEPT: usize = 5;

/// One extension with its parameters, as far as they matter.
#[derive(Debug)]
struct Offer<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, Option<String>)>,
}

impl Offer<'_> {
    /// What is agreed on if this is taken. Neither side may refer to earlier messages, so that one compressed message
    /// serves all sockets: both can be said unasked (RFC 7692 §7.1.1).
    fn accept(&self) -> Option<Agreed> {
        if !self.name.eq_ignore_ascii_case(NAME) {
            return None;
        }
        let mut known = Vec::new();
        let mut window = None;
        for (name, value) in &self.parameters {
            if known.contains(name) {
                return None;
            }
            known.push(*name);
            match (*name, value.as_deref()) {
                ("server_no_context_takeover" | "client_no_context_takeover", None)
                | ("client_max_window_bits", None) => {}
                // Whatever it promises: any window of its can be read here.
                ("client_max_window_bits", Some(bits)) => {
                    window_bits(bits)?;
                }
                ("server_max_window_bits", Some(bits)) => window = Some(window_bits(bits)?),
                _ => return None,
            }
        }
        let format = match window {
            None | Some(15) => Format::Deflated,
            Some(9..) => Format::Narrow,
            // Nothing here compresses within 256 bytes.
            Some(_) => return None,
        };
        let mut answer = format!("{NAME}; server_no_context_takeover; client_no_context_takeover");
        if let Some(bits) = window {
            answer.push_str(&format!("; server_max_window_bits={bits}"));
        }
        Some(Agreed { format, answer })
    }
}

/// 8 to 15, without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    let plain = value.bytes().all(|byte| byte.is_ascii_digit()) && !value.starts_with('0');
    let bits = value.parse().ok()?;
    (plain && (8..=15).contains(&bits)).then_some(bits)
}

/// Reads a list by its grammar, from the front.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// Gives away one offer after the other. `None`: it is no list of extensions.
    fn offers(mut self, take: &mut impl FnMut(Offer<'a>)) -> Option<()> {
        loop {
            self.skip_space();
            if !matches!(self.rest.bytes().next(), None | Some(b',')) {
                take(self.offer()?);
            }
            if self.rest.is_empty() {
                return Some(());
            }
            self.take(',').then_some(())?;
        }
    }

    fn offer(&mut self) -> Option<Offer<'a>> {
        let name = self.token()?;
        let mut parameters = Vec::new();
        while self.take(';') {
            let name = self.token()?;
            let value = match self.take('=') {
                true => Some(self.value()?),
                false => None,
            };
            if parameters.len() < PARAMETERS_KEPT {
                parameters.push((name, value));
            }
        }
        Some(Offer { name, parameters })
    }

    fn value(&mut self) -> Option<String> {
        self.skip_space();
        let Some(mut quoted) = self.rest.strip_prefix('"') else {
            return self.token().map(str::to_owned);
        };
        let mut value = String::new();
        loop {
            let mut characters = quoted.chars();
            match characters.next()? {
                '"' => break,
                '\\' => value.push(characters.next()?),
                character => value.push(character),
            }
            quoted = characters.as_str();
        }
        self.rest = &quoted[1..];
        // What is quoted must be a token, too.
        let is_token = !value.is_empty() && value.bytes().all(is_token_byte);
        is_token.then_some(value)
    }

    fn token(&mut self) -> Option<&'a str> {
        self.skip_space();
        let end = self.rest.bytes().position(|byte| !is_token_byte(byte));
        let (token, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// Takes this character if it comes next.
    fn take(&mut self, character: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(character);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::SEC_WEBSOCKET_EXTENSIONS;

    use super::*;

    fn agreed(fields: &[&str]) -> Option<Agreed> {
        let mut headers = HeaderMap::new();
        for field in fields {
            let value = HeaderValue::from_str(field).unwrap();
            headers.append(SEC_WEBSOCKET_EXTENSIONS, value);
        }
        agree(&headers)
    }

    const BOTH: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    #[test]
    fn an_offer_is_taken_with_a_window_as_asked() {
        for (fields, format, window) in [
            (&["permessage-deflate"][..], Format::Deflated, ""),
            (
                &["permessage-deflate; client_max_window_bits"],
                Format::Deflated,
                "",
            ),
            (
                &["Permessage-Deflate ;client_max_window_bits=9;server_no_context_takeover "],
                Format::Deflated,
                "",
            ),
            (
                &["permessage-deflate;server_max_window_bits=15"],
                Format::Deflated,
                "; server_max_window_bits=15",
            ),
            (
                &["permessage-deflate; server_max_window_bits=12"],
                Format::Narrow,
                "; server_max_window_bits=12",
            ),
            (
                &["permessage-deflate; server_max_window_bits=\"9\""],
                Format::Narrow,
                "; server_max_window_bits=9",
            ),
            (
                &["x-other; a=b, , permessage-deflate"],
                Format::Deflated,
                "",
            ),
            (
                &["x-other; a=\"b\"", "permessage-deflate"],
                Format::Deflated,
                "",
            ),
        ] {
            let expected = Agreed {
                format,
                answer: format!("{BOTH}{window}"),
            };
            assert_eq!(agreed(fields), Some(expected), "{fields:?}");
        }
    }

    #[test]
    fn an_offer_that_cannot_be_kept_gives_way_to_the_next_one() {
        let narrow_or_whole = "permessage-deflate; server_max_window_bits=8, permessage-deflate";
        let expected = Agreed {
            format: Format::Deflated,
            answer: BOTH.to_owned(),
        };
        assert_eq!(agreed(&[narrow_or_whole]), Some(expected));
    }

    #[test]
    fn offers_that_break_the_rules_are_declined() {
        for field in [
            "",
            ",",
            "x-webkit-deflate-frame",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=x",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; something_else",
            "permessage-deflate; SERVER_NO_CONTEXT_TAKEOVER",
            "permessage-deflate;",
            "permessage-deflate x",
            "permessage-deflate; server_max_window_bits=\"9",
            "permessage-deflate; server_max_window_bits=\"9 \"",
            "permessage-deflate; server_max_window_bits=\"\"",
            "permessage-deflate, @",
        ] {
            assert_eq!(agreed(&[field]), None, "{field:?}");
        }
        assert_eq!(agreed(&[]), None);
    }
}
