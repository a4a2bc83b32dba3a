//! Streams of outputs: subscriptions, and what they bring.

use super::*;

impl ClientCore {
    pub(super) fn subscribed<'a>(
        &mut self,
        frame: ServerView<'a>,
        code: Code,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Ending<'a>> {
        let header = frame.header;
        let Some(stream) = Stream::from_wire(header.session.get()) else {
            return Err(Ending::Protocol("a stream that cannot be"));
        };
        let Some(place) = self.subscriptions.iter().position(|subscription| subscription.stream == stream)
        else {
            return Ok(());
        };
        if code == Code::Executed {
            let next = header.number.get();
            let subscription = &mut self.subscriptions[place];
            if next == 0 || (subscription.next != 0 && subscription.next != next) {
                // The answer to a Subscribe that was replaced since.
                return Ok(());
            }
            (subscription.next, subscription.active) = (next, true);
            on(Event::Subscribed { stream, next: OutputSeq(next) });
        } else {
            self.subscriptions.remove(place);
            on(Event::SubscriptionRefused { stream, code, oldest: OutputSeq(header.seq.get()) });
        }
        Ok(())
    }

    pub(super) fn output<'a>(
        &mut self,
        frame: ServerView<'a>,
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Ending<'a>> {
        let (wire, number) = (frame.header.session.get(), frame.header.number.get());
        let reads =
            |subscription: &&mut Subscription| subscription.active && subscription.stream.to_wire() == wire;
        let Some(subscription) = self.subscriptions.iter_mut().find(reads) else { return Ok(()) };
        if number > subscription.next {
            return Err(Ending::Protocol("a gap between outputs"));
        }
        if number == subscription.next {
            subscription.next += 1;
            let stream = subscription.stream;
            let (number, seq) = (OutputSeq(number), frame.header.seq());
            on(Event::Output { stream, number, seq, payload: frame.payload });
        }
        Ok(())
    }
}
