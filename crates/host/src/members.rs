//! The file `members.toml`: the nodes that a cluster was made with, the same on each of them, and in the directory of
//! one that joined later, those that did so until then.

use crate::{facts, keys};
use ordain_keys::PublicKey;
use ordain_types::facts::ClusterFacts;
use ordain_types::members::{self, Member};
use ordain_types::{ClusterId, NodeId};
use serde::Deserialize;
use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Name of the file.
pub const FILE: &str = "members.toml";

/// The nodes of a cluster and its first operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The key that the genesis trusts with everything.
    pub operator: PublicKey,
    /// The nodes that it was made with, by number.
    pub all: Vec<Member>,
    /// Nodes that joined later, as far as the file knows; whoever is among them and in the log, is as the log says.
    pub joined: Vec<Member>,
}

/// Why the members of a cluster are not known.
#[derive(Debug)]
pub enum MembersError {
    /// The file cannot be read or written.
    Io(PathBuf, io::Error),
    /// It holds no members.
    Text(PathBuf, String),
    /// The cluster has more than one node, and there is no file.
    Missing(PathBuf, u32),
    /// The file has another number of members than the cluster has voters.
    Count(PathBuf, usize, u32),
    /// No member has this node's key.
    Stranger(PathBuf, PublicKey),
    /// The directory's key cannot be used.
    Key(keys::KeyFileError),
    /// A folder that a new cluster needs is there already.
    Exists(PathBuf),
    /// The cluster facts cannot be written.
    Facts(facts::FactsError),
}

impl fmt::Display for MembersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => {
                write!(f, "cannot read or write {}: {error}. Check its owner and permissions", path.display())
            }
            Self::Text(path, what) => {
                write!(f, "{} cannot be used: {what}. Copy it from another node", path.display())
            }
            Self::Missing(path, voters) => write!(
                f,
                "this data directory belongs to a cluster of {voters} nodes, and there is no {}. Copy it from \
                 another node; `ordain cluster init` makes it for a new cluster",
                path.display()
            ),
            Self::Count(path, count, voters) => write!(
                f,
                "{} has {count} members, but the cluster has {voters} voters. Copy it from another node",
                path.display()
            ),
            Self::Stranger(path, key) => write!(
                f,
                "no member in {} has this node's key, {key}. Use the directory that `ordain cluster init` made \
                 for this node, with its own keys/node.key",
                path.display()
            ),
            Self::Key(error) => write!(f, "{error}"),
            Self::Exists(path) => {
                write!(f, "{} exists. Name a folder that does not, or is empty", path.display())
            }
            Self::Facts(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for MembersError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    cluster: String,
    operator: String,
    member: Vec<TextMember>,
    #[serde(default)]
    joined: Vec<TextMember>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextMember {
    id: u32,
    peer: String,
    client: String,
    key: String,
}

/// The file's text.
#[must_use]
pub fn encode(cluster: ClusterId, members: &Members) -> String {
    let mut text = format!(
        "# The nodes that this cluster was made with: the same on each of them. Later ones are in the log; a node that \
         joined has them here as well, to find the others.\ncluster = \"{cluster}\"\noperator = \"{}\"\n",
        members.operator
    );
    let made = members.all.iter().map(|member| ("member", member));
    let joined = members.joined.iter().map(|member| ("joined", member));
    for (name, Member { id, peer, client, key }) in made.chain(joined) {
        let key = PublicKey(*key);
        write!(text, "\n[[{name}]]\nid = {id}\npeer = \"{peer}\"\nclient = \"{client}\"\nkey = \"{key}\"\n")
            .expect("writing to a string cannot fail");
    }
    text
}

fn decode(text: &str, cluster: ClusterId) -> Result<Members, String> {
    let text: Text = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    if text.cluster != cluster.to_string() {
        return Err(format!("it is of cluster {}, the data directory of {cluster}", text.cluster));
    }
    let key = |text: &str| text.parse::<PublicKey>().map_err(|error| error.to_string());
    let operator = key(&text.operator)?;
    let member = |member: TextMember| {
        let TextMember { id, peer, client, key: text } = member;
        Ok(Member { id: NodeId(id), peer, client, key: key(&text)?.0 })
    };
    let all = text.member.into_iter().map(member).collect::<Result<Vec<_>, String>>()?;
    members::check(&all)?;
    let joined = text.joined.into_iter().map(member).collect::<Result<Vec<_>, String>>()?;
    if let Some(member) = joined.iter().find(|member| (member.id.0 as usize) < all.len()) {
        return Err(format!(
            "joined member {} has the number of one that the cluster was made with",
            member.id
        ));
    }
    Ok(Members { operator, all, joined })
}

/// The members in the data directory of a node of a cluster with these facts; `None` for a lone node that
/// has no such file.
///
/// # Errors
/// [`MembersError`].
pub fn read(data: &Path, facts: &ClusterFacts) -> Result<Option<Members>, MembersError> {
    let path = data.join(FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let alone = facts.voters == 1;
            return if alone { Ok(None) } else { Err(MembersError::Missing(path, facts.voters)) };
        }
        text => text.map_err(|error| MembersError::Io(path.clone(), error))?,
    };
    let members = decode(&text, facts.cluster).map_err(|what| MembersError::Text(path.clone(), what))?;
    if members.all.len() != facts.voters as usize {
        return Err(MembersError::Count(path, members.all.len(), facts.voters));
    }
    Ok(Some(members))
}

impl Members {
    /// The member that has this key.
    #[must_use]
    pub fn with_key(&self, key: PublicKey) -> Option<&Member> {
        self.all.iter().chain(&self.joined).find(|member| member.key == key.0)
    }

    /// The member that the data directory's key makes this node.
    ///
    /// # Errors
    /// [`MembersError::Key`], [`MembersError::Stranger`].
    pub fn own(&self, data: &Path) -> Result<&Member, MembersError> {
        let pair = keys::load(&data.join(keys::FOLDER).join(keys::NODE)).map_err(MembersError::Key)?;
        self.with_key(pair.public()).ok_or_else(|| MembersError::Stranger(data.join(FILE), pair.public()))
    }
}

/// Makes the data directories of a new cluster in `folder`: `node-0`, `node-1` and so on, each with the same
/// facts and members and a key of its own, and beside them `operator.key`. `addresses` are peer and client
/// address of each node.
///
/// # Errors
/// [`MembersError`]. What exists is never overwritten.
pub fn create(
    folder: &Path,
    facts: &ClusterFacts,
    addresses: &[(String, String)],
) -> Result<Members, MembersError> {
    let node = |number: usize| folder.join(format!("node-{number}"));
    let taken = (0..addresses.len()).map(node).find(|path| path.exists());
    if let Some(path) = taken {
        return Err(MembersError::Exists(path));
    }
    make_folder(folder)?;
    let operator = keys::create(&folder.join(keys::OPERATOR)).map_err(MembersError::Key)?.public();
    let mut all = Vec::new();
    for (number, (peer, client)) in addresses.iter().enumerate() {
        let keys = node(number).join(keys::FOLDER);
        make_folder(&keys)?;
        let key = keys::create(&keys.join(keys::NODE)).map_err(MembersError::Key)?.public().0;
        let (peer, client) = (peer.clone(), client.clone());
        all.push(Member { id: NodeId(number as u32), peer, client, key });
    }
    let members = Members { operator, all, joined: Vec::new() };
    let text = encode(facts.cluster, &members);
    for number in 0..addresses.len() {
        facts::create(&node(number), facts).map_err(MembersError::Facts)?;
        let path = node(number).join(FILE);
        facts::store(&path, &text).map_err(|error| MembersError::Io(path.clone(), error))?;
    }
    Ok(members)
}

/// The public key of the node whose data directory `data` is or becomes: it is made if there is none, with a new key.
///
/// # Errors
/// [`MembersError`]. A directory with something else in it is not touched.
pub fn new_key(data: &Path) -> Result<PublicKey, MembersError> {
    let path = data.join(keys::FOLDER).join(keys::NODE);
    if path.exists() {
        return keys::load(&path).map(|pair| pair.public()).map_err(MembersError::Key);
    }
    let has_some = fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some());
    if has_some {
        return Err(MembersError::Exists(data.to_owned()));
    }
    make_folder(&data.join(keys::FOLDER))?;
    keys::create(&path).map(|pair| pair.public()).map_err(MembersError::Key)
}

/// Writes what a node that joins needs beside its key: the facts that the cluster was made with, and its members.
///
/// # Errors
/// [`MembersError`]. A directory in which a node has run is not touched.
pub fn join(data: &Path, facts: &ClusterFacts, members: &Members) -> Result<(), MembersError> {
    if facts::read(data).is_ok_and(|other| other != *facts) {
        return Err(MembersError::Exists(data.to_owned()));
    }
    facts::create(data, facts).map_err(MembersError::Facts)?;
    let path = data.join(FILE);
    facts::store(&path, &encode(facts.cluster, members)).map_err(|error| MembersError::Io(path, error))
}

fn make_folder(path: &Path) -> Result<(), MembersError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| MembersError::Io(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_types::Nanos;

    fn made(folder: &Path) -> (ClusterFacts, Members) {
        let facts = ClusterFacts::new(ClusterId([0xab; 16]), Nanos(5), 3);
        let addresses: Vec<_> = (0..3).map(|node| (format!("h{node}:1"), format!("h{node}:2"))).collect();
        let members = create(folder, &facts, &addresses).unwrap();
        (facts, members)
    }

    #[test]
    fn a_new_cluster_has_what_every_node_needs() {
        let folder = tempfile::tempdir().unwrap();
        let (facts, members) = made(folder.path());
        let mut whole = Vec::new();
        for number in 0..3 {
            let data = folder.path().join(format!("node-{number}"));
            let found = facts::read(&data).unwrap();
            let read = read(&data, &found).unwrap().unwrap();
            assert_eq!((&found, &read), (&facts, &members));
            assert_eq!(read.own(&data).unwrap().id, NodeId(number));
            whole.push(fs::read(data.join(FILE)).unwrap());
        }
        assert!(whole.windows(2).all(|pair| pair[0] == pair[1]));
        let addresses = [("h0:1".to_owned(), "h0:2".to_owned())];
        assert!(matches!(create(folder.path(), &facts, &addresses), Err(MembersError::Exists(_))));
    }

    #[test]
    fn one_that_joins_has_its_own_place_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (facts, made) = made(folder.path());
        let data = folder.path().join("new");
        let key = new_key(&data).unwrap();
        assert_eq!(new_key(&data).unwrap(), key, "an earlier try is gone on with");
        let peer = |id: u32, key: PublicKey| Member {
            id: NodeId(id),
            peer: format!("h{id}:1"),
            client: format!("h{id}:2"),
            key: key.0,
        };
        let other = peer(3, PublicKey([9; 32]));
        let members = Members { joined: vec![other, peer(4, key)], ..made };
        join(&data, &facts, &members).unwrap();
        assert_eq!(facts::read(&data).unwrap(), facts);
        assert_eq!(read(&data, &facts).unwrap().unwrap(), members);
        assert_eq!(members.own(&data).unwrap().id, NodeId(4));
        // Another cluster's directory, or one with who knows what, is left alone.
        let foreign = ClusterFacts { window: 5, ..facts };
        assert!(matches!(join(&data, &foreign, &members), Err(MembersError::Exists(_))));
        assert!(matches!(new_key(folder.path()), Err(MembersError::Exists(_))));
        let path = data.join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("id = 3", "id = 2")).unwrap();
        let error = read(&data, &facts).unwrap_err().to_string();
        assert!(error.contains("joined member 2 has the number"), "{error}");
    }

    #[test]
    fn a_file_that_does_not_fit_is_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let (facts, _) = made(folder.path());
        let data = folder.path().join("node-1");
        let path = data.join(FILE);
        let good = fs::read_to_string(&path).unwrap();
        let check = |text: &str, expected: &str| {
            fs::write(&path, text).unwrap();
            let error = read(&data, &facts).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&good.replace("abab", "ab"), "it is of cluster ab");
        check(&good.replace("id = 2", "id = 3"), "member 3 stands where member 2 should");
        check(&good.replace("ordain-public", "ordain-secret"), "secret key");
        check(&good[..good.rfind("[[member]]").unwrap()], "has 2 members, but the cluster has 3 voters");
        check("nothing", "Copy it from another node");
        fs::remove_file(&path).unwrap();
        let error = read(&data, &facts).unwrap_err().to_string();
        assert!(error.contains("a cluster of 3 nodes") && error.contains("ordain cluster init"), "{error}");
        let alone = ClusterFacts { voters: 1, ..facts };
        assert_eq!(read(&data, &alone).unwrap(), None);
    }

    #[test]
    fn a_node_whose_key_is_no_members_does_not_know_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (_, members) = made(folder.path());
        let data = folder.path().join("node-1");
        let key = data.join(keys::FOLDER).join(keys::NODE);
        fs::remove_file(&key).unwrap();
        assert!(matches!(members.own(&data), Err(MembersError::Key(_))));
        keys::create(&key).unwrap();
        assert!(matches!(members.own(&data), Err(MembersError::Stranger(..))));
    }
}
