use std::{fs, path::Path};

use pytorch_reader::{DType, PytorchReader};
use safetensors::{Dtype, SafeTensors};

use super::{ConvertError, HostArray, NamedArrays, pytorch::PARTS};

/// Largest array that is read, in bytes: a file may claim views larger than itself.
const LARGEST_ARRAY: usize = 1 << 30;

/// Reads the model's arrays of a PyTorch `state_dict`: safetensors where the file's name ends so,
/// else what `torch.save` writes. Nothing of a pickle is executed; other arrays, such as an
/// optimiser's, are left out.
///
/// # Errors
///
/// If the file cannot be read or an array has elements other than float32 and float64.
pub fn read_state_dict(path: &Path) -> Result<NamedArrays, ConvertError> {
    if path
        .extension()
        .is_some_and(|ending| ending == "safetensors")
    {
        read_safetensors(path)
    } else {
        read_pickled(path)
    }
}

fn is_of_the_model(name: &str) -> bool {
    PARTS.iter().any(|part| name.starts_with(part))
}

fn read_safetensors(path: &Path) -> Result<NamedArrays, ConvertError> {
    let bytes = fs::read(path).map_err(unreadable)?;
    let file = SafeTensors::deserialize(&bytes).map_err(unreadable)?;
    let wanted = file.iter().filter(|(name, _)| is_of_the_model(name));
    wanted
        .map(|(name, view)| {
            let values = match view.dtype() {
                Dtype::F32 => single(view.data()),
                Dtype::F64 => double(view.data()),
                other => return Err(wrong_type(name, format!("{other:?}"))),
            };
            let shape = view.shape().to_vec();
            Ok((name.to_owned(), HostArray { shape, values }))
        })
        .collect()
}

fn read_pickled(path: &Path) -> Result<NamedArrays, ConvertError> {
    let file = PytorchReader::new(path).map_err(unreadable)?;
    let wanted = (file.tensors().iter()).filter(|(name, _)| is_of_the_model(name));
    wanted
        .map(|(name, tensor)| {
            let decode = match tensor.dtype() {
                DType::F32 => single,
                DType::F64 => double,
                other => return Err(wrong_type(name, format!("{other:?}"))),
            };
            if tensor.byte_len() > LARGEST_ARRAY {
                return Err(ConvertError::Large {
                    name: name.clone(),
                    bytes: tensor.byte_len(),
                });
            }
            let values = decode(&tensor.read().map_err(unreadable)?);
            let shape = tensor.shape().to_vec();
            Ok((name.clone(), HostArray { shape, values }))
        })
        .collect()
}

fn single(bytes: &[u8]) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks();
    numbers
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect()
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
