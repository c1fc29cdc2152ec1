//! The file that a get writes: beside it a `.part` file with what has come,
//! and a `.part.json` file that tells which parts those are and of what.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::ClientError;
use crate::transfer::disk::Sink;
use crate::transfer::http::ByteRange;
use crate::transfer::http::digest::{Algorithm, Digest};

/// What the `.part` file is a part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    pub url: String,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    pub size: u64,
    /// Start and end of each part that is there.
    pub parts: Vec<(u64, u64)>,
}

/// Largest `.part.json` that is read.
const MAX_SAVED: u64 = 1 << 20;

/// The files of a get.
#[derive(Clone, Debug)]
pub(super) struct Local {
    target: PathBuf,
    part: PathBuf,
    saved: PathBuf,
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn error(what: &str, path: &Path, e: &io::Error) -> ClientError {
    ClientError::Local(format!("cannot {what} {}: {e}", path.display()))
}

impl Local {
    /// Opens or creates the `.part` file, and tells what of `url` is in it.
    ///
    /// # Errors
    /// [`ClientError::Local`], also when another process writes it.
    pub fn open(
        target: &Path,
        url: &str,
        resume: bool,
    ) -> Result<(Self, Arc<Sink>, Option<Saved>), ClientError> {
        let local = Self {
            target: target.to_owned(),
            part: with_suffix(target, ".part"),
            saved: with_suffix(target, ".part.json"),
        };
        if target.is_dir() {
            return Err(ClientError::Local(format!(
                "{} is a directory",
                target.display()
            )));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&local.part)
            .map_err(|e| error("write", &local.part, &e))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(ClientError::Local(format!(
                "{} is being written by another process",
                local.part.display()
            )));
        }
        let size = file
            .metadata()
            .map_err(|e| error("read", &local.part, &e))?
            .len();
        let saved = if resume { local.load(url, size) } else { None };
        if saved.is_none() {
            let _ = fs::remove_file(&local.saved);
            file.set_len(0)
                .map_err(|e| error("write", &local.part, &e))?;
        }
        let present: Vec<ByteRange> = saved
            .iter()
            .flat_map(|s| &s.parts)
            .map(|&(start, end)| ByteRange { start, end })
            .collect();
        let sink = Arc::new(Sink::new(OwnedFd::from(file), &present));
        Ok((local, sink, saved))
    }

    /// What an earlier attempt left, if it is of `url` and can be checked
    /// against the server's file.
    fn load(&self, url: &str, part_size: u64) -> Option<Saved> {
        if fs::metadata(&self.saved).ok()?.len() > MAX_SAVED {
            return None;
        }
        let mut saved: Saved = serde_json::from_slice(&fs::read(&self.saved).ok()?).ok()?;
        if saved.url != url || (saved.etag.is_none() && saved.last_modified.is_none()) {
            return None;
        }
        let end = part_size.min(saved.size);
        for part in &mut saved.parts {
            part.1 = part.1.min(end);
        }
        saved.parts.retain(|p| p.0 < p.1);
        Some(saved)
    }

    /// Writes down what is there. The old file is replaced at once.
    pub fn save(&self, saved: &Saved) -> io::Result<()> {
        let temp = with_suffix(&self.saved, ".new");
        let mut file = File::create(&temp)?;
        file.write_all(&serde_json::to_vec(saved)?)?;
        fs::rename(&temp, &self.saved)
    }

    /// Gives the complete file its name, synced. Checks it against `expected`;
    /// answers that digest, or without it one by `algorithm`.
    ///
    /// # Errors
    /// [`ClientError::Digest`] after removing what was fetched, or
    /// [`ClientError::Local`].
    pub fn finish(
        &self,
        sink: &Sink,
        size: u64,
        expected: Option<Digest>,
        algorithm: Algorithm,
    ) -> Result<Digest, ClientError> {
        let failed = |e: &dyn std::fmt::Display| {
            ClientError::Local(format!("cannot finish {}: {e}", self.target.display()))
        };
        let algorithm = expected.map_or(algorithm, |e| e.algorithm);
        let digest = sink.digest(size, algorithm).map_err(|e| failed(&e))?;
        if expected.is_some_and(|e| e != digest) {
            self.discard();
            return Err(ClientError::Digest(format!(
                "{} was fetched completely and has been removed",
                self.target.display()
            )));
        }
        rustix::fs::ftruncate(sink.fd(), size).map_err(|e| failed(&e))?;
        rustix::fs::fsync(sink.fd()).map_err(|e| failed(&e))?;
        fs::rename(&self.part, &self.target).map_err(|e| failed(&e))?;
        let _ = fs::remove_file(&self.saved);
        let dir = self.target.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(dir.unwrap_or(Path::new(".")))
            .and_then(|d| d.sync_all())
            .map_err(|e| failed(&e))?;
        Ok(digest)
    }

    /// Removes what was fetched.
    pub fn discard(&self) {
        let _ = fs::remove_file(&self.saved);
        let _ = fs::remove_file(&self.part);
    }
}
