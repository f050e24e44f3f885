//! The weights of a model on the host.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::Tensor,
};

/// All weights, in the order in which the model holds them.
pub fn parameters<M: Module>(model: &M) -> Vec<f32> {
    let mut weights = Weights(Vec::new());
    model.visit(&mut weights);
    weights.0
}

struct Weights(Vec<f32>);

impl ModuleVisitor for Weights {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.extend(param.val().try_into_vec_as::<f32>().unwrap());
    }
}
