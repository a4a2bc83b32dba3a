//! The nodes of a cluster: who they are and where they are reached.

use crate::{ClusterFacts, NodeId};

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub id: NodeId,
    /// Where other nodes reach it, `HOST:PORT`.
    pub peer: String,
    /// Where clients reach it, `HOST:PORT`.
    pub client: String,
    /// Its Ed25519 public key.
    pub key: [u8; 32],
}

/// What is wrong with `members` as the whole of a cluster, in words for the operator.
///
/// # Errors
/// The first violated rule: numbers are 0, 1, 2 and so on in this order; no address and no key stands twice.
pub fn check(members: &[Member]) -> Result<(), String> {
    let mut addresses = Vec::new();
    for (number, member) in (0..).zip(members) {
        if member.id != NodeId(number) {
            return Err(format!("member {} stands where member {number} should", member.id));
        }
        for address in [&member.peer, &member.client] {
            check_address(address, member.id)?;
            if addresses.contains(&address) {
                return Err(format!("the address {address} stands twice"));
            }
            addresses.push(address);
        }
        if members[..number as usize].iter().any(|other| other.key == member.key) {
            return Err(format!("member {number} has the key of another"));
        }
    }
    Ok(())
}

/// Whether the address of a member is `HOST:PORT`.
pub(crate) fn check_address(address: &str, of: NodeId) -> Result<(), String> {
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    if port.and_then(|(_, port)| port.parse::<u16>().ok()).is_none_or(|port| port == 0) {
        return Err(format!("`{address}` of member {of} is no HOST:PORT"));
    }
    Ok(())
}

/// 32 bytes that differ whenever a fact that the cluster was made with differs, or the key that its first record
/// trusts: nodes compare them when they connect, since with others they would write other first batches. Members,
/// policy and W are not in it: the log changes them, and a node that is behind in the log must be let in.
#[must_use]
pub fn fingerprint(facts: &ClusterFacts, operator: &[u8; 32]) -> [u8; 32] {
    let mut hash = blake3::Hasher::new_derive_key("ordain configuration v2");
    hash.update(&facts.fingerprint()).update(operator);
    *hash.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterId, Nanos};

    fn members() -> Vec<Member> {
        let member = |id: u32| Member {
            id: NodeId(id),
            peer: format!("host-{id}:1"),
            client: format!("host-{id}:2"),
            key: [id as u8; 32],
        };
        (0..3).map(member).collect()
    }

    #[test]
    fn impossible_members_are_named() {
        #[track_caller]
        fn bad(change: impl FnOnce(&mut Vec<Member>), expected: &str) {
            let mut members = members();
            change(&mut members);
            let problem = check(&members).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
        check(&members()).unwrap();
        bad(|members| members.swap(0, 1), "member 1 stands where member 0 should");
        bad(|members| members[1].client = "host-0:1".into(), "stands twice");
        bad(|members| members[1].peer = "host-1".into(), "is no HOST:PORT");
        bad(|members| members[1].peer = ":7".into(), "is no HOST:PORT");
        bad(|members| members[1].peer = "host-1:0".into(), "is no HOST:PORT");
        bad(|members| members[2].key = [0; 32], "the key of another");
    }

    #[test]
    fn every_difference_of_what_a_cluster_is_made_with_shows() {
        let facts = ClusterFacts::new(ClusterId([1; 16]), Nanos(2), 3);
        let whole = fingerprint(&facts, &[9; 32]);
        assert_eq!(fingerprint(&facts.clone(), &[9; 32]), whole);
        assert_ne!(fingerprint(&facts, &[8; 32]), whole);
        let other = ClusterFacts { window: 5, ..facts };
        assert_ne!(fingerprint(&other, &[9; 32]), whole);
    }
}
