//! How two nodes of a cluster prove who they are: Hello, Challenge, Proof, as between client and node, but
//! each end knows beforehand which key the other must have.
//!
//! What is signed is a label of 32 bytes that only this protocol and this direction use, followed by the
//! SHA-256 of the transcript: `version (u16) | role (u8) | cluster (16) | dialling node (u32) | accepting node
//! (u32) | fingerprint (32) | dialler's key (32) | its nonce (32) | acceptor's key (32) | its nonce (32)`.

use crate::{KeyPair, PublicKey};
use core::fmt;
use ordain_types::frame::role;
use ordain_types::{ClusterId, NodeId};
use sha2::{Digest, Sha256};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian::U32};

/// Version of what nodes say to each other, handshake and frames.
pub const PEER_PROTOCOL: u16 = 1;

const ACCEPTOR_LABEL: &[u8; 32] = b"ordain peers v1: acceptor       ";
const DIALLER_LABEL: &[u8; 32] = b"ordain peers v1: dialler        ";

/// The dialling node's first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PeerHello {
    /// The cluster.
    pub cluster: [u8; 16],
    /// Who dials.
    pub from: U32,
    /// Who is meant.
    pub to: U32,
    /// Of the configuration, see [`ordain_types::members::fingerprint`].
    pub fingerprint: [u8; 32],
    /// The dialler's public key.
    pub key: [u8; 32],
    /// Fresh and unpredictable.
    pub nonce: [u8; 32],
}

/// The accepting node's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PeerChallenge {
    /// The acceptor's public key.
    pub key: [u8; 32],
    /// Fresh and unpredictable.
    pub nonce: [u8; 32],
    /// Over the transcript, with the acceptor's label.
    pub signature: [u8; 64],
}

/// The dialling node's proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PeerProof {
    /// Over the transcript, with the dialler's label.
    pub signature: [u8; 64],
}

/// Why a node will not be connected with another. The numbers are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// Another version of the protocol.
    Version = 1,
    /// Another cluster.
    Cluster = 2,
    /// Made with other facts, or for another first operator.
    Configuration = 3,
    /// No member of that number dials this node, or another node is meant.
    Member = 4,
    /// Another key than that of the member with this number.
    Key = 5,
    /// The key's holder did not sign this.
    Signature = 6,
    /// A connection with a node of that number stands already.
    Connected = 7,
}

impl Refusal {
    /// From the wire; `None` for a number that this build does not know.
    #[must_use]
    pub const fn from_wire(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Version,
            2 => Self::Cluster,
            3 => Self::Configuration,
            4 => Self::Member,
            5 => Self::Key,
            6 => Self::Signature,
            7 => Self::Connected,
            _ => return None,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "they speak different versions of the peer protocol: run the same build on both",
            Self::Cluster => "they belong to different clusters: check the peer addresses in members.toml",
            Self::Configuration => {
                "their files `facts`, or the operator in `members.toml`, differ: one of them was made for another \
                 cluster, or its files were changed"
            }
            Self::Member => {
                "one of them is no member of the cluster as the other knows it (it was removed, or not added yet: see \
                 `ordain cluster status`), or another node is expected at this address"
            }
            Self::Key => "the key is not that of the member with this number: restore keys/node.key of that node",
            Self::Signature => "the signature does not match the key: somebody pretends to be that node",
            Self::Connected => {
                "a node of that number is connected already: two processes run as one node (stop one of them and \
                 never start it again), or the old connection is not known to be dead yet"
            }
        })
    }
}

impl std::error::Error for Refusal {}

/// What a node says of itself.
#[derive(Clone, Debug)]
pub struct PeerSelf {
    /// Its key.
    pub pair: KeyPair,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its number.
    pub id: NodeId,
    /// Of its configuration.
    pub fingerprint: [u8; 32],
}

fn message(label: &[u8; 32], hello: &PeerHello, key: &[u8; 32], nonce: &[u8; 32]) -> [u8; 64] {
    let hash = Sha256::new()
        .chain_update(PEER_PROTOCOL.to_le_bytes())
        .chain_update([role::PEER])
        .chain_update(hello.as_bytes())
        .chain_update(key)
        .chain_update(nonce)
        .finalize();
    let mut message = [0; 64];
    message[..32].copy_from_slice(label);
    message[32..].copy_from_slice(&hash);
    message
}

impl PeerSelf {
    /// Begins to dial node `to`.
    #[must_use]
    pub fn hello(&self, to: NodeId, nonce: [u8; 32]) -> PeerHello {
        PeerHello {
            cluster: self.cluster.0,
            from: self.id.0.into(),
            to: to.0.into(),
            fingerprint: self.fingerprint,
            key: self.pair.public().0,
            nonce,
        }
    }

    /// The dialler answers the challenge to its `hello`; `expected` is the acceptor's key.
    ///
    /// # Errors
    /// [`Refusal::Key`] or [`Refusal::Signature`].
    pub fn prove(
        &self,
        hello: &PeerHello,
        challenge: &PeerChallenge,
        expected: PublicKey,
    ) -> Result<PeerProof, Refusal> {
        let key = PublicKey(challenge.key);
        if key != expected {
            return Err(Refusal::Key);
        }
        let said = message(ACCEPTOR_LABEL, hello, &challenge.key, &challenge.nonce);
        if !key.verifies(&said, &challenge.signature) {
            return Err(Refusal::Signature);
        }
        let signature = self.pair.sign(&message(DIALLER_LABEL, hello, &challenge.key, &challenge.nonce));
        Ok(PeerProof { signature })
    }

    /// What can be judged of a hello without cryptography. `expected` is the key of the member that it names,
    /// if there is one that dials this node.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn judge(&self, hello: &PeerHello, expected: Option<PublicKey>) -> Result<(), Refusal> {
        if hello.cluster != self.cluster.0 {
            Err(Refusal::Cluster)
        } else if hello.fingerprint != self.fingerprint {
            Err(Refusal::Configuration)
        } else if hello.to.get() != self.id.0 {
            Err(Refusal::Member)
        } else {
            match expected {
                None => Err(Refusal::Member),
                Some(key) if key.0 != hello.key => Err(Refusal::Key),
                Some(_) => Ok(()),
            }
        }
    }

    /// The acceptor's answer to a hello that was judged good.
    #[must_use]
    pub fn challenge(&self, hello: &PeerHello, nonce: [u8; 32]) -> PeerChallenge {
        let key = self.pair.public().0;
        let signature = self.pair.sign(&message(ACCEPTOR_LABEL, hello, &key, &nonce));
        PeerChallenge { key, nonce, signature }
    }

    /// Whether the dialler proved what its hello claims.
    ///
    /// # Errors
    /// [`Refusal::Signature`].
    pub fn check(
        &self,
        hello: &PeerHello,
        challenge: &PeerChallenge,
        proof: &PeerProof,
    ) -> Result<(), Refusal> {
        let said = message(DIALLER_LABEL, hello, &challenge.key, &challenge.nonce);
        if PublicKey(hello.key).verifies(&said, &proof.signature) { Ok(()) } else { Err(Refusal::Signature) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> PeerSelf {
        PeerSelf {
            pair: KeyPair::from_seed(&[id as u8; 32]),
            cluster: ClusterId([9; 16]),
            id: NodeId(id),
            fingerprint: [8; 32],
        }
    }

    #[test]
    fn both_ends_know_each_other_afterwards() {
        let (dialler, acceptor) = (node(2), node(1));
        let hello = dialler.hello(NodeId(1), [3; 32]);
        acceptor.judge(&hello, Some(dialler.pair.public())).unwrap();
        let challenge = acceptor.challenge(&hello, [4; 32]);
        let proof = dialler.prove(&hello, &challenge, acceptor.pair.public()).unwrap();
        acceptor.check(&hello, &challenge, &proof).unwrap();
    }

    #[test]
    fn what_can_be_wrong_is_named() {
        let (dialler, acceptor) = (node(2), node(1));
        let key = Some(dialler.pair.public());
        let judge = |change: fn(&mut PeerHello), key| {
            let mut hello = dialler.hello(NodeId(1), [3; 32]);
            change(&mut hello);
            acceptor.judge(&hello, key)
        };
        assert_eq!(judge(|_| (), key), Ok(()));
        assert_eq!(judge(|hello| hello.cluster = [1; 16], key), Err(Refusal::Cluster));
        assert_eq!(judge(|hello| hello.fingerprint = [1; 32], key), Err(Refusal::Configuration));
        assert_eq!(judge(|hello| hello.to = 3.into(), key), Err(Refusal::Member));
        assert_eq!(judge(|_| (), None), Err(Refusal::Member));
        assert_eq!(judge(|_| (), Some(node(7).pair.public())), Err(Refusal::Key));
        for code in 0..=u8::MAX {
            assert!(Refusal::from_wire(code).is_none_or(|refusal| refusal as u8 == code));
        }
    }

    #[test]
    fn every_flipped_bit_fails() {
        let (dialler, acceptor) = (node(2), node(1));
        let hello = dialler.hello(NodeId(1), [3; 32]);
        let challenge = acceptor.challenge(&hello, [4; 32]);
        let key = acceptor.pair.public();
        let proof = dialler.prove(&hello, &challenge, key).unwrap();
        for bit in 0..size_of::<PeerHello>() * 8 {
            let mut bad = hello;
            bad.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
            assert!(dialler.prove(&bad, &challenge, key).is_err(), "hello bit {bit}");
            assert!(acceptor.check(&bad, &challenge, &proof).is_err(), "hello bit {bit}");
        }
        for bit in 0..size_of::<PeerChallenge>() * 8 {
            let mut bad = challenge;
            bad.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
            assert!(dialler.prove(&hello, &bad, key).is_err(), "challenge bit {bit}");
        }
        for bit in 0..size_of::<PeerProof>() * 8 {
            let mut bad = proof;
            bad.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
            assert!(acceptor.check(&hello, &challenge, &bad).is_err(), "proof bit {bit}");
        }
    }

    #[test]
    fn a_proof_is_worth_nothing_in_the_other_direction_or_again() {
        let (dialler, acceptor) = (node(2), node(1));
        let hello = dialler.hello(NodeId(1), [3; 32]);
        let challenge = acceptor.challenge(&hello, [4; 32]);
        let reflected = PeerProof { signature: challenge.signature };
        assert_eq!(acceptor.check(&hello, &challenge, &reflected), Err(Refusal::Signature));
        let proof = dialler.prove(&hello, &challenge, acceptor.pair.public()).unwrap();
        let again = acceptor.challenge(&hello, [5; 32]);
        assert_eq!(acceptor.check(&hello, &again, &proof), Err(Refusal::Signature));
    }
}
