//! Who reads which stream from where. A subscription waits with its stream until that has an output it has
//! not been sent, and is then in one queue of all that have something to send.

use ordain_types::OutputSeq;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    /// Slot of its connection.
    pub slot: u32,
    pub stream: u64,
    /// Next output to send.
    pub next: OutputSeq,
}

#[derive(Debug)]
struct Entry {
    subscription: Option<Subscription>,
    /// In `active`, so not in `waiting`.
    active: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    entries: Vec<Entry>,
    free: Vec<u32>,
    waiting: FxHashMap<u64, Vec<u32>>,
    active: VecDeque<u32>,
    count: usize,
}

impl Subscriptions {
    pub fn len(&self) -> usize {
        self.count
    }

    /// Subscriptions that may have something to send.
    pub fn active(&self) -> usize {
        self.active.len()
    }

    pub fn add(&mut self, subscription: Subscription) -> u32 {
        let entry = Entry { subscription: Some(subscription), active: true };
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        self.active.push_back(id);
        self.count += 1;
        id
    }

    pub fn remove(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        let subscription = entry.subscription.take().expect("a subscription is removed once");
        self.count -= 1;
        // An active one is freed when its turn comes.
        if !entry.active {
            self.free.push(id);
        }
        if let Some(waiting) = self.waiting.get_mut(&subscription.stream) {
            waiting.retain(|other| *other != id);
            if waiting.is_empty() {
                self.waiting.remove(&subscription.stream);
            }
        }
    }

    pub fn stream(&self, id: u32) -> u64 {
        self.entries[id as usize].subscription.expect("alive").stream
    }

    /// `stream` has a new output.
    pub fn wake(&mut self, stream: u64) {
        if let Some(waiting) = self.waiting.get_mut(&stream) {
            for id in waiting.drain(..) {
                self.entries[id as usize].active = true;
                self.active.push_back(id);
            }
        }
    }

    /// The next one whose turn it is; to be given back by `wait` or `again`, or removed.
    pub fn turn(&mut self) -> Option<(u32, Subscription)> {
        loop {
            let id = self.active.pop_front()?;
            let entry = &mut self.entries[id as usize];
            match entry.subscription {
                Some(subscription) => return Some((id, subscription)),
                None => {
                    entry.active = false;
                    self.free.push(id);
                }
            }
        }
    }

    /// It has been sent everything before `next` and waits for more of its stream.
    pub fn wait(&mut self, id: u32, next: OutputSeq) {
        let entry = &mut self.entries[id as usize];
        entry.active = false;
        let subscription = entry.subscription.as_mut().expect("alive");
        subscription.next = next;
        self.waiting.entry(subscription.stream).or_default().push(id);
    }

    /// It has been sent everything before `next` and wants another turn.
    pub fn again(&mut self, id: u32, next: OutputSeq) {
        self.entries[id as usize].subscription.as_mut().expect("alive").next = next;
        self.active.push_back(id);
    }
}
