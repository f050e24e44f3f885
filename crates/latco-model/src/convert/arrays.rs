use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use burn::tensor::{Device, Tensor, TensorData};

use super::ConvertError;

/// An array on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostArray {
    /// Its sides.
    pub shape: Vec<usize>,
    /// Its elements in row-major order, as many as the sides say.
    pub values: Vec<f32>,
}

/// Arrays by their names.
pub type NamedArrays = BTreeMap<String, HostArray>;

/// Arrays that are taken out as tensors.
pub(super) struct Source<'a> {
    arrays: &'a NamedArrays,
    device: &'a Device,
    taken: RefCell<BTreeSet<String>>,
}

impl<'a> Source<'a> {
    pub fn new(arrays: &'a NamedArrays, device: &'a Device) -> Self {
        Self {
            arrays,
            device,
            taken: RefCell::default(),
        }
    }

    /// Refuses arrays of these `parts` that nobody has taken: with them it would be another model.
    pub fn check_all_taken(&self, parts: &[&str]) -> Result<(), ConvertError> {
        let taken = self.taken.borrow();
        let is_left = |name: &&String| {
            !taken.contains(*name) && parts.iter().any(|part| name.starts_with(part))
        };
        match self.arrays.keys().find(is_left) {
            Some(name) => Err(ConvertError::Unused { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// The sides of an array that must have `D` of them.
    pub fn sides<const D: usize>(&self, name: &str) -> Result<[usize; D], ConvertError> {
        let shape = &self.array(name)?.shape;
        shape
            .as_slice()
            .try_into()
            .map_err(|_| wrong_shape(name, shape, format!("{D} dimensions")))
    }

    /// An array that must have this shape.
    pub fn tensor<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
    ) -> Result<Tensor<D>, ConvertError> {
        let array = self.array(name)?;
        if array.shape != shape {
            return Err(wrong_shape(name, &array.shape, format!("{shape:?}")));
        }
        let data = TensorData::new(array.values.clone(), shape);
        Ok(Tensor::from_data(data, self.device))
    }

    fn array(&self, name: &str) -> Result<&HostArray, ConvertError> {
        let array = self.arrays.get(name).ok_or_else(|| ConvertError::Missing {
            name: name.to_owned(),
        })?;
        self.taken.borrow_mut().insert(name.to_owned());
        Ok(array)
    }
}

fn wrong_shape(name: &str, found: &[usize], expected: String) -> ConvertError {
    ConvertError::Shape {
        name: name.to_owned(),
        found: found.to_vec(),
        expected,
    }
}
