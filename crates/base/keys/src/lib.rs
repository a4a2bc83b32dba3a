//! Keys, their text form in files, and the handshake by which both ends of a connection prove theirs.
//!
//! The handshake is sans-IO: random bytes come in as arguments, messages go out as bodies of frames
//! ([`ordain_types::frame`]). Its bytes are in `docs/format/client.md`.
#![forbid(unsafe_code)]

mod handshake;
mod peer;
mod text;

pub use handshake::{ClientHandshake, HandshakeError, Identified, ServerHandshake};
pub use peer::{PeerChallenge, PeerHello, PeerProof, PeerSelf, Refusal, Software, Versions};
pub use text::KeyTextError;

use core::fmt;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// An Ed25519 public key: who somebody is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Whether `signature` is this key's over `message`. Keys and signatures of small order are refused.
    fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// An Ed25519 key pair. Its memory is cleared when it is dropped.
#[derive(Clone)]
pub struct KeyPair(SigningKey);

impl KeyPair {
    /// The key pair of 32 secret random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Who holds it.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public())
    }
}
