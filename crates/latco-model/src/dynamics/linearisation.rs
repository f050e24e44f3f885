//! Closed-form derivatives of the priors, for planners.
//!
//! Everything that depends on the points alone is computed once for all points; a pullback or
//! pushforward of many rows is then a few matrix products.

use std::{ops::Range, sync::OnceLock};

use burn::{nn::Linear, tensor::Tensor};
use latco_kernels::{RecurrentSlopes, join};
use latco_plan::Linearisation;

use super::{Gru, Rssm, Ssm};
use crate::Activation;

/// The values of some points for broadcasting over rows, `[points, 1, size]`.
pub(super) fn at(values: &Tensor<2>, points: &Range<usize>) -> Tensor<3> {
    values
        .clone()
        .narrow(0, points.start, points.len())
        .unsqueeze_dim(1)
}

/// The first `outputs` columns of `rows · W`, of `[points, rows, inputs]` and `[inputs, …]`, as one
/// matrix product.
fn times(rows: Tensor<3>, weight: Tensor<2>, outputs: usize) -> Tensor<3> {
    let [points, count, inputs] = rows.dims();
    let products = rows.reshape([points * count, inputs]).matmul(weight);
    let own = match products.dims()[1] > outputs {
        true => products.narrow(1, 0, outputs),
        false => products,
    };
    own.reshape([points, count, outputs])
}

/// A weight and its transpose for matrix products.
#[derive(Clone)]
struct Weight {
    forward: Tensor<2>,
    /// The transpose, widened.
    laid_out: OnceLock<Tensor<2>>,
    /// The weight, widened.
    wide: OnceLock<Tensor<2>>,
}

/// A product with a weight whose columns fill vectors of this size is spared from packing it, which
/// takes as long as multiplying a few rows.
const VECTOR: usize = 16;

impl Weight {
    fn of(layer: &Linear) -> Self {
        Self {
            forward: layer.weight.val(),
            laid_out: OnceLock::new(),
            wide: OnceLock::new(),
        }
    }

    /// `inputs · W`, `[rows, outputs]`, with columns of zeros after the outputs if it is wide.
    fn product(&self, inputs: Tensor<2>) -> Tensor<2> {
        let weight = self.wide.get().unwrap_or(&self.forward);
        inputs.matmul(weight.clone())
    }

    /// Tangents of the outputs `[points, rows, outputs]` from those of the inputs.
    fn carry_forward(&self, tangents: Tensor<3>) -> Tensor<3> {
        let weight = self.wide.get().unwrap_or(&self.forward);
        times(tangents, weight.clone(), self.forward.dims()[1])
    }

    /// Cotangents of the inputs `[points, rows, inputs]` from those of the outputs at some of `total`
    /// points.
    fn carry_back(&self, cotangents: Tensor<3>, points: &Range<usize>, total: usize) -> Tensor<3> {
        let transposed = self.backward(points, total);
        times(cotangents, transposed, self.forward.dims()[0])
    }

    /// The transpose. For some of the `total` points it is laid out in memory, since as many
    /// products will follow for the others; a single product for all of them is faster without,
    /// unless it lies there already.
    fn backward(&self, points: &Range<usize>, total: usize) -> Tensor<2> {
        match self.laid_out.get() {
            Some(transposed) => transposed.clone(),
            None if points.len() == total => self.forward.clone().transpose(),
            None => self.lay_out(),
        }
    }

    /// The transpose, which from now on lies in memory.
    fn lay_out(&self) -> Tensor<2> {
        let laid_out = || widened(laid_out(self.forward.clone().transpose()));
        self.laid_out.get_or_init(laid_out).clone()
    }

    /// Lays out whatever makes products faster.
    fn prepare(&self) {
        self.lay_out();
        self.wide.get_or_init(|| widened(self.forward.clone()));
    }

    /// Only the first `outputs` columns.
    fn first(&self, outputs: usize) -> Self {
        let rows = |transposed: &Tensor<2>| transposed.clone().narrow(0, 0, outputs);
        Self {
            forward: self.forward.clone().narrow(1, 0, outputs),
            laid_out: self
                .laid_out
                .get()
                .map(rows)
                .map_or_else(OnceLock::new, OnceLock::from),
            wide: OnceLock::new(),
        }
    }
}

/// The same matrix with columns of zeros after its own, so that they fill vectors.
fn widened(matrix: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = matrix.dims();
    match columns.next_multiple_of(VECTOR) - columns {
        0 => matrix,
        missing => {
            let zeros = Tensor::zeros([rows, missing], &matrix.device());
            join(vec![matrix, zeros], 1)
        }
    }
}

/// The same matrix, its rows one after the other in memory.
pub(crate) fn laid_out(matrix: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = matrix.dims();
    matrix.reshape([rows * columns]).reshape([rows, columns])
}

/// An RSSM's prior with what its derivatives are made of.
pub(crate) struct RssmPrior<'a> {
    rssm: &'a Rssm,
    input: Weight,
    gru_input: Weight,
    gru_state: Weight,
    hidden: Weight,
    output: Weight,
}

impl<'a> RssmPrior<'a> {
    pub fn new(rssm: &'a Rssm) -> Self {
        Self {
            input: Weight::of(&rssm.recurrent_input),
            gru_input: Weight::of(&rssm.gru.input),
            gru_state: Weight::of(&rssm.gru.state),
            hidden: Weight::of(&rssm.prior_hidden),
            output: Weight::of(&rssm.prior_output),
            rssm,
        }
    }

    /// With every weight laid out for fast products.
    pub fn prepared(rssm: &'a Rssm) -> Self {
        let prior = Self::new(rssm);
        let Self {
            input,
            gru_input,
            gru_state,
            hidden,
            output,
            ..
        } = &prior;
        for weight in [input, gru_input, gru_state, hidden, output] {
            weight.prepare();
        }
        prior
    }
}

/// An SSM's prior with what its derivatives are made of.
pub(crate) struct SsmPrior<'a> {
    ssm: &'a Ssm,
    input: Weight,
    hidden: Weight,
    output: Weight,
}

impl<'a> SsmPrior<'a> {
    pub fn new(ssm: &'a Ssm) -> Self {
        Self {
            input: Weight::of(&ssm.input),
            hidden: Weight::of(&ssm.prior_hidden),
            output: Weight::of(&ssm.prior_output),
            ssm,
        }
    }

    /// With every weight laid out for fast products.
    pub fn prepared(ssm: &'a Ssm) -> Self {
        let prior = Self::new(ssm);
        for weight in [&prior.input, &prior.hidden, &prior.output] {
            weight.prepare();
        }
        prior
    }
}

/// Which of the prior's outputs `[mean, raw]` are wanted.
#[derive(Clone, Copy)]
pub(super) enum Outputs {
    Mean,
    MeanAndRaw,
}

/// The first of a layer's outputs, as many as `products` has columns.
fn with_bias(products: Tensor<2>, layer: &Linear) -> Tensor<2> {
    let count = products.dims()[1];
    match &layer.bias {
        Some(bias) => products + bias.val().narrow(0, 0, count).unsqueeze(),
        None => products,
    }
}

/// The prior's hidden layer and output layer.
pub(super) struct PriorHead {
    hidden: Weight,
    output: Weight,
    /// `[points, hidden]`.
    slope: Tensor<2>,
    /// The wanted outputs, `[points, outputs]`.
    pub value: Tensor<2>,
}

impl PriorHead {
    fn new(
        (hidden, output): (&Linear, &Linear),
        [hidden_weight, output_weight]: [&Weight; 2],
        f: Activation,
        features: Tensor<2>,
        outputs: Outputs,
    ) -> Self {
        let both = output.weight.dims()[1];
        let count = match outputs {
            Outputs::Mean => both / 2,
            Outputs::MeanAndRaw => both,
        };
        let value = f.of_layer(hidden, features);
        let output_weight = output_weight.first(count);
        Self {
            value: with_bias(value.clone().matmul(output_weight.forward.clone()), output),
            slope: f.slope(value),
            hidden: hidden_weight.clone(),
            output: output_weight,
        }
    }

    fn pullback(&self, points: &Range<usize>, cotangents: Tensor<3>) -> Tensor<3> {
        let total = self.slope.dims()[0];
        let hidden = self.output.carry_back(cotangents, points, total) * at(&self.slope, points);
        self.hidden.carry_back(hidden, points, total)
    }

    fn pushforward(&self, points: &Range<usize>, tangents: Tensor<3>) -> Tensor<3> {
        let hidden = self.hidden.carry_forward(tangents) * at(&self.slope, points);
        self.output.carry_forward(hidden)
    }
}

/// A layer over `[s, a]`.
struct InputLayer {
    weight: Weight,
    /// `[points, hidden]`.
    slope: Tensor<2>,
    stochastic: usize,
}

impl InputLayer {
    /// The layer's derivative, and its value `[points, hidden]`.
    fn new(
        layer: &Linear,
        weight: &Weight,
        f: Activation,
        stochastic: Tensor<2>,
        actions: Tensor<2>,
    ) -> (Self, Tensor<2>) {
        let size = stochastic.dims()[1];
        let input = join(vec![stochastic, actions], 1);
        let value = f.of_layer(layer, input);
        let linearised = Self {
            weight: weight.clone(),
            slope: f.slope(value.clone()),
            stochastic: size,
        };
        (linearised, value)
    }

    fn pullback(&self, points: &Range<usize>, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let total = self.slope.dims()[0];
        let cotangents = cotangents * at(&self.slope, points);
        let inputs = self.weight.carry_back(cotangents, points, total);
        let actions = inputs.dims()[2] - self.stochastic;
        (
            inputs.clone().narrow(2, 0, self.stochastic),
            inputs.narrow(2, self.stochastic, actions),
        )
    }

    fn pushforward(
        &self,
        points: &Range<usize>,
        stochastic: Tensor<3>,
        actions: Tensor<3>,
    ) -> Tensor<3> {
        let inputs = join(vec![stochastic, actions], 2);
        self.weight.carry_forward(inputs) * at(&self.slope, points)
    }
}

/// The derivative of a recurrent step, `next` by its input and state:
///
/// ```text
/// dh' = u dh + by_input · dgx + by_state · dgh    (summed over the three gates)
/// ```
struct GruDerivative {
    input: Weight,
    state: Weight,
    /// `[points, state]`.
    update: Tensor<2>,
    /// `[points, 3 · state]`.
    by_input: Tensor<2>,
    /// `[points, 3 · state]`.
    by_state: Tensor<2>,
    /// `h'`, `[points, state]`.
    next: Tensor<2>,
}

impl GruDerivative {
    fn new(
        gru: &Gru,
        [input, state_weight]: [&Weight; 2],
        inputs: Tensor<2>,
        state: Tensor<2>,
    ) -> Self {
        let parts = [
            input.product(inputs),
            state_weight.product(state.clone()),
            state,
        ];
        let RecurrentSlopes {
            update,
            by_input,
            by_state,
            next,
        } = gru.derivative(parts);
        Self {
            input: input.clone(),
            state: state_weight.clone(),
            update,
            by_input,
            by_state,
            next,
        }
    }

    /// Cotangents of the recurrent input and of the state.
    fn pullback(&self, points: &Range<usize>, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let total = self.update.dims()[0];
        let gates = cotangents.clone().repeat_dim(2, 3);
        let input =
            self.input
                .carry_back(gates.clone() * at(&self.by_input, points), points, total);
        let state = self
            .state
            .carry_back(gates * at(&self.by_state, points), points, total);
        (input, state + cotangents * at(&self.update, points))
    }

    fn pushforward(&self, points: &Range<usize>, input: Tensor<3>, state: Tensor<3>) -> Tensor<3> {
        let size = state.dims()[2];
        let gates = self.input.carry_forward(input) * at(&self.by_input, points)
            + self.state.carry_forward(state.clone()) * at(&self.by_state, points);
        let gate = |index: usize| gates.clone().narrow(2, index * size, size);
        state * at(&self.update, points) + gate(0) + gate(1) + gate(2)
    }
}

/// The derivative of an RSSM's prior, whose outputs and next state are apart.
pub(super) struct RssmLayers {
    input: InputLayer,
    gru: GruDerivative,
    pub head: PriorHead,
}

impl RssmLayers {
    pub fn new(
        prior: &RssmPrior<'_>,
        latents: Tensor<2>,
        actions: Tensor<2>,
        outputs: Outputs,
    ) -> Self {
        let rssm = prior.rssm;
        let (stochastic, deterministic) = rssm.split(latents);
        let f = rssm.activation;
        let layer = &rssm.recurrent_input;
        let (input, value) = InputLayer::new(layer, &prior.input, f, stochastic, actions);
        let weights = [&prior.gru_input, &prior.gru_state];
        let gru = GruDerivative::new(&rssm.gru, weights, value, deterministic);
        let features = gru.next.clone();
        let layers = (&rssm.prior_hidden, &rssm.prior_output);
        let weights = [&prior.hidden, &prior.output];
        let head = PriorHead::new(layers, weights, f, features, outputs);
        Self { input, gru, head }
    }

    /// `h'`, `[points, deterministic]`.
    pub fn next_state(&self) -> Tensor<2> {
        self.gru.next.clone()
    }

    /// Carries cotangents of the head's outputs and of the next state back.
    pub fn pullback(
        &self,
        points: &Range<usize>,
        of_head: Tensor<3>,
        of_state: Tensor<3>,
    ) -> (Tensor<3>, Tensor<3>) {
        let next = of_state + self.head.pullback(points, of_head);
        let (input, state) = self.gru.pullback(points, next);
        let (stochastic, actions) = self.input.pullback(points, input);
        (join(vec![stochastic, state], 2), actions)
    }

    /// Carries tangents forward, to the head's outputs and to the next state.
    pub fn pushforward(
        &self,
        points: &Range<usize>,
        latents: Tensor<3>,
        actions: Tensor<3>,
    ) -> (Tensor<3>, Tensor<3>) {
        let (stochastic, state) = self.split(latents);
        let input = self.input.pushforward(points, stochastic, actions);
        let next = self.gru.pushforward(points, input, state);
        (self.head.pushforward(points, next.clone()), next)
    }

    /// Splits `[points, rows, latent]` into the stochastic and the deterministic part.
    pub fn split(&self, rows: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let stochastic = self.input.stochastic;
        let deterministic = rows.dims()[2] - stochastic;
        (
            rows.clone().narrow(2, 0, stochastic),
            rows.narrow(2, stochastic, deterministic),
        )
    }
}

/// The derivative of an RSSM's mean transition.
pub(crate) struct RssmLinearisation(RssmLayers);

impl RssmLinearisation {
    pub fn new(prior: &RssmPrior<'_>, latents: Tensor<2>, actions: Tensor<2>) -> Self {
        Self(RssmLayers::new(prior, latents, actions, Outputs::Mean))
    }
}

impl Linearisation for RssmLinearisation {
    fn value(&self) -> Tensor<2> {
        join(vec![self.0.head.value.clone(), self.0.next_state()], 1)
    }

    fn pullback(&self, points: Range<usize>, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let (of_mean, of_state) = self.0.split(cotangents);
        self.0.pullback(&points, of_mean, of_state)
    }

    fn pushforward(
        &self,
        points: Range<usize>,
        latents: Tensor<3>,
        actions: Tensor<3>,
    ) -> Tensor<3> {
        let (mean, next) = self.0.pushforward(&points, latents, actions);
        join(vec![mean, next], 2)
    }
}

/// The derivative of an SSM's prior: of its mean, or of its mean and raw deviation.
pub(crate) struct SsmLinearisation {
    input: InputLayer,
    pub(super) head: PriorHead,
}

impl SsmLinearisation {
    pub fn new(
        prior: &SsmPrior<'_>,
        latents: Tensor<2>,
        actions: Tensor<2>,
        outputs: Outputs,
    ) -> Self {
        let ssm = prior.ssm;
        let f = ssm.activation;
        let (input, features) = InputLayer::new(&ssm.input, &prior.input, f, latents, actions);
        let layers = (&ssm.prior_hidden, &ssm.prior_output);
        let weights = [&prior.hidden, &prior.output];
        let head = PriorHead::new(layers, weights, f, features, outputs);
        Self { input, head }
    }
}

impl Linearisation for SsmLinearisation {
    fn value(&self) -> Tensor<2> {
        self.head.value.clone()
    }

    fn pullback(&self, points: Range<usize>, cotangents: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let features = self.head.pullback(&points, cotangents);
        self.input.pullback(&points, features)
    }

    fn pushforward(
        &self,
        points: Range<usize>,
        latents: Tensor<3>,
        actions: Tensor<3>,
    ) -> Tensor<3> {
        let features = self.input.pushforward(&points, latents, actions);
        self.head.pushforward(&points, features)
    }
}
