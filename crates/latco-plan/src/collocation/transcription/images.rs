use burn::tensor::Tensor;

use crate::{Belief, DiagonalGaussian, ImageSpace, LatentModel, PlanError, Rewards};

/// Nodes that are images `x`: the image-space ablation of LatCo.
///
/// ```text
/// x' = x + decode(μ(z, a)) − decode(z),   r(x) = r(z),   z = encode(x)
/// ```
///
/// The model's change of the image is added to the image, rather than decoding the next latent
/// alone: what decoding loses would otherwise be lost at every step, and a plan of many steps drifts
/// to images that no action leads to.
pub struct ImageLift<'a> {
    model: &'a dyn LatentModel,
    images: &'a dyn ImageSpace,
}

impl<'a> ImageLift<'a> {
    /// Lifts `model` to its images.
    ///
    /// # Errors
    ///
    /// If the model has none.
    pub fn new(model: &'a dyn LatentModel) -> Result<Self, PlanError> {
        let images = model.image_space().ok_or(PlanError::NoImageSpace)?;
        Ok(Self { model, images })
    }

    pub(super) fn first_node(&self, belief: &Belief) -> Belief {
        Belief::certain(self.images.decode(belief.mean()).squeeze_dim(0))
    }

    /// The latents that the nodes suggest, `[rows, latent]`.
    pub fn latents(&self, nodes: Tensor<2>) -> Tensor<2> {
        self.images.encode(nodes)
    }
}

impl LatentModel for ImageLift<'_> {
    fn latent_size(&self) -> usize {
        self.images.image_size()
    }

    fn action_size(&self) -> usize {
        self.model.action_size()
    }

    fn transition(&self, nodes: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
        let mean = self.transition_mean(nodes, actions);
        let std = mean.zeros_like();
        DiagonalGaussian::new(mean, std)
    }

    fn transition_mean(&self, nodes: Tensor<2>, actions: Tensor<2>) -> Tensor<2> {
        let latents = self.latents(nodes.clone());
        let next = self.model.transition_mean(latents.clone(), actions);
        nodes + self.images.decode(next) - self.images.decode(latents)
    }

    fn reward(&self, nodes: Tensor<2>) -> Tensor<1> {
        self.model.reward(self.latents(nodes))
    }

    fn reward_residuals(&self, nodes: Tensor<2>) -> Tensor<2> {
        self.model.reward_residuals(self.latents(nodes))
    }

    fn rewards(&self, nodes: Tensor<2>) -> Rewards {
        self.model.rewards(self.latents(nodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shooting::testing::values;

    /// Images of three numbers, of which the latent keeps but the first; an action moves it.
    struct Lossy;

    impl LatentModel for Lossy {
        fn latent_size(&self) -> usize {
            1
        }

        fn action_size(&self) -> usize {
            1
        }

        fn transition(&self, latents: Tensor<2>, actions: Tensor<2>) -> DiagonalGaussian {
            let mean = latents + actions;
            let std = mean.zeros_like();
            DiagonalGaussian::new(mean, std)
        }

        fn reward(&self, latents: Tensor<2>) -> Tensor<1> {
            latents.squeeze_dim(1)
        }

        fn image_space(&self) -> Option<&dyn ImageSpace> {
            Some(self)
        }
    }

    impl ImageSpace for Lossy {
        fn image_size(&self) -> usize {
            3
        }

        fn encode(&self, images: Tensor<2>) -> Tensor<2> {
            images.narrow(1, 0, 1)
        }

        fn decode(&self, latents: Tensor<2>) -> Tensor<2> {
            let blank = latents.zeros_like().repeat_dim(1, 2);
            Tensor::cat(vec![latents, blank], 1)
        }
    }

    #[test]
    fn what_the_latent_loses_of_an_image_stays_in_it() {
        let device = Default::default();
        let lift = ImageLift::new(&Lossy).unwrap();
        let mut image = Tensor::<2>::from_floats([[0.5, 0.2, -0.3]], &device);
        for _ in 0..4 {
            image = lift.transition_mean(image, Tensor::from_floats([[0.25]], &device));
        }
        assert_eq!(values(image), [1.5, 0.2, -0.3]);
    }
}
