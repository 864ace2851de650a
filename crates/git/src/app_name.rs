//! The name of an app, as it stands in the address of a repository.

/// Longer than every id that is made.
const LENGTH_MAX: usize = 64;

/// The app's id out of the path in a remote's address: `id`, `id.git`, `/id`, `/id.git/`. Nothing else is one, least of
/// all a path to somewhere.
pub fn app_of_path(path: &str) -> Option<&str> {
    let name = path.strip_prefix('/').unwrap_or(path);
    let name = name.strip_suffix('/').unwrap_or(name);
    let name = name.strip_suffix(".git").unwrap_or(name);
    is_app_name(name).then_some(name)
}

/// Whether this can be the name of an app, and so of a folder: small letters, digits and hyphens.
pub(crate) fn is_app_name(name: &str) -> bool {
    let fits = (1..=LENGTH_MAX).contains(&name.len());
    let clean = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    fits && name.bytes().all(clean) && !name.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_known_spellings_mean_the_same_app() {
        for path in [
            "mar-eu-1-twwto7g0",
            "mar-eu-1-twwto7g0.git",
            "/mar-eu-1-twwto7g0",
            "/mar-eu-1-twwto7g0.git",
            "/mar-eu-1-twwto7g0.git/",
        ] {
            assert_eq!(app_of_path(path), Some("mar-eu-1-twwto7g0"), "{path}");
        }
    }

    #[test]
    fn a_path_to_somewhere_is_no_app() {
        for path in [
            "",
            "/",
            ".git",
            "..",
            "../x",
            "a/b",
            "//a",
            "/a//",
            "~a",
            "a b",
            "a\0",
            "A",
            "-a",
            "--upload-pack=x",
            "a.git.git",
            "a%2fb",
            "ä",
        ] {
            assert_eq!(app_of_path(path), None, "{path:?}");
        }
        assert_eq!(app_of_path(&"a".repeat(LENGTH_MAX + 1)), None);
    }
}
