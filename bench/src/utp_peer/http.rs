//! As much of HTTP/1.1 as `fullbore` needs at its other end.

use std::io::Read as _;

use librqbit_utp::UtpStream;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Content, Meter, say};
use fullbore::transfer::http::digest::Digest as ReprDigest;

/// Bytes given to a stream, and taken from it, at once.
const BLOCK: usize = 128 << 10;
/// Bytes of a head at most.
const MAX_HEAD: usize = 16 << 10;

/// A stream, and what was read of it ahead.
struct Conn<S> {
    stream: S,
    ahead: Vec<u8>,
}

/// A request's or a response's head.
struct Head {
    /// The first line.
    line: String,
    /// Names in lower case, with their values.
    fields: Vec<(String, String)>,
}

impl Head {
    fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn length(&self) -> Result<u64, String> {
        let length = self.field("content-length");
        let length = length.and_then(|v| v.parse().ok());
        length.ok_or_else(|| format!("{}: no length", self.line))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<S> {
    /// The next head; none if the stream ends before it begins.
    async fn head(&mut self) -> Result<Option<Head>, String> {
        let mut seen = 0;
        loop {
            let end = self.ahead[seen..].windows(4).position(|w| w == b"\r\n\r\n");
            if let Some(end) = end {
                let rest = self.ahead.split_off(seen + end + 4);
                let bytes = std::mem::replace(&mut self.ahead, rest);
                let text = String::from_utf8(bytes).map_err(|e| e.to_string())?;
                let mut lines = text.split("\r\n");
                let line = lines.next().unwrap_or_default().to_owned();
                let fields = lines
                    .filter_map(|line| line.split_once(':'))
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                    .collect();
                return Ok(Some(Head { line, fields }));
            }
            seen = self.ahead.len().saturating_sub(3);
            if seen > MAX_HEAD {
                return Err("a head without an end".to_owned());
            }
            let n = self.stream.read_buf(&mut self.ahead).await;
            match n.map_err(|e| e.to_string())? {
                0 if self.ahead.is_empty() => return Ok(None),
                0 => return Err("the stream ends in a head".to_owned()),
                _ => {}
            }
        }
    }

    /// Reads `length` bytes: their SHA-256.
    async fn take(&mut self, length: u64) -> Result<[u8; 32], String> {
        let mut hash = Sha256::new();
        self.take_into(length, &mut hash).await?;
        Ok(hash.finalize().into())
    }

    /// Reads chunks to the last: how many bytes, and their SHA-256.
    async fn take_chunks(&mut self) -> Result<(u64, [u8; 32]), String> {
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|e| format!("{line}: {e}"))?;
            if size == 0 {
                // What follows the content, of which nothing is needed.
                while !self.line().await?.is_empty() {}
                return Ok((bytes, hash.finalize().into()));
            }
            self.take_into(size, &mut hash).await?;
            bytes += size;
            if !self.line().await?.is_empty() {
                return Err("a chunk that does not end".to_owned());
            }
        }
    }

    /// The next line.
    async fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|w| w == b"\r\n") {
                let rest = self.ahead.split_off(end + 2);
                let line = std::mem::replace(&mut self.ahead, rest);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.ahead.len() > MAX_HEAD {
                return Err("a line without an end".to_owned());
            }
            let n = self.stream.read_buf(&mut self.ahead).await;
            if n.map_err(|e| e.to_string())? == 0 {
                return Err("the stream ends in a line".to_owned());
            }
        }
    }

    async fn take_into(&mut self, length: u64, hash: &mut Sha256) -> Result<(), String> {
        let mut left = length;
        let ahead = usize::try_from(left).map_or(self.ahead.len(), |l| l.min(self.ahead.len()));
        hash.update(&self.ahead[..ahead]);
        self.ahead.drain(..ahead);
        left -= ahead as u64;
        let mut block = vec![0; usize::try_from(left).map_or(BLOCK, |l| l.min(BLOCK))];
        while left > 0 {
            let most = usize::try_from(left).map_or(BLOCK, |l| l.min(BLOCK));
            let n = self.stream.read(&mut block[..most]).await;
            match n.map_err(|e| format!("{left} bytes before the end: {e}"))? {
                0 => return Err(format!("the stream ends {left} bytes too early")),
                n => {
                    hash.update(&block[..n]);
                    left -= n as u64;
                }
            }
        }
        Ok(())
    }

    async fn give(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = self.stream.write_all(bytes).await;
        written.map_err(|e| format!("sending: {e}"))
    }

    async fn give_content(&mut self, mut content: Content) -> Result<(), String> {
        let mut block = vec![0; BLOCK];
        loop {
            match content.read(&mut block).map_err(|e| e.to_string())? {
                0 => return Ok(()),
                n => self.give(&block[..n]).await?,
            }
        }
    }

    /// Ends the own stream, and waits for the end of the peer's, so that
    /// everything has arrived.
    async fn finish(mut self) -> Result<(), String> {
        self.stream.flush().await.map_err(|e| e.to_string())?;
        self.stream.shutdown().await.map_err(|e| e.to_string())?;
        let mut rest = [0; 64];
        match self.stream.read(&mut rest).await {
            Ok(0) => Ok(()),
            Ok(n) => Err(format!("{n} bytes that nobody asked for")),
            Err(e) => Err(format!("waiting for the end: {e}")),
        }
    }
}

/// Answers the requests of a connection: `GET /SEED/BYTES` gets content, `PUT`
/// of anything is taken and its digest told.
pub async fn serve(stream: UtpStream) -> Result<(), String> {
    let mut conn = Conn {
        stream,
        ahead: Vec::new(),
    };
    while let Some(request) = conn.head().await? {
        let meter = Meter::start();
        let mut words = request.line.split(' ');
        match (words.next(), words.next()) {
            (Some("GET"), Some(path)) => {
                let Some(content) = content_at(path) else {
                    let none = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
                    conn.give(none.as_bytes()).await?;
                    continue;
                };
                let sum = content.sha256();
                let bytes = content.len();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\nRepr-Digest: {}\r\n\r\n",
                    ReprDigest::sha256(sum)
                );
                conn.give(head.as_bytes()).await?;
                conn.give_content(content).await?;
                say(&meter.report(bytes, Some(sum)));
            }
            (Some("PUT"), Some(_)) => {
                if request.field("expect").is_some() {
                    conn.give(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                }
                let (length, sum) = if request.field("transfer-encoding").is_some() {
                    conn.take_chunks().await?
                } else {
                    let length = request.length()?;
                    (length, conn.take(length).await?)
                };
                let head = format!(
                    "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nRepr-Digest: {}\r\n\r\n",
                    ReprDigest::sha256(sum)
                );
                conn.give(head.as_bytes()).await?;
                say(&meter.report(length, Some(sum)));
            }
            _ => return Err(format!("not understood: {}", request.line)),
        }
    }
    conn.finish().await
}

/// What the path `/SEED/BYTES` stands for.
fn content_at(path: &str) -> Option<Content> {
    let (seed, bytes) = path.strip_prefix('/')?.split_once('/')?;
    Some(Content::new(seed.parse().ok()?, bytes.parse().ok()?))
}

/// Fetches `path`.
pub async fn get(stream: UtpStream, path: &str) -> Result<Value, String> {
    let meter = Meter::start();
    let mut conn = Conn {
        stream,
        ahead: Vec::new(),
    };
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: peer\r\nConnection: close\r\nAccept: */*\r\n\r\n");
    conn.give(head.as_bytes()).await?;
    let answer = conn.head().await?.ok_or("no answer")?;
    if !answer.line.starts_with("HTTP/1.1 200") {
        return Err(answer.line);
    }
    let length = answer.length()?;
    let sum = conn.take(length).await?;
    let report = meter.report(length, Some(sum));
    conn.finish().await?;
    Ok(report)
}

/// Sends `content` to `path`.
pub async fn put(stream: UtpStream, path: &str, content: Content) -> Result<Value, String> {
    let sum = content.sha256();
    let meter = Meter::start();
    let bytes = content.len();
    let mut conn = Conn {
        stream,
        ahead: Vec::new(),
    };
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: peer\r\nConnection: close\r\nContent-Length: {bytes}\r\n\
         Repr-Digest: {}\r\n\r\n",
        ReprDigest::sha256(sum)
    );
    conn.give(head.as_bytes()).await?;
    conn.give_content(content).await?;
    let answer = conn.head().await?.ok_or("no answer")?;
    if !answer.line.starts_with("HTTP/1.1 20") {
        return Err(answer.line);
    }
    let rest = answer.length().unwrap_or(0);
    conn.take(rest).await?;
    let report = meter.report(bytes, Some(sum));
    conn.finish().await?;
    Ok(report)
}
