//! Shapes of partitions: which direction of which connection carries nothing.

use crate::rng::Rng;

/// A drawn partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// What a run that has it has reached.
    pub mark: &'static str,
    /// From and to: nothing passes.
    pub blocked: Vec<(usize, usize)>,
}

impl Partition {
    /// One node alone, in both directions or one.
    #[must_use]
    pub fn alone(rng: &mut Rng, node: usize, nodes: usize) -> Self {
        let (outward, inward) = rng.pick(&[(true, true), (true, true), (true, false), (false, true)]);
        let others = (0..nodes).filter(|other| *other != node);
        let blocked = others.flat_map(|other| {
            outward.then_some((node, other)).into_iter().chain(inward.then_some((other, node)))
        });
        let mark = if outward && inward { "partition: one alone" } else { "partition: one alone, one way" };
        Self { mark, blocked: blocked.collect() }
    }

    /// A shape that `node` has a part in.
    #[must_use]
    pub fn draw(rng: &mut Rng, node: usize, nodes: usize) -> Self {
        match rng.below(4) {
            // Two groups, the smaller with `node`; one way in a third of cases.
            0 if nodes > 3 => {
                let size = rng.range(1, (nodes as u64 - 1) / 2) as usize;
                let small = |other: usize| (other + nodes - node) % nodes < size;
                let (out, into) = rng.pick(&[(true, true), (true, true), (true, false), (false, true)]);
                let blocked = pairs(nodes)
                    .filter(|(from, to)| small(*from) != small(*to))
                    .filter(|(from, _)| if small(*from) { out } else { into });
                Self { mark: "partition: minority and majority", blocked: blocked.collect() }
            }
            // Two nodes that do not reach each other, though everybody else reaches both.
            1 => {
                let other = (node + rng.range(1, nodes as u64 - 1) as usize) % nodes;
                let both = !rng.one_in(3);
                let blocked = [(node, other), (other, node)];
                Self { mark: "partition: a pair", blocked: blocked[..1 + usize::from(both)].to_vec() }
            }
            // Only `node` reaches the others.
            2 => {
                let blocked = pairs(nodes).filter(|(from, to)| *from != node && *to != node);
                Self { mark: "partition: a bridge", blocked: blocked.collect() }
            }
            _ => Self::alone(rng, node, nodes),
        }
    }
}

fn pairs(nodes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..nodes).flat_map(move |from| (0..nodes).map(move |to| (from, to))).filter(|(from, to)| from != to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_shape_is_drawn_and_cuts_something_but_not_everything() {
        for nodes in [3, 5] {
            let mut marks = BTreeSet::new();
            for seed in 0..200 {
                let mut rng = Rng::new(seed);
                let node = rng.below(nodes as u64) as usize;
                let Partition { mark, blocked } = Partition::draw(&mut rng, node, nodes);
                assert!(!blocked.is_empty() && blocked.len() < nodes * (nodes - 1), "{mark}");
                assert!(blocked.iter().all(|(from, to)| from != to && from.max(to) < &nodes));
                marks.insert(mark);
            }
            assert_eq!(marks.len(), if nodes == 3 { 4 } else { 5 }, "{marks:?}");
        }
    }
}
