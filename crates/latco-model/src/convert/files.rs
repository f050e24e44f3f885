use std::{fs, path::Path};

use half::{bf16, f16};
use pytorch_reader::{DType, PytorchReader};
use safetensors::{Dtype, SafeTensors};

use super::{ConvertError, HostArray, Layout, NamedArrays, pytorch::PyTorch};
use crate::quantised::singles;

/// How many times its own bytes a file's arrays may have together: it may claim views larger than itself.
const VIEWS: usize = 4;

/// Reads the model's arrays of a PyTorch `state_dict`: safetensors where the file's name ends so,
/// else what `torch.save` writes. Nothing of a pickle is executed; other arrays, such as an
/// optimiser's, and whole numbers, such as the counters of a batch normalisation, are left out.
///
/// # Errors
///
/// If the file cannot be read or an array has elements other than floats of 16 to 64 bits.
pub fn read_state_dict(path: &Path) -> Result<NamedArrays, ConvertError> {
    if path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("safetensors"))
    {
        read_safetensors(path)
    } else {
        read_pickled(path)
    }
}

fn is_of_the_model(name: &str) -> bool {
    PyTorch::PARTS.iter().any(|part| name.starts_with(part))
}

fn read_safetensors(path: &Path) -> Result<NamedArrays, ConvertError> {
    let bytes = fs::read(path).map_err(unreadable)?;
    let file = SafeTensors::deserialize(&bytes).map_err(unreadable)?;
    let wanted = file.iter().filter(|(name, _)| is_of_the_model(name));
    wanted
        .filter_map(|(name, view)| {
            let decode: Decode = match view.dtype() {
                Dtype::BF16 => brain,
                Dtype::F16 => half,
                Dtype::F32 => singles,
                Dtype::F64 => double,
                Dtype::I64 | Dtype::I32 | Dtype::U64 | Dtype::U32 => return None,
                other => return Some(Err(wrong_type(name, format!("{other:?}")))),
            };
            let (shape, values) = (view.shape().to_vec(), decode(view.data()));
            Some(Ok((name.to_owned(), HostArray { shape, values })))
        })
        .collect()
}

fn read_pickled(path: &Path) -> Result<NamedArrays, ConvertError> {
    let bytes_of_file = fs::metadata(path).map_err(unreadable)?.len() as usize;
    let file = PytorchReader::new(path).map_err(unreadable)?;
    let mut bytes_so_far = 0_usize;
    let wanted = (file.tensors().iter()).filter(|(name, _)| is_of_the_model(name));
    wanted
        .filter_map(|(name, tensor)| {
            let decode: Decode = match tensor.dtype() {
                DType::BF16 => brain,
                DType::F16 => half,
                DType::F32 => singles,
                DType::F64 => double,
                DType::I64 | DType::I32 | DType::U64 | DType::U32 => return None,
                other => return Some(Err(wrong_type(name, format!("{other:?}")))),
            };
            bytes_so_far = bytes_so_far.saturating_add(tensor.byte_len());
            if bytes_so_far > bytes_of_file.saturating_mul(VIEWS) {
                return Some(Err(ConvertError::Large {
                    name: name.clone(),
                    bytes: bytes_so_far,
                    file: bytes_of_file,
                }));
            }
            let shape = tensor.shape().to_vec();
            Some(match tensor.read() {
                Ok(bytes) => Ok((
                    name.clone(),
                    HostArray {
                        shape,
                        values: decode(&bytes),
                    },
                )),
                Err(error) => Err(unreadable(error)),
            })
        })
        .collect()
}

/// Little-endian numbers of one type in single precision.
type Decode = fn(&[u8]) -> Vec<f32>;

fn brain(bytes: &[u8]) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks();
    let number = |&bytes| bf16::from_le_bytes(bytes).to_f32();
    numbers.iter().map(number).collect()
}

fn half(bytes: &[u8]) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks();
    let number = |&bytes| f16::from_le_bytes(bytes).to_f32();
    numbers.iter().map(number).collect()
}

fn double(bytes: &[u8]) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks();
    numbers
        .iter()
        .map(|&bytes| f64::from_le_bytes(bytes) as f32)
        .collect()
}

fn unreadable(error: impl ToString) -> ConvertError {
    ConvertError::Read(error.to_string())
}

fn wrong_type(name: &str, found: String) -> ConvertError {
    ConvertError::DataType {
        name: name.to_owned(),
        found,
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    /// The numbers −2.5, 0.125 and 100, which every float of at least 16 bits holds.
    #[test]
    fn every_float_is_read_and_counters_are_left_out() {
        let numbers = [-2.5_f32, 0.125, 100.0];
        let bytes = |each: &dyn Fn(f32) -> Vec<u8>| numbers.iter().flat_map(|&n| each(n)).collect();
        let floats: [(Dtype, Vec<u8>); 4] = [
            (
                Dtype::BF16,
                bytes(&|n| bf16::from_f32(n).to_le_bytes().to_vec()),
            ),
            (
                Dtype::F16,
                bytes(&|n| f16::from_f32(n).to_le_bytes().to_vec()),
            ),
            (Dtype::F32, bytes(&|n| n.to_le_bytes().to_vec())),
            (Dtype::F64, bytes(&|n| f64::from(n).to_le_bytes().to_vec())),
        ];
        let (weight, counter) = (
            format!("{}.weight", PyTorch::PARTS[0]),
            format!("{}.count", PyTorch::PARTS[0]),
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.SafeTensors");
        for (dtype, data) in &floats {
            let count = 7_i64.to_le_bytes();
            let arrays = [
                (&weight, TensorView::new(*dtype, vec![3], data).unwrap()),
                (
                    &counter,
                    TensorView::new(Dtype::I64, vec![1], &count).unwrap(),
                ),
            ];
            fs::write(&path, safetensors::serialize(arrays, None).unwrap()).unwrap();
            let read = read_state_dict(&path).unwrap();
            assert_eq!(read.len(), 1);
            assert_eq!(read[&weight].values, numbers, "{dtype:?}");
        }
        let flags = TensorView::new(Dtype::BOOL, vec![3], &[0, 1, 0]).unwrap();
        fs::write(
            &path,
            safetensors::serialize([(&weight, flags)], None).unwrap(),
        )
        .unwrap();
        let error = read_state_dict(&path).unwrap_err();
        assert!(matches!(error, ConvertError::DataType { .. }), "{error}");
    }
}
