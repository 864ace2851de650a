//! Reads the recorded requests in `captures/`: what old clients sent, byte for byte but for ids, tokens and hosts.

use std::path::Path;

/// One recorded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    pub method: String,
    pub target: String,
    /// In the order and spelling of the client.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Captured {
    /// `GET /v1/…`, as reports call it.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    /// The bytes on the wire, every placeholder replaced by `fill`. The length is that of the body as it now is.
    pub fn bytes(&self, fill: impl Fn(&str) -> String) -> Vec<u8> {
        let body = fill(&self.body);
        let mut request = format!("{} {} HTTP/1.1\r\n", self.method, fill(&self.target));
        for (name, value) in &self.headers {
            let value = if name == "Content-Length" {
                body.len().to_string()
            } else {
                fill(value)
            };
            request.extend([name, ": ", &value, "\r\n"]);
        }
        request.push_str("\r\n");
        request.push_str(&body);
        request.into_bytes()
    }
}

/// The requests of the Qt library: blocks of lines, headers indented by two blanks.
pub fn qt_library() -> Vec<Captured> {
    parse_blocks(&read("qt-library-requests.txt"))
}

/// The requests of the Ruby command line: one a line.
pub fn ruby_cli() -> Vec<Captured> {
    read("ruby-cli-requests.txt")
        .lines()
        .filter_map(parse_line)
        .collect()
}

#[track_caller]
fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("captures")
        .join(name);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()))
}

fn parse_blocks(text: &str) -> Vec<Captured> {
    let mut captured: Vec<Captured> = Vec::new();
    let mut in_body = true;
    for line in text.split('\n') {
        if let Some((method, target)) = request_line(line) {
            let (method, target) = (method.to_owned(), target.to_owned());
            captured.push(Captured {
                method,
                target,
                headers: Vec::new(),
                body: String::new(),
            });
            in_body = false;
        } else if let Some(request) = captured.last_mut() {
            if in_body {
                request.body.push('\n');
                request.body.push_str(line);
            } else if let Some(body) = line.strip_prefix("  BODY:") {
                request.body = body.strip_prefix(' ').unwrap_or(body).to_owned();
                in_body = true;
            } else if let Some((name, value)) = line.trim_start().split_once(": ") {
                request.headers.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    // Blocks are set apart by an empty line, which is none of the body.
    for request in &mut captured {
        request
            .body
            .truncate(request.body.trim_end_matches('\n').len());
    }
    captured
}

/// `GET /v1/user/accounts HTTP/1.1 | Accept: application/json | … BODY "…"`.
fn parse_line(line: &str) -> Option<Captured> {
    let (head, body) = line
        .rsplit_once(" BODY ")
        .or_else(|| line.strip_suffix(" BODY").map(|head| (head, "\"\"")))?;
    let mut parts = head.split(" | ");
    let (method, target) = request_line(parts.next()?.strip_suffix(" HTTP/1.1")?)?;
    let headers = parts.filter_map(|part| part.split_once(": "));
    Some(Captured {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        body: serde_json::from_str(body).ok()?,
    })
}

/// The target is everything behind the method: placeholders have blanks.
fn request_line(line: &str) -> Option<(&str, &str)> {
    let (method, target) = line.split_once(' ')?;
    (["GET", "POST", "PUT", "DELETE"].contains(&method) && target.starts_with('/'))
        .then_some((method, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_with_its_body_of_several_lines() {
        let text = "About.\n\nPOST /v1/files\n  Host: H\n  Content-Length: 1\n  BODY: --a\n\nb\n\n\
            GET /v1/x/<24 hex>\n  BODY:\n";
        let captured = parse_blocks(text);
        assert_eq!(captured.len(), 2);
        assert_eq!(captured[0].body, "--a\n\nb");
        assert_eq!(captured[0].headers.len(), 2);
        assert_eq!(captured[1].name(), "GET /v1/x/<24 hex>");
        assert_eq!(captured[1].body, "");
    }

    #[test]
    fn a_line_is_read_with_its_quoted_body() {
        let line =
            "POST /v1/a? HTTP/1.1 | Accept: x | User-Agent: H (1, r (2)) BODY \"{\\\"a\\\":1}\"";
        let captured = parse_line(line).unwrap();
        assert_eq!(captured.name(), "POST /v1/a?");
        assert_eq!(
            captured.headers[1],
            ("User-Agent".to_owned(), "H (1, r (2))".to_owned())
        );
        assert_eq!(captured.body, "{\"a\":1}");
    }

    #[test]
    fn the_length_follows_the_filled_body() {
        let captured =
            parse_line("PUT /p HTTP/1.1 | Content-Length: 4 | Host: HOST BODY \"ID\"").unwrap();
        let bytes = captured.bytes(|text| text.replace("ID", "longer").replace("HOST", "h"));
        let expected = "PUT /p HTTP/1.1\r\nContent-Length: 6\r\nHost: h\r\n\r\nlonger";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn every_recorded_request_is_read() {
        assert_eq!(qt_library().len(), 46);
        assert_eq!(ruby_cli().len(), 45);
        assert!(
            qt_library()
                .iter()
                .all(|captured| captured.headers.iter().any(|(name, _)| name == "Host"))
        );
    }
}
