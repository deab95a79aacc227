//! PURE. Paths as text, for the snapshot.

use std::path::Path;

/// Converts a path to text. A path that is UTF-8 stays as it is. In any other path, bytes that are
/// not UTF-8 become `%XX`, and `%` becomes `%25`, so that no two of these become one key.
pub(super) fn of(path: &Path) -> String {
    if let Some(text) = path.to_str() {
        return text.to_owned();
    }
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text += &chunk.valid().replace('%', "%25");
        for byte in chunk.invalid() {
            text += &format!("%{byte:02X}");
        }
    }
    text
}
