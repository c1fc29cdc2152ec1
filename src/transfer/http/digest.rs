//! Digest fields (RFC 9530): `Repr-Digest`, `Content-Digest` and `Want-Repr-Digest`.
//!
//! Each is a dictionary of structured fields (RFC 9651); only the member
//! `sha-256` is used, others are stepped over.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::fields::list;

/// A SHA-256 digest.
pub type Sha256Digest = [u8; 32];

/// A `Repr-Digest` or `Content-Digest` value for `digest`.
#[must_use]
pub fn format(digest: &Sha256Digest) -> String {
    format!("sha-256=:{}:", STANDARD.encode(digest))
}

/// A `sha-256` member that is there and is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The SHA-256 digest in a digest field, if it has one.
///
/// # Errors
/// [`Malformed`] when the `sha-256` member is not a byte sequence of 32 bytes.
pub fn parse(field: &str) -> Result<Option<Sha256Digest>, Malformed> {
    let mut found = None;
    for member in list(field) {
        let (key, value) = member.split_once('=').unwrap_or((member, ""));
        if key.trim() != "sha-256" {
            continue;
        }
        let text = value
            .strip_prefix(':')
            .and_then(|v| v.split_once(':'))
            .filter(|(_, rest)| rest.is_empty() || rest.starts_with(';'))
            .ok_or(Malformed)?
            .0;
        let bytes = STANDARD.decode(text).map_err(|_| Malformed)?;
        // Of several members with one key the last counts (RFC 9651 section 3.2).
        found = Some(bytes.try_into().map_err(|_| Malformed)?);
    }
    Ok(found)
}

/// Whether a `Want-Repr-Digest` field asks for SHA-256: a preference of 1 to
/// 10 (RFC 9530 section 4).
#[must_use]
pub fn wanted(field: &str) -> bool {
    list(field).any(|member| {
        let (key, value) = member.split_once('=').unwrap_or((member, ""));
        let value = value.split(';').next().unwrap_or_default().trim();
        key.trim() == "sha-256" && value.parse::<u8>().is_ok_and(|p| (1..=10).contains(&p))
    })
}

/// The value of `Want-Repr-Digest` that asks for SHA-256.
pub const WANT: &str = "sha-256=10";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// SHA-256 of the empty string.
    const EMPTY: &str = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";

    #[test]
    fn reads_what_it_writes() {
        let digest = parse(EMPTY).unwrap().unwrap();
        assert_eq!(digest[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        assert_eq!(format(&digest), EMPTY);
        assert_eq!(
            parse(&format!("sha-512=:AAAA:, {EMPTY};x=1")),
            Ok(Some(digest))
        );
        assert_eq!(parse("sha-512=:AAAA:"), Ok(None));
        assert_eq!(parse(""), Ok(None));
    }

    #[test]
    fn malformed() {
        for bad in [
            "sha-256",
            "sha-256=",
            "sha-256=::",
            "sha-256=:AAAA:",
            "sha-256=abc",
            "sha-256=:!:",
            "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:x",
        ] {
            assert_eq!(parse(bad), Err(Malformed), "{bad:?}");
        }
    }

    #[test]
    fn wants() {
        assert!(wanted(WANT));
        assert!(wanted("sha-512=3, sha-256=1"));
        for no in [
            "",
            "sha-256=0",
            "sha-256",
            "sha-256=11",
            "sha-512=10",
            "sha-256=-1",
        ] {
            assert!(!wanted(no), "{no:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(digest in any::<[u8; 32]>()) {
            prop_assert_eq!(parse(&format(&digest)), Ok(Some(digest)));
        }

        #[test]
        fn arbitrary_text(text in "\\PC{0,60}|sha-256=:[A-Za-z0-9+/=:;,]{0,60}") {
            let _ = parse(&text);
            let _ = wanted(&text);
        }
    }
}
