//! The file that remembers servers and how to call them: `~/.config/pilvi/config.toml`.
//!
//! A context is a server with a token, and what is usually meant there:
//!
//! ```toml
//! current = "work"
//!
//! [contexts.work]
//! url = "https://api.example.org/v1"
//! token = "…"
//! ```
//!
//! Comments and whatever a newer version wrote stay as they are. The file holds tokens, so only its owner may read it.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use pilvi_base::Secret;
use toml_edit::{DocumentMut, Item, Table, value};

use crate::failure::{Failure, Result};

/// Far more than any such file needs.
const FILE_BYTES_MAX: u64 = 1 << 20;
const NAME_BYTES_MAX: usize = 100;

/// A server, and how it is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) url: Option<String>,
    pub(crate) token: Option<Secret>,
    /// The id of the token, where `pilvi login` had it made: `logout` revokes it.
    pub(crate) token_id: Option<i64>,
    pub(crate) account: Option<String>,
    pub(crate) ca: Option<PathBuf>,
}

/// The file's contents.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    /// None where neither a home nor a folder for such files is known.
    file: Option<PathBuf>,
    document: DocumentMut,
    /// Whether somebody else may read the file, which holds tokens.
    exposed: bool,
}

impl Contexts {
    /// Reads the file; one that is missing is an empty one.
    pub(crate) fn read(file: Option<&Path>) -> Result<Self> {
        let Some(path) = file else {
            return Ok(Self::default());
        };
        let (text, exposed) = match read_bounded(path) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (String::new(), false),
            Err(error) => return Err(unusable(path, &error.to_string())),
        };
        let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
            // The error's own text shows the line, which may be the one with the token.
            let line = error
                .span()
                .map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            let place = line.map_or_else(String::new, |line| format!("line {line}: "));
            unusable(path, &format!("{place}{}", error.message()))
        })?;
        let contexts = Self {
            file: file.map(Path::to_owned),
            exposed: exposed && holds_tokens(&document),
            document,
        };
        contexts.check()?;
        Ok(contexts)
    }

    /// What is there must be of the right kind: a setting that is silently not used would be a trap.
    fn check(&self) -> Result<()> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        let fail = |what: String| Err(unusable(path, &what));
        if self
            .document
            .get("current")
            .is_some_and(|item| !item.is_str())
        {
            return fail("`current` must be a text".into());
        }
        let Some(contexts) = self.document.get("contexts") else {
            return Ok(());
        };
        let Some(contexts) = contexts.as_table_like() else {
            return fail("`contexts` must be a table".into());
        };
        for (name, context) in contexts.iter() {
            let Some(context) = context.as_table_like() else {
                return fail(format!("the context `{name}` must be a table"));
            };
            for (key, item) in context.iter() {
                let is_right = match key {
                    "url" | "token" | "account" | "ca" => item.is_str(),
                    "token-id" => item.is_integer(),
                    _ => true,
                };
                if !is_right {
                    return fail(format!(
                        "`{key}` of the context `{name}` is of the wrong kind"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether somebody else may read the tokens.
    pub(crate) fn exposed(&self) -> Option<&Path> {
        self.file.as_deref().filter(|_| self.exposed)
    }

    /// The name of the context that is meant where none is named.
    pub(crate) fn current(&self) -> Option<&str> {
        self.document.get("current")?.as_str()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let contexts = self.document.get("contexts").and_then(Item::as_table_like);
        let contexts = contexts.into_iter().flat_map(|contexts| contexts.iter());
        contexts.map(|(name, _)| name.to_owned()).collect()
    }

    pub(crate) fn find(&self, name: &str) -> Option<Context> {
        let context = self.document.get("contexts")?.get(name)?;
        let text = |key: &str| {
            let text = context.get(key)?.as_str()?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        Some(Context {
            url: text("url"),
            token: text("token").map(Secret::new),
            token_id: context.get("token-id").and_then(Item::as_integer),
            account: text("account"),
            ca: text("ca").map(PathBuf::from),
        })
    }

    /// Adds a context or changes one.
    pub(crate) fn put(&mut self, name: &str, context: &Context) -> Result<()> {
        check_name(name)?;
        let contexts = self.document.entry("contexts").or_insert_with(|| {
            // Only the contexts themselves get headings.
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        });
        let contexts = contexts
            .as_table_like_mut()
            .expect("it was checked when it was read");
        let entry = contexts
            .entry(name)
            .or_insert_with(|| Item::Table(Table::new()))
            .as_table_like_mut()
            .expect("it was checked when it was read");
        let token = context
            .token
            .as_ref()
            .map(|token| token.expose().to_owned());
        let ca = context.ca.as_ref().map(|ca| ca.display().to_string());
        for (key, text) in [
            ("url", context.url.clone()),
            ("token", token),
            ("account", context.account.clone()),
            ("ca", ca),
        ] {
            set(entry, key, text.map(value));
        }
        set(entry, "token-id", context.token_id.map(value));
        Ok(())
    }

    /// Forgets a context; says whether there was one.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let contexts = self.document.get_mut("contexts");
        let removed = contexts
            .and_then(Item::as_table_like_mut)
            .is_some_and(|contexts| contexts.remove(name).is_some());
        if self.current() == Some(name) {
            self.document.remove("current");
        }
        removed
    }

    /// Makes this the context that is meant where none is named.
    pub(crate) fn choose(&mut self, name: &str) {
        set(self.document.as_table_mut(), "current", Some(value(name)));
    }

    /// Changes what is kept, whole or not at all. What others have changed since it was read stays: somebody may sign
    /// in elsewhere while a browser is waited for here.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let Some(file) = self.file.clone() else {
            return Err(Failure::failed(
                "there is no place to remember this, because the home folder is not known",
                "set HOME, or give --url and --token with each command",
            ));
        };
        let _turn = wait_for_turn(&file).map_err(|error| unwritable(&file, &error))?;
        let mut fresh = Self::read(Some(&file))?;
        change(&mut fresh)?;
        write_whole(&file, &fresh.document.to_string())
            .map_err(|error| unwritable(&file, &error))?;
        fresh.exposed = false;
        *self = fresh;
        Ok(())
    }
}

fn unwritable(file: &Path, error: &io::Error) -> Failure {
    Failure::failed(
        format!("{} cannot be written: {error}", file.display()),
        "see who owns that file and its folder, and whether the disk is full",
    )
}

/// Holds the folder until it is dropped. Whoever holds it reads and writes one small file, so nobody waits for long.
fn wait_for_turn(file: &Path) -> io::Result<fs::File> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let folder = fs::File::open(folder)?;
    folder.lock()?;
    Ok(folder)
}

/// A name that needs no care on a command line.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(is_good) {
        return Ok(());
    }
    Err(Failure::usage(
        "a context's name has 1 to 100 letters, digits, and - _ . :",
        "choose another name",
    ))
}

fn set(table: &mut dyn toml_edit::TableLike, key: &str, item: Option<Item>) {
    match item {
        None => {
            table.remove(key);
        }
        Some(item) => match (
            table.get_mut(key).and_then(Item::as_value_mut),
            item.as_value(),
        ) {
            // What stands beside the old value, such as a comment, stays.
            (Some(old), Some(new)) => {
                let decor = old.decor().clone();
                *old = new.clone();
                *old.decor_mut() = decor;
            }
            _ => {
                table.insert(key, item);
            }
        },
    }
}

fn holds_tokens(document: &DocumentMut) -> bool {
    let contexts = document.get("contexts").and_then(Item::as_table_like);
    let mut contexts = contexts.into_iter().flat_map(|contexts| contexts.iter());
    contexts.any(|(_, context)| context.get("token").is_some())
}

/// The text, and whether others than the owner may read it.
fn read_bounded(path: &Path) -> io::Result<(String, bool)> {
    let file = fs::File::open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is larger than 1 MB"));
    }
    Ok((text, facts.permissions().mode() & 0o077 != 0))
}

fn write_whole(file: &Path, text: &str) -> io::Result<()> {
    // Some keep their settings elsewhere and leave a link here.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let draft = folder.join(name);
    let written = write_draft(&draft, text).and_then(|()| fs::rename(&draft, &file));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

fn write_draft(draft: &Path, text: &str) -> io::Result<()> {
    // Left behind by a process of the same number that was killed.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn unusable(path: &Path, why: &str) -> Failure {
    Failure::usage(
        format!("the settings in {} cannot be read: {why}", path.display()),
        "mend that file, or remove it and sign in again with `pilvi login`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() -> Context {
        Context {
            url: Some("https://api.example.org/v1".into()),
            token: Some(Secret::new("hunter2")),
            token_id: Some(17),
            account: None,
            ca: Some("/etc/ca.pem".into()),
        }
    }

    #[test]
    fn what_was_put_is_found_after_writing_and_reading() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pilvi/config.toml");
        let mut contexts = Contexts::read(Some(&file)).unwrap();
        assert_eq!((contexts.current(), contexts.find("work")), (None, None));
        let change = |contexts: &mut Contexts| {
            contexts.put("work", &work())?;
            contexts.put("127.0.0.1:8080", &Context::default())?;
            contexts.choose("work");
            Ok(())
        };
        contexts.change(change).unwrap();
        assert_eq!(contexts.find("work"), Some(work()));
        let again = Contexts::read(Some(&file)).unwrap();
        assert_eq!(again.current(), Some("work"));
        assert_eq!(again.find("work"), Some(work()));
        assert_eq!(again.names(), ["work", "127.0.0.1:8080"]);
        assert_eq!(again.exposed(), None);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(file.parent().unwrap()), 0o700);
        let left: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn comments_and_what_is_not_known_stay() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let text = "# mine\ncurrent = \"work\" # usually\n\n\
                    [contexts.work]\nurl = \"http://a/v1\" # here\nfuture = [1]\n";
        fs::write(&file, text).unwrap();
        let mut contexts = Contexts::read(Some(&file)).unwrap();
        let mut context = contexts.find("work").unwrap();
        context.url = Some("http://b/v1".into());
        let change = |contexts: &mut Contexts| {
            contexts.put("work", &context)?;
            contexts.choose("work");
            Ok(())
        };
        contexts.change(change).unwrap();
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            text.replace("http://a", "http://b")
        );
        assert!(contexts.remove("work"));
        assert!(!contexts.remove("work"));
        assert_eq!(contexts.current(), None);
    }

    #[test]
    fn a_file_that_others_may_read_is_told_of_and_mended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, "[contexts.a]\ntoken = \"x\"\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let mut contexts = Contexts::read(Some(&file)).unwrap();
        assert_eq!(contexts.exposed(), Some(&*file));
        contexts.change(|_| Ok(())).unwrap();
        assert_eq!(Contexts::read(Some(&file)).unwrap().exposed(), None);
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (
            folder.path().join("real.toml"),
            folder.path().join("config.toml"),
        );
        fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut contexts = Contexts::read(Some(&link)).unwrap();
        contexts
            .change(|contexts| contexts.put("work", &work()))
            .unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&real).unwrap().contains("example.org"));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_without_its_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        for (text, why) in [
            ("[contexts.a]\nurl = \"x\"\ntoken = hunter2\n", "line 3: "),
            ("contexts = 1", "`contexts` must be a table"),
            ("contexts.a = 1", "the context `a` must be a table"),
            ("current = 1", "`current` must be a text"),
            (
                "[contexts.a]\ntoken = [\"hunter2\"]",
                "`token` of the context `a`",
            ),
        ] {
            fs::write(&file, text).unwrap();
            let failure = Contexts::read(Some(&file)).unwrap_err();
            assert!(failure.what.contains(why), "{failure:?}");
            assert!(!failure.what.contains("hunter2"), "{failure:?}");
        }
        fs::write(&file, vec![b'#'; 2 << 20]).unwrap();
        assert!(Contexts::read(Some(&file)).is_err());
        assert!(Contexts::read(Some(folder.path())).is_err());
    }

    #[test]
    fn nobody_undoes_what_another_did_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pilvi/config.toml");
        let remember = |name: &str| {
            let mut contexts = Contexts::read(Some(&file)).unwrap();
            contexts
                .change(|contexts| contexts.put(name, &work()))
                .unwrap();
        };
        let mut early = Contexts::read(Some(&file)).unwrap();
        remember("a");
        early.change(|contexts| contexts.put("b", &work())).unwrap();
        assert_eq!(early.names(), ["a", "b"]);
        std::thread::scope(|scope| {
            for number in 0..8 {
                scope.spawn(move || remember(&format!("c{number}")));
            }
        });
        assert_eq!(Contexts::read(Some(&file)).unwrap().names().len(), 10);
    }

    #[test]
    fn a_change_that_fails_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let mut contexts = Contexts::read(Some(&file)).unwrap();
        contexts
            .change(|contexts| contexts.put("a b", &work()))
            .unwrap_err();
        assert!(!file.exists());
        assert_eq!(contexts.names(), [""; 0]);
    }

    #[test]
    fn a_name_is_plain() {
        for name in ["work", "127.0.0.1:8080", "a-b_c.d"] {
            check_name(name).unwrap();
        }
        for name in ["", "a b", "ü", "a\"b", &"x".repeat(101)] {
            check_name(name).unwrap_err();
        }
    }
}
