//! Keeps what was found over a restart.
//!
//! A checkpoint is a cache. One that is missing, torn, from another version or in any way not what
//! was written is no checkpoint, and everything is read again; it is never an error.

use std::hash::{DefaultHasher, Hasher};
use std::io::{self, BufWriter, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::atomic;
use super::dir::StateDir;
use super::file::read_bounded;

const NAME: &str = "checkpoint";
/// Ends with the version of the format. The program's is there since a program may find other
/// things in the same transcript.
const HEADER: &str = concat!("ccstatusd ", env!("CARGO_PKG_VERSION"), " checkpoint 1\n");
/// A year of heavy use has a tenth of it.
const MAX_BYTES: u64 = 256 << 20;

/// Keeps `facts` in place of what was kept before.
pub fn save(dir: &StateDir, facts: &impl Serialize) -> io::Result<()> {
    atomic::write_with(dir.path(), NAME, |file| {
        let mut out = BufWriter::new(Summing { file, hasher: DefaultHasher::new() });
        out.write_all(HEADER.as_bytes())?;
        let Summing { file, hasher } = postcard::to_io(facts, out)
            .map_err(io::Error::other)?
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.write_all(&hasher.finish().to_le_bytes())
    })
}

/// Writes to a file, and sums up what was written.
struct Summing<'a> {
    file: &'a mut fs_err::File,
    hasher: DefaultHasher,
}

impl Write for Summing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_written = self.file.write(bytes)?;
        self.hasher.write(&bytes[..n_written]);
        Ok(n_written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What was kept, if it is all there.
pub fn load<T: DeserializeOwned>(dir: &StateDir) -> Option<T> {
    let bytes = read_bounded(&dir.join(NAME), MAX_BYTES).ok()?;
    let (bytes, sum) = bytes.split_last_chunk()?;
    let facts = bytes.strip_prefix(HEADER.as_bytes())?;
    if checksum(bytes) != *sum {
        return None;
    }
    postcard::from_bytes(facts).ok()
}

/// A later Rust may hash differently, as it may the ids in the ledger; then it is a cache miss.
fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> (tempfile::TempDir, StateDir) {
        let tmp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&tmp.path().join("state")).unwrap();
        (tmp, dir)
    }

    #[test]
    fn what_is_kept_comes_back() {
        let (_tmp, dir) = dir();
        assert_eq!(load::<String>(&dir), None);
        save(&dir, &"facts").unwrap();
        assert_eq!(load::<String>(&dir).as_deref(), Some("facts"));
    }

    /// Every byte counts: none may be lost or another.
    #[test]
    fn what_is_not_as_it_was_written_is_nothing() {
        let (_tmp, dir) = dir();
        save(&dir, &"facts").unwrap();
        let path = dir.join(NAME);
        let whole = fs_err::read(&path).unwrap();
        for at in 0..whole.len() {
            fs_err::write(&path, &whole[..at]).unwrap();
            assert_eq!(load::<String>(&dir), None, "cut at {at}");
            let mut other = whole.clone();
            other[at] ^= 1;
            fs_err::write(&path, other).unwrap();
            assert_eq!(load::<String>(&dir), None, "changed at {at}");
        }
    }
}
