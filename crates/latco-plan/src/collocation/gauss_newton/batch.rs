//! The plans of a batch, shared out among threads.

use super::{
    GaussNewtonConfig, LEAST_PLANS, descent::Descent, multipliers::Multipliers, terms::Summary,
};
use crate::{
    PlanError,
    collocation::{Rows, Trajectories, relaxed::Relaxed},
    solve::Pool,
    threads::on_threads,
};

/// The searches of a batch of plans, one for each thread.
pub(super) struct Batch<'a> {
    config: GaussNewtonConfig,
    relaxed: Relaxed<'a>,
    /// At least one, with at least one plan each.
    parts: Vec<Descent<'a>>,
}

impl<'a> Batch<'a> {
    /// Shares the plans out among at most so many `workers`, every so manieth to the same; each takes
    /// as many iterations of penalty `continuation`.
    pub fn new(
        config: GaussNewtonConfig,
        relaxed: Relaxed<'a>,
        trajectories: &Trajectories,
        multipliers: &Multipliers,
        continuation: usize,
    ) -> Self {
        let [plans, _] = trajectories.shape();
        let workers = relaxed.problem.resources.workers.clamp(1, plans);
        let share = |worker: usize| {
            let share: Vec<usize> = (worker..plans).step_by(workers).collect();
            let rows = Rows::new(&share, &trajectories.actions.device());
            let multipliers = multipliers.with_each(|steps| rows.of(&steps));
            (trajectories.rows(&rows), multipliers)
        };
        let shares = (0..workers).map(share).collect();
        let parts = on_threads(shares, |(trajectories, multipliers)| {
            let (config, relaxed) = (config.clone(), relaxed.clone());
            Descent::new(config, relaxed, trajectories, multipliers, continuation)
        });
        Self {
            config,
            relaxed,
            parts,
        }
    }

    /// One accepted step for each plan that has one.
    pub fn iterate(&mut self) -> Result<Vec<Summary>, PlanError> {
        let steps = on_threads(self.parts.iter_mut().collect(), Descent::iterate);
        steps.into_iter().collect()
    }

    /// One step of each plan's dual ascent or penalty continuation.
    pub fn adapt_multipliers(&mut self, summaries: &[Summary], remaining: usize) {
        for (part, summary) in self.parts.iter_mut().zip(summaries) {
            part.adapt_multipliers(summary, remaining);
        }
    }

    /// Whether a plan has converged that no other can be expected to surpass: one that has not
    /// converged still violates the dynamics, so that its reward is rather too high.
    pub fn is_done(&self, summaries: &[Summary]) -> bool {
        let plans = summaries.iter().flat_map(|summary| &summary.plans);
        let best = plans.map(|seen| seen.reward);
        let best = best.fold(f32::NEG_INFINITY, f32::max);
        let least = best - self.config.tolerance as f32 * best.abs();
        let mut parts = self.parts.iter().zip(summaries);
        parts.all(|(part, summary)| part.has_converged(summary, least))
    }

    /// Gives the worse half of the plans up where it is time to after so many iterations, by the reward
    /// cost of their rollouts: what a plan promises before it obeys the dynamics says little.
    pub fn halve(&mut self, iterations: usize, pool: &mut Pool) -> Result<(), PlanError> {
        let every = self.config.halving;
        let due = every > 0 && iterations.is_multiple_of(every);
        if !due || self.plans() <= LEAST_PLANS {
            return Ok(());
        }
        let nodes = self.relaxed.in_nodes();
        let mut costs = Vec::with_capacity(self.parts.len());
        for part in on_threads(self.parts.iter_mut().collect(), Descent::rollout_costs) {
            let (of_part, rollouts) = part?;
            self.relaxed.offer(&nodes, &rollouts, pool)?;
            costs.push(of_part);
        }
        self.keep(better_half(&costs));
        Ok(())
    }

    /// Goes on with these plans of each part; one without any ends.
    fn keep(&mut self, kept: Vec<Vec<usize>>) {
        for (part, plans) in self.parts.iter_mut().zip(&kept) {
            if !plans.is_empty() {
                part.keep_only(plans);
            }
        }
        let mut kept = kept.iter();
        self.parts
            .retain(|_| kept.next().is_some_and(|plans| !plans.is_empty()));
    }

    fn plans(&self) -> usize {
        let plans = |part: &Descent<'_>| part.trajectories.shape()[0];
        self.parts.iter().map(plans).sum()
    }

    /// Rows that have gone through the model since this was last asked.
    pub fn take_model_steps(&mut self) -> usize {
        let taken = |part: &mut Descent<'_>| std::mem::take(&mut part.model_steps);
        self.parts.iter_mut().map(taken).sum()
    }

    /// The trajectories of all plans.
    pub fn trajectories(&self) -> Trajectories {
        Trajectories::joined(self.parts.iter().map(|part| &part.trajectories))
    }

    /// The multipliers of all plans.
    pub fn multipliers(&self) -> Multipliers {
        let parts: Vec<_> = self.parts.iter().map(|part| &part.multipliers).collect();
        Multipliers::joined(&parts)
    }
}

/// The half of all plans with the lowest costs, for each part those of its own; of equals the first.
fn better_half(costs: &[Vec<f32>]) -> Vec<Vec<usize>> {
    let parts = costs.iter().enumerate();
    let mut order: Vec<(f32, usize, usize)> = parts
        .flat_map(|(part, costs)| {
            let plans = costs.iter().enumerate();
            plans.map(move |(plan, &cost)| (cost, part, plan))
        })
        .collect();
    // NaN may have either sign, and a negative one would come first.
    order.sort_by(|a, b| a.0.abs().total_cmp(&b.0.abs()));
    order.truncate(order.len().div_ceil(2).max(LEAST_PLANS));
    let mut kept = vec![Vec::new(); costs.len()];
    for (_, part, plan) in order {
        kept[part].push(plan);
    }
    kept.iter_mut().for_each(|plans| plans.sort_unstable());
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_half_goes_on_whoever_has_it() {
        let costs = [vec![4.0, 1.0, 9.0, 8.0], vec![3.0, -f32::NAN, 2.0, 7.0]];
        assert_eq!(better_half(&costs), [vec![0, 1], vec![0, 2]]);
        assert_eq!(
            better_half(&[vec![1.0, 2.0, 3.0], vec![]]),
            [vec![0, 1], vec![]]
        );
    }

    #[test]
    fn halving_leaves_the_least_number_of_plans() {
        assert_eq!(better_half(&[vec![2.0], vec![1.0]]), [vec![0], vec![0]]);
    }
}
