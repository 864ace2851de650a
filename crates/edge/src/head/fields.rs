//! Header names that mean something to a proxy, and lists of words in header values.

/// What a header is to a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Field {
    /// Nothing: it passes.
    #[default]
    Other,
    Accept,
    Connection,
    ContentLength,
    Expect,
    ForwardedFor,
    Host,
    KeepAlive,
    RequestId,
    Te,
    TransferEncoding,
    Upgrade,
    /// About one connection, or ours to say: it ends here. What we do not say ourselves, such as `Forwarded`, nobody
    /// may say in our place: an app that finds it behind a proxy believes it.
    Dropped,
}

impl Field {
    pub(super) fn of(name: &str) -> Self {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            2 if is("te") => Self::Te,
            4 if is("host") => Self::Host,
            6 if is("accept") => Self::Accept,
            6 if is("expect") => Self::Expect,
            7 if is("upgrade") => Self::Upgrade,
            9 if is("forwarded") || is("x-real-ip") => Self::Dropped,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::KeepAlive,
            12 if is("x-request-id") => Self::RequestId,
            14 if is("content-length") => Self::ContentLength,
            14 if is("http2-settings") => Self::Dropped,
            15 if is("x-forwarded-for") => Self::ForwardedFor,
            16 if is("x-forwarded-host") || is("x-forwarded-port") => Self::Dropped,
            16 if is("proxy-connection") => Self::Dropped,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            17 if is("x-forwarded-proto") => Self::Dropped,
            18 if is("proxy-authenticate") => Self::Dropped,
            19 if is("proxy-authorization") => Self::Dropped,
            _ if name.contains('_') && is_disguised(name) => Self::Dropped,
            _ => Self::Other,
        }
    }
}

/// A name that becomes one of ours where underscores and hyphens are the same, as in CGI.
fn is_disguised(name: &str) -> bool {
    let name = name.replace('_', "-");
    !matches!(Field::of(&name), Field::Other | Field::Accept)
}

/// The words of a list such as that of `Connection`.
pub(super) fn words(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|word| !word.is_empty())
}

/// Digits only: no sign, no list, no blank.
pub(super) fn content_length(value: &[u8]) -> Option<u64> {
    let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let add = |sum: u64, &digit: &u8| sum * 10 + u64::from(digit - b'0');
    digits.then(|| value.iter().fold(0, add))
}

/// Which headers the words of `Connection` name besides those that always end here. Bounded, because nobody lists
/// more than a few.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Listed<'a> {
    names: [&'a [u8]; 8],
    count: usize,
}

impl<'a> Listed<'a> {
    /// `false` when there are too many.
    pub(super) fn add(&mut self, name: &'a [u8]) -> bool {
        let Some(room) = self.names.get_mut(self.count) else {
            return false;
        };
        *room = name;
        self.count += 1;
        true
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names[..self.count]
            .iter()
            .any(|listed| listed.eq_ignore_ascii_case(name.as_bytes()))
    }
}
