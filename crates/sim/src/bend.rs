//! A machine that computes something else: now and then a bit of a reply flips on its way into a node's state.

use ordain_api::{Application, Buf, ResponseEncoder};
use ordain_types::frame::REPLY_MAX;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the next reply of one life of a node is bent. Everything runs in one thread.
#[derive(Clone, Debug, Default)]
pub struct Bend(Arc<AtomicBool>);

impl Bend {
    /// The next reply is bent.
    pub fn arm(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// None is bent any more; whether one was since it was armed.
    #[must_use]
    pub fn disarm(&self) -> bool {
        !self.0.swap(false, Ordering::Relaxed)
    }
}

/// The encoder of an application in a machine that may bend a reply.
#[derive(Clone, Debug)]
pub struct Bent<E> {
    /// The application's.
    pub inner: E,
    /// Whether it does.
    pub bend: Bend,
}

impl<A: Application, E: ResponseEncoder<A>> ResponseEncoder<A> for Bent<E> {
    fn reply(&self, reply: &A::Reply, out: &mut Buf<'_>) {
        if !self.bend.0.swap(false, Ordering::Relaxed) {
            return self.inner.reply(reply, out);
        }
        let mut space = [0; REPLY_MAX];
        let mut sound = Buf::new(&mut space);
        self.inner.reply(reply, &mut sound);
        let mut bytes = sound.written().to_vec();
        match bytes.last_mut() {
            Some(byte) => *byte ^= 1,
            None => bytes.push(1),
        }
        out.put(&bytes);
    }

    fn answer(&self, answer: &A::Answer, out: &mut Buf<'_>) {
        self.inner.answer(answer, out);
    }

    fn output(&self, output: &A::Output, out: &mut Buf<'_>) {
        self.inner.output(output, out);
    }
}
