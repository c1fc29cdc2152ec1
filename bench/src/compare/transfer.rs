//! A file, from one end to the other, over HTTP.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Figures;
use super::place::{Background, DEVICE, FILES, FULLBORE, Place, Side, timed, within};

/// Longest time that a transfer may take.
const LIMIT: Duration = Duration::from_secs(300);
const NGINX_PORT: u16 = 8080;

/// Who serves the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Server {
    /// `fullbore serve`.
    Fullbore,
    /// nginx, without sendfile, which is faster on a wire without offloads.
    Nginx,
}

/// Who fetches it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Client {
    /// `fullbore get`, which verifies the digest.
    Fullbore,
    /// curl.
    Curl,
}

/// What is transferred.
pub struct Content {
    root: PathBuf,
    bytes: u64,
}

impl Content {
    /// Writes a file of `bytes` bytes that do not repeat.
    ///
    /// # Errors
    /// When memory does not suffice.
    pub fn new(bytes: u64) -> Result<Self, String> {
        let root = Path::new(FILES).join("www");
        let fail = |e: std::io::Error| format!("{}: {e}", root.display());
        std::fs::create_dir_all(&root).map_err(fail)?;
        let mut file = BufWriter::new(File::create(root.join("file")).map_err(fail)?);
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut left = bytes;
        while left > 0 {
            // xorshift: no two blocks are alike.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let part = left.min(8) as usize;
            file.write_all(&state.to_le_bytes()[..part]).map_err(fail)?;
            left -= part as u64;
        }
        file.flush().map_err(fail)?;
        Ok(Self { root, bytes })
    }

    /// The rate at which `copy` was made, which has to be the same.
    fn figures(&self, copy: &Path, took: Duration) -> Result<Figures, String> {
        let same = self.is_copied_to(copy)?;
        let _ = std::fs::remove_file(copy);
        if !same {
            return Err("the copy differs from the file".to_owned());
        }
        let gbps = self.bytes as f64 * 8.0 / took.as_secs_f64() / 1e9;
        Ok(vec![("goodput", gbps)])
    }

    fn is_copied_to(&self, copy: &Path) -> Result<bool, String> {
        let open = |path: &Path| File::open(path).map_err(|e| format!("{}: {e}", path.display()));
        let (mut from, mut to) = (open(&self.root.join("file"))?, open(copy)?);
        let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        loop {
            let n = fill(&mut from, &mut a)?;
            if n != fill(&mut to, &mut b)? || a[..n] != b[..n] {
                return Ok(false);
            }
            if n == 0 {
                return Ok(true);
            }
        }
    }
}

fn fill(file: &mut File, into: &mut [u8]) -> Result<usize, String> {
    let mut got = 0;
    while got < into.len() {
        match file.read(&mut into[got..]).map_err(|e| e.to_string())? {
            0 => break,
            n => got += n,
        }
    }
    Ok(got)
}

/// Whether a program is there.
#[must_use]
pub fn is_there(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).is_file())
}

impl Server {
    /// The program to be there, if it is not this one.
    #[must_use]
    pub const fn needs(self) -> Option<&'static str> {
        match self {
            Self::Fullbore => None,
            Self::Nginx => Some("nginx"),
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Fullbore => 80,
            Self::Nginx => NGINX_PORT,
        }
    }

    fn start(self, place: &Place, content: &Content) -> Result<Background, String> {
        match self {
            Self::Fullbore => {
                let mut command = place.command(Side::Server, false, FULLBORE);
                command
                    .arg("serve")
                    .arg(&content.root)
                    .args(["--writable", "--on", DEVICE]);
                cores(&mut command, place, Side::Server);
                let mut server = Background::start(&mut command, "serve")?;
                server.wait_until(|server| server.said().contains("serving "))?;
                Ok(server)
            }
            Self::Nginx => {
                let path = Path::new(FILES).join("nginx.conf");
                let root = content.root.display();
                let address = Side::Server.address();
                let text = format!(
                    "daemon off; master_process off; pid {FILES}/nginx.pid; error_log stderr;\n\
                     events {{}}\n\
                     http {{ access_log off; sendfile off; output_buffers 2 512k;\n\
                     client_body_temp_path {FILES}/nginx-body;\n\
                     proxy_temp_path {FILES}/nginx-proxy;\n\
                     fastcgi_temp_path {FILES}/nginx-fastcgi;\n\
                     uwsgi_temp_path {FILES}/nginx-uwsgi;\n\
                     scgi_temp_path {FILES}/nginx-scgi;\n\
                     server {{ listen {address}:{NGINX_PORT}; root {root}; }} }}\n"
                );
                std::fs::write(&path, text).map_err(|e| e.to_string())?;
                let mut command = place.command(Side::Server, true, "nginx");
                command.arg("-c").arg(&path);
                let mut server = Background::start(&mut command, "nginx")?;
                server.wait_until(|_| {
                    let answers = || Ok(TcpStream::connect((address, NGINX_PORT)).is_ok());
                    within(Side::Client, answers) == Ok(true)
                })?;
                Ok(server)
            }
        }
    }
}

impl Client {
    /// The program to be there, if it is not this one.
    #[must_use]
    pub const fn needs(self) -> Option<&'static str> {
        match self {
            Self::Fullbore => None,
            Self::Curl => Some("curl"),
        }
    }

    fn get(self, place: &Place, url: &str, to: &Path) -> Command {
        match self {
            Self::Fullbore => {
                let mut command = place.command(Side::Client, false, FULLBORE);
                command.args(["get", url, "--quiet", "--no-resume", "--on", DEVICE]);
                cores(&mut command, place, Side::Client);
                command.arg("-o").arg(to);
                command
            }
            Self::Curl => {
                let mut command = place.command(Side::Client, true, "curl");
                command.args(["-sS", "--fail", url, "-o"]).arg(to);
                command
            }
        }
    }

    fn put(self, place: &Place, from: &Path, url: &str) -> Command {
        match self {
            Self::Fullbore => {
                let mut command = place.command(Side::Client, false, FULLBORE);
                command.arg("put").arg(from);
                command.args([url, "--quiet", "--on", DEVICE]);
                cores(&mut command, place, Side::Client);
                command
            }
            Self::Curl => {
                let mut command = place.command(Side::Client, true, "curl");
                command.args(["-sS", "--fail", "-T"]).arg(from).arg(url);
                command
            }
        }
    }
}

fn cores(command: &mut Command, place: &Place, side: Side) {
    if let Some(core) = place.core(side) {
        command.arg("--cores").arg(core.to_string());
    }
}

/// Fetches the file, and compares what came: from the start of the client to
/// its end. Where fullbore serves fullbore the server knows the digest
/// already.
///
/// # Errors
/// A program fails, or the copy differs.
pub fn fetch(
    place: &Place,
    server: Server,
    client: Client,
    content: &Content,
) -> Result<Figures, String> {
    let serving = server.start(place, content)?;
    let url = format!("http://{}:{}/file", Side::Server.address(), server.port());
    let copy = Path::new(FILES).join("copy");
    let rounds = if client == Client::Fullbore { 2 } else { 1 };
    let mut took = Duration::ZERO;
    for _ in 0..rounds {
        let _ = std::fs::remove_file(&copy);
        took = run(client.get(place, &url, &copy), &serving)?;
    }
    content.figures(&copy, took)
}

/// Sends the file to `fullbore serve`, which computes its digest, and compares
/// what it has then.
///
/// # Errors
/// As [`fetch`].
pub fn send(place: &Place, client: Client, content: &Content) -> Result<Figures, String> {
    let serving = Server::Fullbore.start(place, content)?;
    let url = format!("http://{}/copy", Side::Server.address());
    let took = run(
        client.put(place, &content.root.join("file"), &url),
        &serving,
    )?;
    content.figures(&content.root.join("copy"), took)
}

fn run(mut command: Command, serving: &Background) -> Result<Duration, String> {
    timed(&mut command, LIMIT)
        .map(|(took, _)| took)
        .map_err(|e| format!("{e}; the server: {}", serving.said().trim()))
}
