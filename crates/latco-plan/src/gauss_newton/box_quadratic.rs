use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

/// A quadratic over a box, `½ xᵀ H x + gᵀ x` for `lower ≤ x ≤ upper`, `H` positive definite.
pub(crate) struct BoxQuadratic<'a> {
    pub hessian: &'a DMatrix<f64>,
    pub gradient: &'a DVector<f64>,
    pub lower: &'a DVector<f64>,
    pub upper: &'a DVector<f64>,
}

/// Where such a quadratic is least.
pub(crate) struct BoxMinimum {
    pub point: DVector<f64>,
    /// The components that no bound holds.
    pub free: Vec<usize>,
    /// The factor of the Hessian's rows and columns of the free components; `None` if there are
    /// none.
    pub factor: Option<Cholesky<f64, Dyn>>,
}

/// Newton steps at most; the active set settles in a few.
const STEPS: usize = 100;

/// The share of the linear prediction that a step must achieve.
const SUFFICIENT: f64 = 0.1;

/// The shortest step tried, below which the decrease is rounding.
const SHORTEST: f64 = 1e-8;

impl BoxQuadratic<'_> {
    /// Projected Newton steps with backtracking (Bertsekas 1982; as in Tassa, Mansard & Todorov,
    /// "Control-Limited Differential Dynamic Programming", ICRA 2014). `None` where the Hessian is
    /// not positive definite.
    pub fn minimise(&self) -> Option<BoxMinimum> {
        let mut point = self.clamp(DVector::zeros(self.gradient.len()));
        let mut free = Vec::new();
        let mut factor = None;
        let tolerance = 1e-10 * (1.0 + self.gradient.amax());
        for _ in 0..STEPS {
            let slope = self.hessian * &point + self.gradient;
            let now_free = self.free(&point, &slope);
            if now_free != free {
                factor = Some(Cholesky::new(
                    self.hessian
                        .select_rows(&now_free)
                        .select_columns(&now_free),
                )?);
                free = now_free;
            }
            let slope_of_free = slope.select_rows(&free);
            let Some(factor) = factor.as_ref().filter(|_| !free.is_empty()) else {
                break;
            };
            if slope_of_free.amax() <= tolerance {
                break;
            }
            let newton = factor.solve(&slope_of_free);
            let mut direction = DVector::zeros(point.len());
            for (&index, value) in free.iter().zip(newton.iter()) {
                direction[index] = -value;
            }
            match self.backtrack(&point, &slope, &direction) {
                Some(next) => point = next,
                None => break,
            }
        }
        Some(BoxMinimum {
            factor: factor.filter(|_| !free.is_empty()),
            point,
            free,
        })
    }

    /// Components inside their bounds, or at one that the slope leads away from.
    fn free(&self, point: &DVector<f64>, slope: &DVector<f64>) -> Vec<usize> {
        (0..point.len())
            .filter(|&index| {
                let at_lower = point[index] <= self.lower[index] && slope[index] > 0.0;
                let at_upper = point[index] >= self.upper[index] && slope[index] < 0.0;
                !at_lower && !at_upper
            })
            .collect()
    }

    /// The first of ever shorter projected steps that decreases the quadratic sufficiently.
    fn backtrack(
        &self,
        point: &DVector<f64>,
        slope: &DVector<f64>,
        direction: &DVector<f64>,
    ) -> Option<DVector<f64>> {
        let mut length = 1.0;
        while length > SHORTEST {
            let next = self.clamp(point + direction * length);
            let change = &next - point;
            // The exact change of the quadratic, without cancellation.
            let linear = slope.dot(&change);
            let quadratic = 0.5 * change.dot(&(self.hessian * &change));
            if linear < 0.0 && linear + quadratic <= SUFFICIENT * linear {
                return Some(next);
            }
            length *= 0.6;
        }
        None
    }

    fn clamp(&self, point: DVector<f64>) -> DVector<f64> {
        point
            .zip_map(self.lower, f64::max)
            .zip_map(self.upper, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Noise;

    /// The minimum by exact minimisation over one component after another.
    fn by_coordinates(problem: &BoxQuadratic<'_>) -> DVector<f64> {
        let mut point = problem.clamp(DVector::zeros(problem.gradient.len()));
        for _ in 0..5_000 {
            for index in 0..point.len() {
                let slope = (problem.hessian.row(index) * &point)[0] + problem.gradient[index];
                let best = point[index] - slope / problem.hessian[(index, index)];
                point[index] = best.clamp(problem.lower[index], problem.upper[index]);
            }
        }
        point
    }

    #[test]
    fn the_minimum_is_that_of_coordinate_descent() {
        let noise = &mut Noise::new(5);
        let mut held = 0;
        for size in [1, 2, 5, 12] {
            for _ in 0..20 {
                let factor = DMatrix::from_fn(size, size, |_, _| normal(noise));
                let hessian = &factor * factor.transpose() + DMatrix::identity(size, size) * 0.1;
                let gradient = DVector::from_fn(size, |_, _| 2.0 * normal(noise));
                let lower = DVector::from_fn(size, |_, _| -normal(noise).abs());
                let upper = DVector::from_fn(size, |_, _| normal(noise).abs());
                let problem = BoxQuadratic {
                    hessian: &hessian,
                    gradient: &gradient,
                    lower: &lower,
                    upper: &upper,
                };
                let minimum = problem.minimise().unwrap();
                let distance = (&minimum.point - by_coordinates(&problem)).amax();
                assert!(distance < 1e-6, "size {size}: {distance:e}");
                assert_eq!(minimum.factor.is_some(), !minimum.free.is_empty());
                held += size - minimum.free.len();
            }
        }
        assert!(held > 50, "only {held} bounds were active");
    }

    #[test]
    fn an_indefinite_hessian_has_no_minimum() {
        let (hessian, gradient) = (DMatrix::from_element(1, 1, -1.0), DVector::zeros(1));
        let (lower, upper) = (
            DVector::from_element(1, -1.0),
            DVector::from_element(1, 1.0),
        );
        let problem = BoxQuadratic {
            hessian: &hessian,
            gradient: &gradient,
            lower: &lower,
            upper: &upper,
        };
        assert!(problem.minimise().is_none());
    }

    fn normal(noise: &mut Noise) -> f64 {
        f64::from(noise.standard_normal())
    }
}
