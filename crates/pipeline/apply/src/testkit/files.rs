//! A data directory in memory, whose disk can be told to fail, or to stop anywhere.

use ordain_agent::disk::{Disk, DiskDone, DiskError, DiskOp, FileId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a directory holds.
pub type Files = BTreeMap<FileId, File>;

/// A file: what is on the device, and what the system has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// On the device.
    pub durable: Vec<u8>,
    /// With the system.
    pub written: Vec<u8>,
}

impl File {
    /// One that is synced.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { durable: bytes.to_vec(), written: bytes.to_vec() }
    }
}

#[derive(Debug, Default)]
struct State {
    files: Files,
    budget: Option<usize>,
    fails: Option<fn(&DiskOp) -> bool>,
    done: usize,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct World(Arc<Mutex<State>>);

/// A lane to it, two operations deep.
#[derive(Debug)]
pub struct Lane(World, VecDeque<DiskOp>);

impl World {
    /// A directory with these files.
    #[must_use]
    pub fn of(files: Files) -> Self {
        Self(Arc::new(Mutex::new(State { files, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane of its own.
    #[must_use]
    pub fn lane(&self) -> Lane {
        Lane(self.clone(), VecDeque::new())
    }

    /// What it holds.
    #[must_use]
    pub fn files(&self) -> Files {
        self.state().files.clone()
    }

    /// Changes what it holds.
    pub fn edit<T>(&self, edit: impl FnOnce(&mut Files) -> T) -> T {
        edit(&mut self.state().files)
    }

    /// So many operations that change something are still carried out; `None`: all are.
    pub fn set_budget(&self, budget: Option<usize>) {
        let mut state = self.state();
        (state.budget, state.done) = (budget, 0);
    }

    /// Such operations fail for want of space.
    pub fn fail(&self, fails: Option<fn(&DiskOp) -> bool>) {
        self.state().fails = fails;
    }

    /// Operations that changed something since the budget was set.
    #[must_use]
    pub fn done(&self) -> usize {
        self.state().done
    }

    /// What is left when the power goes: of what was not synced nothing, or all but its last byte.
    #[must_use]
    pub fn after_crash(&self, keeps: bool) -> Self {
        let mut files = self.files();
        for file in files.values_mut() {
            if keeps && file.written != file.durable {
                if let Some(last) = file.written.last_mut() {
                    *last ^= 0xFF;
                }
                file.durable.clone_from(&file.written);
            } else {
                file.written.clone_from(&file.durable);
            }
        }
        Self::of(files)
    }
}

impl Disk for Lane {
    fn free(&self) -> usize {
        2 - self.1.len()
    }

    fn submit(&mut self, op: DiskOp) {
        assert!(self.free() > 0, "the lane is full");
        self.1.push_back(op);
    }

    fn poll(&mut self) -> Option<DiskDone> {
        let mut state = self.0.state();
        let op = self.1.front()?;
        if !matches!(op, DiskOp::Read { .. } | DiskOp::List { .. }) {
            if state.budget == Some(state.done) {
                return None;
            }
            state.done += 1;
        }
        let mut op = self.1.pop_front()?;
        let fails = state.fails.is_some_and(|fails| fails(&op));
        let result = if fails { Err(DiskError::NoSpace) } else { carry_out(&mut state.files, &mut op) };
        Some(DiskDone { op, result })
    }
}

fn carry_out(files: &mut Files, op: &mut DiskOp) -> Result<usize, DiskError> {
    match op {
        DiskOp::Write { file, offset, bytes, .. } => {
            let file = files.get_mut(file).ok_or(DiskError::NotFound)?;
            let end = *offset as usize + bytes.len();
            assert!(*offset as usize <= file.written.len(), "no holes");
            file.written.resize(file.written.len().max(end), 0);
            file.written[*offset as usize..end].copy_from_slice(bytes);
            Ok(bytes.len())
        }
        DiskOp::Sync { file, .. } => {
            let file = files.get_mut(file).ok_or(DiskError::NotFound)?;
            file.durable.clone_from(&file.written);
            Ok(0)
        }
        DiskOp::Read { file, offset, buffer, .. } => {
            let bytes = &files.get(file).ok_or(DiskError::NotFound)?.written;
            let from = bytes.len().min(*offset as usize);
            let len = buffer.len().min(bytes.len() - from);
            buffer[..len].copy_from_slice(&bytes[from..from + len]);
            Ok(len)
        }
        DiskOp::Create { file, size, .. } => {
            files.insert(*file, File::of(&vec![0; *size as usize]));
            Ok(0)
        }
        DiskOp::Remove { file, .. } => {
            files.remove(file);
            Ok(0)
        }
        DiskOp::Rename { from, to, .. } => {
            let file = files.remove(from).ok_or(DiskError::NotFound)?;
            files.insert(*to, file);
            Ok(0)
        }
        DiskOp::List { files: found, .. } => {
            found.extend(files.iter().map(|(file, content)| (*file, content.written.len() as u64)));
            Ok(0)
        }
    }
}
