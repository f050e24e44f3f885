use burn::tensor::{Device, Tensor, TensorData};
use latco_kernels::join;

use crate::{Noise, Plan, PlanError};

/// The actions of an earlier plan after the steps executed since, the last one repeated so that
/// the length stays, `[horizon, action]`.
pub(crate) fn remaining_actions(
    warm_start: Option<(&Plan, usize)>,
    shape: [usize; 2],
) -> Result<Option<Tensor<2>>, PlanError> {
    let Some((plan, executed)) = warm_start else {
        return Ok(None);
    };
    let found = plan.actions.dims();
    for (what, place) in [("a horizon", 0), ("an action size", 1)] {
        if found[place] != shape[place] {
            return Err(PlanError::WarmStart {
                what,
                expected: shape[place],
                found: found[place],
            });
        }
    }
    Ok(Some(shifted(&plan.actions, executed)))
}

/// Rows after the first `executed`, the last one repeated so that the length stays.
pub(crate) fn shifted(rows: &Tensor<2>, executed: usize) -> Tensor<2> {
    let [horizon, _] = rows.dims();
    let executed = executed.min(horizon - 1);
    if executed == 0 {
        return rows.clone();
    }
    let kept = rows.clone().narrow(0, executed, horizon - executed);
    let last = rows.clone().narrow(0, horizon - 1, 1);
    join(vec![kept, last.repeat_dim(0, executed)], 0)
}

/// Random action sequences to start from.
pub(crate) struct Starts {
    /// The number of sequences.
    pub count: usize,
    /// The standard deviation of an action.
    pub std: f64,
    /// The exponent of the noise, as in [`Colouring::new`].
    pub exponent: f64,
}

impl Starts {
    /// `[count, horizon, action]`: the earlier plan's actions first, zeros without one; the rest is
    /// coloured noise within the bounds.
    pub fn draw(
        &self,
        earlier: Option<Tensor<2>>,
        [horizon, action]: [usize; 2],
        noise: &mut Noise,
        device: &Device,
    ) -> Tensor<3> {
        let first = earlier.unwrap_or_else(|| Tensor::zeros([horizon, action], device));
        let first = first.unsqueeze_dim::<3>(0);
        if self.count == 1 {
            return first;
        }
        let colouring = Colouring::new(horizon, self.exponent, device);
        let others = colouring.draw([self.count - 1, action], noise) * self.std;
        join(vec![first, others.clamp(-1.0, 1.0)], 0)
    }
}

/// Normal noise of unit variance that is correlated in time: power falls with frequency as
/// `1 / f^β` (Timmer & König 1995).
///
/// ```text
/// x_t = Σ_k s_k (ξ_k cos 2πkt/T + η_k sin 2πkt/T),     s_k ∝ max(k, 1)^(−β/2)
/// ```
///
/// with independent standard normal ξ, η. The sum over the `T` modes is one matrix product.
pub(crate) struct Colouring {
    /// `[modes, horizon]`, as many modes as steps.
    modes: Tensor<2>,
}

impl Colouring {
    /// Noise of `horizon` steps; `exponent` β is 0 for white noise, 1 for pink, 2 for Brownian.
    pub fn new(horizon: usize, exponent: f64, device: &Device) -> Self {
        let mut modes = Vec::with_capacity(horizon * horizon);
        let mut variance = 0.0;
        let mut push = |frequency: usize, phase: f64, norm: f64| {
            let amplitude = (frequency.max(1) as f64).powf(-0.5 * exponent) * norm;
            let turn = std::f64::consts::TAU * frequency as f64 / horizon as f64;
            modes.extend((0..horizon).map(|t| amplitude * (turn * t as f64 - phase).cos()));
            variance += (amplitude * phase.cos()).powi(2);
        };
        push(0, 0.0, 1.0);
        for frequency in 1..=horizon / 2 {
            if 2 * frequency == horizon {
                push(frequency, 0.0, 1.0);
            } else {
                push(frequency, 0.0, std::f64::consts::SQRT_2);
                push(
                    frequency,
                    std::f64::consts::FRAC_PI_2,
                    std::f64::consts::SQRT_2,
                );
            }
        }
        let scale = variance.sqrt().recip();
        let modes: Vec<f32> = modes
            .into_iter()
            .map(|mode| (mode * scale) as f32)
            .collect();
        Self {
            modes: Tensor::from_data(TensorData::new(modes, [horizon, horizon]), device),
        }
    }

    /// Independent sequences for every component of every sample, `[samples, horizon, action]`.
    pub fn draw(&self, [samples, action]: [usize; 2], noise: &mut Noise) -> Tensor<3> {
        let [modes, horizon] = self.modes.dims();
        let white = noise.normal([samples * action, modes], &self.modes.device());
        white
            .matmul(self.modes.clone())
            .reshape([samples, action, horizon])
            .swap_dims(1, 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shooting::testing::{assert_near, values};

    /// The correlation of steps `lag` apart, from the modes themselves.
    fn correlation(modes: &[f32], horizon: usize, step: usize, lag: usize) -> f32 {
        modes
            .chunks(horizon)
            .map(|mode| mode[step] * mode[step + lag])
            .sum()
    }

    #[test]
    fn every_step_has_unit_variance_and_white_noise_no_correlation() {
        for horizon in [1, 2, 7, 30] {
            for exponent in [0.0, 1.0, 2.5] {
                let colouring = Colouring::new(horizon, exponent, &Device::default());
                let modes = values(colouring.modes);
                assert_eq!(modes.len(), horizon * horizon);
                for step in 0..horizon {
                    assert_near(correlation(&modes, horizon, step, 0), 1.0, 1e-5);
                    if exponent == 0.0 && step > 0 {
                        assert_near(correlation(&modes, horizon, 0, step), 0.0, 1e-5);
                    }
                }
            }
        }
    }

    #[test]
    fn a_larger_exponent_is_smoother() {
        let neighbours = [0.0, 1.0, 2.0, 4.0].map(|exponent| {
            let colouring = Colouring::new(30, exponent, &Device::default());
            correlation(&values(colouring.modes), 30, 0, 1)
        });
        assert!(
            neighbours.is_sorted_by(|a, b| a + 0.02 < *b),
            "{neighbours:?}"
        );
    }

    #[test]
    fn starts_keep_the_bounds_and_put_the_earlier_plan_first() {
        let starts = Starts {
            count: 5,
            std: 2.0,
            exponent: 2.0,
        };
        let device = Device::default();
        let earlier = Tensor::<2>::full([4, 2], 0.3, &device);
        let drawn = starts.draw(Some(earlier), [4, 2], &mut Noise::new(1), &device);
        assert_eq!(drawn.dims(), [5, 4, 2]);
        let drawn = values(drawn);
        assert!(drawn[..8].iter().all(|&action| action == 0.3));
        assert!(drawn.iter().all(|action| action.abs() <= 1.0));
    }
}
