//! Against a real file system in a temporary directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::*;
use crate::transfer::http::digest::{Algorithm, Digest, Digests};
use crate::transfer::http::target::{self, Path, Target};
use crate::transfer::http::{Request, request};

fn path(text: &str) -> Path {
    match target::parse(text) {
        Ok(Target::Path(path)) => path,
        other => panic!("{text}: {other:?}"),
    }
}

fn put(target: &str, fields: &str) -> Request {
    let head = format!("PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n{fields}\r\n");
    request::parse(head.as_bytes(), 32).unwrap()
}

fn served() -> (TempDir, Arc<Root>) {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("root")).unwrap();
    fs::create_dir(dir.path().join("root/sub")).unwrap();
    fs::write(dir.path().join("root/a.txt"), "hello").unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    let root = Arc::new(Root::open(&dir.path().join("root")).unwrap());
    (dir, root)
}

fn lookup(root: &Root, text: &str) -> Result<(u64, Digests), DiskError> {
    match root.lookup(&path(text))? {
        Found::File(file, digest) => Ok((file.meta().size, digest)),
        Found::Directory(_) => Err(DiskError::IsDirectory),
    }
}

#[test]
fn files_and_directories() {
    let (_dir, root) = served();
    let hello = Digest::sha256(Sha256::digest("hello"));
    assert_eq!(lookup(&root, "/a.txt"), Ok((5, hello.into())));
    assert_eq!(lookup(&root, "/"), Err(DiskError::IsDirectory));
    assert_eq!(lookup(&root, "/sub/"), Err(DiskError::IsDirectory));
    assert_eq!(lookup(&root, "/a.txt/"), Err(DiskError::NotFound));
    assert_eq!(lookup(&root, "/none"), Err(DiskError::NotFound));
    assert_eq!(lookup(&root, "/a.txt/b"), Err(DiskError::NotFound));
    let long = format!("/{}", "x".repeat(300));
    assert_eq!(lookup(&root, &long), Err(DiskError::NameTooLong));
}

#[test]
fn nothing_outside() {
    let (dir, root) = served();
    let at = |name: &str| dir.path().join("root").join(name);
    symlink("../secret", at("up")).unwrap();
    symlink(dir.path().join("secret"), at("absolute")).unwrap();
    symlink("..", at("parent")).unwrap();
    symlink("/proc/self/root", at("magic")).unwrap();
    symlink("sub/../a.txt", at("inside")).unwrap();
    symlink("loop", at("loop")).unwrap();
    for name in [
        "/up",
        "/absolute",
        "/parent/secret",
        "/magic/etc/passwd",
        "/loop",
    ] {
        assert_eq!(lookup(&root, name), Err(DiskError::Outside), "{name}");
    }
    assert_eq!(lookup(&root, "/inside").map(|f| f.0), Ok(5));
    assert_eq!(
        Upload::create(&root, &put("/parent/x", ""), Some(5)).err(),
        Some(DiskError::Outside)
    );
}

#[test]
fn only_regular_files() {
    let (dir, root) = served();
    let fifo = dir.path().join("root/fifo");
    rustix::fs::mkfifoat(CWD, &fifo, Mode::from_raw_mode(0o600)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("root/socket")).unwrap();
    assert_eq!(lookup(&root, "/fifo"), Err(DiskError::NotRegular));
    assert_eq!(lookup(&root, "/socket"), Err(DiskError::NotRegular));
    assert_eq!(
        Upload::create(&root, &put("/fifo", ""), Some(5)).err(),
        Some(DiskError::NotRegular)
    );
}

#[test]
fn a_root_that_is_none() {
    let (dir, _root) = served();
    for bad in ["none", "secret"] {
        let error = Root::open(&dir.path().join(bad))
            .err()
            .expect("refused")
            .to_string();
        assert!(error.contains(bad), "{error}");
    }
}

#[test]
fn digests_are_remembered_until_the_file_changes() {
    let (dir, root) = served();
    let name = dir.path().join("root/big");
    fs::write(&name, vec![1; 100_000]).unwrap();
    let old = fs::File::options().write(true).open(&name).unwrap();
    old.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000))
        .unwrap();
    assert_eq!(lookup(&root, "/big"), Ok((100_000, Digests::default())));
    let Ok(Found::File(file, _)) = root.lookup(&path("/big")) else {
        panic!()
    };
    let want = Digest::sha256(Sha256::digest(vec![1; 100_000]));
    let sha256 = file.digest(&root.digests, Algorithm::Sha256);
    assert_eq!(sha256, Ok(want));
    assert_eq!(lookup(&root, "/big"), Ok((100_000, want.into())));
    // The other one is not taken for it.
    let want = Digest::blake3(blake3::hash(&vec![1; 100_000]));
    let blake3 = file.digest(&root.digests, Algorithm::Blake3);
    assert_eq!(blake3, Ok(want));
    let known = lookup(&root, "/big").unwrap().1;
    assert_eq!(
        known.iter().collect::<Vec<_>>(),
        [blake3.unwrap(), sha256.unwrap()]
    );
    fs::write(&name, vec![2; 100_000]).unwrap();
    assert_eq!(lookup(&root, "/big"), Ok((100_000, Digests::default())));
    // The file that is still open is not what it was either.
    let fresh = cache::DigestCache::default();
    let digest = file.digest(&fresh, Algorithm::Sha256);
    assert_eq!(digest, Err(DiskError::Changed));
}

#[test]
fn reads_fill_blocks_and_stop_at_the_end() {
    let (_dir, root) = served();
    let Ok(Found::File(file, _)) = root.lookup(&path("/a.txt")) else {
        panic!()
    };
    let mut block = vec![0; 100];
    assert_eq!(file.read(1, 3, &mut block), Ok(3));
    assert_eq!(block, b"ell");
    let mut block = vec![0; 100];
    assert_eq!(file.read(1, 100, &mut block), Ok(4));
    assert_eq!(block, b"ello");
    let mut block = vec![0; 4];
    assert_eq!(file.read(5, 4, &mut block), Ok(0));
    let mut block = vec![0; 5];
    if file.read_cached(0, 5, &mut block) == Ok(Some(5)) {
        assert_eq!(block, b"hello");
    }
    let mut block = vec![0; 6];
    assert_eq!(
        file.read_cached(0, 6, &mut block),
        Ok(None),
        "short reads are left to a thread"
    );
}

fn visible(dir: &TempDir) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir.path().join("root"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn uploads_appear_when_complete() {
    let (dir, root) = served();
    let upload = Upload::create(&root, &put("/sub/new", ""), Some(5)).unwrap();
    upload.sink().write(0, &b"12345".to_vec()).unwrap();
    assert_eq!(
        fs::read_dir(dir.path().join("root/sub")).unwrap().count(),
        0
    );
    let digest = Digest::sha256(Sha256::digest("12345"));
    let stored = upload.commit(5, &[digest]).unwrap();
    assert!(stored.created);
    assert_eq!(stored.digest, digest);
    assert_eq!(fs::read(dir.path().join("root/sub/new")).unwrap(), b"12345");
    assert_eq!(lookup(&root, "/sub/new"), Ok((5, digest.into())));
    // And replaces.
    let upload = Upload::create(&root, &put("/sub/new", ""), Some(5)).unwrap();
    upload.sink().write(0, &b"67890".to_vec()).unwrap();
    assert!(!upload.commit(5, &[]).unwrap().created);
    assert_eq!(fs::read(dir.path().join("root/sub/new")).unwrap(), b"67890");
    assert_eq!(
        fs::read_dir(dir.path().join("root/sub")).unwrap().count(),
        1
    );
}

#[test]
fn uploads_are_hashed_by_what_their_request_names() {
    let (_dir, root) = served();
    let known = Digest::blake3([1; 32]);
    for (fields, algorithm) in [
        (String::new(), Algorithm::Sha256),
        (
            "Want-Repr-Digest: blake3=10, sha-256=5\r\n".into(),
            Algorithm::Blake3,
        ),
        ("Want-Repr-Digest: md5=10\r\n".into(), Algorithm::Sha256),
        (format!("Content-Digest: {known}\r\n"), Algorithm::Blake3),
        (
            format!("Want-Repr-Digest: sha-256=1\r\nRepr-Digest: {known}\r\n"),
            Algorithm::Blake3,
        ),
    ] {
        let upload = Upload::create(&root, &put("/new", &fields), Some(5)).unwrap();
        assert_eq!(upload.algorithm(), algorithm, "{fields}");
        upload.sink().write(0, &b"12345".to_vec()).unwrap();
        // Whatever is announced in the end is checked.
        let digests = [
            Digest::sha256(Sha256::digest("12345")),
            Digest::blake3(blake3::hash(b"12345")),
        ];
        let stored = upload.commit(5, &digests).unwrap();
        assert_eq!(stored.digest.algorithm, algorithm, "{fields}");
        assert!(digests.contains(&stored.digest));
        let known = lookup(&root, "/new").unwrap().1;
        assert_eq!(known.iter().count(), 2, "{fields}");
    }
}

#[test]
fn failed_uploads_leave_nothing() {
    let (dir, root) = served();
    let before = visible(&dir);
    let upload = Upload::create(&root, &put("/new", ""), Some(5)).unwrap();
    upload.sink().write(0, &b"12345".to_vec()).unwrap();
    let [sha256, blake3] = [Digest::sha256([0; 32]), Digest::blake3([0; 32])];
    assert_eq!(upload.commit(5, &[sha256]), Err(DiskError::Digest));
    assert_eq!(upload.commit(5, &[blake3]), Err(DiskError::Digest));
    drop(upload);
    let upload = Upload::create(&root, &put("/new", ""), None).unwrap();
    drop(upload);
    assert_eq!(visible(&dir), before);
    for (target, length, want) in [
        ("/", 5, DiskError::IsDirectory),
        ("/sub", 5, DiskError::IsDirectory),
        ("/new/", 5, DiskError::IsDirectory),
        ("/none/x", 5, DiskError::NoParent),
        ("/a.txt/x", 5, DiskError::NoParent),
        ("/.fullbore-x", 5, DiskError::Denied),
        ("/new", u64::MAX, DiskError::NoSpace),
    ] {
        assert_eq!(
            Upload::create(&root, &put(target, ""), Some(length)).err(),
            Some(want),
            "{target}"
        );
    }
    assert_eq!(visible(&dir), before);
}

#[test]
fn preconditions_hold_until_the_commit() {
    let (dir, root) = served();
    let create = |fields: &str, name: &str| Upload::create(&root, &put(name, fields), Some(5));
    assert_eq!(
        create("If-None-Match: *\r\n", "/a.txt").err(),
        Some(DiskError::Precondition)
    );
    assert_eq!(
        create("If-Match: *\r\n", "/new").err(),
        Some(DiskError::Precondition)
    );
    let upload = create("If-None-Match: *\r\n", "/race").unwrap();
    upload.sink().write(0, &b"12345".to_vec()).unwrap();
    fs::write(dir.path().join("root/race"), "other").unwrap();
    assert_eq!(upload.commit(5, &[]), Err(DiskError::Precondition));
    assert_eq!(fs::read(dir.path().join("root/race")).unwrap(), b"other");
    let upload = create("If-Match: *\r\n", "/a.txt").unwrap();
    upload.sink().write(0, &b"12345".to_vec()).unwrap();
    fs::write(dir.path().join("root/a.txt"), "changed").unwrap();
    assert_eq!(upload.commit(5, &[]), Err(DiskError::Precondition));
}

#[test]
fn stale_temporaries_are_swept() {
    let (dir, _root) = served();
    let parent = rustix::fs::open(dir.path().join("root"), OFlags::RDONLY, Mode::empty()).unwrap();
    let (_held, name) = upload::create_named(&parent).unwrap();
    fs::write(dir.path().join("root/.fullbore-stale"), "x").unwrap();
    let (_other, _) = upload::create_named(&parent).unwrap();
    let names = visible(&dir);
    assert!(
        names.contains(&name.unwrap()),
        "one in use is kept: {names:?}"
    );
    assert!(!names.contains(&".fullbore-stale".to_owned()), "{names:?}");
}

#[test]
fn listings() {
    let (dir, root) = served();
    let evil = "<script>\"&'.txt";
    fs::write(dir.path().join("root").join(evil), "x").unwrap();
    fs::write(dir.path().join("root/.fullbore-hidden"), "x").unwrap();
    symlink("/etc/passwd", dir.path().join("root/link")).unwrap();
    let Ok(Found::Directory(fd)) = root.lookup(&path("/")) else {
        panic!()
    };
    let html = String::from_utf8(list::list(&fd, &path("/"), false).unwrap()).unwrap();
    assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"));
    assert!(html.contains("./%3Cscript%3E%22%26%27.txt"));
    assert!(!html.contains("hidden") && html.contains("./sub/"));
    let Ok(Found::Directory(fd)) = root.lookup(&path("/")) else {
        panic!()
    };
    let json: serde_json::Value =
        serde_json::from_slice(&list::list(&fd, &path("/"), true).unwrap()).unwrap();
    let entries = json["entries"].as_array().unwrap();
    let names: Vec<_> = entries
        .iter()
        .map(|e| e["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["sub", evil, "a.txt", "link"]);
    assert_eq!(entries[2]["size"], 5);
    assert_eq!(entries[3].get("size"), None);
}

#[test]
fn the_pool_answers_in_order_and_refuses_when_full() {
    let (_dir, root) = served();
    let (sender, replies) = crossbeam::channel::unbounded();
    let mailbox: Arc<dyn Mailbox<Vec<u8>>> = Arc::new(sender);
    let pool = Pool::start(&PoolConfig {
        io_threads: 2,
        slow_threads: 1,
        queue: 4,
    })
    .unwrap();
    let Ok(Found::File(file, _)) = root.lookup(&path("/a.txt")) else {
        panic!()
    };
    let file = Arc::new(file);
    let (gate, wait) = crossbeam::channel::bounded::<()>(0);
    let task = move || {
        let _ = wait.recv();
        Ok(pool::TaskValue::Done)
    };
    let tag = |serial| Tag { conn: 7, serial };
    assert!(
        pool.submit(tag(0), Op::Task(Box::new(task)), &mailbox)
            .is_ok()
    );
    let mut refused = 0;
    for serial in 0..20 {
        let op = Op::Task(Box::new(|| Ok(pool::TaskValue::Done)));
        refused += u64::from(pool.submit(tag(100 + serial), op, &mailbox).is_err());
    }
    assert!(refused >= 15, "{refused}");
    // Reads do not wait behind the slow task.
    for serial in 1..4 {
        let op = Op::Read {
            file: file.clone(),
            offset: serial,
            len: 1,
            block: vec![0; 1],
        };
        assert!(pool.submit(tag(serial), op, &mailbox).is_ok());
        let Completion { tag: t, outcome } = replies.recv().unwrap();
        assert_eq!(t, tag(serial));
        assert!(
            matches!(outcome, Outcome::Read(b, Ok(1)) if b == b"hello"[serial as usize..][..1])
        );
    }
    drop(gate);
    pool.stop();
    drop(mailbox);
    assert_eq!(replies.iter().count() as u64, 1 + 20 - refused);
}

/// On a disk what was just written is cached, in `/dev/shm` all is in memory.
#[test]
fn what_needs_no_disk_is_read_at_once() {
    for dir in [std::env::temp_dir(), "/dev/shm".into()] {
        let Ok(dir) = tempfile::tempdir_in(dir) else {
            continue;
        };
        let content: Vec<u8> = (0..100_000u32).map(|i| (i % 253) as u8).collect();
        let name = dir.path().join("file");
        fs::write(&name, &content).unwrap();
        let file = OpenFile::new(fs::File::open(&name).unwrap().into()).unwrap();
        let mut block = vec![0; 50_000];
        let mut at_once = 0;
        for _ in 0..3 {
            // Memory may be short, or the file system know of no such reads.
            if let Some(n) = file.read_cached(30_000, 50_000, &mut block).unwrap() {
                assert_eq!(n, 50_000);
                assert!(block == content[30_000..80_000]);
                at_once += 1;
            }
        }
        let fs = rustix::fs::statfs(dir.path()).unwrap();
        #[allow(clippy::unnecessary_cast)] // the field's type differs
        let in_memory = fs.f_type as u64 == 0x0102_1994;
        if in_memory {
            let swaps = rustix::system::sysinfo().totalswap > 0;
            assert_eq!(at_once, if swaps { 0 } else { 3 });
        }
        // More than there is is for a disk thread to find out.
        let mut block = vec![0; 50_000];
        assert_eq!(file.read_cached(80_000, 50_000, &mut block), Ok(None));
    }
}
