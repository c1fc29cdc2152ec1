//! Directory listings.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Dir, FileType, statat};

use super::file::Meta;
use super::{DiskError, TEMP_PREFIX};
use crate::transfer::http::fields::http_date;
use crate::transfer::http::target::{Path, encode_segment};

/// Entries shown; a listing of more says that it is cut.
pub const MAX_ENTRIES: usize = 10_000;

struct Entry {
    name: Vec<u8>,
    kind: &'static str,
    size: u64,
    modified: SystemTime,
}

/// Lists directory `dir`, which `path` names, as JSON or as HTML.
///
/// # Errors
/// Whatever the system reports.
pub fn list(dir: &OwnedFd, path: &Path, json: bool) -> Result<Vec<u8>, DiskError> {
    let mut entries = Vec::new();
    let mut cut = false;
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." || name.starts_with(TEMP_PREFIX.as_bytes()) {
            continue;
        }
        if entries.len() >= MAX_ENTRIES {
            cut = true;
            break;
        }
        // It may be gone again; a link is not followed, so that nothing
        // outside is told.
        let Ok(stat) = statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => "file",
            FileType::Directory => "directory",
            FileType::Symlink => "link",
            _ => continue,
        };
        let meta = Meta::of(&stat);
        entries.push(Entry {
            name: name.to_vec(),
            kind,
            size: meta.size,
            modified: meta.modified(),
        });
    }
    entries.sort_unstable_by(|a, b| {
        (a.kind != "directory", &a.name).cmp(&(b.kind != "directory", &b.name))
    });
    let text = if json {
        as_json(&entries, path, cut)
    } else {
        as_html(&entries, path, cut)
    };
    Ok(text.into_bytes())
}

fn as_json(entries: &[Entry], path: &Path, cut: bool) -> String {
    let entries: Vec<_> = entries
        .iter()
        .map(|e| {
            let mut value = serde_json::json!({
                "name": String::from_utf8_lossy(&e.name),
                "href": href(e),
                "type": e.kind,
                "modified": http_date(e.modified),
            });
            if e.kind == "file" {
                value["size"] = e.size.into();
            }
            value
        })
        .collect();
    let path = path.encoded();
    let mut text = serde_json::json!({ "path": path, "entries": entries, "cut": cut }).to_string();
    text.push('\n');
    text
}

fn href(entry: &Entry) -> String {
    // "./" keeps a name with a colon from being read as a scheme.
    let slash = if entry.kind == "directory" { "/" } else { "" };
    format!("./{}{slash}", encode_segment(&entry.name))
}

fn as_html(entries: &[Entry], path: &Path, cut: bool) -> String {
    let title = escape(&format!("/{}", String::from_utf8_lossy(path.bytes())));
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body>\n<h1>{title}</h1>\n<table>\n<tr><th>Name</th><th>Bytes</th><th>Modified</th></tr>\n"
    );
    if !path.bytes().is_empty() {
        out.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for entry in entries {
        let name = escape(&String::from_utf8_lossy(&entry.name));
        let slash = if entry.kind == "directory" { "/" } else { "" };
        let size = if entry.kind == "file" {
            entry.size.to_string()
        } else {
            String::new()
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "<tr><td><a href=\"{}\">{name}{slash}</a></td><td>{size}</td><td>{}</td></tr>",
            href(entry),
            http_date(entry.modified),
        );
    }
    out.push_str("</table>\n");
    if cut {
        let _ = writeln!(
            out,
            "<p>Only the first {MAX_ENTRIES} entries are shown.</p>"
        );
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
