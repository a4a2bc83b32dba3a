//! Keys as one line of text: a word that says what it is, and 64 hexadecimal digits.

use crate::{KeyPair, PublicKey};
use core::fmt;
use core::str::FromStr;

const PUBLIC: &str = "ordain-public-";
const SECRET: &str = "ordain-secret-";

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTextError {
    /// It does not begin as such a key does.
    Prefix {
        /// What it should begin with.
        expected: &'static str,
    },
    /// It is a secret key where a public one is wanted.
    SecretForPublic,
    /// What follows is not 64 hexadecimal digits.
    Digits,
}

impl fmt::Display for KeyTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix { expected } => {
                write!(f, "a key of this kind begins with `{expected}`; make one with `ordain keys new FILE`")
            }
            Self::SecretForPublic => write!(
                f,
                "this is a secret key, which nobody else should see; `ordain keys show FILE` prints the public one"
            ),
            Self::Digits => write!(f, "64 hexadecimal digits must follow the prefix; copy the whole line"),
        }
    }
}

impl std::error::Error for KeyTextError {}

fn write_hex(f: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse(text: &str, expected: &'static str) -> Result<[u8; 32], KeyTextError> {
    let digits = text.trim().strip_prefix(expected).ok_or(KeyTextError::Prefix { expected })?;
    let mut key = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return Err(KeyTextError::Digits);
    }
    for (byte, at) in key.iter_mut().zip((0..64).step_by(2)) {
        let pair = &digits[at..at + 2];
        if pair.starts_with('+') {
            return Err(KeyTextError::Digits);
        }
        *byte = u8::from_str_radix(pair, 16).map_err(|_| KeyTextError::Digits)?;
    }
    Ok(key)
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PUBLIC)?;
        write_hex(f, &self.0)
    }
}

impl FromStr for PublicKey {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        if text.trim().starts_with(SECRET) {
            return Err(KeyTextError::SecretForPublic);
        }
        parse(text, PUBLIC).map(Self)
    }
}

impl KeyPair {
    /// The line that a key file holds. Whoever reads it can act as the holder.
    #[must_use]
    pub fn to_secret_text(&self) -> String {
        let mut text = SECRET.to_owned();
        write_hex(&mut text, &self.0.to_bytes()).expect("writing to a string cannot fail");
        text
    }

    /// Reads what [`KeyPair::to_secret_text`] wrote; blanks around it are ignored.
    ///
    /// # Errors
    /// [`KeyTextError`].
    pub fn from_secret_text(text: &str) -> Result<Self, KeyTextError> {
        parse(text, SECRET).map(|seed| Self::from_seed(&seed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_text() {
        let pair = KeyPair::from_seed(&[7; 32]);
        assert_eq!(
            KeyPair::from_secret_text(&(pair.to_secret_text() + "\n")).unwrap().public(),
            pair.public()
        );
        assert_eq!(pair.public().to_string().parse(), Ok(pair.public()));
    }

    #[test]
    fn other_texts_are_refused_with_a_reason() {
        let secret = KeyPair::from_seed(&[7; 32]).to_secret_text();
        assert_eq!(secret.parse::<PublicKey>(), Err(KeyTextError::SecretForPublic));
        for (text, error) in [
            ("", KeyTextError::Prefix { expected: PUBLIC }),
            ("ordain-public-12", KeyTextError::Digits),
            (&format!("{PUBLIC}{}", "+1".repeat(32)), KeyTextError::Digits),
            (&format!("{PUBLIC}{}", "é".repeat(32)), KeyTextError::Digits),
        ] {
            assert_eq!(text.parse::<PublicKey>(), Err(error), "{text}");
        }
    }
}
