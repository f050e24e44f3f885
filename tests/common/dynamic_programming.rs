//! The best swing-up there is, from dynamic programming over a grid of states: an answer that owes
//! nothing to any planner.
//!
//! ```text
//! V_T = 0,     V_t(z) = max_a r(z') + V_{t+1}(z'),     z' = μ(z, a)
//! ```
//!
//! `V` is bilinear between the points of the grid.

use std::f64::consts::TAU;

use super::pendulum::{HORIZON, State};

/// Points of the grid around the circle.
const ANGLES: usize = 300;

/// Points of the grid over rates.
const RATES: usize = 241;

/// The largest rate of the grid. A pendulum that falls from upright reaches 2, with the motor's
/// help 2.6.
const FASTEST: f64 = 3.0;

/// Actions tried at each point, evenly spread over their bounds.
const ACTIONS: usize = 11;

/// The return of the actions that V chooses from hanging at rest, which no plan needs to fall
/// short of: one table for each step, from the last to the first.
pub fn best_return() -> f64 {
    let mut tables = vec![Table::zero()];
    for _ in 1..HORIZON {
        tables.push(tables[tables.len() - 1].before());
    }
    let mut state = State {
        angle: 0.0,
        rate: 0.0,
    };
    let mut total = 0.0;
    for later in tables.iter().rev() {
        state = state.next(later.best_action(state).0);
        total += state.reward();
    }
    total
}

/// V of one step, angles outermost.
struct Table(Vec<f64>);

impl Table {
    fn zero() -> Self {
        Self(vec![0.0; ANGLES * RATES])
    }

    /// V of the step before.
    fn before(&self) -> Self {
        let states = (0..ANGLES).flat_map(|i| {
            (0..RATES).map(move |j| State {
                angle: TAU * i as f64 / ANGLES as f64,
                rate: FASTEST * (2.0 * j as f64 / (RATES - 1) as f64 - 1.0),
            })
        });
        Self(states.map(|state| self.best_action(state).1).collect())
    }

    /// The best action in a state of the step before, and what it is worth.
    fn best_action(&self, state: State) -> (f64, f64) {
        (0..ACTIONS)
            .map(|index| 2.0 * index as f64 / (ACTIONS - 1) as f64 - 1.0)
            .map(|action| {
                let next = state.next(action);
                (action, next.reward() + self.at(next))
            })
            .fold((0.0, f64::NEG_INFINITY), |best, candidate| {
                if candidate.1 > best.1 {
                    candidate
                } else {
                    best
                }
            })
    }

    /// V by bilinear interpolation.
    fn at(&self, state: State) -> f64 {
        let angle = state.angle.rem_euclid(TAU) / TAU * ANGLES as f64;
        let last = (RATES - 1) as f64;
        let rate = ((state.rate / FASTEST + 1.0) * 0.5 * last).clamp(0.0, last);
        let (i, j) = (angle as usize, (rate as usize).min(RATES - 2));
        let (x, y) = (angle - i as f64, rate - j as f64);
        let value = |i: usize, j: usize| self.0[i % ANGLES * RATES + j];
        (1.0 - x) * ((1.0 - y) * value(i, j) + y * value(i, j + 1))
            + x * ((1.0 - y) * value(i + 1, j) + y * value(i + 1, j + 1))
    }
}
