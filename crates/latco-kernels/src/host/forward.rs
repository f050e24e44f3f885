//! Steps of the model, their rewards, and what derivatives at points are made of.

use rten_simd::{
    Isa, SimdUnaryOp,
    ops::{BitOps, NumOps},
};
use rten_vecmath::{Elu, Sigmoid, Tanh};

use super::{
    add,
    network::HostNetwork,
    product::{Apply, Columns, ColumnsMut, Finish, Sums, Times},
};
use crate::layout::{Activation, Keep, Likelihood, Slope};

/// Rows that go through the model together: enough of them for each weight that is fetched, few enough for
/// what lies between the layers to stay in the nearest caches.
pub(super) const BLOCK: usize = 96;

const RESIDUAL_FLOOR: f32 = crate::RESIDUAL_FLOOR as f32;

impl SimdUnaryOp<f32> for Activation {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, x: I::F32) -> I::F32 {
        match self {
            Self::Elu => Elu { alpha: 1.0 }.eval(isa, x),
            // A number that is none stays so.
            Self::Relu => {
                let ops = isa.f32();
                ops.select(ops.zero(), x, ops.le(x, ops.zero()))
            }
        }
    }
}

impl Activation {
    /// The slope of a hidden layer whose value is `value`.
    fn slope_at(self, value: f32) -> f32 {
        match self {
            Self::Elu => value.min(0.0) + 1.0,
            Self::Relu if value > 0.0 => 1.0,
            Self::Relu => 0.0,
        }
    }
}

/// The candidate `n = tanh(gx + r ∘ gh)` from `gx`.
struct Candidate<'a> {
    /// `r`.
    reset: Columns<'a>,
    /// `gh`.
    of_state: Columns<'a>,
}

impl Finish for Candidate<'_> {
    #[inline(always)]
    fn finish<I: Isa>(&self, isa: I, sums: I::F32, row: usize, column: usize) -> I::F32 {
        let reset = self.reset.vector(isa, row, column);
        let of_state = self.of_state.vector(isa, row, column);
        Tanh {}.eval(isa, isa.f32().mul_add(reset, of_state, sums))
    }
}

/// The next state `h' = n + u ∘ (h − n)` from `gx`.
struct NextState<'a> {
    candidate: Candidate<'a>,
    /// `u`.
    update: Columns<'a>,
    /// `h`.
    state: Columns<'a>,
}

impl Finish for NextState<'_> {
    #[inline(always)]
    fn finish<I: Isa>(&self, isa: I, sums: I::F32, row: usize, column: usize) -> I::F32 {
        let ops = isa.f32();
        let candidate = self.candidate.finish(isa, sums, row, column);
        let update = self.update.vector(isa, row, column);
        let change = ops.sub(self.state.vector(isa, row, column), candidate);
        ops.mul_add(update, change, candidate)
    }
}

/// What lies between the layers of a step, for a block of rows.
struct Work {
    /// `[a, s]`.
    entering: Vec<f32>,
    /// `[h, x]`.
    state: Vec<f32>,
    /// `[u, r]`.
    gates: Vec<f32>,
    /// `gh` of the candidate.
    of_state: Vec<f32>,
    /// The prior's hidden layer.
    hidden: Vec<f32>,
    /// `[s, h]`, before the step and after it.
    latents: Vec<f32>,
}

/// What lies between the layers of the reward head.
struct Head {
    first: Vec<f32>,
    second: Vec<f32>,
    by_first: Vec<f32>,
    output: Vec<f32>,
}

impl HostNetwork {
    fn work(&self, rows: usize) -> Work {
        let sizes = self.network.sizes;
        let size = sizes.deterministic;
        let room = |columns: usize| vec![0.0; rows * columns];
        Work {
            entering: room(sizes.action + sizes.stochastic),
            state: room(size + sizes.hidden),
            gates: room(2 * size),
            of_state: room(size),
            hidden: room(sizes.hidden),
            latents: room(self.network.latent()),
        }
    }

    fn head(&self, rows: usize) -> Head {
        let units = vec![0.0; rows * self.network.sizes.units];
        Head {
            first: units.clone(),
            second: units.clone(),
            by_first: units,
            output: vec![0.0; rows],
        }
    }

    /// All that goes before the candidate, of the first `rows` latents with `actions` `[rows, action]`.
    fn enter(&self, rows: usize, actions: Columns<'_>, work: &mut Work) {
        let sizes = self.network.sizes;
        let (action, size) = (sizes.action, sizes.deterministic);
        let (entering, width) = (action + sizes.stochastic, size + sizes.hidden);
        let latents = work.latents.chunks_exact(self.network.latent());
        let parts = work.entering.chunks_exact_mut(entering);
        let parts = parts.zip(work.state.chunks_exact_mut(width));
        for (row, (latent, (entering, state))) in latents.zip(parts).take(rows).enumerate() {
            entering[..action].copy_from_slice(&actions.row(row, 0)[..action]);
            entering[action..].copy_from_slice(&latent[..sizes.stochastic]);
            state[..size].copy_from_slice(&latent[sizes.stochastic..]);
        }
        self.forward.input.affine(
            rows,
            Columns::new(&work.entering, entering),
            Apply(self.network.activation),
            ColumnsMut::new(&mut work.state[size..], width),
        );
        let state = Columns::new(&work.state, width);
        let gates = ColumnsMut::new(&mut work.gates, 2 * size);
        let own = &self.forward;
        own.gates.affine(rows, state, Apply(Sigmoid {}), gates);
        let of_state = ColumnsMut::new(&mut work.of_state, size);
        own.candidate_of_state.affine(rows, state, Sums, of_state);
    }

    /// The prior's mean of `s'` given `h'`, both in the latents.
    fn predict(&self, rows: usize, work: &mut Work) {
        let sizes = self.network.sizes;
        let latent = self.network.latent();
        self.forward.hidden.affine(
            rows,
            Columns::new(&work.latents[sizes.stochastic..], latent),
            Apply(self.network.activation),
            ColumnsMut::new(&mut work.hidden, sizes.hidden),
        );
        self.forward.mean.affine(
            rows,
            Columns::new(&work.hidden, sizes.hidden),
            Sums,
            ColumnsMut::new(&mut work.latents, latent),
        );
    }

    /// `z'` in the place of `z`, of the first `rows` latents with `actions` `[rows, action]`.
    fn step(&self, rows: usize, actions: Columns<'_>, work: &mut Work) {
        self.enter(rows, actions, work);
        let sizes = self.network.sizes;
        let size = sizes.deterministic;
        let gates = Columns::new(&work.gates, 2 * size);
        let state = Columns::new(&work.state, size + sizes.hidden);
        let next = NextState {
            candidate: Candidate {
                reset: gates.from(size),
                of_state: Columns::new(&work.of_state, size),
            },
            update: gates,
            state,
        };
        let target = &mut work.latents[sizes.stochastic..];
        let target = ColumnsMut::new(target, self.network.latent());
        let candidate = &self.forward.candidate_of_input;
        candidate.affine(rows, state.from(size), next, target);
        self.predict(rows, work);
    }

    /// `z_{t+1} = μ(z_t, a_t) + e_t` from `start` `[plans, latent]` with `actions` `[plans, horizon, action]` and
    /// `defects` `[plans, horizon, latent]`: latents `[plans, horizon, latent]`, none if they are not to be kept,
    /// and rewards `[plans, horizon, 3]`.
    pub fn roll_out(
        &self,
        start: &[f32],
        actions: &[f32],
        defects: Option<&[f32]>,
        keep: Keep,
    ) -> (Vec<f32>, Vec<f32>) {
        let (latent, action) = (self.network.latent(), self.network.sizes.action);
        let plans = start.len() / latent;
        let horizon = actions.len() / (plans * action).max(1);
        let room = |wanted, columns| vec![0.0; if wanted { plans * horizon * columns } else { 0 }];
        let mut latents = room(keep.latents(), latent);
        let mut rewards = room(!keep.latents(), PARTS);
        let most = BLOCK.min(plans);
        let (mut work, mut head) = (self.work(most), self.head(most));
        for (block, start) in start.chunks(BLOCK * latent).enumerate() {
            let rows = start.len() / latent;
            work.latents[..start.len()].copy_from_slice(start);
            for time in 0..horizon {
                let place = block * BLOCK * horizon + time;
                let actions = Columns::new(&actions[place * action..], horizon * action);
                self.step(rows, actions, &mut work);
                for (row, next) in work.latents.chunks_exact_mut(latent).take(rows).enumerate() {
                    let first = (place + row * horizon) * latent;
                    if let Some(defects) = defects {
                        add(next, &defects[first..]);
                    }
                    if keep.latents() {
                        latents[first..first + latent].copy_from_slice(next);
                    }
                }
                if !keep.latents() {
                    let rewards = ColumnsMut::new(&mut rewards[PARTS * place..], PARTS * horizon);
                    self.store_rewards(rows, &work.latents, &mut head, rewards);
                }
            }
        }
        if keep == Keep::Both {
            // Of all of them together, which fills the products better.
            rewards = self.rewards(&latents);
        }
        (latents, rewards)
    }

    /// What derivatives at `latents` `[points, latent]` and `actions` `[points, action]` are made of
    /// ([`Kept`](crate::layout::Kept)).
    pub fn linearise(&self, latents: &[f32], actions: &[f32]) -> Vec<f32> {
        let (latent, action) = (self.network.latent(), self.network.sizes.action);
        let width = self.network.kept().width;
        let points = latents.len() / latent;
        let mut kept = vec![0.0; points * width];
        let mut work = self.work(BLOCK.min(points));
        let blocks = latents.chunks(BLOCK * latent);
        let blocks = blocks.zip(actions.chunks(BLOCK * action));
        for ((latents, actions), kept) in blocks.zip(kept.chunks_mut(BLOCK * width)) {
            let rows = latents.len() / latent;
            work.latents[..latents.len()].copy_from_slice(latents);
            self.enter(rows, Columns::new(actions, action), &mut work);
            self.differentiate(rows, &mut work, kept);
            self.predict(rows, &mut work);
            self.keep_layers(&work, kept);
        }
        kept
    }

    /// `h'` in the latents, and the derivatives of the recurrent unit.
    fn differentiate(&self, rows: usize, work: &mut Work, kept: &mut [f32]) {
        let sizes = self.network.sizes;
        let size = sizes.deterministic;
        let places = self.network.kept();
        let state = Columns::new(&work.state, size + sizes.hidden);
        let candidate = Candidate {
            reset: Columns::new(&work.gates[size..], 2 * size),
            of_state: Columns::new(&work.of_state, size),
        };
        let target = &mut work.latents[sizes.stochastic..];
        let target = ColumnsMut::new(target, self.network.latent());
        let of_input = &self.forward.candidate_of_input;
        of_input.affine(rows, state.from(size), candidate, target);
        let latents = work.latents.chunks_exact_mut(self.network.latent());
        for (row, (latent, kept)) in latents.zip(kept.chunks_exact_mut(places.width)).enumerate() {
            let (gates, state) = (&work.gates[row * 2 * size..], state.row(row, 0));
            let of_state = &work.of_state[row * size..];
            let candidates = &mut latent[sizes.stochastic..];
            for unit in 0..size {
                let (update, reset) = (gates[unit], gates[size + unit]);
                let candidate = candidates[unit];
                let change = state[unit] - candidate;
                let slope = (1.0 - update) * (1.0 - candidate * candidate);
                kept[places.update + unit] = update;
                kept[places.gates + unit] = change * update * (1.0 - update);
                kept[places.gates + size + unit] = slope * of_state[unit] * reset * (1.0 - reset);
                kept[places.gates + 2 * size + unit] = slope;
                kept[places.through_reset + unit] = slope * reset;
                candidates[unit] = candidate + update * change;
            }
        }
    }

    /// The latents after the step, and the slopes of its hidden layers.
    fn keep_layers(&self, work: &Work, kept: &mut [f32]) {
        let sizes = self.network.sizes;
        let (latent, size, hidden) = (self.network.latent(), sizes.deterministic, sizes.hidden);
        let places = self.network.kept();
        for (row, kept) in kept.chunks_exact_mut(places.width).enumerate() {
            kept[..latent].copy_from_slice(&work.latents[row * latent..(row + 1) * latent]);
            let input = &work.state[row * (size + hidden) + size..];
            let prior = &work.hidden[row * hidden..];
            for (values, place) in [(input, places.input_slope), (prior, places.hidden_slope)] {
                for (slope, value) in kept[place..place + hidden].iter_mut().zip(values) {
                    *slope = self.network.activation.slope_at(*value);
                }
            }
        }
    }
}

/// Expected reward, residual and log reward.
const PARTS: usize = 3;

impl HostNetwork {
    /// `[expected reward, residual, log reward]` of every one of `latents` `[rows, latent]`, `[rows, 3]`.
    pub fn rewards(&self, latents: &[f32]) -> Vec<f32> {
        let latent = self.network.latent();
        let rows = latents.len() / latent;
        let mut rewards = vec![0.0; rows * PARTS];
        let mut head = self.head(BLOCK.min(rows));
        let blocks = latents.chunks(BLOCK * latent);
        for (latents, rewards) in blocks.zip(rewards.chunks_mut(BLOCK * PARTS)) {
            let target = ColumnsMut::new(rewards, PARTS);
            self.store_rewards(latents.len() / latent, latents, &mut head, target);
        }
        rewards
    }

    /// The same, and the derivative of one of them by the latents, `[rows, latent]`.
    pub fn linearise_reward(&self, latents: &[f32], slope: Slope) -> (Vec<f32>, Vec<f32>) {
        let latent = self.network.latent();
        let rows = latents.len() / latent;
        let mut rewards = vec![0.0; rows * PARTS];
        let mut slopes = vec![0.0; rows * latent];
        let mut head = self.head(BLOCK.min(rows));
        let targets = rewards.chunks_mut(BLOCK * PARTS);
        let targets = targets.zip(slopes.chunks_mut(BLOCK * latent));
        for (latents, (rewards, slopes)) in latents.chunks(BLOCK * latent).zip(targets) {
            let rows = latents.len() / latent;
            self.store_rewards(rows, latents, &mut head, ColumnsMut::new(rewards, PARTS));
            self.carry_back_reward(rows, slope, &mut head, ColumnsMut::new(slopes, latent));
        }
        (rewards, slopes)
    }

    fn store_rewards(
        &self,
        rows: usize,
        latents: &[f32],
        head: &mut Head,
        rewards: ColumnsMut<'_>,
    ) {
        let units = self.network.sizes.units;
        let activation = self.network.activation;
        let [first, second, third] = &self.forward.reward;
        let latents = Columns::new(latents, self.network.latent());
        let target = ColumnsMut::new(&mut head.first, units);
        first.affine(rows, latents, Apply(activation), target);
        let target = ColumnsMut::new(&mut head.second, units);
        let inputs = Columns::new(&head.first, units);
        second.affine(rows, inputs, Apply(activation), target);
        let target = ColumnsMut::new(&mut head.output, 1);
        third.affine(rows, Columns::new(&head.second, units), Sums, target);
        let targets = rewards.values.chunks_mut(rewards.stride);
        for (target, output) in targets.zip(&head.output[..rows]) {
            target[..PARTS].copy_from_slice(&self.reward_parts(*output));
        }
    }

    /// The derivative of one of the rewards by the latents, in the place of the head's values.
    fn carry_back_reward(
        &self,
        rows: usize,
        slope: Slope,
        head: &mut Head,
        slopes: ColumnsMut<'_>,
    ) {
        let units = self.network.sizes.units;
        let activation = self.network.activation;
        let backward = self.backward();
        let values = head.second.chunks_exact_mut(units);
        for (values, output) in values.zip(&head.output[..rows]) {
            let cotangent = self.reward_slope(*output, slope);
            for (value, weight) in values.iter_mut().zip(&backward.reward_output) {
                *value = cotangent * weight * activation.slope_at(*value);
            }
        }
        for value in &mut head.first[..rows * units] {
            *value = activation.slope_at(*value);
        }
        backward.reward_second.linear(
            rows,
            Columns::new(&head.second, units),
            Times(Columns::new(&head.first, units)),
            ColumnsMut::new(&mut head.by_first, units),
        );
        let by_first = Columns::new(&head.by_first, units);
        backward.reward_first.linear(rows, by_first, Sums, slopes);
    }

    /// `[expected reward, residual, log reward]` of a head's output.
    fn reward_parts(&self, output: f32) -> [f32; PARTS] {
        let surprise = softplus(-output);
        match self.network.likelihood {
            Likelihood::Gaussian => [output, surprise, -0.5 * surprise * surprise],
            Likelihood::Bernoulli => {
                let [least, most] = self.range;
                let expected = sigmoid(output) * (most - least) + least;
                [expected, residual(surprise), -surprise]
            }
        }
    }

    /// The derivative of one of them by the head's output.
    fn reward_slope(&self, output: f32, slope: Slope) -> f32 {
        let (opposite, surprise) = (sigmoid(-output), softplus(-output));
        let [least, most] = self.range;
        match (self.network.likelihood, slope) {
            (Likelihood::Gaussian, Slope::Expected) => 1.0,
            (Likelihood::Gaussian, Slope::Residual) => -opposite,
            (Likelihood::Gaussian, Slope::Logarithm) => opposite * surprise,
            // 1 − σ(−x) would be nothing of a small σ(x).
            (Likelihood::Bernoulli, Slope::Expected) => opposite * sigmoid(output) * (most - least),
            (Likelihood::Bernoulli, Slope::Residual) => {
                -opposite / ((surprise + 1.0) * residual(surprise))
            }
            (Likelihood::Bernoulli, Slope::Logarithm) => opposite,
        }
    }
}

/// The residual of a Bernoulli head whose reward has this surprise.
fn residual(surprise: f32) -> f32 {
    (2.0 * surprise.ln_1p() + RESIDUAL_FLOOR).sqrt()
}

/// `log(1 + exp(x))`.
fn softplus(value: f32) -> f32 {
    value.max(0.0) + (-value.abs()).exp().ln_1p()
}

fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + (-value).exp())
}
