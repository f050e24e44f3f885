//! Tangents carried forward through steps of the model.

use rten_simd::{Isa, ops::NumOps};

use super::{
    network::{Group, HostNetwork},
    product::{Columns, ColumnsMut, Finish, Sums, Times},
};
use crate::layout::Kept;

/// `dh' = u dh + α_u dg_u + α_r dg_r + α_n dgx_n + α_n r dgh_n` from `dgx_n`.
struct NextState<'a> {
    places: Kept,
    size: usize,
    kept: Columns<'a>,
    /// `dh`.
    state: Columns<'a>,
    /// `[dg_u, dg_r]`.
    gates: Columns<'a>,
    /// `dgh_n`.
    of_state: Columns<'a>,
}

impl Finish for NextState<'_> {
    #[inline(always)]
    fn finish<I: Isa>(&self, isa: I, sums: I::F32, row: usize, column: usize) -> I::F32 {
        let ops = isa.f32();
        let kept = |place: usize| self.kept.vector(isa, row, place + column);
        let gate = |gate: usize| self.gates.vector(isa, row, gate * self.size + column);
        let slope = |gate: usize| kept(self.places.gates + gate * self.size);
        let own = ops.mul(
            kept(self.places.update),
            self.state.vector(isa, row, column),
        );
        let own = ops.mul_add(slope(0), gate(0), own);
        let own = ops.mul_add(slope(1), gate(1), own);
        let own = ops.mul_add(slope(2), sums, own);
        let of_state = self.of_state.vector(isa, row, column);
        ops.mul_add(kept(self.places.through_reset), of_state, own)
    }
}

/// What lies between the layers, for some rows.
struct Work {
    /// Of `[a, s]`.
    entering: Vec<f32>,
    /// Of `[h, x]`.
    state: Vec<f32>,
    /// Of `[u, r]`.
    gates: Vec<f32>,
    of_state: Vec<f32>,
    hidden: Vec<f32>,
}

impl HostNetwork {
    fn work_forward(&self, rows: usize) -> Work {
        let sizes = self.network.sizes;
        let room = |columns: usize| vec![0.0; rows * columns];
        Work {
            entering: room(sizes.action + sizes.stochastic),
            state: room(sizes.deterministic + sizes.hidden),
            gates: room(2 * sizes.deterministic),
            of_state: room(sizes.deterministic),
            hidden: room(sizes.hidden),
        }
    }

    /// Those of `[s', h']` in the place of those of `[s, h]`, `[rows, latent]`, with those of the actions
    /// `[rows, action]`, at the points whose rows are `kept`.
    fn carry_forward(
        &self,
        rows: usize,
        kept: Columns<'_>,
        actions: Columns<'_>,
        tangents: &mut [f32],
        work: &mut Work,
    ) {
        let sizes = self.network.sizes;
        let (action, size, hidden) = (sizes.action, sizes.deterministic, sizes.hidden);
        let (latent, places) = (self.network.latent(), self.network.kept());
        let (entering, width) = (action + sizes.stochastic, size + hidden);
        let parts = work.entering.chunks_exact_mut(entering);
        let parts = parts.zip(work.state.chunks_exact_mut(width));
        let own = tangents.chunks_exact(latent).take(rows);
        for (row, (tangent, (entering, state))) in own.zip(parts).enumerate() {
            entering[..action].copy_from_slice(&actions.row(row, 0)[..action]);
            entering[action..].copy_from_slice(&tangent[..sizes.stochastic]);
            state[..size].copy_from_slice(&tangent[sizes.stochastic..]);
        }
        let forward = &self.forward;
        let inputs = Columns::new(&work.entering, entering);
        let slopes = Times(kept.from(places.input_slope));
        let target = ColumnsMut::new(&mut work.state[size..], width);
        forward.input.linear(rows, inputs, slopes, target);
        let state = Columns::new(&work.state, width);
        let target = ColumnsMut::new(&mut work.gates, 2 * size);
        forward.gates.linear(rows, state, Sums, target);
        let target = ColumnsMut::new(&mut work.of_state, size);
        forward.candidate_of_state.linear(rows, state, Sums, target);
        let next = NextState {
            places,
            size,
            kept,
            state,
            gates: Columns::new(&work.gates, 2 * size),
            of_state: Columns::new(&work.of_state, size),
        };
        let target = ColumnsMut::new(&mut tangents[sizes.stochastic..], latent);
        let of_input = &forward.candidate_of_input;
        of_input.linear(rows, state.from(size), next, target);

        let inputs = Columns::new(&tangents[sizes.stochastic..], latent);
        let slopes = Times(kept.from(places.hidden_slope));
        let target = ColumnsMut::new(&mut work.hidden, hidden);
        forward.hidden.linear(rows, inputs, slopes, target);
        let inputs = Columns::new(&work.hidden, hidden);
        forward
            .mean
            .linear(rows, inputs, Sums, ColumnsMut::new(tangents, latent));
    }

    /// Tangents `[points, rows, latent]` and `[points, rows, action]` at points from `first` on:
    /// `[points, rows, latent]`.
    pub fn push_forward(
        &self,
        kept: &[f32],
        first: usize,
        points: usize,
        latents: Vec<f32>,
        actions: &[f32],
    ) -> Vec<f32> {
        let (latent, action) = (self.network.latent(), self.network.sizes.action);
        let width = self.network.kept().width;
        let mut next = latents;
        let Group { rows, stride } = self.group(points, next.len() / latent);
        let mut work = self.work_forward(rows);
        for (index, tangents) in next.chunks_mut((rows * latent).max(1)).enumerate() {
            let kept = Columns::new(&kept[(first + index) * width..], stride);
            let actions = Columns::new(&actions[index * rows * action..], action);
            self.carry_forward(rows, kept, actions, tangents, &mut work);
        }
        next
    }

    /// `dz_{t+1} = A_t dz_t + B_t da_t + d_t` from `dz_0 = 0`, of `actions` `[plans, horizon, action]` and `drive`
    /// `[plans, horizon, latent]`, where the points are those of these plans, step by step.
    pub fn sweep_forward(
        &self,
        kept: &[f32],
        plans: usize,
        actions: &[f32],
        drive: Vec<f32>,
    ) -> Vec<f32> {
        let (latent, action) = (self.network.latent(), self.network.sizes.action);
        let width = self.network.kept().width;
        let horizon = kept.len() / (plans * width);
        let mut work = self.work_forward(plans);
        let mut tangents = vec![0.0; plans * latent];
        let mut changes = drive;
        for time in 0..horizon {
            let kept = Columns::new(&kept[time * plans * width..], width);
            let actions = Columns::new(&actions[time * action..], horizon * action);
            self.carry_forward(plans, kept, actions, &mut tangents, &mut work);
            let changes = changes.chunks_exact_mut(horizon * latent);
            for (tangent, changes) in tangents.chunks_exact_mut(latent).zip(changes) {
                for (tangent, change) in tangent.iter_mut().zip(&mut changes[time * latent..]) {
                    *tangent += *change;
                    *change = *tangent;
                }
            }
        }
        changes
    }
}
