//! How two nodes of a cluster prove who they are: Hello, Challenge, Proof, as between client and node, but
//! each end knows beforehand which key the other must have.
//!
//! What is signed is a label of 32 bytes that only this protocol and this direction use, followed by the
//! SHA-256 of the transcript: `version (u16) | role (u8) | the hello | acceptor's key (32) | its nonce (32) | its
//! software (6)`. The version is the one agreed upon, and the hello holds what was offered, so that nobody in between
//! can talk the two into an older one.

use crate::{KeyPair, PublicKey};
use core::fmt;
use ordain_types::frame::role;
use ordain_types::{ClusterId, NodeId};
use sha2::{Digest, Sha256};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

/// Versions of what nodes say to each other behind the handshake, from the oldest to the newest that a build speaks.
/// Two nodes speak the newest that both know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Versions {
    /// The oldest.
    pub oldest: U16,
    /// The newest.
    pub newest: U16,
}

impl Versions {
    /// Those of this build. A build speaks the version before its own, so that nodes are upgraded one by one.
    /// Version 2 has checksums in front of frames.
    pub const OURS: Self = Self::new(1, 2);

    /// From one to another.
    #[must_use]
    pub const fn new(oldest: u16, newest: u16) -> Self {
        Self { oldest: U16::new(oldest), newest: U16::new(newest) }
    }

    /// The newest that both know.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.newest.get().min(other.newest.get());
        (newest >= self.oldest.get().max(other.oldest.get())).then_some(newest)
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn has(self, version: u16) -> bool {
        (self.oldest.get()..=self.newest.get()).contains(&version)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.oldest, self.newest)
    }
}

/// Which software a node runs: major, minor, patch. For people; nothing is decided by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Software(pub [U16; 3]);

impl Software {
    /// This build's, as Cargo says it.
    #[must_use]
    pub fn ours() -> Self {
        let part = |text: &str| U16::new(text.parse().unwrap_or(0));
        Self([
            part(env!("CARGO_PKG_VERSION_MAJOR")),
            part(env!("CARGO_PKG_VERSION_MINOR")),
            part(env!("CARGO_PKG_VERSION_PATCH")),
        ])
    }
}

impl fmt::Display for Software {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

const ACCEPTOR_LABEL: &[u8; 32] = b"ordain peers v1: acceptor       ";
const DIALLER_LABEL: &[u8; 32] = b"ordain peers v1: dialler        ";

/// The dialling node's first message. Its layout never changes: here versions meet.
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
    /// What the dialler speaks.
    pub versions: Versions,
    /// What it runs.
    pub software: Software,
    /// Zero.
    pub reserved: [u8; 6],
}

/// The accepting node's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PeerChallenge {
    /// The acceptor's public key.
    pub key: [u8; 32],
    /// Fresh and unpredictable.
    pub nonce: [u8; 32],
    /// The version that both will speak.
    pub version: U16,
    /// What the acceptor runs.
    pub software: Software,
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
    /// Who dials was a member, and its removal is committed. Said behind the challenge and in place of Accepted, so
    /// that the dialler knows who says so.
    Removed = 8,
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
            8 => Self::Removed,
            _ => return None,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "no version of the peer protocol is spoken by both: upgrade the older one, one version at a time",
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
            Self::Removed => "it was removed from the cluster: stop it for good",
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
    /// What it speaks.
    pub versions: Versions,
    /// What it runs.
    pub software: Software,
}

fn message(label: &[u8; 32], hello: &PeerHello, challenge: &PeerChallenge) -> [u8; 64] {
    let hash = Sha256::new()
        .chain_update(challenge.version.as_bytes())
        .chain_update([role::PEER])
        .chain_update(hello.as_bytes())
        .chain_update(challenge.key)
        .chain_update(challenge.nonce)
        .chain_update(challenge.software.as_bytes())
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
            versions: self.versions,
            software: self.software,
            reserved: [0; 6],
        }
    }

    /// The dialler answers the challenge to its `hello`; `expected` is the acceptor's key.
    ///
    /// # Errors
    /// [`Refusal::Version`], [`Refusal::Key`] or [`Refusal::Signature`].
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
        if !self.versions.has(challenge.version.get()) {
            return Err(Refusal::Version);
        }
        let said = message(ACCEPTOR_LABEL, hello, challenge);
        if !key.verifies(&said, &challenge.signature) {
            return Err(Refusal::Signature);
        }
        let signature = self.pair.sign(&message(DIALLER_LABEL, hello, challenge));
        Ok(PeerProof { signature })
    }

    /// What can be judged of a hello without cryptography. `expected` is the key of the member that it names,
    /// if there is one that dials this node.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn judge(&self, hello: &PeerHello, expected: Option<PublicKey>) -> Result<(), Refusal> {
        if self.versions.common(hello.versions).is_none() {
            Err(Refusal::Version)
        } else if hello.cluster != self.cluster.0 {
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
    ///
    /// # Panics
    /// If there is no version that both speak: [`PeerSelf::judge`] looks for it.
    #[must_use]
    pub fn challenge(&self, hello: &PeerHello, nonce: [u8; 32]) -> PeerChallenge {
        let version = self.versions.common(hello.versions).expect("the hello was judged");
        let mut challenge = PeerChallenge {
            key: self.pair.public().0,
            nonce,
            version: version.into(),
            software: self.software,
            signature: [0; 64],
        };
        challenge.signature = self.pair.sign(&message(ACCEPTOR_LABEL, hello, &challenge));
        challenge
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
        let said = message(DIALLER_LABEL, hello, challenge);
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
            versions: Versions::OURS,
            software: Software::ours(),
        }
    }

    /// A node of a build that speaks these versions.
    fn of(id: u32, oldest: u16, newest: u16) -> PeerSelf {
        PeerSelf { versions: Versions::new(oldest, newest), ..node(id) }
    }

    #[test]
    fn the_newest_version_that_both_speak_is_spoken() {
        #[track_caller]
        fn check(dialler: (u16, u16), acceptor: (u16, u16), version: Option<u16>) {
            let (dialler, acceptor) = (of(2, dialler.0, dialler.1), of(1, acceptor.0, acceptor.1));
            let hello = dialler.hello(NodeId(1), [3; 32]);
            let judged = acceptor.judge(&hello, Some(dialler.pair.public()));
            let Some(version) = version else {
                assert_eq!(judged, Err(Refusal::Version));
                return;
            };
            let challenge = acceptor.challenge(&hello, [4; 32]);
            assert_eq!(challenge.version.get(), version);
            let proof = dialler.prove(&hello, &challenge, acceptor.pair.public()).unwrap();
            acceptor.check(&hello, &challenge, &proof).unwrap();
        }
        check((1, 1), (1, 1), Some(1));
        check((1, 2), (1, 1), Some(1));
        check((1, 1), (1, 2), Some(1));
        check((2, 5), (1, 3), Some(3));
        check((2, 3), (1, 1), None);
        check((1, 1), (2, 3), None);
    }

    #[test]
    fn nobody_is_talked_into_another_version() {
        let (dialler, acceptor) = (of(2, 1, 3), of(1, 1, 3));
        let hello = dialler.hello(NodeId(1), [3; 32]);
        let key = acceptor.pair.public();
        for version in [1, 4] {
            // The acceptor signed for version 3.
            let mut challenge = acceptor.challenge(&hello, [4; 32]);
            challenge.version = version.into();
            assert!(dialler.prove(&hello, &challenge, key).is_err());
            // And what it was told was offered is what the dialler proves.
            let mut told = hello;
            told.versions = Versions::new(1, version);
            let challenge = acceptor.challenge(&told, [4; 32]);
            assert!(dialler.prove(&hello, &challenge, key).is_err());
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
