//! Opens and reads small regular files without ever blocking.

use std::io::{self, Read};
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt;
use nix::fcntl::OFlag;

/// Reads a regular file of at most `max` bytes.
///
/// An error means that the file is missing or larger, or that the path names a symbolic link, a
/// FIFO or anything else but a regular file.
pub fn read_bounded(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let (mut file, size) = open_bounded(path, max)?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file under the conditions of [`read_bounded`], for callers that read parts of it.
/// Returns the file, limited to `max` bytes, and its current size in bytes.
pub fn open_bounded(path: &Path, max: u64) -> io::Result<(io::Take<fs_err::File>, u64)> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = fs_err::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > max {
        let what = format!("{}: not a regular file of at most {max} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok((file.take(max), meta.len()))
}
