//! Every script of `scripts/` against fullbore, under virtual time.

#[allow(dead_code)]
mod drill;
