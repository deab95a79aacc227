//! Stores facts over a restart, in a file with a checksum.
//!
//! The checkpoint is a cache. If it is missing, incomplete, damaged or from another version, it is
//! ignored, and the caller reads everything again. That is not an error.
//!
//! See docs/decisions/020-the-checkpoint-is-a-cache.md.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, BufWriter, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::atomic;
use super::dir::StateDir;
use super::file::read_bounded;

const NAME: &str = "checkpoint";
/// The first bytes of the file. The program's version is included, since another version may derive
/// other facts from the same transcript. The last number is the version of the format.
const HEADER: &str = concat!("ccstatusd ", env!("CARGO_PKG_VERSION"), " checkpoint 2\n");
/// The largest checkpoint that is read. After a year of heavy use it has a tenth of this size.
const MAX_BYTES: u64 = 256 << 20;

/// Replaces the checkpoint. On an error the old one is still there.
pub fn save(dir: &StateDir, facts: &impl Serialize) -> io::Result<()> {
    atomic::write_with(dir.path(), NAME, |file| write(file, facts))
}

fn write(file: &mut fs_err::File, facts: &impl Serialize) -> io::Result<()> {
    let failure = Cell::new(None);
    let hasher = DefaultHasher::new();
    let mut out = BufWriter::new(HashingWriter { file, hasher, failure: &failure });
    out.write_all(HEADER.as_bytes())?;
    let HashingWriter { file, hasher, .. } = postcard::to_io(facts, out)
        .map_err(|err| failure.take().unwrap_or_else(|| io::Error::other(err)))?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.write_all(&hasher.finish().to_le_bytes())
}

/// A writer that hashes what it writes.
struct HashingWriter<'a> {
    file: &'a mut fs_err::File,
    hasher: DefaultHasher,
    /// Why a write failed. postcard itself says only that it did.
    failure: &'a Cell<Option<io::Error>>,
}

impl Write for HashingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_written = self.file.write(bytes).map_err(|err| {
            let kind = err.kind();
            self.failure.set(Some(err));
            io::Error::from(kind)
        })?;
        self.hasher.write(&bytes[..n_written]);
        Ok(n_written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The facts in the checkpoint. `None` where it is missing, damaged or of another version.
pub fn load<T: DeserializeOwned>(dir: &StateDir) -> Option<T> {
    let bytes = read_bounded(&dir.join(NAME), MAX_BYTES).ok()?;
    let (bytes, sum) = bytes.split_last_chunk()?;
    let facts = bytes.strip_prefix(HEADER.as_bytes())?;
    if checksum(bytes) != *sum {
        return None;
    }
    postcard::from_bytes(facts).ok()
}

/// The checksum at the end of the file. If a later Rust hashes differently, the checkpoint is
/// refused; it has to be, since the ledger in it contains hashes of ids.
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
    fn saved_facts_are_loaded() {
        let (_tmp, dir) = dir();
        assert_eq!(load::<String>(&dir), None);
        save(&dir, &"facts").unwrap();
        assert_eq!(load::<String>(&dir).as_deref(), Some("facts"));
    }

    #[test]
    fn what_the_system_refused_is_reported_in_its_own_words() {
        let (_tmp, dir) = dir();
        save(&dir, &"facts").unwrap();
        let mut read_only = fs_err::File::open(dir.join(NAME)).unwrap();
        // One fits into the buffer and is refused at the end, the other before.
        for n_bytes in [10, 100_000] {
            let err = write(&mut read_only, &"x".repeat(n_bytes)).unwrap_err().to_string();
            assert!(err.contains("Bad file descriptor"), "{n_bytes}: {err}");
        }
    }

    /// No byte may be missing, and none may be changed.
    #[test]
    fn a_checkpoint_that_lacks_or_differs_in_a_byte_is_refused() {
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
