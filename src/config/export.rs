//! PURE. `[export]`: what is written for Prometheus.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::reader::{Table, flag, text, whole, whole_path};
use crate::metrics::families::Detail;

/// What stands for the name of the user in the path.
const USER: &str = "{user}";

/// Seconds between two writes.
pub(super) const INTERVALS: RangeInclusive<u32> = 1..=3600;

#[derive(Clone, Debug, PartialEq)]
pub struct ExportConfig {
    /// The file for the textfile collector; `None` where nothing is exported. It is absolute or
    /// begins with `~/`, ends in `.prom`, and may contain `{user}`.
    pub textfile: Option<PathBuf>,
    /// It is written at most once in so many seconds.
    pub every_s: u32,
    pub detail: Detail,
}

impl Default for ExportConfig {
    fn default() -> ExportConfig {
        ExportConfig { textfile: None, every_s: 15, detail: Detail::default() }
    }
}

impl ExportConfig {
    pub(super) fn read(table: &mut Table<'_, '_>) -> ExportConfig {
        let default = ExportConfig::default();
        let textfile = table.value("textfile", |value| {
            let path = whole_path(text(value)?)?;
            match path.extension().is_some_and(|it| it == "prom") {
                true => Ok(path),
                false => Err("it must end in .prom: the collector reads no other file".to_owned()),
            }
        });
        ExportConfig {
            textfile,
            every_s: table.value("every_s", whole(INTERVALS)).unwrap_or(default.every_s),
            detail: Detail {
                sessions: table.value("sessions", flag).unwrap_or(false),
                paths: table.value("paths", flag).unwrap_or(false),
            },
        }
    }

    /// The path of the file for the user of this name.
    pub fn textfile_of(&self, user: &str) -> Option<PathBuf> {
        let path = self.textfile.as_ref()?.to_str()?;
        Some(PathBuf::from(path.replace(USER, user)))
    }
}
