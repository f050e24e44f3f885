//! Checkpoints of eight bits a weight.
//!
//! A matrix or kernel `W`, rows along its first axis, lies in the file as whole numbers with a scale for each row:
//!
//! ```text
//! W_i ≈ s_i · q_i,    s_i = max |W_i| / 127,    q_i ∈ {−127 … 127}
//! ```
//!
//! `q` has the tensor's name, `s` that name with [`SCALE`] after it. Vectors stay as they are.

use std::collections::HashMap;

use safetensors::{
    SafeTensors, serialize,
    tensor::{Dtype, TensorView},
};

/// What the name of a tensor of scales ends in.
const SCALE: &str = ".scale";

/// The largest magnitude of `q`, the same on both sides of zero.
const LARGEST: f32 = 127.0;

/// A tensor by its own bytes.
struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Whether a file whose tensors are of these kinds holds weights of eight bits.
pub(crate) fn is_quantised(dtypes: &[Dtype]) -> bool {
    dtypes.contains(&Dtype::I8)
}

/// The checkpoint `file` of 32 bits a weight with eight.
///
/// # Errors
///
/// If it is no safetensors file, or a weight is not finite.
pub(crate) fn quantise(file: &[u8]) -> Result<Vec<u8>, String> {
    check_below(f32::MAX, file)?;
    let mut entries = Vec::new();
    for (name, tensor) in read(file)?.tensors() {
        let (shape, weights) = (tensor.shape().to_vec(), singles(tensor.data()));
        match shape.as_slice() {
            [rows, _, ..] if weights.len() > *rows => {
                let (scales, numbers) = rows_quantised(&weights, *rows);
                entries.push(Entry::of_weights(
                    format!("{name}{SCALE}"),
                    vec![*rows],
                    &scales,
                ));
                entries.push(Entry {
                    name,
                    dtype: Dtype::I8,
                    shape,
                    bytes: numbers,
                });
            }
            _ => entries.push(Entry::of_weights(name, shape, &weights)),
        }
    }
    written(entries, file)
}

/// Refuses weights of the checkpoint `file` of 32 bits a weight that a format up to `largest` cannot hold: NaN
/// would become a number, and a large one infinite.
///
/// # Errors
///
/// Names the first tensor with such a weight.
pub(crate) fn check_below(largest: f32, file: &[u8]) -> Result<(), String> {
    for (name, tensor) in read(file)?.tensors() {
        let weights = singles(tensor.data());
        // NaN is in no range.
        if let Some(weight) = weights
            .iter()
            .find(|weight| !(0.0..=largest).contains(&weight.abs()))
        {
            return Err(format!(
                "`{name}` has the weight {weight}, expected finite ones of at most {largest} in magnitude"
            ));
        }
    }
    Ok(())
}

/// The checkpoint `file` of eight bits a weight with 32.
///
/// # Errors
///
/// If it is no safetensors file, a tensor has no scales or scales of another shape, or is of another kind.
pub(crate) fn restore(file: &[u8]) -> Result<Vec<u8>, String> {
    let tensors = read(file)?;
    let mut entries = Vec::new();
    for (name, tensor) in tensors.tensors() {
        let is_scale = |name: &str| {
            let of = name.strip_suffix(SCALE);
            let of = of.and_then(|of| tensors.tensor(of).ok());
            of.is_some_and(|of| of.dtype() == Dtype::I8)
        };
        if is_scale(&name) {
            continue;
        }
        let weights = match tensor.dtype() {
            Dtype::I8 => restored(&tensors, &name, &tensor)?,
            Dtype::F32 => singles(tensor.data()),
            other => {
                return Err(format!(
                    "tensor `{name}` is of {other:?}, expected I8 or F32"
                ));
            }
        };
        entries.push(Entry::of_weights(name, tensor.shape().to_vec(), &weights));
    }
    written(entries, file)
}

impl Entry {
    fn of_weights(name: String, shape: Vec<usize>, weights: &[f32]) -> Self {
        Self {
            name,
            dtype: Dtype::F32,
            shape,
            bytes: weights
                .iter()
                .flat_map(|weight| weight.to_le_bytes())
                .collect(),
        }
    }
}

fn read(file: &[u8]) -> Result<SafeTensors<'_>, String> {
    SafeTensors::deserialize(file).map_err(|error| error.to_string())
}

/// The tensors with the metadata of `original`.
fn written(entries: Vec<Entry>, original: &[u8]) -> Result<Vec<u8>, String> {
    let (_, header) = SafeTensors::read_metadata(original).map_err(|error| error.to_string())?;
    let metadata: Option<HashMap<String, String>> = header.metadata().clone();
    let views = entries.iter().map(|entry| {
        let view = TensorView::new(entry.dtype, entry.shape.clone(), &entry.bytes);
        view.map(|view| (entry.name.as_str(), view))
    });
    let views: Vec<_> = views
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    serialize(views, metadata).map_err(|error| error.to_string())
}

/// The scale of each of so many rows, and what is left of `weights` by it.
fn rows_quantised(weights: &[f32], rows: usize) -> (Vec<f32>, Vec<u8>) {
    let rows = weights.chunks(weights.len() / rows);
    let scales: Vec<f32> = rows.clone().map(scale).collect();
    let quantised = rows.zip(&scales).flat_map(|(row, &scale)| {
        let of_row = move |&weight: &f32| match scale > 0.0 {
            true => (weight / scale).round() as i8,
            false => 0,
        };
        row.iter().map(of_row)
    });
    let numbers = quantised.map(|number| number.cast_unsigned()).collect();
    (scales, numbers)
}

/// `max |W_i| / 127`.
fn scale(row: &[f32]) -> f32 {
    row.iter()
        .fold(0.0_f32, |most, weight| most.max(weight.abs()))
        / LARGEST
}

/// `s_i · q_i` of each row of `tensor`.
fn restored(
    tensors: &SafeTensors<'_>,
    name: &str,
    tensor: &TensorView<'_>,
) -> Result<Vec<f32>, String> {
    let rows = tensor.shape().first().copied().unwrap_or(0);
    let scales = tensors.tensor(&format!("{name}{SCALE}"));
    let scales = scales.map_err(|_| format!("tensor `{name}{SCALE}` is missing"))?;
    if scales.dtype() != Dtype::F32 || scales.shape() != [rows] {
        return Err(format!(
            "tensor `{name}{SCALE}` is {:?} of shape {:?}, expected F32 of shape [{rows}]",
            scales.dtype(),
            scales.shape(),
        ));
    }
    let numbers = tensor.data();
    let row = (numbers.len() / rows.max(1)).max(1);
    let scaled = numbers.chunks(row).zip(singles(scales.data()));
    let scaled = scaled.flat_map(|(row, scale)| {
        let of_row = move |&number: &u8| f32::from(number.cast_signed()) * scale;
        row.iter().map(of_row)
    });
    Ok(scaled.collect())
}

/// Little-endian numbers in single precision.
pub(crate) fn singles(bytes: &[u8]) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks();
    numbers
        .iter()
        .map(|&number| f32::from_le_bytes(number))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
        let entries = tensors.iter().map(|(name, dtype, shape, bytes)| Entry {
            name: (*name).to_owned(),
            dtype: *dtype,
            shape: shape.to_vec(),
            bytes: bytes.clone(),
        });
        let empty = serialize(Vec::<(&str, TensorView<'_>)>::new(), None).unwrap();
        written(entries.collect(), &empty).unwrap()
    }

    fn bytes(weights: &[f32]) -> Vec<u8> {
        weights
            .iter()
            .flat_map(|weight| weight.to_le_bytes())
            .collect()
    }

    fn weights(file: &[u8], name: &str) -> Vec<f32> {
        singles(read(file).unwrap().tensor(name).unwrap().data())
    }

    #[test]
    fn a_weight_is_off_by_at_most_half_a_step_of_its_row() {
        let matrix = [0.3, -1.27, 0.004, 20.0, 0.0, -254.0, 0.0, 0.0, 0.0];
        let vector = [0.1, -2.0];
        let original = file(&[
            ("matrix", Dtype::F32, &[3, 3], bytes(&matrix)),
            ("vector", Dtype::F32, &[2], bytes(&vector)),
        ]);
        let packed = quantise(&original).unwrap();
        let kinds = |file: &[u8]| -> Vec<Dtype> {
            let tensors = read(file).unwrap().tensors();
            tensors.iter().map(|(_, tensor)| tensor.dtype()).collect()
        };
        assert!(is_quantised(&kinds(&packed)) && !is_quantised(&kinds(&original)));
        let restored = restore(&packed).unwrap();
        let steps = [0.01, 2.0, 0.0];
        for (index, (found, expected)) in
            weights(&restored, "matrix").iter().zip(matrix).enumerate()
        {
            assert!(
                (found - expected).abs() <= 0.5001 * steps[index / 3],
                "{found} for {expected}"
            );
        }
        assert_eq!(weights(&restored, "vector"), vector);
        assert_eq!(read(&restored).unwrap().len(), 2);
    }

    #[test]
    fn quantising_again_changes_nothing() {
        let numbers: Vec<f32> = (0_u8..60).map(|n| (f32::from(n) * 0.7).sin()).collect();
        let original = file(&[("kernel", Dtype::F32, &[5, 3, 4], bytes(&numbers))]);
        let once = quantise(&original).unwrap();
        let restored_once = restore(&once).unwrap();
        let twice = quantise(&restored_once).unwrap();
        let (one, two) = (read(&once).unwrap(), read(&twice).unwrap());
        assert_eq!(
            one.tensor("kernel").unwrap().data(),
            two.tensor("kernel").unwrap().data()
        );
    }

    #[test]
    fn scales_that_do_not_fit_are_named() {
        let without = file(&[("w", Dtype::I8, &[2, 2], vec![1, 2, 3, 4])]);
        assert_eq!(
            restore(&without).unwrap_err(),
            "tensor `w.scale` is missing"
        );
        let scale = bytes(&[1.0, 1.0, 1.0]);
        let other = file(&[
            ("w", Dtype::I8, &[2, 2], vec![1, 2, 3, 4]),
            ("w.scale", Dtype::F32, &[3], scale),
        ]);
        let refused = restore(&other).unwrap_err();
        assert!(
            refused.contains("`w.scale`") && refused.contains("[2]"),
            "{refused}"
        );
        let foreign = file(&[("w", Dtype::I64, &[1], vec![0; 8])]);
        assert!(restore(&foreign).unwrap_err().contains("I64"));
    }
}
