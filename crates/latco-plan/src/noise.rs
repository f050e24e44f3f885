use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

/// The one source of random numbers of a plan.
///
/// Numbers are drawn on the host, so that a seed means the same plan on every backend.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Noise {
    generator: ChaCha8Rng,
}

impl Noise {
    /// A source that `seed` determines wholly.
    pub fn new(seed: u64) -> Self {
        Self {
            generator: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// A source of its own for another thread, determined by this one's state.
    pub fn split(&mut self) -> Self {
        Self {
            generator: ChaCha8Rng::from_rng(&mut self.generator),
        }
    }

    /// These numbers, to be drawn elsewhere; a source of its own is left.
    pub(crate) fn take(&mut self) -> Self {
        let own = self.clone();
        *self = self.split();
        own
    }

    /// Standard normal numbers of the given shape.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], device: &Device) -> Tensor<D> {
        self.fill(shape, device, |generator| generator.sample(StandardNormal))
    }

    /// Uniform numbers in `[−1, 1)` of the given shape.
    pub fn uniform<const D: usize>(&mut self, shape: [usize; D], device: &Device) -> Tensor<D> {
        self.fill(shape, device, |generator| generator.random_range(-1.0..1.0))
    }

    /// One standard normal number.
    pub fn standard_normal(&mut self) -> f32 {
        self.generator.sample(StandardNormal)
    }

    /// One uniform number in `[−1, 1)`.
    pub fn uniform_scalar(&mut self) -> f32 {
        self.generator.random_range(-1.0..1.0)
    }

    fn fill<const D: usize>(
        &mut self,
        shape: [usize; D],
        device: &Device,
        mut draw: impl FnMut(&mut ChaCha8Rng) -> f32,
    ) -> Tensor<D> {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| draw(&mut self.generator)).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}
