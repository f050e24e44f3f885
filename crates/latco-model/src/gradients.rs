//! Arithmetic on the gradients of a whole module.
//!
//! Burn's own clipping looks at one parameter at a time; the reference scales the whole gradient.

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};

/// Scales all gradients by `min(1, limit / ‖g‖)` and returns `‖g‖`, the 2-norm over every
/// parameter of `model`. Gradients whose norm is not finite are left as they are.
pub(crate) fn clip_by_global_norm<M: Module>(
    model: &M,
    gradients: &mut GradientsParams,
    limit: f64,
) -> f64 {
    let mut sum = SumOfSquares {
        gradients,
        total: None,
    };
    model.visit(&mut sum);
    let norm = sum
        .total
        .map_or(0.0, |total| f64::from(total.sqrt().into_scalar::<f32>()));
    if norm.is_finite() && norm > limit {
        scale_gradients(model, gradients, limit / norm);
    }
    norm
}

/// Multiplies every gradient of `model` by `factor`.
fn scale_gradients<M: Module>(model: &M, gradients: &mut GradientsParams, factor: f64) {
    if factor != 1.0 {
        model.visit(&mut Scale { gradients, factor });
    }
}

/// Adds the gradients `further` of `model` to `gradients`.
pub(crate) fn add_gradients<M: Module>(
    model: &M,
    gradients: &mut GradientsParams,
    further: GradientsParams,
) {
    model.visit(&mut Add { gradients, further });
}

/// Takes the gradients of `part` out of `gradients`.
pub(crate) fn take_gradients<M: Module>(
    part: &M,
    gradients: &mut GradientsParams,
) -> GradientsParams {
    let mut take = Take {
        gradients,
        taken: GradientsParams::new(),
    };
    part.visit(&mut take);
    take.taken
}

struct Take<'a> {
    gradients: &'a mut GradientsParams,
    taken: GradientsParams,
}

impl ModuleVisitor for Take<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.taken.register(param.id, gradient);
        }
    }
}

struct SumOfSquares<'a> {
    gradients: &'a GradientsParams,
    total: Option<Tensor<1>>,
}

impl ModuleVisitor for SumOfSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.get::<D>(param.id) else {
            return;
        };
        let square = gradient.square().sum();
        self.total = Some(match self.total.take() {
            Some(total) => total + square,
            None => square,
        });
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients
                .register(param.id, gradient.mul_scalar(self.factor));
        }
    }
}

struct Add<'a> {
    gradients: &'a mut GradientsParams,
    further: GradientsParams,
}

impl ModuleVisitor for Add<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(further) = self.further.remove::<D>(param.id) else {
            return;
        };
        let sum = match self.gradients.remove::<D>(param.id) {
            Some(present) => present + further,
            None => further,
        };
        self.gradients.register(param.id, sum);
    }
}
