//! Bearer tokens (RFC 6750).

use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::transfer::http::Method;

/// What a token is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Only for `PUT`.
    Writes,
    /// For every request.
    Everything,
}

/// A token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read the token file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It does not hold exactly one token.
    #[error(
        "the token file {} must hold one line of 16 to 1024 letters, digits or -._~+/=",
        .0.display()
    )]
    Content(PathBuf),
}

/// One token and what it is needed for. Only a hash is kept.
#[derive(Clone, Debug)]
pub struct Auth {
    hash: [u8; 32],
    scope: Scope,
}

const MAX_TOKEN: u64 = 1024;

fn is_token(text: &str) -> bool {
    (16..=MAX_TOKEN as usize).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b))
}

/// Reads the token in a file.
///
/// # Errors
/// See [`TokenError`].
pub fn read_token(path: &Path) -> Result<String, TokenError> {
    let read = || {
        let mut text = String::new();
        std::fs::File::open(path)?
            .take(MAX_TOKEN + 2)
            .read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|source| TokenError::Read {
        path: path.to_owned(),
        source,
    })?;
    let token = text.trim_end_matches(['\n', '\r']);
    if is_token(token) {
        Ok(token.to_owned())
    } else {
        Err(TokenError::Content(path.to_owned()))
    }
}

impl Auth {
    /// Asks for `token`.
    #[must_use]
    pub fn new(token: &str, scope: Scope) -> Self {
        Self {
            hash: Sha256::digest(token).into(),
            scope,
        }
    }

    /// Reads the token from a file of one line.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn from_file(path: &Path, scope: Scope) -> Result<Self, TokenError> {
        Ok(Self::new(&read_token(path)?, scope))
    }

    /// Whether a request with this method and `Authorization` field may be
    /// carried out. The time it takes tells nothing about the token.
    #[must_use]
    pub fn allows(&self, method: Method, authorization: Option<&str>) -> bool {
        if self.scope == Scope::Writes && method != Method::Put {
            return true;
        }
        let Some((scheme, token)) = authorization.and_then(|a| a.split_once(' ')) else {
            return false;
        };
        let hash: [u8; 32] = Sha256::digest(token.trim_matches(' ')).into();
        let difference = hash.iter().zip(&self.hash).fold(0, |d, (a, b)| d | (a ^ b));
        scheme.eq_ignore_ascii_case("bearer") && std::hint::black_box(difference) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    #[test]
    fn scopes() {
        let writes = Auth::new(TOKEN, Scope::Writes);
        let all = Auth::new(TOKEN, Scope::Everything);
        let good = format!("Bearer {TOKEN}");
        for method in [Method::Get, Method::Head, Method::Options] {
            assert!(writes.allows(method, None));
            assert!(!all.allows(method, None));
            assert!(all.allows(method, Some(&good)));
        }
        assert!(writes.allows(Method::Put, Some(&format!("bearer  {TOKEN} "))));
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Basic 0123456789abcdef",
            "Bearer 0123456789abcdeg",
            TOKEN,
        ] {
            assert!(!writes.allows(Method::Put, Some(bad)), "{bad}");
        }
        assert!(!writes.allows(Method::Put, None));
    }

    #[test]
    fn files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
        assert!(Auth::from_file(&path, Scope::Writes).is_ok());
        for bad in [
            "",
            "short\n",
            "0123456789abcdef\nsecond\n",
            "0123456789 abcdef",
            &"x".repeat(2000),
        ] {
            std::fs::write(&path, bad).unwrap();
            let error = Auth::from_file(&path, Scope::Writes)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("token") && error.contains("16 to 1024"),
                "{error}"
            );
        }
        let error = Auth::from_file(&dir.path().join("none"), Scope::Writes).unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
    }
}
