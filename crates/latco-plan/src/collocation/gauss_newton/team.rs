//! The plans of a batch, shared out among threads.

use burn::tensor::Tensor;

use super::{FINALISTS, GaussNewtonConfig, descent::Descent};
use crate::{
    PlanError,
    collocation::{
        Rows, Trajectories,
        multipliers::Multipliers,
        terms::{Problem, Summary},
    },
    threads::on_threads,
};

/// The searches of a batch of plans, one for each thread.
pub(super) struct Team<'a> {
    config: &'a GaussNewtonConfig,
    /// At least one, with at least one plan each.
    members: Vec<Descent<'a>>,
}

impl<'a> Team<'a> {
    /// Shares the plans out among at most so many `workers`, every so manieth to the same.
    pub fn new(
        config: &'a GaussNewtonConfig,
        problem: Problem<'a>,
        trajectories: Trajectories,
        multipliers: Multipliers,
        [closing, workers]: [usize; 2],
    ) -> Self {
        let [plans, _] = trajectories.shape();
        let workers = workers.clamp(1, plans);
        let member = |worker: usize| {
            let share: Vec<usize> = (worker..plans).step_by(workers).collect();
            let rows = Rows::new(&share, &problem.start.device());
            let mut multipliers = multipliers.clone();
            multipliers.each(|steps| *steps = rows.of(steps));
            let problem = Problem {
                start: rows.of(&problem.start),
                ..problem
            };
            (problem, trajectories.rows(&rows), multipliers)
        };
        let shares: Vec<_> = (0..workers).map(member).collect();
        let members = on_threads(shares, |(problem, trajectories, multipliers)| {
            Descent::new(config, problem, trajectories, multipliers, closing)
        });
        Self { config, members }
    }

    /// One accepted step for each plan that has one.
    pub fn iterate(&mut self, index: usize) -> Result<Vec<Summary>, PlanError> {
        let steps = on_threads(self.members.iter_mut().collect(), |member| {
            member.iterate(index)
        });
        steps.into_iter().collect()
    }

    /// One step of each plan's dual ascent or closing.
    pub fn adapt_multipliers(&mut self, summaries: &[Summary], remaining: usize) {
        for (member, summary) in self.members.iter_mut().zip(summaries) {
            member.adapt_multipliers(summary, remaining);
        }
    }

    /// Whether a plan has converged that no other can be expected to surpass: one that has not
    /// converged still violates the dynamics, so that its reward is rather too high.
    pub fn is_done(&self, summaries: &[Summary]) -> bool {
        let plans = summaries.iter().flat_map(|summary| &summary.plans);
        let best = plans.map(|seen| seen.reward);
        let best = best.fold(f32::NEG_INFINITY, f32::max);
        let least = best - self.config.tolerance as f32 * best.abs();
        let mut members = self.members.iter().zip(summaries);
        members.all(|(member, summary)| member.has_converged(summary, least))
    }

    /// Gives the worse half of the plans up where it is time to, by the reward cost of their
    /// rollouts: what a plan promises before it obeys the dynamics says little.
    pub fn race(&mut self, index: usize) -> Result<(), PlanError> {
        let every = self.config.race;
        let due = every > 0 && (index + 1).is_multiple_of(every);
        if !due || self.plans() <= FINALISTS {
            return Ok(());
        }
        let costs = on_threads(self.members.iter_mut().collect(), Descent::rollout_costs);
        let costs = costs.into_iter().collect::<Result<Vec<_>, _>>()?;
        self.keep(finalists(&costs));
        Ok(())
    }

    /// Goes on with these plans of each member; one without any leaves.
    fn keep(&mut self, kept: Vec<Vec<usize>>) {
        for (member, plans) in self.members.iter_mut().zip(&kept) {
            if !plans.is_empty() {
                member.keep_only(plans);
            }
        }
        let mut kept = kept.iter();
        self.members
            .retain(|_| kept.next().is_some_and(|plans| !plans.is_empty()));
    }

    fn plans(&self) -> usize {
        let plans = |member: &Descent<'_>| member.trajectories.shape()[0];
        self.members.iter().map(plans).sum()
    }

    /// The trajectories of all plans.
    pub fn trajectories(&self) -> Trajectories {
        let members = self.members.iter().map(|member| &member.trajectories);
        Trajectories::joined(members)
    }

    /// All plans as one search.
    pub fn join(self) -> Joined<'a> {
        let members = &self.members;
        let starts = members.iter().map(|member| member.problem.start.clone());
        let multipliers: Vec<_> = members.iter().map(|member| &member.multipliers).collect();
        Joined {
            problem: Problem {
                start: Tensor::cat(starts.collect(), 0),
                ..members[0].problem
            },
            multipliers: Multipliers::joined(&multipliers),
            trajectories: self.trajectories(),
            model_steps: members.iter().map(|member| member.model_steps).sum(),
        }
    }
}

/// What all members of a team have found.
pub(super) struct Joined<'a> {
    pub problem: Problem<'a>,
    pub trajectories: Trajectories,
    pub multipliers: Multipliers,
    pub model_steps: usize,
}

/// The half of all plans with the lowest costs, for each member those of its own; of equals the first.
fn finalists(costs: &[Vec<f32>]) -> Vec<Vec<usize>> {
    let members = costs.iter().enumerate();
    let mut order: Vec<(f32, usize, usize)> = members
        .flat_map(|(member, costs)| {
            let plans = costs.iter().enumerate();
            plans.map(move |(plan, &cost)| (cost, member, plan))
        })
        .collect();
    // NaN may have either sign, and a negative one would come first.
    order.sort_by(|a, b| a.0.abs().total_cmp(&b.0.abs()));
    order.truncate(order.len().div_ceil(2).max(FINALISTS));
    let mut kept = vec![Vec::new(); costs.len()];
    for (_, member, plan) in order {
        kept[member].push(plan);
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
        assert_eq!(finalists(&costs), [vec![0, 1], vec![0, 2]]);
        assert_eq!(
            finalists(&[vec![1.0, 2.0, 3.0], vec![]]),
            [vec![0, 1], vec![]]
        );
    }

    #[test]
    fn no_race_leaves_fewer_than_the_finalists() {
        assert_eq!(finalists(&[vec![2.0], vec![1.0]]), [vec![0], vec![0]]);
    }
}
