//! Media types by file name.

/// The media type for a file of this name; what is not known is downloaded as
/// it is.
pub(super) fn media_type(name: &[u8]) -> &'static str {
    let extension = name.rsplit(|&b| b == b'.').next().unwrap_or_default();
    if extension.len() == name.len() {
        return "application/octet-stream";
    }
    match extension.to_ascii_lowercase().as_slice() {
        b"html" | b"htm" => "text/html; charset=utf-8",
        b"txt" | b"log" | b"md" | b"toml" | b"rs" | b"c" | b"h" => "text/plain; charset=utf-8",
        b"css" => "text/css; charset=utf-8",
        b"csv" => "text/csv; charset=utf-8",
        b"js" | b"mjs" => "text/javascript; charset=utf-8",
        b"json" => "application/json",
        b"xml" => "application/xml",
        b"pdf" => "application/pdf",
        b"png" => "image/png",
        b"jpg" | b"jpeg" => "image/jpeg",
        b"gif" => "image/gif",
        b"svg" => "image/svg+xml",
        b"webp" => "image/webp",
        b"mp4" => "video/mp4",
        b"webm" => "video/webm",
        b"mp3" => "audio/mpeg",
        b"ogg" => "audio/ogg",
        b"wasm" => "application/wasm",
        b"zip" => "application/zip",
        b"gz" | b"tgz" => "application/gzip",
        b"xz" => "application/x-xz",
        b"zst" => "application/zstd",
        b"tar" => "application/x-tar",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::media_type;

    #[test]
    fn by_extension() {
        assert_eq!(media_type(b"a.TXT"), "text/plain; charset=utf-8");
        assert_eq!(media_type(b"a.tar.gz"), "application/gzip");
        for unknown in [&b"txt"[..], b"a.", b"", b"a.iso", b"a.\xff"] {
            assert_eq!(
                media_type(unknown),
                "application/octet-stream",
                "{unknown:?}"
            );
        }
    }
}
