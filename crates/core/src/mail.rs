//! Mail to the users of apps: by SMTP, or into a folder when no server for it is configured.
//!
//! Whoever sends does not wait. A mail is taken when there is room for it, tried a few times, and then given up; the
//! log says so. What waits does not survive the server: everything mailed is something the user can ask for again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Body, Mailbox};
use lettre::transport::smtp;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use pilvi_base::secret::{random_hex, write_new};
use pilvi_base::{Clock, Secret, TaskGroup};
use pilvi_model::{Error, Result, Timestamp};
use tokio::sync::Semaphore;

/// Mails that are accepted and not yet sent or given up.
const WAITING_MAX: usize = 1000;
/// Mails on their way at the same moment.
const SENDING_MAX: usize = 4;
/// How long the server of mails may take for one step.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a stopping server waits for a mail that is on its way.
const LAST_WORDS: Duration = Duration::from_secs(5);
const LOST: &str = "a mail is lost, because the server stops before it was sent";
/// A folder keeps the newest.
const FILES_MAX: usize = 1000;

/// How long to wait before each further attempt.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(300),
];

/// Where mails go.
#[derive(Clone, Debug)]
pub enum Post {
    /// `smtps://user:password@host:465`, or `smtp://…` for STARTTLS.
    Smtp(Secret),
    /// One file for each mail.
    Folder(PathBuf),
}

/// A mail to one reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    pub to: String,
    pub subject: String,
    /// Plain text.
    pub text: String,
}

/// Why no mail can be sent at all. No message repeats the address of the server, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    #[error(
        "the address of the mail server cannot be read; write it like smtps://user:password@host:465, with \
         other characters than letters and digits percent-encoded"
    )]
    Url,
    #[error(
        "the sender of mails must be an address such as app@example.org or App <app@example.org>"
    )]
    From,
}

/// Sends mails. Cloning gives another handle on the same queue.
#[derive(Clone)]
pub struct Mailer(Arc<Parts>);

struct Parts {
    from: Mailbox,
    carrier: Carrier,
    pauses: [Duration; 4],
    waiting: Arc<Semaphore>,
    sending: Semaphore,
    clock: Clock,
    tasks: TaskGroup,
}

enum Carrier {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Folder(PathBuf),
}

/// An attempt that failed.
struct Fault {
    cause: Box<dyn std::error::Error + Send + Sync>,
    /// Trying again would not help.
    final_word: bool,
}

impl Mailer {
    pub fn new(post: Post, from: &str, clock: Clock, tasks: TaskGroup) -> Result<Self, MailError> {
        let carrier = match post {
            Post::Smtp(url) => Carrier::Smtp(transport(&url)?),
            Post::Folder(folder) => Carrier::Folder(folder),
        };
        Ok(Self(Arc::new(Parts {
            from: from.parse().map_err(|_| MailError::From)?,
            carrier,
            pauses: PAUSES,
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            sending: Semaphore::new(SENDING_MAX),
            clock,
            tasks,
        })))
    }

    /// Shorter pauses, for tests.
    ///
    /// # Panics
    /// When the mailer is in use already.
    #[must_use]
    pub fn with_pauses(mut self, pauses: [Duration; 4]) -> Self {
        let parts = Arc::get_mut(&mut self.0);
        parts.expect("nobody uses a new mailer yet").pauses = pauses;
        self
    }

    /// Takes a mail. It is sent in the background.
    ///
    /// # Errors
    /// [`pilvi_model::Kind::Invalid`] when `to` is no address, [`pilvi_model::Kind::Unavailable`] when too many wait.
    pub fn send(&self, mail: Mail) -> Result<()> {
        let message = self.compose(mail)?;
        let waiting = Arc::clone(&self.0.waiting);
        let room = waiting.try_acquire_owned().map_err(|_| {
            Error::unavailable("too many mails are waiting to be sent; try again later")
        })?;
        let parts = Arc::clone(&self.0);
        self.0.tasks.spawn("mail", async move {
            parts.carry(&message).await;
            drop(room);
        });
        Ok(())
    }

    fn compose(&self, mail: Mail) -> Result<Message> {
        // A bare address: with a name before it, one mailbox would have a thousand spellings.
        let to: Address = mail
            .to
            .parse()
            .map_err(|_| Error::invalid("email", "is not an address that mail can be sent to"))?;
        let domain = self.0.from.email.domain();
        Message::builder()
            .from(self.0.from.clone())
            .to(to.into())
            .subject(mail.subject)
            .date(self.0.clock.now())
            .message_id(Some(format!("<{}@{domain}>", random_hex::<16>())))
            .header(ContentType::TEXT_PLAIN)
            .body(body(mail.text))
            .map_err(Error::internal)
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mailer")
    }
}

impl Parts {
    /// Tries until the mail is away or hope is given up.
    async fn carry(&self, message: &Message) {
        let mut pauses = self.pauses.iter();
        loop {
            let outcome = tokio::select! {
                outcome = self.attempt(message) => outcome,
                () = self.ending() => return tracing::warn!("{LOST}"),
            };
            let Err(fault) = outcome else {
                return tracing::debug!("a mail was sent");
            };
            let Some(pause) = pauses.next().filter(|_| !fault.final_word) else {
                return tracing::error!(error = %fault, "a mail could not be sent and is given up");
            };
            tracing::warn!(error = %fault, "a mail could not be sent; it will be tried again");
            tokio::select! {
                () = tokio::time::sleep(*pause) => {}
                () = self.tasks.stopping() => return tracing::warn!("{LOST}"),
            }
        }
    }

    /// Resolves when the server stops and has waited long enough for a mail that is on its way.
    async fn ending(&self) {
        self.tasks.stopping().await;
        tokio::time::sleep(LAST_WORDS).await;
    }

    async fn attempt(&self, message: &Message) -> Result<(), Fault> {
        let _sending = self.sending.acquire().await.map_err(Fault::passing)?;
        match &self.carrier {
            Carrier::Smtp(transport) => {
                let sent = tokio::time::timeout(ATTEMPT_TIMEOUT, transport.send(message.clone()));
                sent.await.map_err(Fault::passing)??;
                Ok(())
            }
            Carrier::Folder(folder) => {
                let (folder, bytes) = (folder.clone(), message.formatted());
                let now = self.clock.now().into();
                let write = tokio::task::spawn_blocking(move || store(&folder, now, &bytes));
                write.await.map_err(Fault::passing)?.map_err(Fault::passing)
            }
        }
    }
}

impl Fault {
    fn passing(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            cause: cause.into(),
            final_word: false,
        }
    }
}

impl From<smtp::Error> for Fault {
    fn from(error: smtp::Error) -> Self {
        Self {
            final_word: error.is_permanent(),
            cause: error.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        let mut next = self.cause.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

/// Plain ASCII stays as it is, up to the longest line that mail may have: otherwise whoever reads a mail as a file
/// finds addresses broken over two lines, with other letters in them.
fn body(text: String) -> Body {
    const LINE_BYTES_MAX: usize = 990;
    let is_plain = |byte: u8| byte == b'\n' || (b' '..=b'~').contains(&byte);
    let is_whole =
        text.bytes().all(is_plain) && text.lines().all(|line| line.len() <= LINE_BYTES_MAX);
    match is_whole {
        true => Body::dangerous_pre_encoded(
            text.replace('\n', "\r\n").into_bytes(),
            ContentTransferEncoding::SevenBit,
        ),
        false => Body::new(text),
    }
}

fn transport(url: &Secret) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailError> {
    let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(&secured(url.expose()))
        .map_err(|_| MailError::Url)?;
    Ok(builder.timeout(Some(STEP_TIMEOUT)).build())
}

/// `smtp://` means STARTTLS unless the server is this machine itself or the address says otherwise: passwords and
/// vouchers do not cross a network in the clear because somebody forgot a letter.
fn secured(url: &str) -> String {
    let Some(rest) = url.strip_prefix("smtp://") else {
        return url.to_owned();
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let local = ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|name| host == *name || host.starts_with(&format!("{name}:")));
    if local || query.contains("tls=") {
        return url.to_owned();
    }
    format!("smtp://{place}?tls=required")
}

/// Writes a mail that only the owner of the folder can read, and deletes the oldest beyond the bound.
fn store(folder: &Path, now: Timestamp, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let name = format!("{:015}-{}.eml", now.as_millis(), random_hex::<8>());
    write_new(&folder.join(name), bytes)?;
    let mut mails = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "eml") {
            mails.push(path);
        }
    }
    // Names begin with the time, so the oldest come first.
    mails.sort();
    let surplus = mails.len().saturating_sub(FILES_MAX);
    for old in &mails[..surplus] {
        // Another mail may have deleted it in the same moment.
        let _ = std::fs::remove_file(old);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use pilvi_model::Kind;

    use super::*;

    fn mail(to: &str) -> Mail {
        Mail {
            to: to.to_owned(),
            subject: "Grüße".to_owned(),
            text: "Your code is\n\n    0123456789\n".to_owned(),
        }
    }

    fn mailer(folder: &Path, tasks: &TaskGroup) -> Mailer {
        let post = Post::Folder(folder.to_owned());
        Mailer::new(
            post,
            "App <app@example.org>",
            Clock::system(),
            tasks.clone(),
        )
        .unwrap()
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_password_does_not_cross_a_network_in_the_clear() {
        let rows = [
            (
                "smtps://u:p@mail.example.org",
                "smtps://u:p@mail.example.org",
            ),
            (
                "smtp://u:p@mail.example.org:25",
                "smtp://u:p@mail.example.org:25?tls=required",
            ),
            (
                "smtp://u:p@localhost.example.org",
                "smtp://u:p@localhost.example.org?tls=required",
            ),
            (
                "smtp://u:p@h?tls=opportunistic",
                "smtp://u:p@h?tls=opportunistic",
            ),
            ("smtp://127.0.0.1:2525", "smtp://127.0.0.1:2525"),
            ("smtp://localhost", "smtp://localhost"),
        ];
        for (given, used) in rows {
            assert_eq!(secured(given), used);
        }
    }

    #[test]
    fn what_cannot_serve_is_refused_at_the_start_and_not_repeated() {
        let tasks = TaskGroup::new();
        let make = |post, from| Mailer::new(post, from, Clock::system(), tasks.clone());
        for url in ["", "hunter2", "http://u:hunter2@h", "smtp://u:hunter2@h:x"] {
            let error = make(Post::Smtp(Secret::new(url)), "a@b.c").unwrap_err();
            assert_eq!(error, MailError::Url, "{url}");
            assert!(!error.to_string().contains("hunter2"));
        }
        let folder = Post::Folder("x".into());
        assert_eq!(make(folder, "nobody").unwrap_err(), MailError::From);
    }

    #[tokio::test]
    async fn without_a_server_a_mail_becomes_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, tasks) = (folder.path().join("mail"), TaskGroup::new());
        mailer(&folder, &tasks)
            .send(mail("anna@example.org"))
            .unwrap();
        assert!(tasks.drain(Duration::from_secs(10)).await);
        let [path] = &files(&folder)[..] else {
            panic!("not one file")
        };
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(path).unwrap();
        for line in [
            "From: App <app@example.org>\r\n",
            "To: anna@example.org\r\n",
            "Subject: =?utf-8?b?",
            "    0123456789\r\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    #[tokio::test]
    async fn a_long_address_in_a_mail_stays_whole() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = TaskGroup::new();
        let link = format!("https://cloud.example.org/reset?code={}", "a".repeat(80));
        let text = |words: &str| format!("{words}\n\n    {link}\n");
        for words in ["Hello", &"x".repeat(2000), "Grüße"] {
            let mail = Mail {
                text: text(words),
                ..mail("anna@example.org")
            };
            mailer(folder.path(), &tasks).send(mail).unwrap();
        }
        assert!(tasks.drain(Duration::from_secs(10)).await);
        let mut whole = 0;
        for path in files(folder.path()) {
            let text = std::fs::read_to_string(path).unwrap();
            assert!(text.lines().all(|line| line.len() < 998), "{text}");
            whole += usize::from(text.contains(&format!("    {link}\r\n")));
        }
        // The others need letters or lines that mail does not have.
        assert_eq!(whole, 1);
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mailer = mailer(folder.path(), &TaskGroup::new());
        for to in [
            "",
            "anna",
            "a@b\r\nBcc: c@d.e",
            "a@b.c, d@e.f",
            "Anna <anna@example.org>",
            "x<anna@example.org>",
        ] {
            assert_eq!(
                mailer.send(mail(to)).unwrap_err().kind,
                Kind::Invalid,
                "{to}"
            );
        }
    }

    #[test]
    fn a_folder_keeps_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        for old in 0..FILES_MAX {
            std::fs::write(folder.path().join(format!("{old:015}-x.eml")), "").unwrap();
        }
        std::fs::write(folder.path().join("notes.txt"), "").unwrap();
        store(folder.path(), Timestamp::from_millis(u64::MAX), b"new").unwrap();
        let left = files(folder.path());
        assert_eq!(left.len(), FILES_MAX + 1);
        assert!(!left.contains(&folder.path().join(format!("{:015}-x.eml", 0))));
        assert!(left.contains(&folder.path().join("notes.txt")));
    }
}
