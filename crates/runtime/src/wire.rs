//! The bytes that the server and the helper tell each other: tagged fields, lengths first, all of them bounded.
//!
//! Both ends are the same executable, so there are no versions. The reading side still trusts nothing: a program in a
//! sandbox that took over its init must not be able to confuse the server.

use std::io;

/// Builds a message.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn byte(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    pub(crate) fn number(&mut self, value: u64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn blob(&mut self, value: &[u8]) -> &mut Self {
        self.number(value.len() as u64);
        self.bytes.extend_from_slice(value);
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.blob(value.as_bytes())
    }

    pub(crate) fn list<T>(
        &mut self,
        items: &[T],
        mut write: impl FnMut(&mut Self, &T),
    ) -> &mut Self {
        self.number(items.len() as u64);
        for item in items {
            write(self, item);
        }
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Takes a message apart. Every call fails once the bytes run out.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn number(&mut self) -> io::Result<u64> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(
            bytes.try_into().expect("eight bytes were taken"),
        ))
    }

    /// A number that must fit a smaller type.
    pub(crate) fn small<T: TryFrom<u64>>(&mut self) -> io::Result<T> {
        T::try_from(self.number()?).map_err(|_| garbled())
    }

    pub(crate) fn blob(&mut self) -> io::Result<&'a [u8]> {
        let length = self.small()?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> io::Result<String> {
        let bytes = self.blob()?.to_vec();
        String::from_utf8(bytes).map_err(|_| garbled())
    }

    pub(crate) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> io::Result<Vec<T>> {
        // An item takes one byte at least, which bounds what a wrong count can make us do.
        let count: usize = self.small()?;
        if count > self.rest.len() {
            return Err(garbled());
        }
        (0..count).map(|_| read(self)).collect()
    }

    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(garbled)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// What a message that makes no sense is answered with.
pub(crate) fn garbled() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a message between server and sandbox is garbled",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::new();
        writer
            .byte(7)
            .number(1 << 40)
            .text("für")
            .list(&["a", "bc"], |writer, item| {
                writer.text(item);
            });
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.byte().unwrap(), 7);
        assert_eq!(reader.number().unwrap(), 1 << 40);
        assert_eq!(reader.text().unwrap(), "für");
        assert_eq!(reader.list(Reader::text).unwrap(), ["a", "bc"]);
        assert!(reader.byte().is_err());
    }

    #[test]
    fn every_cut_and_every_wrong_length_is_an_error() {
        let mut writer = Writer::new();
        writer.text("hello").list(&[1_u64, 2, 3], |writer, item| {
            writer.number(*item);
        });
        let bytes = writer.finish();
        for cut in 0..bytes.len() {
            let mut reader = Reader::new(&bytes[..cut]);
            let whole = reader.text().and_then(|_| reader.list(Reader::number));
            assert!(whole.is_err(), "cut at {cut}");
        }
        let huge = [0xff_u8; 64];
        assert!(Reader::new(&huge).text().is_err());
        assert!(Reader::new(&huge).list(Reader::byte).is_err());
        assert!(Reader::new(&300_u64.to_le_bytes()).small::<u8>().is_err());
    }
}
