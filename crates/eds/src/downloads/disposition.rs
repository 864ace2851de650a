//! The name of a file where a browser meets it: in an address, and in `Content-Disposition` (RFC 6266, RFC 8187).

/// The content types that a browser shows. Anything else it saves: what is shown runs, if it can, and the files of one
/// user of an app are not to run in the browser of another.
const SHOWN: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// The value of `Content-Disposition`.
pub(crate) fn header(name: &str, content_type: &str) -> String {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let kind = match SHOWN.contains(&essence) {
        true => "inline",
        false => "attachment",
    };
    let plain: String = name
        .chars()
        .map(|letter| match letter {
            // A percent sign would make some browsers decode what is not encoded.
            '"' | '\\' | '%' => '_',
            letter if letter.is_ascii_graphic() || letter == ' ' => letter,
            _ => '_',
        })
        .collect();
    match plain == name {
        true => format!("{kind}; filename=\"{plain}\""),
        false => format!(
            "{kind}; filename=\"{plain}\"; filename*=UTF-8''{}",
            as_segment(name)
        ),
    }
}

/// The name as the last segment of a path.
pub(crate) fn as_segment(name: &str) -> String {
    // A dot segment would be taken out of the path on the way.
    if name.bytes().all(|byte| byte == b'.') {
        return "file".to_owned();
    }
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                segment.push(char::from(byte));
            }
            _ => segment.push_str(&format!("%{byte:02X}")),
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pictures_are_shown() {
        for content_type in ["image/png", "image/jpeg", "image/gif", "image/webp"] {
            assert_eq!(header("a.png", content_type), "inline; filename=\"a.png\"");
        }
        for content_type in [
            "image/svg+xml",
            "text/html",
            "application/pdf",
            "",
            "image/png2",
        ] {
            assert_eq!(
                header("a.png", content_type),
                "attachment; filename=\"a.png\""
            );
        }
    }

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(
            header("a\"; filename=b\\.exe", "text/plain"),
            "attachment; filename=\"a_; filename=b_.exe\"; \
             filename*=UTF-8''a%22%3B%20filename%3Db%5C.exe"
        );
        assert_eq!(
            header("Äpfel\r\n.txt", "text/plain"),
            "attachment; filename=\"_pfel__.txt\"; filename*=UTF-8''%C3%84pfel%0D%0A.txt"
        );
        assert_eq!(
            header("100%.txt", "text/plain"),
            "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"
        );
    }

    #[test]
    fn a_name_is_one_segment() {
        assert_eq!(as_segment("test.png"), "test.png");
        assert_eq!(as_segment("a/b c?d#e"), "a%2Fb%20c%3Fd%23e");
        assert_eq!(as_segment(".."), "file");
        assert_eq!(as_segment(""), "file");
    }
}
