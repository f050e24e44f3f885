//! The mean of several runs and its interval.

use super::panel::{Curve, Scale};

/// Points of a mean curve.
const BINS: usize = 100;

/// The 0.975 quantile of Student's t distribution with 1, 2, … degrees of freedom.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];
/// That of the normal distribution, for more.
const NORMAL: f64 = 1.960;

/// The curve with its spread: with several `runs` their mean at [`BINS`] points up to `last`, the
/// runs themselves as thin lines, and the 95 % interval of the mean, `m ± t s / √n` with Student's
/// t. On a logarithmic scale all of that is of the logarithms.
pub fn with_spread(
    curve: impl FnOnce(Vec<(f64, f64)>) -> Curve,
    mut runs: Vec<Vec<(f64, f64)>>,
    last: f64,
    scale: Scale,
) -> Curve {
    if runs.len() < 2 {
        return curve(runs.pop().unwrap_or_default());
    }
    let strands: Vec<_> = runs.iter().map(|run| binned(run, last, scale)).collect();
    let mut mean = Vec::new();
    let mut band = Vec::new();
    for bin in 0..BINS {
        let values: Option<Vec<f64>> = strands.iter().map(|strand| strand[bin]).collect();
        if let Some(values) = values {
            let (middle, half_width) = interval(&values);
            let at = middle_of(bin, last);
            mean.push((at, scale.value(middle)));
            let ends = [middle - half_width, middle + half_width];
            let [low, high] = ends.map(|end| scale.value(end));
            band.push((at, low, high));
        }
    }
    let points = |strand: Vec<Option<f64>>| {
        let values = strand.into_iter().enumerate();
        values
            .filter_map(|(bin, value)| Some((middle_of(bin, last), scale.value(value?))))
            .collect()
    };
    curve(mean).with_spread(strands.into_iter().map(points).collect(), band)
}

fn middle_of(bin: usize, last: f64) -> f64 {
    (bin as f64 + 0.5) * last / BINS as f64
}

/// The mean height of a run's points in each bin; where a bin has none, that of the bin before.
fn binned(points: &[(f64, f64)], last: f64, scale: Scale) -> Vec<Option<f64>> {
    let mut sums = vec![(0.0, 0); BINS];
    for &(at, value) in points.iter().filter(|&&(at, _)| at <= last) {
        if let Some(height) = scale.height(value) {
            let bin = (at / last * BINS as f64) as usize;
            let (sum, count) = &mut sums[bin.min(BINS - 1)];
            *sum += height;
            *count += 1;
        }
    }
    let mut present = None;
    let latest = |(sum, count): (f64, u32)| {
        if count > 0 {
            present = Some(sum / f64::from(count));
        }
        present
    };
    sums.into_iter().map(latest).collect()
}

/// The mean of at least two values, and half the width of its 95 % interval.
fn interval(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let standard_error = (squares / (count - 1.0) / count).sqrt();
    let quantile = STUDENT.get(values.len() - 2).unwrap_or(&NORMAL);
    (mean, quantile * standard_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_that_of_students_t() {
        // Mean 2, standard deviation 1, standard error 1 / √3.
        let (mean, half_width) = interval(&[1.0, 2.0, 3.0]);
        assert_eq!(mean, 2.0);
        assert!((half_width - 4.303 / 3.0_f64.sqrt()).abs() < 1e-12);
        let many: Vec<f64> = (0..50).map(|index| f64::from(index % 2)).collect();
        let (mean, half_width) = interval(&many);
        assert_eq!(mean, 0.5);
        assert!((half_width - 1.960 * (0.25 / 49.0_f64).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn bins_are_filled_and_carried_on() {
        let points = [(0.0, 1.0), (0.5, 3.0), (50.0, 8.0), (200.0, 99.0)];
        let bins = binned(&points, 100.0, Scale::Linear);
        assert_eq!(bins[0], Some(2.0));
        assert_eq!(bins[49], Some(2.0));
        assert_eq!(bins[50], Some(8.0));
        assert_eq!(bins[99], Some(8.0));
        let late = binned(&[(99.0, 1.0)], 100.0, Scale::Linear);
        assert_eq!((late[98], late[99]), (None, Some(1.0)));
    }

    #[test]
    fn logarithms_are_averaged_on_a_logarithmic_scale() {
        let bins = binned(
            &[(0.1, 1.0), (0.2, 100.0), (0.3, 0.0)],
            100.0,
            Scale::Logarithmic,
        );
        let value = Scale::Logarithmic.value(bins[0].unwrap());
        assert!((value - 10.0).abs() < 1e-12);
    }
}
