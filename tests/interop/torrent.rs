//! A torrent between `examples/torrent` and libtorrent.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{DEVICE, Net, Options, Process, Side, require_root, wait_for};
use crate::metainfo::Metainfo;

/// Where both listen.
const PORT: u16 = 6881;
/// More than any exchange takes on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(60);

/// `FULLBORE_INTEROP_MIB=100` has what is exchanged with losses be so large.
fn whole() -> Option<usize> {
    let mib = std::env::var("FULLBORE_INTEROP_MIB").ok()?;
    Some(mib.parse::<usize>().expect("a number of MiB") << 20)
}

/// How long an exchange may take.
fn limit() -> Duration {
    whole().map_or(LIMIT, |bytes| {
        LIMIT + Duration::from_micros(bytes as u64 * 8)
    })
}

/// Who does what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Fullbore,
    Libtorrent,
}

/// The example, built with these tests.
fn example() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let built = tests.parent().unwrap().parent().unwrap();
    let path = built.join("examples/torrent");
    assert!(path.exists(), "`cargo build --example torrent` builds it");
    path
}

/// Content that is in no multiple of a piece or a block.
fn content(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let word = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(word).collect();
    bytes.truncate(length);
    bytes
}

/// A file's text, empty if there is none.
fn said(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The two peers, in directories of their own.
struct Scene {
    net: Net,
    dir: tempfile::TempDir,
    content: Vec<u8>,
}

impl Scene {
    fn new(length: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("content");
        let content = content(length);
        std::fs::write(&path, &content).unwrap();
        let torrent = Metainfo::make(&path, 128 << 10).unwrap();
        std::fs::write(dir.path().join("torrent"), torrent).unwrap();
        std::fs::create_dir(dir.path().join("leech")).unwrap();
        Self {
            net: Net::pair(Options::default()),
            dir,
            content,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where who seeds has the file, and where who leeches puts it.
    fn place(&self, seeds: bool) -> PathBuf {
        self.path(if seeds { "." } else { "leech" })
    }

    fn logged(&self, command: &mut Command, name: &str) -> Process {
        let file = |kind| File::create(self.path(&format!("{name}.{kind}"))).unwrap();
        Process::start(command.stdout(file("out")).stderr(file("err")))
    }

    fn fullbore(&self, seeds: bool, connects: bool, flags: &[&str]) -> Process {
        let mut command = self.net.command(Side::A, example().to_str().unwrap());
        command.args(["run", "--on", DEVICE]).args(flags);
        command.arg(self.path("torrent"));
        command.arg(self.place(seeds).join("content"));
        if connects {
            command.args(["--peer", &format!("{}:{PORT}", Side::B.ipv4())]);
        } else {
            command.args(["--listen", &PORT.to_string()]);
        }
        if !seeds {
            command.arg("--until-complete");
        }
        self.logged(command.stdin(Stdio::null()), "fullbore")
    }

    /// It seeds until it is killed.
    fn libtorrent(&self, seeds: bool, connects: bool, transport: &str) -> Process {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/interop/libtorrent_peer.py"
        );
        // Debian's, which has the module, whatever else is on the path.
        let mut command = self.net.command(Side::B, "/usr/bin/python3");
        command.args([script, if seeds { "seed" } else { "leech" }, transport]);
        command.arg(format!("{}:{PORT}", Side::B.ipv4()));
        command.arg(self.path("torrent")).arg(self.place(seeds));
        command.args(["--limit", &limit().as_secs().to_string()]);
        if connects {
            command.args(["--peer", &format!("{}:{PORT}", Side::A.ipv4())]);
        }
        self.logged(command.stdin(Stdio::piped()), "libtorrent")
    }

    /// All that the peers have said.
    fn told(&self) -> String {
        [
            "fullbore.out",
            "fullbore.err",
            "libtorrent.out",
            "libtorrent.err",
        ]
        .map(|name| format!("-- {name}\n{}", said(&self.path(name))))
        .concat()
    }
}

/// `seeds` has a file that the other wants, `connects` opens the connection.
fn exchange(length: usize, transport: &str, seeds: Who, connects: Who, flags: &[&str]) {
    if !require_root() {
        return;
    }
    let scene = Scene::new(length);
    let ours = (seeds == Who::Fullbore, connects == Who::Fullbore);
    let listening = |name: &str, word: &str| {
        let path = scene.path(name);
        wait_for(&format!("{name} to listen"), LIMIT, || {
            said(&path).contains(word)
        });
    };
    let (mut fullbore, mut libtorrent);
    if connects == Who::Fullbore {
        libtorrent = scene.libtorrent(!ours.0, !ours.1, transport);
        listening("libtorrent.out", "listening");
        fullbore = scene.fullbore(ours.0, ours.1, flags);
    } else {
        fullbore = scene.fullbore(ours.0, ours.1, flags);
        listening("fullbore.err", "listening");
        libtorrent = scene.libtorrent(!ours.0, !ours.1, transport);
    }
    let (leech, name) = match seeds {
        Who::Fullbore => (&mut libtorrent, "libtorrent.out"),
        Who::Libtorrent => (&mut fullbore, "fullbore.out"),
    };
    let begin = std::time::Instant::now();
    let status = loop {
        if let Some(status) = leech.child().try_wait().unwrap() {
            break status;
        }
        assert!(
            begin.elapsed() < limit(),
            "not complete in time\n{}",
            scene.told()
        );
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{status}\n{}", scene.told());
    eprintln!(
        "{flags:?}: {seeds:?} seeds, {connects:?} connects, {length} bytes in {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    assert!(
        said(&scene.path(name)).contains("complete"),
        "{}",
        scene.told()
    );
    let copy = std::fs::read(scene.place(false).join("content")).unwrap();
    assert!(copy == scene.content, "the copy differs\n{}", scene.told());
    if seeds == Who::Libtorrent {
        // It ends, and tells what it saw, when its input does.
        drop(libtorrent.child().stdin.take());
        wait_for("libtorrent to end", LIMIT, || {
            libtorrent.child().try_wait().unwrap().is_some()
        });
    }
    let report = said(&scene.path("libtorrent.out"));
    let only = format!("\"transports\": [\"{transport}\"]");
    assert!(report.contains(&only), "{}", scene.told());
}

#[test]
#[ignore = "needs root"]
fn libtorrent_fetches_over_tcp() {
    exchange(4 << 20, "tcp", Who::Fullbore, Who::Libtorrent, &[]);
}

#[test]
#[ignore = "needs root"]
fn libtorrent_gives_over_tcp() {
    exchange((4 << 20) + 4711, "tcp", Who::Libtorrent, Who::Fullbore, &[]);
}

#[test]
#[ignore = "needs root"]
fn libtorrent_fetches_over_utp() {
    exchange(4 << 20, "utp", Who::Fullbore, Who::Libtorrent, &["--utp"]);
    exchange(1 << 20, "utp", Who::Fullbore, Who::Fullbore, &["--utp"]);
}

#[test]
#[ignore = "needs root"]
fn libtorrent_gives_over_utp() {
    let length = (4 << 20) + 4711;
    exchange(length, "utp", Who::Libtorrent, Who::Fullbore, &["--utp"]);
    exchange(1 << 20, "utp", Who::Libtorrent, Who::Libtorrent, &["--utp"]);
}

/// Whoever seeds, and whoever connects.
fn with_losses(loss: &str, length: usize) {
    let fault = format!("loss={loss},seed=3");
    let flags = ["--utp", "--fault", &fault];
    let length = whole().unwrap_or(length) + 4711;
    let all = [Who::Fullbore, Who::Libtorrent];
    // At once: libtorrent takes ten seconds to let somebody have something.
    std::thread::scope(|scope| {
        for (seeds, connects) in all.into_iter().flat_map(|s| all.map(|c| (s, c))) {
            let flags = &flags;
            scope.spawn(move || exchange(length, "utp", seeds, connects, flags));
        }
    });
}

#[test]
#[ignore = "needs root"]
fn libtorrent_and_losses_over_utp() {
    with_losses("1%", 2 << 20);
}

#[test]
#[ignore = "needs root"]
fn libtorrent_and_many_losses_over_utp() {
    with_losses("5%", 1 << 20);
}
