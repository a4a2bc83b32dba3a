//! Moving a node's log out of its way without losing a byte of it: where its lineage was ended (rule R7).
//!
//! The file `aside` names the folder that everything goes to. It is written first and removed last, and each step can
//! be repeated, so that whatever was interrupted is finished by the next start.

use crate::disk::{DataDir, file_id, file_name};
use crate::facts::store;
use ordain_agent::disk::FileId;
use ordain_node::journal::read_state;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The file that says what is under way.
const INTENT: &str = "aside";

/// Moves segments and snapshots to a folder of their own in the data directory, and leaves the node state without
/// them: the node keeps its term, vote, boot number and promise floor. Says which folder.
///
/// # Errors
/// The operating system's, or that the node state is unreadable. What was begun is finished by [`finish`].
pub fn set_aside(dir: &DataDir) -> io::Result<String> {
    let path = dir.path();
    let state = read_state(&fs::read(path.join(file_name(FileId::NodeState)))?).map_err(|_| unreadable())?;
    let folder = format!("lineage-{}-start-{}", state.lineage(), state.boot);
    store(&path.join(INTENT), &folder)?;
    finish(dir)?;
    Ok(folder)
}

/// Finishes what an earlier [`set_aside`] was interrupted in, if it was. Says to which folder things went.
///
/// # Errors
/// As [`set_aside`].
pub fn finish(dir: &DataDir) -> io::Result<Option<String>> {
    let path = dir.path();
    let folder = match fs::read_to_string(path.join(INTENT)) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if folder.contains('/') || !folder.starts_with("lineage-") {
        return Err(io::Error::other(format!("the file `{INTENT}` names no folder for old lineages")));
    }
    let to = path.join(&folder);
    match fs::create_dir(&to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => sync(path)?,
    }
    let (state, kept) = (path.join(file_name(FileId::NodeState)), to.join(file_name(FileId::NodeState)));
    if !kept.exists() {
        copy(&state, &kept)?;
        sync(&to)?;
    }
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let is_log = |id| matches!(id, FileId::Segment(_) | FileId::Snapshot(_));
        if name.to_str().and_then(file_id).is_some_and(is_log) {
            fs::rename(path.join(&name), to.join(&name))?;
        }
    }
    sync(&to)?;
    let bare = read_state(&fs::read(&kept)?).map_err(|_| unreadable())?.without_log();
    replace(&state, &bare.to_file())?;
    fs::remove_file(path.join(INTENT))?;
    sync(path)?;
    Ok(Some(folder))
}

fn unreadable() -> io::Error {
    io::Error::other("the node state cannot be read: restore it, or make the node anew as another member")
}

/// Copies a file so that it is there whole and durably, or not at all.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let bytes = fs::read(from)?;
    replace(to, &bytes)
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!("{}{name}", crate::disk::UNFINISHED));
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync(path.parent().unwrap_or(Path::new(".")))
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_node::journal::NodeState;
    use ordain_types::{Boot, ClusterFacts, ClusterId, Nanos, Term};

    /// A data directory with a log, of a node in its seventh life.
    fn made(path: &Path) -> NodeState {
        let facts = ClusterFacts::new(ClusterId([1; 16]), Nanos(1), 3);
        let state = NodeState { term: Term(5), boot: Boot(7), ..NodeState::new(&facts) };
        fs::write(path.join("node-state"), state.to_file()).unwrap();
        for name in
            ["segment-0000000000000000.log", "segment-0000000000000001.log", "snapshot-0000000000000400"]
        {
            fs::write(path.join(name), name).unwrap();
        }
        crate::facts::create(path, &facts).unwrap();
        state
    }

    fn check(path: &Path, state: &NodeState) {
        assert_eq!(read_state(&fs::read(path.join("node-state")).unwrap()), Ok(state.without_log()));
        let kept = path.join("lineage-1-start-7");
        assert_eq!(read_state(&fs::read(kept.join("node-state")).unwrap()), Ok(state.clone()));
        for name in
            ["segment-0000000000000000.log", "segment-0000000000000001.log", "snapshot-0000000000000400"]
        {
            assert_eq!(fs::read_to_string(kept.join(name)).unwrap(), name);
            assert!(!path.join(name).exists());
        }
        assert!(path.join("facts").exists() && !path.join(INTENT).exists());
    }

    #[test]
    fn nothing_of_the_log_is_lost_and_promises_stay() {
        let temp = tempfile::tempdir().unwrap();
        let state = made(temp.path());
        let dir = DataDir::open(temp.path()).unwrap();
        assert_eq!(finish(&dir).unwrap(), None);
        assert_eq!(set_aside(&dir).unwrap(), "lineage-1-start-7");
        check(temp.path(), &state);
        assert_eq!(finish(&dir).unwrap(), None);
    }

    /// Every state in which an interruption can leave the directory.
    #[test]
    fn an_interrupted_move_is_finished() {
        for step in 0..5 {
            let temp = tempfile::tempdir().unwrap();
            let (path, kept) = (temp.path(), temp.path().join("lineage-1-start-7"));
            let state = made(path);
            fs::write(path.join(INTENT), "lineage-1-start-7").unwrap();
            if step > 0 {
                fs::create_dir(&kept).unwrap();
            }
            if step > 1 {
                fs::copy(path.join("node-state"), kept.join("node-state")).unwrap();
            }
            if step > 2 {
                let name = "segment-0000000000000001.log";
                fs::rename(path.join(name), kept.join(name)).unwrap();
            }
            if step > 3 {
                for name in ["segment-0000000000000000.log", "snapshot-0000000000000400"] {
                    fs::rename(path.join(name), kept.join(name)).unwrap();
                }
                fs::write(path.join("node-state"), state.without_log().to_file()).unwrap();
            }
            let dir = DataDir::open(path).unwrap();
            assert_eq!(finish(&dir).unwrap().as_deref(), Some("lineage-1-start-7"));
            check(path, &state);
        }
    }

    #[test]
    fn a_folder_elsewhere_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        made(temp.path());
        fs::write(temp.path().join(INTENT), "../lineage-1").unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        assert!(finish(&dir).is_err() && temp.path().join("segment-0000000000000000.log").exists());
    }
}
