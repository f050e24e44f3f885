//! Cotangents carried back through steps of the model.

use std::{ops::Range, thread};

use super::{
    add,
    network::{Group, HostNetwork},
    product::{Columns, ColumnsMut, Plus, Sums, Times},
};
use crate::layout::Entering;

/// What lies between the layers on the way back, for some rows.
struct Work {
    hidden: Vec<f32>,
    /// Of `h'`.
    state: Vec<f32>,
    /// Of the gates `[n r, u, r, n]`: the first three are those of `gh`, the others those of `gx`.
    gates: Vec<f32>,
    /// What `h` adds to `h'` by itself.
    directly: Vec<f32>,
    input: Vec<f32>,
    /// Of `[a, s]`.
    entering: Vec<f32>,
}

impl HostNetwork {
    fn work_back(&self, rows: usize) -> Work {
        let sizes = self.network.sizes;
        let room = |columns: usize| vec![0.0; rows * columns];
        Work {
            hidden: room(sizes.hidden),
            state: room(sizes.deterministic),
            gates: room(4 * sizes.deterministic),
            directly: room(sizes.deterministic),
            input: room(sizes.hidden),
            entering: room(sizes.action + sizes.stochastic),
        }
    }

    /// Those of `[s, h]` in the place of those of `[s', h']`, `[rows, latent]`, at the points whose rows are
    /// `kept`; those of the actions are in `work.entering`, before those of `s`.
    fn carry_back(&self, rows: usize, kept: Columns<'_>, cotangents: &mut [f32], work: &mut Work) {
        let sizes = self.network.sizes;
        let (size, hidden, latent) = (sizes.deterministic, sizes.hidden, self.network.latent());
        let places = self.network.kept();
        let backward = self.backward();
        let own = Columns::new(cotangents, latent);
        let slopes = Times(kept.from(places.hidden_slope));
        let target = ColumnsMut::new(&mut work.hidden, hidden);
        backward.mean.linear(rows, own, slopes, target);
        let inputs = Columns::new(&work.hidden, hidden);
        let target = ColumnsMut::new(&mut work.state, size);
        let of_state = Plus(own.from(sizes.stochastic));
        backward.hidden.linear(rows, inputs, of_state, target);
        self.spread(rows, kept, work);

        let gates = Columns::new(&work.gates, 4 * size);
        let slopes = Times(kept.from(places.input_slope));
        let target = ColumnsMut::new(&mut work.input, hidden);
        let of_input = &backward.gru_input;
        of_input.linear(rows, gates.from(size), slopes, target);
        let directly = Plus(Columns::new(&work.directly, size));
        let target = ColumnsMut::new(&mut cotangents[sizes.stochastic..], latent);
        backward.gru_state.linear(rows, gates, directly, target);
        let width = sizes.action + sizes.stochastic;
        let inputs = Columns::new(&work.input, hidden);
        let target = ColumnsMut::new(&mut work.entering, width);
        backward.input.linear(rows, inputs, Sums, target);
        let entering = work.entering.chunks_exact(width).take(rows);
        for (own, entering) in cotangents.chunks_exact_mut(latent).zip(entering) {
            own[..sizes.stochastic].copy_from_slice(&entering[sizes.action..]);
        }
    }

    /// From the cotangents of `h'` to those of the gates.
    fn spread(&self, rows: usize, kept: Columns<'_>, work: &mut Work) {
        let size = self.network.sizes.deterministic;
        let places = self.network.kept();
        let parts = work.gates.chunks_exact_mut(4 * size);
        let parts = parts.zip(work.directly.chunks_exact_mut(size));
        let states = work.state.chunks_exact(size).take(rows);
        for (row, (state, (gates, directly))) in states.zip(parts).enumerate() {
            let of = |place: usize| &kept.row(row, place)[..size];
            let (of_state, of_input) = gates.split_at_mut(size);
            multiply(directly, state, of(places.update));
            multiply(of_state, state, of(places.through_reset));
            for (gate, of_gate) in of_input.chunks_exact_mut(size).enumerate() {
                multiply(of_gate, state, of(places.gates + gate * size));
            }
        }
    }

    /// Cotangents `[points, rows, latent]` at points from `first` on, by latent and by action,
    /// `[points, rows, …]`.
    pub fn pull_back(
        &self,
        kept: &[f32],
        first: usize,
        points: usize,
        cotangents: Vec<f32>,
    ) -> (Vec<f32>, Vec<f32>) {
        let (latent, action) = (self.network.latent(), self.network.sizes.action);
        let width = self.network.kept().width;
        let kept = &kept[first * width..];
        let mut by_action = vec![0.0; cotangents.len() / latent * action];
        let mut by_latent = cotangents;
        let Group { rows, stride } = self.group(points, by_latent.len() / latent);
        let mut work = self.work_back(rows);
        let groups = by_latent.chunks_mut((rows * latent).max(1));
        let groups = groups.zip(by_action.chunks_mut((rows * action).max(1)));
        for (index, (cotangents, by_action)) in groups.enumerate() {
            let kept = Columns::new(&kept[index * width..], stride);
            self.carry_back(rows, kept, cotangents, &mut work);
            self.store_actions(&work, ColumnsMut::new(by_action, action));
        }
        (by_latent, by_action)
    }

    fn store_actions(&self, work: &Work, target: ColumnsMut<'_>) {
        let sizes = self.network.sizes;
        let rows = work.entering.chunks_exact(sizes.action + sizes.stochastic);
        for (target, entering) in target.values.chunks_mut(target.stride).zip(rows) {
            target[..sizes.action].copy_from_slice(&entering[..sizes.action]);
        }
    }

    /// Cotangents `[horizon · plans, count, latent]` carried back through all steps, the last one first: what
    /// they are at each step's end, `[plans, rows, horizon, latent]`, of those that enter in one step, and by the
    /// actions, `[plans, rows, horizon, action]`. Those that enter in one step are shared out among at most so
    /// many `workers`.
    pub fn sweep_back(
        &self,
        kept: &[f32],
        entering: &[f32],
        plans: usize,
        kind: Entering,
        workers: usize,
    ) -> (Vec<f32>, Vec<f32>) {
        let points = kept.len() / self.network.kept().width;
        let sweep = Sweep {
            horizon: points / plans,
            count: entering.len() / (points * self.network.latent()),
            kept,
            entering,
            plans,
        };
        match kind {
            Entering::EveryStep => (Vec::new(), self.gradient(&sweep)),
            Entering::OneStep => self.adjoints(&sweep, workers),
        }
    }

    /// By the actions, `[plans, count, horizon, action]`.
    fn gradient(&self, sweep: &Sweep<'_>) -> Vec<f32> {
        let (latent, action) = (self.network.latent(), self.network.sizes.action);
        let width = self.network.kept().width;
        let &Sweep {
            kept,
            entering,
            plans,
            horizon,
            count,
        } = sweep;
        let mut by_action = vec![0.0; plans * count * horizon * action];
        let Group { rows, stride } = self.group(plans, plans * count);
        let mut work = self.work_back(rows);
        let mut cotangents = vec![0.0; rows * latent];
        for (index, by_action) in by_action.chunks_mut(rows * horizon * action).enumerate() {
            cotangents.fill(0.0);
            for time in (0..horizon).rev() {
                let own = time * plans * count + index * rows;
                add(&mut cotangents, &entering[own * latent..]);
                let point = time * plans + index;
                let kept = Columns::new(&kept[point * width..], stride);
                self.carry_back(rows, kept, &mut cotangents, &mut work);
                let target = ColumnsMut::new(&mut by_action[time * action..], horizon * action);
                self.store_actions(&work, target);
            }
        }
        by_action
    }

    /// By the latents that steps end in and by the actions, `[plans, horizon · count, horizon, …]`: the rows of
    /// later steps stand before those of earlier ones, which they are carried back with.
    fn adjoints(&self, sweep: &Sweep<'_>, workers: usize) -> (Vec<f32>, Vec<f32>) {
        let (latent, action) = (self.network.latent(), self.network.sizes.action);
        let &Sweep {
            plans,
            horizon,
            count,
            ..
        } = sweep;
        let steps = count * horizon * (horizon + 1) / 2;
        let workers = worth_sharing(steps * self.backward().products(), workers);
        let rows = horizon * count;
        let mut by_latent = vec![0.0; plans * rows * horizon * latent];
        let mut by_action = vec![0.0; plans * rows * horizon * action];
        let targets = by_latent.chunks_mut(rows * horizon * latent);
        let targets = targets.zip(by_action.chunks_mut(rows * horizon * action));
        for (plan, (mut by_latent, mut by_action)) in targets.enumerate() {
            thread::scope(|scope| {
                let mut shares = even_shares(horizon, workers);
                let own = shares.pop();
                for ends in shares {
                    let rows = ends.len() * count;
                    let (latents, others) = by_latent.split_at_mut(rows * horizon * latent);
                    by_latent = others;
                    let (actions, others) = by_action.split_at_mut(rows * horizon * action);
                    by_action = others;
                    scope.spawn(move || self.adjoints_of(sweep, plan, ends, latents, actions));
                }
                if let Some(ends) = own {
                    self.adjoints_of(sweep, plan, ends, by_latent, by_action);
                }
            });
        }
        (by_latent, by_action)
    }

    /// Those of the rows of some steps of a plan, the last step being the first.
    fn adjoints_of(
        &self,
        sweep: &Sweep<'_>,
        plan: usize,
        steps: Range<usize>,
        by_latent: &mut [f32],
        by_action: &mut [f32],
    ) {
        let (latent, action) = (self.network.latent(), self.network.sizes.action);
        let width = self.network.kept().width;
        let &Sweep {
            kept,
            entering,
            plans,
            horizon,
            count,
        } = sweep;
        let mut work = self.work_back(steps.len() * count);
        let mut cotangents = vec![0.0; steps.len() * count * latent];
        for step in steps.start..horizon {
            let time = horizon - 1 - step;
            let point = time * plans + plan;
            let active = ((step + 1).min(steps.end) - steps.start) * count;
            let cotangents = &mut cotangents[..active * latent];
            if step < steps.end {
                let own = &entering[point * count * latent..(point + 1) * count * latent];
                cotangents[(active - count) * latent..].copy_from_slice(own);
            }
            let ends = by_latent.chunks_exact_mut(horizon * latent);
            for (end, cotangent) in ends.zip(cotangents.chunks_exact(latent)) {
                end[time * latent..(time + 1) * latent].copy_from_slice(cotangent);
            }
            let kept = Columns::new(&kept[point * width..], 0);
            self.carry_back(active, kept, cotangents, &mut work);
            let own = &mut by_action[..active * horizon * action][time * action..];
            self.store_actions(&work, ColumnsMut::new(own, horizon * action));
        }
    }
}

/// The least multiplications that are worth a thread: it takes as long to start as some millions.
const LEAST_SHARE: usize = 5_000_000;

/// How many of the `workers` have enough to do with the multiplications of one plan's sweep.
pub(super) fn worth_sharing(products: usize, workers: usize) -> usize {
    workers.min(products / LEAST_SHARE).max(1)
}

/// What is carried back through the steps of some plans.
struct Sweep<'a> {
    kept: &'a [f32],
    entering: &'a [f32],
    plans: usize,
    horizon: usize,
    /// Rows that enter at each step of each plan.
    count: usize,
}

/// `0..horizon` in at most so many parts, none of them empty, of which each has about as much to do: what enters at
/// `step` is carried back `horizon − step` times.
fn even_shares(horizon: usize, at_most: usize) -> Vec<Range<usize>> {
    let count = at_most.clamp(1, horizon.max(1));
    let total = horizon * (horizon + 1) / 2;
    let (mut shares, mut first, mut done) = (Vec::with_capacity(count), 0, 0);
    for step in 0..horizon {
        done += horizon - step;
        let is_full = done * count >= total * (shares.len() + 1);
        if is_full || horizon - step == count - shares.len() {
            shares.push(first..step + 1);
            first = step + 1;
        }
    }
    shares
}

fn multiply(products: &mut [f32], left: &[f32], right: &[f32]) {
    for ((product, left), right) in products.iter_mut().zip(left).zip(right) {
        *product = left * right;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_about_as_much_to_do_each() {
        for (horizon, at_most, count) in [(30, 2, 2), (30, 7, 7), (3, 8, 3), (1, 1, 1), (5, 0, 1)] {
            let shares = even_shares(horizon, at_most);
            assert_eq!(shares.len(), count);
            let work =
                |share: &Range<usize>| share.clone().map(|step| horizon - step).sum::<usize>();
            let even = shares.iter().map(work).sum::<usize>() as f64 / count as f64;
            for share in &shares {
                assert!(
                    (work(share) as f64 - even).abs() <= horizon as f64,
                    "{shares:?}"
                );
                assert!(!share.is_empty());
            }
            assert!(shares.into_iter().flatten().eq(0..horizon));
        }
        assert!(even_shares(0, 4).is_empty());
    }
}
