//! The applications over the kernel's TCP, against curl and each other.

mod curl;
mod others;
mod own;
mod trouble;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::kernel::{KernelServer, run_client};
use super::{ClientApp, ClientReport, Server, ServerOptions};
use crate::transfer::client::{
    Announce, ClientError, GetOptions, GetReport, Output, Patience, PutOptions, PutReport, Source,
    Url, Verify,
};
use crate::transfer::http::digest::{Algorithm, Digest};

fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut out = Vec::with_capacity(len);
    while out.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

fn serve(dir: &Path, change: impl FnOnce(&mut ServerOptions)) -> (Server, KernelServer) {
    let mut options = ServerOptions::new(dir.to_owned());
    options.writable = true;
    change(&mut options);
    let server = Server::start(options).unwrap();
    let running = KernelServer::start(server.app(), "127.0.0.1");
    (server, running)
}

fn curl(args: &[&str]) -> std::process::Output {
    Command::new("curl")
        .args(["-sS", "--max-time", "60"])
        .args(args)
        .output()
        .expect("curl is installed")
}

fn ok(output: &std::process::Output) -> &[u8] {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    &output.stdout
}

// -- the client ---------------------------------------------------------------

fn patience() -> Patience {
    Patience {
        pause: Duration::from_millis(10),
        ..Patience::default()
    }
}

fn get_with(
    address: SocketAddr,
    path: &str,
    to: &Path,
    change: impl FnOnce(&mut GetOptions),
) -> Result<GetReport, ClientError> {
    let url = Url::parse(&format!("http://{address}{path}")).unwrap();
    let mut options = GetOptions::new(url, Output::File(to.to_owned()));
    options.patience = patience();
    change(&mut options);
    let (app, result) = ClientApp::get(options, vec![address], Arc::default())?;
    let (result, ledger) = run_client(app, &result);
    assert_eq!(ledger.outstanding(), 0, "every frame is back");
    result.map(|report| match report {
        ClientReport::Get(report) => report,
        ClientReport::Put(_) => panic!("it was a get"),
    })
}

fn put_with(
    address: SocketAddr,
    path: &str,
    from: &Path,
    change: impl FnOnce(&mut PutOptions),
) -> Result<PutReport, ClientError> {
    let url = Url::parse(&format!("http://{address}{path}")).unwrap();
    let mut options = PutOptions::new(url, Source::File(from.to_owned()));
    options.patience = patience();
    change(&mut options);
    let (app, result) = ClientApp::put(options, vec![address], Arc::default())?;
    let (result, ledger) = run_client(app, &result);
    assert_eq!(ledger.outstanding(), 0, "every frame is back");
    result.map(|report| match report {
        ClientReport::Put(report) => report,
        ClientReport::Get(_) => panic!("it was a put"),
    })
}

struct Setting {
    dir: TempDir,
    content: Vec<u8>,
    server: Server,
    running: KernelServer,
}

impl Setting {
    fn new(len: usize) -> Self {
        let dir = TempDir::new().unwrap();
        let content = pattern(len, 3);
        std::fs::create_dir(dir.path().join("root")).unwrap();
        std::fs::write(dir.path().join("root/file"), &content).unwrap();
        let (server, running) = serve(&dir.path().join("root"), |_| {});
        Self {
            dir,
            content,
            server,
            running,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn check(&self, name: &str) {
        assert!(
            std::fs::read(self.path(name)).unwrap() == self.content,
            "{name} is intact"
        );
        assert!(!self.path(&format!("{name}.part")).exists());
        assert!(!self.path(&format!("{name}.part.json")).exists());
    }
}

/// Passes connections on to `server`, and cuts the first `cuts` of them off
/// after `after` bytes in either direction.
fn cutter(server: SocketAddr, cuts: usize, after: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (i, client) in listener.incoming().flatten().enumerate() {
            let upstream = TcpStream::connect(server).unwrap();
            let limit = if i < cuts { after } else { usize::MAX };
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), upstream.try_clone().unwrap()),
                (upstream.try_clone().unwrap(), client.try_clone().unwrap()),
            ] {
                let both = [client.try_clone().unwrap(), upstream.try_clone().unwrap()];
                std::thread::spawn(move || {
                    let mut buffer = [0; 16 * 1024];
                    let mut passed = 0;
                    while let Ok(n) = from.read(&mut buffer)
                        && n > 0
                        && to.write_all(&buffer[..n]).is_ok()
                    {
                        passed += n;
                        if passed > limit {
                            both.iter()
                                .for_each(|s| drop(s.shutdown(std::net::Shutdown::Both)));
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    address
}
