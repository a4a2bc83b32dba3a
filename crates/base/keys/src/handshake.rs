//! Hello, Challenge, Proof: each end signs both ends' fresh nonces.
//!
//! What is signed is a label of 32 bytes that only this protocol and this direction use, followed by the
//! SHA-256 of the transcript: `version (u16) | role (u8) | cluster (16) | client key (32) | client nonce
//! (32) | node key (32) | node nonce (32)`. A recorded handshake cannot be replayed: the other end's nonce
//! is new. A signature made for one direction, role, cluster or version is worth nothing in another.

use crate::{KeyPair, PublicKey};
use core::fmt;
use ordain_types::ClusterId;
use ordain_types::frame::{ChallengeBody, HelloBody, PROTOCOL_VERSION, ProofBody, role};
use sha2::{Digest, Sha256};

const NODE_LABEL: &[u8; 32] = b"ordain handshake v1: node       ";
const CLIENT_LABEL: &[u8; 32] = b"ordain handshake v1: client     ";

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The other end speaks another version.
    Version {
        /// Which.
        theirs: u16,
    },
    /// A role that does not exist or is not served here.
    Role(u8),
    /// Another cluster is meant.
    Cluster,
    /// The node is not the one that the client expects.
    NodeKey,
    /// The signature is wrong.
    Signature,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { theirs } => {
                write!(
                    f,
                    "the other end speaks protocol version {theirs}, this one {PROTOCOL_VERSION}: upgrade the older"
                )
            }
            Self::Role(role) => write!(f, "role {role} is not served here: check the port"),
            Self::Cluster => write!(f, "the node belongs to another cluster: check the address"),
            Self::NodeKey => {
                write!(f, "the node has another key than expected: check the address, or pin its new key")
            }
            Self::Signature => write!(f, "the signature does not match the key: check the key file"),
        }
    }
}

impl std::error::Error for HandshakeError {}

struct Transcript<'a> {
    hello: &'a HelloBody,
    cluster: ClusterId,
    node: &'a [u8; 32],
    nonce: &'a [u8; 32],
}

impl Transcript<'_> {
    fn message(&self, label: &[u8; 32]) -> [u8; 64] {
        let hash = Sha256::new()
            .chain_update(self.hello.version.get().to_le_bytes())
            .chain_update([self.hello.role])
            .chain_update(self.cluster.0)
            .chain_update(self.hello.key)
            .chain_update(self.hello.nonce)
            .chain_update(self.node)
            .chain_update(self.nonce)
            .finalize();
        let mut message = [0; 64];
        message[..32].copy_from_slice(label);
        message[32..].copy_from_slice(&hash);
        message
    }
}

/// Who the other end has proved to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identified {
    /// Its key.
    pub key: PublicKey,
    /// The cluster.
    pub cluster: ClusterId,
}

/// A client's end.
#[derive(Clone, Debug)]
pub struct ClientHandshake {
    pair: KeyPair,
    hello: HelloBody,
    expected: Option<PublicKey>,
}

impl ClientHandshake {
    /// Begins. `cluster` is the one meant, all zeros for any; `node` is the key that the node must have, if
    /// it is known; `nonce` must be fresh and unpredictable.
    #[must_use]
    pub fn new(pair: KeyPair, cluster: ClusterId, node: Option<PublicKey>, nonce: [u8; 32]) -> Self {
        let hello = HelloBody {
            version: PROTOCOL_VERSION.into(),
            role: role::CLIENT,
            reserved: [0; 5],
            cluster: cluster.0,
            key: pair.public().0,
            nonce,
        };
        Self { pair, hello, expected: node }
    }

    /// The first message.
    #[must_use]
    pub const fn hello(&self) -> &HelloBody {
        &self.hello
    }

    /// Answers the node's challenge with the proof, and says who the node is.
    ///
    /// # Errors
    /// [`HandshakeError`]: hang up.
    pub fn answer(&self, challenge: &ChallengeBody) -> Result<(ProofBody, Identified), HandshakeError> {
        if challenge.version.get() != PROTOCOL_VERSION {
            return Err(HandshakeError::Version { theirs: challenge.version.get() });
        }
        if self.hello.cluster != [0; 16] && self.hello.cluster != challenge.cluster {
            return Err(HandshakeError::Cluster);
        }
        let node = PublicKey(challenge.key);
        if self.expected.is_some_and(|expected| expected != node) {
            return Err(HandshakeError::NodeKey);
        }
        let cluster = ClusterId(challenge.cluster);
        let transcript =
            Transcript { hello: &self.hello, cluster, node: &challenge.key, nonce: &challenge.nonce };
        if !node.verifies(&transcript.message(NODE_LABEL), &challenge.signature) {
            return Err(HandshakeError::Signature);
        }
        let signature = self.pair.sign(&transcript.message(CLIENT_LABEL));
        Ok((ProofBody { signature }, Identified { key: node, cluster }))
    }
}

/// A node's end, after the hello.
#[derive(Clone, Debug)]
pub struct ServerHandshake {
    hello: HelloBody,
    challenge: ChallengeBody,
}

impl ServerHandshake {
    /// Answers a hello. `nonce` must be fresh and unpredictable.
    ///
    /// # Errors
    /// [`HandshakeError`]: hang up.
    pub fn challenge(
        pair: &KeyPair,
        cluster: ClusterId,
        hello: &HelloBody,
        nonce: [u8; 32],
    ) -> Result<Self, HandshakeError> {
        if hello.version.get() != PROTOCOL_VERSION {
            return Err(HandshakeError::Version { theirs: hello.version.get() });
        }
        if hello.role != role::CLIENT || hello.reserved != [0; 5] {
            return Err(HandshakeError::Role(hello.role));
        }
        if hello.cluster != [0; 16] && hello.cluster != cluster.0 {
            return Err(HandshakeError::Cluster);
        }
        let node = pair.public().0;
        let message = Transcript { hello, cluster, node: &node, nonce: &nonce }.message(NODE_LABEL);
        let challenge = ChallengeBody {
            version: PROTOCOL_VERSION.into(),
            reserved: [0; 6],
            cluster: cluster.0,
            key: node,
            nonce,
            signature: pair.sign(&message),
        };
        Ok(Self { hello: *hello, challenge })
    }

    /// The second message.
    #[must_use]
    pub const fn body(&self) -> &ChallengeBody {
        &self.challenge
    }

    /// Who claims to be at the other end. Look the key up before spending a signature check on it.
    #[must_use]
    pub const fn claimed(&self) -> PublicKey {
        PublicKey(self.hello.key)
    }

    /// Checks the client's proof.
    ///
    /// # Errors
    /// [`HandshakeError::Signature`]: hang up.
    pub fn finish(&self, proof: &ProofBody) -> Result<Identified, HandshakeError> {
        let cluster = ClusterId(self.challenge.cluster);
        let transcript = Transcript {
            hello: &self.hello,
            cluster,
            node: &self.challenge.key,
            nonce: &self.challenge.nonce,
        };
        let key = self.claimed();
        if key.verifies(&transcript.message(CLIENT_LABEL), &proof.signature) {
            Ok(Identified { key, cluster })
        } else {
            Err(HandshakeError::Signature)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    const CLUSTER: ClusterId = ClusterId([9; 16]);

    fn pair(seed: u8) -> KeyPair {
        KeyPair::from_seed(&[seed; 32])
    }

    fn client(cluster: ClusterId, node: Option<PublicKey>) -> ClientHandshake {
        ClientHandshake::new(pair(1), cluster, node, [3; 32])
    }

    fn server(client: &ClientHandshake, nonce: u8) -> Result<ServerHandshake, HandshakeError> {
        ServerHandshake::challenge(&pair(2), CLUSTER, client.hello(), [nonce; 32])
    }

    #[test]
    fn both_ends_know_each_other_afterwards() {
        for cluster in [CLUSTER, ClusterId::default()] {
            let client = client(cluster, Some(pair(2).public()));
            let server = server(&client, 4).unwrap();
            let (proof, node) = client.answer(server.body()).unwrap();
            assert_eq!(node, Identified { key: pair(2).public(), cluster: CLUSTER });
            assert_eq!(server.finish(&proof).unwrap().key, pair(1).public());
        }
    }

    #[test]
    fn a_replayed_proof_or_challenge_is_worth_nothing() {
        let client = client(CLUSTER, None);
        let first = server(&client, 4).unwrap();
        let (proof, _) = client.answer(first.body()).unwrap();
        assert_eq!(server(&client, 5).unwrap().finish(&proof), Err(HandshakeError::Signature));
        let other = ClientHandshake::new(pair(1), CLUSTER, None, [8; 32]);
        assert_eq!(other.answer(first.body()).unwrap_err(), HandshakeError::Signature);
    }

    #[test]
    fn every_flipped_bit_fails() {
        let client = client(ClusterId::default(), None);
        let server = server(&client, 4).unwrap();
        let (proof, _) = client.answer(server.body()).unwrap();
        for bit in 0..size_of::<ProofBody>() * 8 {
            let mut bad = proof;
            bad.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
            assert!(server.finish(&bad).is_err(), "proof bit {bit}");
        }
        // The 6 reserved bytes are not signed; everything else is.
        let reserved = 16..64;
        for bit in (0..size_of::<ChallengeBody>() * 8).filter(|bit| !reserved.contains(bit)).step_by(7) {
            let mut bad = *server.body();
            bad.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
            assert!(client.answer(&bad).is_err(), "challenge bit {bit}");
        }
    }

    #[test]
    fn the_wrong_cluster_node_version_or_role_is_named() {
        let elsewhere = client(ClusterId([1; 16]), None);
        assert_eq!(server(&elsewhere, 4).unwrap_err(), HandshakeError::Cluster);
        let pinned = client(CLUSTER, Some(pair(7).public()));
        let challenge = *server(&pinned, 4).unwrap().body();
        assert_eq!(pinned.answer(&challenge).unwrap_err(), HandshakeError::NodeKey);
        let mut hello = *client(CLUSTER, None).hello();
        hello.role = role::PEER;
        let result = ServerHandshake::challenge(&pair(2), CLUSTER, &hello, [0; 32]);
        assert_eq!(result.unwrap_err(), HandshakeError::Role(role::PEER));
        hello.version = 9.into();
        let result = ServerHandshake::challenge(&pair(2), CLUSTER, &hello, [0; 32]);
        assert_eq!(result.unwrap_err(), HandshakeError::Version { theirs: 9 });
    }
}
