//! Wrong arguments, wrong surroundings and peers that mean harm, all against
//! the real program: each is answered with what was wrong, and nothing is left
//! behind.

mod arguments;
#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod other_host;
mod surroundings;

use common::program::{PROGRAM, Run, Serving, attached, content, detached, fullbore};
use common::{DEVICE, Net, Options, Side, require_root, run};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn url(path: &str) -> String {
    format!("http://{}/{path}", Side::A.ipv4())
}

/// Runs the program outside of any namespace, where it touches no interface.
fn plain(args: &[&str]) -> Run {
    Run::of(Command::new(PROGRAM).args(args))
}

/// `fullbore serve` of an empty directory in namespace A, which is to fail.
fn serve(net: &Net, args: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let mut command = fullbore(net, Side::A, "serve");
    Run::of(command.arg(dir.path()).args(args))
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
