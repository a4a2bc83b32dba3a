//! The file `facts`: what the cluster agreed on when it was created, as text, with its fingerprint.

use crate::config::{ConfigError, Validated, parse_cluster, parse_policy};
use ordain_types::facts::ClusterFacts;
use ordain_types::{ClusterId, Nanos};
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Why the cluster facts of a data directory cannot be used.
#[derive(Debug)]
pub enum FactsError {
    /// The file cannot be read or written.
    Io {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// The file is damaged or was edited.
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The configuration names other facts than the cluster was created with.
    Different {
        /// Which file holds.
        path: PathBuf,
        /// Lines of the file that the configuration contradicts, and what it says.
        lines: Vec<(String, String)>,
    },
    /// A new cluster's facts are incomplete.
    Config(ConfigError),
}

impl fmt::Display for FactsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, error } => {
                write!(f, "cannot read or write {}: {error}. Check its owner and permissions", path.display())
            }
            Self::Damaged { path, what } => write!(
                f,
                "{} is damaged or was edited: {what}. Cluster facts never change; copy the file from another node or \
                 a backup",
                path.display()
            ),
            Self::Different { path, lines } => {
                write!(
                    f,
                    "the configuration contradicts what the cluster was created with ({}):",
                    path.display()
                )?;
                for (is, asked) in lines {
                    write!(f, "\n  is {is}, configured {asked}")?;
                }
                write!(f, "\nRemove these settings, or name another data directory for a new cluster")
            }
            Self::Config(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for FactsError {}

/// The facts of the cluster in `config.data`, whose lock the caller holds: those of its file if it has one,
/// else new ones, with identity `drawn` and created `now` unless configured, which are stored durably.
///
/// # Errors
/// [`FactsError`].
pub fn open(config: &Validated, drawn: ClusterId, now: Nanos) -> Result<ClusterFacts, FactsError> {
    let path = config.data.join("facts");
    let failed = |error| FactsError::Io { path: path.clone(), error };
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let facts = decode(&text).map_err(|what| FactsError::Damaged { path: path.clone(), what })?;
            let (is, asked) = (lines(&facts), lines(&config.with_given(&facts)));
            let lines: Vec<_> = is.into_iter().zip(asked).filter(|(is, asked)| is != asked).collect();
            if lines.is_empty() { Ok(facts) } else { Err(FactsError::Different { path, lines }) }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let facts = config.new_facts(drawn, now).map_err(FactsError::Config)?;
            store(&path, &encode(&facts)).map_err(failed)?;
            Ok(facts)
        }
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(FactsError::Damaged { path, what: "it is no text".to_owned() })
        }
        Err(error) => Err(failed(error)),
    }
}

/// The facts of an existing data directory, for tools that only read it.
///
/// # Errors
/// [`FactsError`].
pub fn read(data: &Path) -> Result<ClusterFacts, FactsError> {
    let path = data.join("facts");
    match std::fs::read_to_string(&path) {
        Ok(text) => decode(&text).map_err(|what| FactsError::Damaged { path, what }),
        Err(error) => Err(FactsError::Io { path, error }),
    }
}

/// Writes the facts of a new cluster to a data directory that exists, durably.
///
/// # Errors
/// [`FactsError::Io`].
pub fn create(data: &Path, facts: &ClusterFacts) -> Result<(), FactsError> {
    let path = data.join("facts");
    store(&path, &encode(facts)).map_err(|error| FactsError::Io { path, error })
}

/// Writes a file so that it is there whole and durably, or not at all.
pub(crate) fn store(path: &Path, text: &str) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!(".new-{name}"));
    let mut file = File::create(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn lines(facts: &ClusterFacts) -> Vec<String> {
    let policy = format!("{}/{}", facts.policy.received, facts.policy.durable);
    vec![
        format!("cluster = \"{}\"", facts.cluster),
        format!("created = {}", facts.created),
        format!("voters = {}", facts.voters),
        format!("durability = \"{policy}\""),
        format!("unsynced-max = {}", facts.unsynced_max),
        format!("segment-size = {}", facts.segment_size),
        format!("batch-max = {}", facts.batch_max),
        format!("payload-max = {}", facts.payload_max),
        format!("sessions-max = {}", facts.sessions_max),
        format!("sessions-per-key = {}", facts.sessions_per_key),
        format!("window = {}", facts.window),
        format!("reply-max = {}", facts.reply_max),
        format!("session-timeout-ns = {}", facts.session_timeout),
        format!("step-outputs-max = {}", facts.step_outputs_max),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file's text.
#[must_use]
pub fn encode(facts: &ClusterFacts) -> String {
    format!(
        "# What this cluster was created with: the same on every node, and never changed.\n{}\nfingerprint = \"{}\"\n",
        lines(facts).join("\n"),
        hex(&facts.fingerprint()),
    )
}

/// The inverse of [`encode`].
///
/// # Errors
/// What is wrong with the text.
pub fn decode(text: &str) -> Result<ClusterFacts, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let word = |name: &str| table.get(name).and_then(toml::Value::as_str).ok_or(format!("no text `{name}`"));
    let number = |name: &str| {
        let number = table.get(name).and_then(toml::Value::as_integer);
        number.and_then(|number| u64::try_from(number).ok()).ok_or(format!("no number `{name}`"))
    };
    let small = |name: &str| u32::try_from(number(name)?).map_err(|_| format!("`{name}` is too large"));
    let facts = ClusterFacts {
        cluster: parse_cluster(word("cluster")?).ok_or("`cluster` is no identity")?,
        created: Nanos(number("created")?),
        voters: small("voters")?,
        policy: parse_policy(word("durability")?, small("voters")?).ok_or("`durability` is no policy")?,
        unsynced_max: number("unsynced-max")?,
        segment_size: number("segment-size")?,
        batch_max: small("batch-max")?,
        payload_max: small("payload-max")?,
        sessions_max: small("sessions-max")?,
        sessions_per_key: small("sessions-per-key")?,
        window: small("window")?,
        reply_max: small("reply-max")?,
        session_timeout: Nanos(number("session-timeout-ns")?),
        step_outputs_max: small("step-outputs-max")?,
    };
    if word("fingerprint")? != hex(&facts.fingerprint()) {
        return Err("its facts do not have its fingerprint".to_owned());
    }
    facts.check()?;
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerConfig;

    fn config(data: &Path, arguments: &[&str]) -> Validated {
        let data = data.to_str().unwrap();
        let arguments = ["node", "--data", data].into_iter().chain(arguments.iter().copied());
        ServerConfig::try_parse_from(arguments).unwrap().validate().unwrap()
    }

    #[test]
    fn facts_are_kept_and_never_changed() {
        let temp = tempfile::tempdir().unwrap();
        let first = config(temp.path(), &["--window", "77"]);
        let facts = open(&first, ClusterId([3; 16]), Nanos(11)).unwrap();
        assert_eq!((facts.cluster, facts.created, facts.window), (ClusterId([3; 16]), Nanos(11), 77));
        // Later starts draw other numbers and may name the same facts or none.
        for arguments in [&["--window", "77"][..], &[]] {
            let again = open(&config(temp.path(), arguments), ClusterId([4; 16]), Nanos(12)).unwrap();
            assert_eq!(again, facts);
        }
        let other = config(temp.path(), &["--window", "78", "--segment-size", "1MiB"]);
        let error = open(&other, ClusterId([4; 16]), Nanos(12)).unwrap_err().to_string();
        assert!(error.contains("is window = 77, configured window = 78"), "{error}");
        assert!(
            error.contains("configured segment-size = 1048576") && !error.contains("cluster ="),
            "{error}"
        );
    }

    #[test]
    fn damage_is_noticed() {
        let facts = ClusterFacts::new(ClusterId([0xab; 16]), Nanos(5), 3);
        let text = encode(&facts);
        assert_eq!(decode(&text), Ok(facts));
        let check = |text: &str, expected: &str| {
            let error = decode(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(&text.replace("window = 1024", "window = 1025"), "fingerprint");
        check(&text.replace("window = 1024", ""), "no number `window`");
        check(&text.replace("window = 1024", "window = -1"), "no number `window`");
        check(&text.replace("voters = 3", "voters = 4294967299"), "too large");
        check(&text.replace("abab", "ab"), "`cluster`");
        check("", "cluster");
    }
}
