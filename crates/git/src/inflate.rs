//! Request bodies that git has compressed, opened piece by piece.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::GzDecoder;

/// How much is put in at once, so that what comes out fits into memory: a piece can grow a thousandfold.
const STEP: usize = 1 << 10;

/// What comes in, compressed or not, and comes out plain.
pub(crate) enum Inflate {
    Plain,
    Gzip(Box<GzDecoder<Vec<u8>>>),
}

impl Inflate {
    pub(crate) fn gzip() -> Self {
        Self::Gzip(Box::new(GzDecoder::new(Vec::new())))
    }

    /// The parts of a piece that go in one after the other.
    pub(crate) fn parts(&self, piece: &Bytes) -> Vec<Bytes> {
        match self {
            Self::Plain => vec![piece.clone()],
            Self::Gzip(_) => (0..piece.len())
                .step_by(STEP)
                .map(|start| piece.slice(start..piece.len().min(start + STEP)))
                .collect(),
        }
    }

    /// Opens one part.
    pub(crate) fn open(&mut self, part: Bytes) -> io::Result<Bytes> {
        match self {
            Self::Plain => Ok(part),
            Self::Gzip(decoder) => {
                decoder.write_all(&part)?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
        }
    }

    /// Opens what is left, and fails if the end is missing.
    pub(crate) fn finish(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Plain => Ok(Bytes::new()),
            Self::Gzip(decoder) => {
                decoder.try_finish()?;
                Ok(std::mem::take(decoder.get_mut()).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn compressed(plain: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn a_body_comes_out_as_it_was_in_bounded_pieces() {
        let plain = vec![b'x'; 3 << 20];
        let body = compressed(&plain);
        let mut inflate = Inflate::gzip();
        let mut out = Vec::new();
        for part in inflate.parts(&body) {
            let piece = inflate.open(part).unwrap();
            assert!(piece.len() <= 1100 * STEP);
            out.extend(piece);
        }
        out.extend(inflate.finish().unwrap());
        assert_eq!(out, plain);
    }

    #[test]
    fn a_broken_or_cut_body_is_an_error() {
        let body = compressed(b"0000");
        let mut inflate = Inflate::gzip();
        inflate.open(body.slice(..body.len() - 6)).unwrap();
        assert!(inflate.finish().is_err());
        let mut inflate = Inflate::gzip();
        let opened = inflate.open(Bytes::from_static(b"this is no gzip"));
        assert!(opened.and_then(|_| inflate.finish()).is_err());
    }
}
