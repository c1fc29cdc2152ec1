//! TOML to a validated [`Plan`].
//!
//! A file is read in three steps. TOML becomes a [`File`], whose values cannot
//! be invalid by themselves. Flags of the command line are laid over it. Then
//! [`Plan::new`] checks that the values go together. What is wrong is reported
//! with file, line and column, and with the nearest valid name.
//!
//! Nothing here looks at the machine: whether an interface exists, or a driver
//! can do what is asked, is found out by who opens it.

mod error;
mod file;
mod names;
mod plan;
mod units;

#[cfg(test)]
mod tests;

pub use error::{Error, Problem};
pub use file::{
    AddressMode, Addresses, Attach, Bind, ChunkSize, Congestion, Cores, Ecn, File, HugePages, Idle,
    IdleStrategy, Limits, MtuProbing, Queues, Rings, RxChecksum, Serve, Stats, StatsFormat, Tcp,
    TokenScope, Umem, Utp,
};
pub use names::{Cidr, InterfaceName};
pub use plan::{Contradiction, EnginePlan, Plan};
pub use units::{Count, OrOff, RingSize, Size, Span, size_text};

use std::fs;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// A configuration and the text it came from, so that what is found wrong
/// later can be shown in its place.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// What was read; flags may change it before [`Source::plan`].
    pub file: File,
    origin: Option<(PathBuf, String)>,
}

impl Source {
    /// Reads the configuration at `path`.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has a key or value that is
    /// not valid.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|e| Error::unreadable(path, &e))?;
        Self::parse(path, text)
    }

    /// Parses `text`, which is what `path` holds.
    ///
    /// # Errors
    /// It is not TOML, or has a key or value that is not valid.
    pub fn parse(path: &Path, text: String) -> Result<Self, Error> {
        let file = toml::from_str(&text).map_err(|e| Error::from_toml(path, &text, &e))?;
        Ok(Self {
            file,
            origin: Some((path.to_owned(), text)),
        })
    }

    /// The plan.
    ///
    /// # Errors
    /// Everything that does not go together.
    pub fn plan(self) -> Result<Plan, Error> {
        let Self { file, origin } = self;
        Plan::new(file).map_err(|found| {
            let mut problems: Vec<_> = found
                .into_iter()
                .map(|c| locate(c, origin.as_ref()))
                .collect();
            problems.sort_by_key(|p| p.place);
            Error::new(problems)
        })
    }
}

/// Finds a contradiction's place: that of its key, or of the nearest table
/// around it that the file has.
fn locate(c: Contradiction, origin: Option<&(PathBuf, String)>) -> Problem {
    let place = origin.and_then(|(_, text)| {
        let document = DeTable::parse(text).ok()?;
        let mut table = document.get_ref();
        let mut place = None;
        for &name in c.key {
            let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else {
                break;
            };
            place = Some(error::line_and_column(text, &key.span()));
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        place
    });
    Problem {
        file: origin.map(|(path, _)| path.clone()),
        place,
        message: if c.key.len() > 1 {
            format!("{}: {}", c.key.join("."), c.message)
        } else {
            c.message
        },
        hint: c.hint,
    }
}
