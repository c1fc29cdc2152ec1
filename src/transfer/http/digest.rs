//! Digest fields (RFC 9530): `Repr-Digest`, `Content-Digest` and `Want-Repr-Digest`.
//!
//! Each is a dictionary of structured fields (RFC 9651). Two members are used:
//! `sha-256`, which everybody knows, and `blake3`, which IANA has not registered:
//! whoever does not know it steps over it, as is done here with all others.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::fields::list;

/// An algorithm of digests. Both give 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// BLAKE3, as strong, and several times as fast in software.
    Blake3,
}

impl Algorithm {
    /// Both, the preferred one first.
    pub const ALL: [Self; 2] = [Self::Blake3, Self::Sha256];

    /// Its key in digest fields.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Blake3 => "blake3",
        }
    }

    fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.key() == key)
    }

    /// A value of `Want-Repr-Digest` that asks for this one alone.
    #[must_use]
    pub const fn want(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256=10",
            Self::Blake3 => "blake3=10",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "SHA-256",
            Self::Blake3 => "BLAKE3",
        })
    }
}

/// A value of `Want-Repr-Digest` that takes any, and prefers BLAKE3.
pub const WANT_ANY: &str = "blake3=10, sha-256=5";

/// A digest, and what it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest {
    /// By which algorithm.
    pub algorithm: Algorithm,
    /// Its value.
    pub bytes: [u8; 32],
}

impl Digest {
    /// A SHA-256 digest.
    #[must_use]
    pub fn sha256(bytes: impl Into<[u8; 32]>) -> Self {
        let (algorithm, bytes) = (Algorithm::Sha256, bytes.into());
        Self { algorithm, bytes }
    }

    /// A BLAKE3 digest.
    #[must_use]
    pub fn blake3(bytes: impl Into<[u8; 32]>) -> Self {
        let (algorithm, bytes) = (Algorithm::Blake3, bytes.into());
        Self { algorithm, bytes }
    }
}

/// The value of a digest field that says it.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.algorithm.key();
        write!(f, "{key}=:{}:", STANDARD.encode(self.bytes))
    }
}

/// Digests of one content, at most one of each algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    sha256: Option<[u8; 32]>,
    blake3: Option<[u8; 32]>,
}

impl Digests {
    /// The one by `algorithm`.
    #[must_use]
    pub fn get(&self, algorithm: Algorithm) -> Option<Digest> {
        let bytes = match algorithm {
            Algorithm::Sha256 => self.sha256,
            Algorithm::Blake3 => self.blake3,
        };
        bytes.map(|bytes| Digest { algorithm, bytes })
    }

    /// Adds one, in place of another by the same algorithm.
    pub const fn insert(&mut self, digest: Digest) {
        let slot = match digest.algorithm {
            Algorithm::Sha256 => &mut self.sha256,
            Algorithm::Blake3 => &mut self.blake3,
        };
        *slot = Some(digest.bytes);
    }

    /// All of them, the preferred algorithm first.
    pub fn iter(&self) -> impl Iterator<Item = Digest> + '_ {
        Algorithm::ALL.into_iter().filter_map(|a| self.get(a))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.sha256.is_none() && self.blake3.is_none()
    }

    /// Whether there is one by the same algorithm as `digest` with another value.
    #[must_use]
    pub fn contradict(&self, digest: &Digest) -> bool {
        self.get(digest.algorithm).is_some_and(|own| own != *digest)
    }
}

impl From<Digest> for Digests {
    fn from(digest: Digest) -> Self {
        let mut digests = Self::default();
        digests.insert(digest);
        digests
    }
}

/// The value of a digest field that says them.
impl fmt::Display for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for digest in self.iter() {
            write!(f, "{separator}{digest}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// A member of a known key that is there and is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The digests in a digest field whose algorithms are known.
///
/// # Errors
/// [`Malformed`] when a member of theirs is not a byte sequence of 32 bytes.
pub fn parse(field: &str) -> Result<Digests, Malformed> {
    let mut found = Digests::default();
    for member in list(field) {
        let (key, value) = member.split_once('=').unwrap_or((member, ""));
        let Some(algorithm) = Algorithm::of_key(key.trim()) else {
            continue;
        };
        let text = value
            .strip_prefix(':')
            .and_then(|v| v.split_once(':'))
            .filter(|(_, rest)| rest.is_empty() || rest.starts_with(';'))
            .ok_or(Malformed)?
            .0;
        let bytes = STANDARD.decode(text).map_err(|_| Malformed)?;
        let bytes = bytes.try_into().map_err(|_| Malformed)?;
        // Of several members with one key the last counts (RFC 9651 section 3.2).
        found.insert(Digest { algorithm, bytes });
    }
    Ok(found)
}

/// The known algorithm that a `Want-Repr-Digest` field likes best: preferences
/// go from 1 to 10, 0 is a refusal (RFC 9530 section 4).
#[must_use]
pub fn wanted(field: &str) -> Option<Algorithm> {
    let mut preferences = [0u8; Algorithm::ALL.len()];
    for member in list(field) {
        let (key, value) = member.split_once('=').unwrap_or((member, ""));
        let value = value.split(';').next().unwrap_or_default().trim();
        let place = Algorithm::ALL.iter().position(|a| a.key() == key.trim());
        if let Some(slot) = place.and_then(|i| preferences.get_mut(i)) {
            *slot = value.parse().ok().filter(|p| *p <= 10).unwrap_or(0);
        }
    }
    let mut best = None;
    for (algorithm, preference) in Algorithm::ALL.into_iter().zip(preferences) {
        if preference > best.map_or(0, |(p, _)| p) {
            best = Some((preference, algorithm));
        }
    }
    best.map(|(_, algorithm)| algorithm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// SHA-256 of the empty string.
    const EMPTY: &str = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";

    #[test]
    fn reads_what_it_writes() {
        let digests = parse(EMPTY).unwrap();
        let digest = digests.get(Algorithm::Sha256).unwrap();
        assert_eq!(digest.bytes[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(digests.get(Algorithm::Blake3), None);
        assert_eq!(
            parse(&format!("sha-512=:AAAA:, {EMPTY};x=1")),
            Ok(digest.into())
        );
        for none in ["sha-512=:AAAA:", "blake2b=:AAAA:", "BLAKE3=:AAAA:", ""] {
            assert!(parse(none).unwrap().is_empty(), "{none:?}");
        }
        let other = Digest::blake3([7; 32]);
        let both = parse(&format!("{EMPTY}, md5=:AAAA:, {other}")).unwrap();
        assert_eq!(both.iter().collect::<Vec<_>>(), [other, digest]);
        assert_eq!(both.to_string(), format!("{other}, {EMPTY}"));
        assert!(!both.contradict(&digest));
        assert!(both.contradict(&Digest::sha256([7; 32])));
        assert!(!digests.contradict(&other), "says nothing of it");
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
            "blake3=:AAAA:",
            "blake3=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        ] {
            assert_eq!(parse(bad), Err(Malformed), "{bad:?}");
        }
    }

    #[test]
    fn wants() {
        let (sha, blake) = (Some(Algorithm::Sha256), Some(Algorithm::Blake3));
        for (field, want) in [
            (Algorithm::Sha256.want(), sha),
            (Algorithm::Blake3.want(), blake),
            (WANT_ANY, blake),
            ("sha-512=3, sha-256=1", sha),
            ("sha-256=10, blake3=9", sha),
            ("sha-256=3, blake3=3", blake),
            ("sha-256=3, blake3=0", sha),
            ("sha-256=3, blake3=11", sha),
            ("blake3=5, blake3=0", None),
            ("", None),
            ("sha-256=0", None),
            ("sha-256", None),
            ("sha-256=11", None),
            ("sha-512=10", None),
            ("sha-256=-1", None),
        ] {
            assert_eq!(wanted(field), want, "{field:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(sha256 in any::<[u8; 32]>(), blake3 in any::<[u8; 32]>()) {
            let mut both = Digests::from(Digest::sha256(sha256));
            prop_assert_eq!(parse(&both.to_string()), Ok(both));
            both.insert(Digest::blake3(blake3));
            prop_assert_eq!(parse(&both.to_string()), Ok(both));
        }

        #[test]
        fn arbitrary_text(text in "\\PC{0,60}|(sha-256|blake3)=:[A-Za-z0-9+/=:;,]{0,60}") {
            let _ = parse(&text);
            let _ = wanted(&text);
        }
    }
}
